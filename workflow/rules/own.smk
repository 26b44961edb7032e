# The user's own cells: a data set that no registry knows, named on the command line.

if OWN:

    rule prepare_own:
        """Features, labels kept apart, facts, and the number of clusters to ask for."""
        input:
            reads=lambda wildcards: DATASETS[wildcards.dataset]["reads"],
        output:
            features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
            labels=f"{RESULTS}/data/{{dataset}}/labels.parquet",
            facts=f"{RESULTS}/data/{{dataset}}/dataset.json",
            clusters=f"{RESULTS}/data/{{dataset}}/clusters.json",
        log:
            f"{RESULTS}/logs/prepare/{{dataset}}.log",
        wildcard_constraints:
            dataset="|".join(OWN),
        conda:
            "../../envs/deep.yaml"
        params:
            path=lambda wildcards: DATASETS[wildcards.dataset]["own"],
            settings={key: BENCHMARK.config[key] for key in configuration.OWN_SETTINGS},
        script:
            "../../scripts/prepare_own.py"

    # The number to ask for is known once the cells are read: a file of its own, which tells
    # nothing of the labels.
    use rule cluster as cluster_own with:
        input:
            features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
            clusters=f"{RESULTS}/data/{{dataset}}/clusters.json",
        wildcard_constraints:
            dataset="|".join(OWN),

    use rule controls as controls_own with:
        input:
            labels=f"{RESULTS}/data/{{dataset}}/labels.parquet",
            clusters=f"{RESULTS}/data/{{dataset}}/clusters.json",
        wildcard_constraints:
            dataset="|".join(OWN),

    ruleorder: prepare_own > prepare
    ruleorder: cluster_own > cluster
    ruleorder: controls_own > controls
