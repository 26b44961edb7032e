# Features in, labels or a reason out. Only the controls here have labels among their inputs.


include: "helpers/methods.smk"


rule cluster:
    """One run: data set × method × seed."""
    input:
        features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
    output:
        run=directory(f"{RESULTS}/{A_RUN.path}"),
    log:
        f"{RESULTS}/logs/cluster/{{dataset}}.{{method}}.{{seed}}.log",
    # A job ended from outside is tried once more; the third attempt only records the failure.
    retries: ATTEMPTS - 1
    conda:
        environment
    threads: method_threads
    resources:
        # The runner stops a run at its limit and says so; the cluster grants a little more.
        limit_s=lambda wildcards: int(60 * BENCHMARK.limit(wildcards.method, "runtime")),
        limit_mb=lambda wildcards: BENCHMARK.limit(wildcards.method, "mem_mb"),
        runtime=lambda wildcards: int(BENCHMARK.limit(wildcards.method, "runtime")) + 5,
        mem_mb=lambda wildcards: BENCHMARK.limit(wildcards.method, "mem_mb") + 1000,
        gpu=lambda wildcards: int(METHODS[wildcards.method]["gpu"]),
        attempt=lambda wildcards, attempt: attempt,
        attempts=ATTEMPTS,
    params:
        block=method_block,
        n_clusters=lambda wildcards: BENCHMARK.n_clusters(
            wildcards.dataset, wildcards.method
        ),
        params=lambda wildcards: BENCHMARK.parameters(
            wildcards.dataset, wildcards.method
        ),
        interpreter=interpreter,
    script:
        "../../scripts/cluster.py"


rule controls:
    """One cluster, random labels, true labels: what every metric must get right."""
    input:
        labels=f"{RESULTS}/data/{{dataset}}/labels.parquet",
    output:
        runs=directory(f"{RESULTS}/{Run.controls('{dataset}')}"),
    log:
        f"{RESULTS}/logs/controls/{{dataset}}.log",
    conda:
        "../../envs/base.yaml"
    params:
        n_clusters=lambda wildcards: BENCHMARK.n_clusters(wildcards.dataset),
        seeds=[0, 1, 2],
    script:
        "../../scripts/controls.py"
