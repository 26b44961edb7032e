# The user's own cells: a data set in no registry, named on the command line.


include: "helpers/own.smk"


if OWN:

    rule prepare_own:
        """Features, and the number of clusters to ask for."""
        input:
            reads=lambda wildcards: DATASETS[wildcards.dataset]["reads"],
            matrix=compensation_csv,
        output:
            features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
            facts=f"{RESULTS}/data/{{dataset}}/prepared.json",
            clusters=f"{RESULTS}/data/{{dataset}}/clusters.json",
        log:
            f"{RESULTS}/logs/prepare/{{dataset}}.log",
        wildcard_constraints:
            dataset="|".join(OWN),
        conda:
            "../../envs/deep.yaml"
        params:
            path=lambda wildcards: DATASETS[wildcards.dataset]["own"],
            settings=own_settings,
        script:
            "../../scripts/prepare_own.py"

    rule labels_own:
        """The labels, apart from the features: with an h5ad, naming others reruns no method."""
        input:
            reads=lambda wildcards: DATASETS[wildcards.dataset]["reads"],
            features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
            facts=f"{RESULTS}/data/{{dataset}}/prepared.json",
        output:
            labels=f"{RESULTS}/data/{{dataset}}/labels.parquet",
            facts=f"{RESULTS}/data/{{dataset}}/dataset.json",
        log:
            f"{RESULTS}/logs/prepare/{{dataset}}.labels.log",
        wildcard_constraints:
            dataset="|".join(OWN),
        # errors in the labels are reported before methods run for hours
        priority: 10
        conda:
            "../../envs/base.yaml"
        params:
            path=lambda wildcards: DATASETS[wildcards.dataset]["own"],
            label=BENCHMARK.config["label"],
            genome=BENCHMARK.config["genome"],
            transpose=BENCHMARK.config["transpose"],
        script:
            "../../scripts/labels_own.py"

    # The number to ask for is known once the cells are read: it has its own file, which reveals
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

    if EXISTING:

        rule existing_own:
            """A column of the user's file that is a finished clustering, as a run."""
            input:
                reads=lambda wildcards: DATASETS[wildcards.dataset]["reads"],
                features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
            output:
                run=directory(f"{RESULTS}/{A_RUN.path}"),
            log:
                f"{RESULTS}/logs/cluster/{{dataset}}.{{method}}.{{seed}}.log",
            wildcard_constraints:
                dataset="|".join(OWN),
                method="|".join(EXISTING),
            # a missing column is reported before methods run for hours
            priority: 10
            conda:
                "../../envs/base.yaml"
            params:
                path=lambda wildcards: DATASETS[wildcards.dataset]["own"],
                block=method_block,
                genome=BENCHMARK.config["genome"],
                transpose=BENCHMARK.config["transpose"],
            script:
                "../../scripts/existing_own.py"

        ruleorder: existing_own > cluster_own > cluster

    rule export_own:
        """Every clustering of the user's cells, in formats that their own programs read."""
        input:
            reads=lambda wildcards: DATASETS[OWN[0]]["reads"],
            runs=exported_runs,
            features=f"{RESULTS}/data/{OWN[0]}/features.h5ad",
        output:
            export=directory(f"{RESULTS}/own/export"),
        log:
            f"{RESULTS}/logs/export/own.log",
        conda:
            "../../envs/deep.yaml"
        params:
            path=DATASETS[OWN[0]]["own"],
            showcase=BENCHMARK.experiment("own")["showcase"],
            genome=BENCHMARK.config["genome"],
            transpose=BENCHMARK.config["transpose"],
        script:
            "../../scripts/export_own.py"

    ruleorder: prepare_own > labels_own > prepare
    ruleorder: cluster_own > cluster
    ruleorder: controls_own > controls
