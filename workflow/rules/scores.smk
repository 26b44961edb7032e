# Labels meet the truth here and nowhere before.


include: "helpers/scores.smk"


rule score:
    """Every run of an experiment on one data set, as long tables: scores, populations, runs."""
    input:
        runs=run_folders,
        controls=control_folder,
        labels=f"{RESULTS}/data/{{dataset}}/labels.parquet",
        features=features_scored,
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
        metrics=metrics_scored,
    script:
        "../../scripts/score.py"


rule screening:
    """What every setting of the screened methods reached, and which were chosen, and how."""
    input:
        scores=of_datasets("{results}/{experiment}/scores/{dataset}.csv"),
        runs=of_datasets("{results}/{experiment}/scores/{dataset}.runs.csv"),
        metrics=REGISTRY / "metrics.yaml",
    output:
        screening=f"{RESULTS}/{{experiment}}/screening.csv",
        selection=f"{RESULTS}/{{experiment}}/selection.csv",
    log:
        f"{RESULTS}/logs/screening/{{experiment}}.log",
    conda:
        "../../envs/base.yaml"
    params:
        metrics=metrics_scored,
        variants=lambda wildcards: experiment_of(wildcards)["variants"],
    script:
        "../../scripts/screening.py"
