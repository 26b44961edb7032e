# Labels meet the truth here and nowhere before.


rule score:
    """Every run of an experiment on one data set, as long tables: scores, populations, runs."""
    input:
        runs=run_folders,
        controls=control_folder,
        labels=f"{RESULTS}/data/{{dataset}}/labels.parquet",
        metrics=REGISTRY / "metrics.yaml",
    output:
        scores=f"{RESULTS}/{{experiment}}/scores/{{dataset}}.csv",
        populations=f"{RESULTS}/{{experiment}}/scores/{{dataset}}.populations.csv",
        runs=f"{RESULTS}/{{experiment}}/scores/{{dataset}}.runs.csv",
    log:
        f"{RESULTS}/logs/score/{{experiment}}.{{dataset}}.log",
    conda:
        "../../envs/base.yaml"
    params:
        metrics=lambda wildcards: BENCHMARK.experiment(wildcards.experiment)["metrics"],
    script:
        "../../scripts/score.py"
