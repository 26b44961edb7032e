# Labels meet the truth here and nowhere before.


def run_folders(wildcards):
    """Every run of an experiment on one data set."""
    runs = BENCHMARK.runs(wildcards.experiment)
    return [run_folder(wildcards.dataset, method, seed) for method, seed in runs]


def control_folder(wildcards):
    return f"{RESULTS}/{Run.controls(wildcards.dataset)}"


def metrics_scored(wildcards):
    """The metrics of an experiment's tables, and those by which its settings are chosen."""
    experiment = BENCHMARK.experiment(wildcards.experiment)
    criteria = registry.CRITERIA.values() if experiment["variants"] else []
    return list(dict.fromkeys([*experiment["metrics"], *criteria]))


def features_scored(wildcards):
    """The features, for experiments that measure anything by them."""
    names = metrics_scored(wildcards)
    label_free = any(METRICS[name].get("label_free") for name in names)
    return f"{RESULTS}/data/{wildcards.dataset}/features.h5ad" if label_free else []


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
    """What every setting of the screened methods reached, and which ones were chosen how."""
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
        variants=lambda wildcards: BENCHMARK.experiment(wildcards.experiment)[
            "variants"
        ],
    script:
        "../../scripts/screening.py"
