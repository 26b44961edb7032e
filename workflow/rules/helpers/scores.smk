# What is scored, and by what.


def run_folders(wildcards):
    """Every run of an experiment on one data set."""
    runs = BENCHMARK.runs(wildcards.experiment)
    return [run_folder(wildcards.dataset, method, seed) for method, seed in runs]


def control_folder(wildcards):
    return f"{RESULTS}/{Run.controls(wildcards.dataset)}"


def metrics_scored(wildcards):
    """The metrics of an experiment's tables, and those by which its settings are chosen."""
    experiment = experiment_of(wildcards)
    criteria = registry.CRITERIA.values() if experiment["variants"] else []
    return list(dict.fromkeys([*experiment["metrics"], *criteria]))


def features_scored(wildcards):
    """The features, for experiments with a metric that needs them."""
    names = metrics_scored(wildcards)
    label_free = any(METRICS[name].get("label_free") for name in names)
    return f"{RESULTS}/data/{wildcards.dataset}/features.h5ad" if label_free else []
