# The runs whose generation is studied, and what is made from them.


GENERATION = BENCHMARK.config["generation"]


def generation_runs(kinds):
    """The runs that the configuration lists under `kinds`."""
    runs = [
        Run(GENERATION["dataset"], method, seed)
        for kind in kinds
        for method, seeds in GENERATION[kind].items()
        for seed in seeds
    ]
    return list(dict.fromkeys(runs))


def generation_paths(folder, kinds, ending=""):
    """Paths named after each of these runs in a folder of the results."""
    return [run.named(f"{RESULTS}/{folder}", ending) for run in generation_runs(kinds)]


def generated_cells():
    """Paths of the cells that the default method generates for each data set."""
    names = GENERATION["cells"]
    runs = [Run(name, "moe_sim_vae", 0) for name in names]
    return [run.named(f"{RESULTS}/generation/cells") for run in runs]


def predicted_cells(wildcards):
    """Path of scVI's cells for count data, in a list of one; else an empty list."""
    steps = DATASETS[wildcards.dataset].get("preprocessing", [])
    if all(step["step"] != "library_size" for step in steps):
        return []
    return [f"{RESULTS}/generation/scvi/{wildcards.dataset}_seed{wildcards.seed}.npz"]


def figure2_outputs():
    return [f"{RESULTS}/figure2/figures", f"{RESULTS}/figure2/table.csv"]


def supplement_outputs():
    files = [
        "figures",
        "generation.csv",
        "mmd.csv",
        "quality.csv",
        "cells.csv",
        "measured.csv",
        "summary.md",
    ]
    return [f"{RESULTS}/supplement/{file}" for file in files]
