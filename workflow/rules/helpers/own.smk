# The user's own cells: what is made of them, and how they are prepared.


OWN = [name for name, block in DATASETS.items() if "own" in block]


def own_outputs(wildcards):
    """What the target `own` makes; one sentence where nobody said of which cells."""
    if not OWN:
        with one_sentence():
            raise UserError(
                "the target 'own' needs your cells; give them as --config data=FILE."
            )
    return experiment_outputs(configuration.OWN)


def own_settings(wildcards):
    """How the user's cells are prepared. Where the label is a column among the features, its name
    is told so that it is left out; elsewhere the features owe nothing to it.
    """
    settings = {key: BENCHMARK.config[key] for key in configuration.OWN_SETTINGS}
    tabular = DATASETS[wildcards.dataset]["tabular"]
    return settings | {"label": BENCHMARK.config["label"] if tabular else None}
