# What can be relied on, and what of the paper was reproduced: views of existing tables.


include: "helpers/verdict.smk"


localrules:
    verdict,


rule significance:
    """Which differences between methods are more than chance."""
    input:
        scores=of_datasets("{results}/{experiment}/scores/{dataset}.csv"),
        datasets=of_datasets("{results}/data/{dataset}/dataset.json"),
        metrics=REGISTRY / "metrics.yaml",
        methods=METHOD_FILES,
    output:
        csv=f"{RESULTS}/{{experiment}}/significance.csv",
        md=f"{RESULTS}/{{experiment}}/significance.md",
        figures=pictures(f"{RESULTS}/{{experiment}}/significance", "{experiment}"),
    log:
        f"{RESULTS}/logs/significance/{{experiment}}.log",
    conda:
        "../../envs/base.yaml"
    params:
        experiment=experiment_of,
    script:
        "../../scripts/significance.py"


rule quality:
    """Red, amber, green: failed runs, controls, missing seeds, repeats, partial data."""
    input:
        scores=of_datasets("{results}/{experiment}/scores/{dataset}.csv"),
        populations=of_datasets(
            "{results}/{experiment}/scores/{dataset}.populations.csv"
        ),
        runs=of_datasets("{results}/{experiment}/scores/{dataset}.runs.csv"),
        run_dirs=all_run_folders,
        controls=of_datasets(f"{{results}}/{Run.controls('{dataset}')}"),
        datasets=of_datasets("{results}/data/{dataset}/dataset.json"),
        metrics=REGISTRY / "metrics.yaml",
        methods=METHOD_FILES,
    output:
        csv=f"{RESULTS}/{{experiment}}/quality.csv",
        md=f"{RESULTS}/{{experiment}}/quality.md",
    log:
        f"{RESULTS}/logs/quality/{{experiment}}.log",
    conda:
        "../../envs/base.yaml"
    params:
        experiment=experiment_of,
        codes=current_codes,
        repeats=repeats,
    script:
        "../../scripts/quality.py"


# The tables are parameters, not inputs: were they inputs, Snakemake would first bring every one up
# to date, which can take days. So this uses what exists when it is planned; make the experiments
# first, in a separate invocation.
rule verdict:
    """Every number of the paper beside ours and a verdict, from the tables already in results/."""
    input:
        published=sorted(PUBLISHED.glob("*.csv")),
        comparison=PUBLISHED / "comparison.yaml",
        metrics=REGISTRY / "metrics.yaml",
        methods=METHOD_FILES,
    output:
        csv=f"{RESULTS}/verdict/verdict.csv",
        tex=f"{RESULTS}/verdict/verdict.tex",
        md=f"{RESULTS}/verdict/verdict.md",
        html=report(
            f"{RESULTS}/verdict/verdict.html",
            caption="../report/verdict.rst",
            category="all experiments",
            labels={"kind": "page", "title": "verdicts on the paper's numbers"},
        ),
    log:
        f"{RESULTS}/logs/verdict.log",
    conda:
        "../../envs/base.yaml"
    params:
        tables=TABLES,
        tables_hash=tables_hash,
        experiments={
            name: {
                key: list(BENCHMARK.experiment(name)[key])
                for key in ("datasets", "methods")
            }
            for name in BENCHMARK.experiments()
        },
        variants={
            method: block
            for name in BENCHMARK.experiments()
            for method, block in BENCHMARK.experiment(name).get("variants", {}).items()
        },
    script:
        "../../scripts/verdict.py"
