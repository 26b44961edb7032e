# The user's own cells: what is made from them, and how they are prepared.


OWN = [name for name, block in DATASETS.items() if "own" in block]
# Columns of the user's file that are finished clusterings, by the names of their runs.
EXISTING = [name for name, block in METHODS.items() if block.get("existing")]


def own_outputs(wildcards):
    """What the target `own` makes; a one-sentence error where no cells were given."""
    if not OWN:
        with one_sentence():
            raise UserError(
                "the target 'own' needs your cells; give them as --config data=FILE."
            )
    return [*experiment_outputs(configuration.OWN), f"{RESULTS}/own/export"]


def exported_runs(wildcards):
    """Each method's run with its first seed."""
    methods = BENCHMARK.experiment(configuration.OWN)["methods"]
    return [run_folder(OWN[0], method, seeds[0]) for method, seeds in methods.items()]


def compensation_csv(wildcards):
    """The user's compensation matrix, where it is a file of its own."""
    given = BENCHMARK.config["compensate"]
    return [] if given in (None, "file") else given


def own_settings(wildcards):
    """How the user's cells are prepared. Where the label is a column among the features, its name
    is passed so that it is left out; elsewhere the features do not depend on it.
    """
    settings = {key: BENCHMARK.config[key] for key in configuration.OWN_SETTINGS}
    if settings["compensate"] is None:  # keeps features made before this key existed
        del settings["compensate"]
    tabular = DATASETS[wildcards.dataset]["tabular"]
    if tabular and BENCHMARK.config["existing"]:
        settings["existing"] = BENCHMARK.config["existing"]
    return settings | {"label": BENCHMARK.config["label"] if tabular else None}
