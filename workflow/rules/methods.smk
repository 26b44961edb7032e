# Features in, labels or a reason out. No job here has labels among its inputs but the controls.


def method_block(wildcards):
    """What of a method's block decides its labels; changing the rest runs nothing again."""
    keys = ("module", "input", "gpu")
    block = METHODS[wildcards.method]
    if "files_sha256" in block:  # the user's own: what its files hold counts, too
        keys += tuple(
            k for k in ("files_sha256", "command", "folder", "format") if k in block
        )
    # only where it is so: without this key a method does not see the prior
    prior = {"uses_prior": True} if block["uses_prior"] else {}
    # of one lock, all environments are the same: moving a method between them runs nothing again
    lock = family(wildcards.method) if own_lock(wildcards.method) else "base"
    return {key: block[key] for key in keys} | {"environment": lock} | prior


def method_threads(wildcards):
    """A method's own number; 1 on a small data set, so that short runs go side by side."""
    small = DATASETS[wildcards.dataset].get("cells", 10_000) < 10_000
    return 1 if small else METHODS[wildcards.method]["threads"]


def family(method):
    """The family of methods that a method's environment is for."""
    return METHODS[method]["environment"]


def own_lock(method):
    """Whether a method needs other packages than requirements.lock has."""
    return (ROOT / "envs" / f"{family(method)}.lock").exists()


def environment(wildcards):
    """Conda environment file of a method's family."""
    return str(ROOT / "envs" / f"{family(wildcards.method)}.yaml")


def interpreter(wildcards):
    """Python for a method that does not run in the workflow's own; None: the job's Python.

    With conda, the job itself already runs in the right environment.
    """
    name = family(wildcards.method)
    if WITH_CONDA:
        return None
    own = str(ROOT / f".venv-{name}/bin/python") if own_lock(wildcards.method) else None
    return BENCHMARK.config["interpreters"].get(name, own)


rule cluster:
    """One run: data set × method × seed."""
    input:
        features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
    output:
        run=directory(f"{RESULTS}/{A_RUN.path}"),
    log:
        f"{RESULTS}/logs/cluster/{{dataset}}.{{method}}.{{seed}}.log",
    # A job that is ended from outside is tried once more; the third attempt writes down why not.
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
        n_clusters=lambda wildcards: BENCHMARK.n_clusters(wildcards.dataset),
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
