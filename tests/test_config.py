"""A wrong configuration ends in one sentence that names the key and what is allowed."""

import pytest
import yaml

from moesimvae import registry
from moesimvae.config import check
from moesimvae.data import catalogue
from moesimvae.errors import UserError


@pytest.fixture
def checked(root):
    """check() with the project's own registries; the argument is the configuration."""
    folder = root / "workflow"

    def run(config):
        return check(
            config,
            datasets=catalogue.resolve(
                registry.load(folder / "registry" / "datasets.yaml"), config
            ),
            methods=registry.load(folder / "registry" / "methods.yaml"),
            metrics=registry.load(folder / "registry" / "metrics.yaml"),
            published=["table1", "table2", "table3"],
        )

    return run


WELLS = ["h01", "h05", "h08", "h12"]


def experiment(**changes):
    block = {"title": "t", "datasets": ["digits"], "methods": ["kmeans", "hdbscan"], **changes}
    return {"experiments": {"mine": block}}


def test_the_projects_own_config_is_valid(checked, root):
    benchmark = checked(yaml.safe_load((root / "config.yaml").read_text()))
    assert {"demo", "table1"} <= set(benchmark.experiments())


def test_defaults_come_from_the_schema_and_deterministic_methods_run_once(checked):
    benchmark = checked(experiment())
    assert benchmark.config["results"] == "results"
    assert benchmark.runs("mine") == [("kmeans", 0), ("kmeans", 1), ("kmeans", 2), ("hdbscan", 0)]


def test_a_method_may_have_seeds_of_its_own(checked):
    benchmark = checked(experiment(methods={"kmeans": [5], "gmm": None}, seeds=[1, 2]))
    assert benchmark.runs("mine") == [("kmeans", 5), ("gmm", 1), ("gmm", 2)]


def test_where_k_is_known_as_many_clusters_are_asked_for_as_there_are_populations(checked):
    sets = ["levine_32dim", "samusik_01"]
    methods = ["moe_sim_vae", "moe_sim_vae_k_known", "consensus_k_known"]
    benchmark = checked(experiment(datasets=sets, methods=methods))
    asked = {d: [benchmark.n_clusters(d, method) for method in methods] for d in sets}
    assert asked == {"levine_32dim": [40, 14, 14], "samusik_01": [40, 24, 24]}
    assert benchmark.parameters(sets[0], methods[0]) == benchmark.parameters(sets[0], methods[1])
    with pytest.raises(UserError, match="'digits' does not state"):
        checked(experiment(methods=["kmeans", "consensus_k_known"]))


def test_the_cell_tables_show_three_numbers_of_clusters(checked, root):
    benchmark = checked(yaml.safe_load((root / "config.yaml").read_text()))
    for name in ("table3", "table3_subsets"):
        block = benchmark.experiment(name)
        assert {"moe_sim_vae", "moe_sim_vae_k_known", "moe_sim_vae_auto"} <= set(block["methods"])
        assert {"consensus", "consensus_k_known"} <= set(block["methods"])
        assert "f1_rare_hungarian" in block["metrics"]


def test_how_sure_clusters_are_is_told_of_ones_own_cells(checked, tmp_path):
    (tmp_path / "cells.csv").write_text("a,b\n1,2\n")
    config = experiment() | {"data": str(tmp_path / "cells.csv"), "methods": ["moe_sim_vae", "gmm"]}
    benchmark = checked(config)
    (name,) = benchmark.experiment("own")["datasets"]
    assert benchmark.parameters(name, "moe_sim_vae")["resamples"] == 20
    assert benchmark.parameters("digits", "moe_sim_vae")["resamples"] == 0
    assert "resamples" not in benchmark.parameters(name, "gmm")
    given = checked(config | {"parameters": {name: {"moe_sim_vae": {"resamples": "3"}}}})
    assert given.parameters(name, "moe_sim_vae")["resamples"] == 3


def test_parameters_and_limits(checked):
    config = experiment() | {
        "parameters": {"digits": {"gmm": {"n_pca": 7}}},
        "limits": {"runtime": 0.5},
    }
    benchmark = checked(config)
    assert benchmark.parameters("digits", "gmm")["n_pca"] == 7
    assert benchmark.parameters("mnist", "gmm") == benchmark.methods["gmm"]["params"]
    assert benchmark.limit("gmm", "runtime") == 0.5


def test_a_family_stands_for_all_of_its_data_sets(checked):
    first, second, *others = wells = [f"bodenmiller_staurosporine_{w}" for w in WELLS]
    config = experiment(datasets=[second, "bodenmiller", "digits"]) | {
        "parameters": {"bodenmiller": {"gmm": {"n_pca": 7}}, first: {"gmm": {"n_pca": 8}}},
        "n_clusters": {"bodenmiller": 20, second: 21},
    }
    benchmark = checked(config)
    assert benchmark.experiment("mine")["datasets"] == [second, first, *others, "digits"]
    assert [benchmark.parameters(well, "gmm")["n_pca"] for well in wells] == [8, 7, 7, 7]
    assert [benchmark.n_clusters(well) for well in wells] == [20, 21, 20, 20]


def test_words_from_the_command_line_become_values(checked):
    words = {"rerun_failed": "true", "limits": {"runtime": "30.5"}, "n_clusters": {"digits": "9"}}
    words["generation"] = {"thresholds": ["0.0", "0.9"], "runs": {"vade": ["1"]}}
    config = checked(experiment(seeds=["4"]) | words).config
    assert config["generation"]["thresholds"] == [0, 0.9]
    assert config["generation"]["runs"] == {"vade": [1]}
    assert config["experiments"]["mine"]["seeds"] == [4]
    assert config["rerun_failed"] is True
    assert config["limits"]["runtime"] == 30.5
    assert config["n_clusters"]["digits"] == 9


def screened(**screening):
    return experiment(methods={"kmeans": [5, 6], "hdbscan": None}, screening=screening)


def test_a_screening_becomes_methods_of_their_own_with_the_first_seed(checked):
    grid = {"n_pca": [10, 20], "min_cluster_size": [50, 5]}
    benchmark = checked(screened(hdbscan=grid, kmeans={"n_pca": [40]}))
    names = ["hdbscan_s01", "hdbscan_s02", "hdbscan_s03", "hdbscan_s04", "kmeans_s01"]
    variants = benchmark.experiment("mine")["variants"]
    assert list(variants) == names
    assert benchmark.runs("mine")[-5:] == [(name, 0) for name in names]
    assert list(benchmark.experiment("mine")["methods"]) == ["kmeans", "hdbscan"]
    block = benchmark.methods["hdbscan_s02"]
    assert block["title"] == "HDBSCAN, n_pca 10, min_cluster_size 5"
    assert (block["screens"], block["settings"]) == (
        "hdbscan",
        {"n_pca": 10, "min_cluster_size": 5},
    )
    assert block["params"] == benchmark.methods["hdbscan"]["params"] | block["settings"]
    assert benchmark.limit("hdbscan_s02", "runtime") == benchmark.limit("hdbscan", "runtime")


def test_a_variant_takes_what_is_configured_for_its_method_but_for_its_settings(checked):
    given = {"kmeans": {"n_init": 3, "n_pca": 7}}
    config = screened(kmeans={"n_pca": [40]}) | {"parameters": {"digits": given}}
    benchmark = checked(config)
    assert benchmark.parameters("digits", "kmeans") == {"n_init": 3, "n_pca": 7}
    assert benchmark.parameters("digits", "kmeans_s01") == {"n_init": 3, "n_pca": 40}


def test_experiments_share_a_setting_and_number_others_on(checked):
    config = screened(kmeans={"n_pca": [10, 20]})
    other = screened(kmeans={"n_pca": [30, 20]})["experiments"]["mine"]
    config["experiments"]["other"] = other | {"seeds": [3]}
    benchmark = checked(config)
    variants = benchmark.experiment("other")["variants"]
    assert {name: block["settings"]["n_pca"] for name, block in variants.items()} == {
        "kmeans_s03": 30,
        "kmeans_s02": 20,
    }
    assert {block["seed"] for block in variants.values()} == {3}
    assert benchmark.experiment("mine")["variants"]["kmeans_s02"]["seed"] == 0


def test_screening_can_be_left_out(checked):
    benchmark = checked(screened(kmeans={"n_pca": [10, 20]}) | {"screening": "false"})
    assert benchmark.experiment("mine")["variants"] == {}
    assert benchmark.runs("mine") == [("kmeans", 5), ("kmeans", 6), ("hdbscan", 0)]
    assert "kmeans_s01" not in benchmark.methods


# the settings that Table 2 of the paper prints
TABLE2 = {
    "gmm": {"n_pca": 20},
    "kmeans": {"n_pca": 40},
    "hierarchical": {"n_pca": 20},
    "hdbscan": {"n_pca": 20, "min_cluster_size": 50},
    "fuzzy_c_means": {"n_pca": 50, "m": 4},
    "louvain": {"n_pca": 30, "resolution": 0.01},
    "scvi_leiden": {"resolution": 0.06},
}


@pytest.mark.parametrize("name", ["table2", "table2_semisynthetic"])
def test_the_settings_of_table_2_are_always_among_those_run(checked, root, name):
    benchmark = checked(yaml.safe_load((root / "config.yaml").read_text()))
    variants = benchmark.experiment(name)["variants"]
    assert len(variants) >= 20
    for method, settings in TABLE2.items():
        tried = [block["settings"] for block in variants.values() if block["screens"] == method]
        assert settings in tried, method


WRONG = {
    "unknown key": ({"miror": "x", **experiment()}, "'miror' is unknown; did you mean 'mirror'?"),
    "unknown key inside": (experiment(seed=[1]), "key 'seed' is unknown; did you mean 'seeds'?"),
    "unknown method": (experiment(methods=["k-means"]), "method 'k-means' is unknown; did you"),
    "a control as method": (experiment(methods=["true_labels"]), "method 'true_labels' is unknown"),
    "unknown data set": (experiment(datasets=["digit"]), "data set 'digit' is unknown; did you"),
    "unknown metric": (experiment(metrics=["nmi"]), "metric 'nmi' is unknown"),
    "unknown published table": (experiment(published="table9"), "'table9' is unknown"),
    "missing key": ({"experiments": {"mine": {"title": "t"}}}, "key 'datasets' is missing"),
    "no experiments": ({}, "key 'experiments' is empty; give at least one, or your own cells"),
    "seed twice": (experiment(seeds=[0, 1, 0]), "experiments.mine.seeds': 0 is given twice"),
    "own seed twice": (experiment(methods={"kmeans": [3, 3]}), "kmeans': 3 is given twice"),
    "negative seed": (experiment(seeds=[-1]), "-1 is too small; it must be at least 0"),
    "seed too large": (experiment(seeds=[2**32]), "4294967296 is too large"),
    "negative time": (experiment() | {"limits": {"runtime": -5}}, "limits.runtime': -5 is too"),
    "negative size": (experiment() | {"limits": {"mem_mb": -5}}, "limits.mem_mb': -5 is too small"),
    "missing mirror": (experiment() | {"mirror": "/no/such"}, "folder /no/such does not exist"),
    "kind": (experiment() | {"rerun_failed": "perhaps"}, "'perhaps' is of the wrong type; it must"),
    "methods kind": (experiment(methods="kmeans"), "a list of names, or a mapping from"),
    "empty": (experiment(datasets=[]), "experiments.mine.datasets'"),
    "reserved name": ({"experiments": {"runs": experiment()["experiments"]["mine"]}}, "'runs'"),
    "name of the workflow's own": (
        {"experiments": {"verdict": experiment()["experiments"]["mine"]}},
        "the name 'verdict' is not allowed",
    ),
    "generated from an unknown method": (
        experiment() | {"generation": {"runs": {"vad": [0]}}},
        "config key 'generation.runs': method 'vad' is unknown; did you mean 'vade'?",
    ),
    "generated from unknown images": (
        experiment() | {"generation": {"dataset": "mnsit"}},
        "config key 'generation.dataset': data set 'mnsit' is unknown; did you mean 'mnist'?",
    ),
    "threshold": (experiment() | {"generation": {"thresholds": [1]}}, "must be less than 1"),
    "unsafe name": ({"experiments": {"../x": experiment()["experiments"]["mine"]}}, "'../x'"),
    "unknown parameter": (
        experiment() | {"parameters": {"digits": {"gmm": {"npca": 7}}}},
        "parameter 'npca' is unknown; did you mean 'n_pca'?",
    ),
    "screened method": (
        screened(k_means={"n_pca": [1]}),
        "experiments.mine.screening': method 'k_means' is unknown; did you mean 'kmeans'?",
    ),
    "screened method not run": (
        screened(gmm={"n_pca": [1]}),
        "screening': method 'gmm' is not among the methods of this experiment; add it",
    ),
    "screened parameter": (
        screened(kmeans={"npca": [1]}),
        "screening.kmeans': parameter 'npca' is unknown; did you mean 'n_pca'?",
    ),
    "no value": (screened(kmeans={"n_pca": []}), "screening.kmeans.n_pca' is empty; give"),
    "no parameter": (screened(kmeans={}), "mine.screening.kmeans' is empty; give"),
    "value twice": (screened(kmeans={"n_pca": [2, 2]}), "kmeans.n_pca': 2 is given twice"),
    "one value": (screened(kmeans={"n_pca": 2}), "n_pca': 2 is of the wrong type; it must be arr"),
    "switch": (screened() | {"screening": 3}, "config key 'screening': 3 is of the wrong type"),
    "clusters": (experiment() | {"n_clusters": {"digits": 0}}, "0 is too small"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_configuration_is_one_sentence(checked, case):
    config, expected = WRONG[case]
    with pytest.raises(UserError) as error:
        checked(config)
    message = str(error.value)
    assert expected in message
    assert "\n" not in message
    assert message.endswith(".")
