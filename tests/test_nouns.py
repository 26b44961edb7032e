"""The nouns: one place for what several parts of the benchmark agree on."""

import jsonschema
import numpy as np
import pandas as pd
import pytest
import yaml

from moesimvae import registry
from moesimvae.errors import UserError
from moesimvae.evaluation import quality, statistics, verdicts
from moesimvae.evaluation.scores import check_controls
from moesimvae.model.presets import PRESETS
from moesimvae.nouns import (
    Configuration,
    DataSet,
    Experiment,
    Method,
    Metric,
    Run,
    schemas,
    write_schemas,
)

RUNS = [
    (Run("mnist", "kmeans", 3), "runs/mnist/kmeans/seed3"),
    (Run("mnist", "true_labels", 0, control=True), "runs/mnist/controls/true_labels/seed0"),
]


@pytest.mark.parametrize(("run", "path"), RUNS)
def test_a_run_is_its_path_and_back(run, path):
    assert run.path == path
    assert Run.of(path) == run
    assert Run.of(f"/somewhere/results/{path}") == run
    assert Run.of(run.named("results/projections", ".experts.parquet")) == run


def test_controls_of_a_data_set_lie_in_one_folder():
    for run, path in RUNS:
        assert path.startswith(Run.controls("mnist") + "/") == run.control


def test_with_wildcards_a_run_is_a_pattern_of_paths():
    pattern = Run("{dataset}", "{method}", "{seed}").path
    assert pattern.format(dataset="mnist", method="kmeans", seed=3) == RUNS[0][1]


@pytest.mark.parametrize("path", ["kmeans/seed0", "runs/mnist/kmeans", "runs/mnist/kmeans/seed"])
def test_what_is_no_run_is_told(path):
    with pytest.raises(UserError, match=r"is not a run folder; expected …/runs/<dataset>/<method>"):
        Run.of(path)


def load(folder, text):
    path = folder / "methods.yaml"
    path.write_text(text)
    return registry.load(path)


BASE = """
first: {title: First, module: kmeans, published_as: k, gpu: true, params: {a: 1, b: [2]}}
"""


def test_a_block_says_only_what_differs_from_the_defaults(tmp_path):
    block = load(tmp_path, BASE)["first"]
    assert block.keys() == Method.defaults().keys() | {"title", "module", "published_as"}
    assert (block["gpu"], block["input"], block["params"]) == (True, "scaled", {"a": 1, "b": [2]})


def test_a_block_takes_over_what_it_does_not_say_itself(tmp_path):
    text = BASE + "third: {title: Third, extends: second, threads: 2}\n"
    text += "second: {title: Second, extends: first, gpu: false, params: {c: 3, a: 4}}\n"
    third = load(tmp_path, text)["third"]
    assert list(third["params"].items()) == [("a", 4), ("b", [2]), ("c", 3)]
    assert (third["title"], third["module"], third["gpu"]) == ("Third", "kmeans", False)
    assert not {"published_as", "extends"} & set(third)


def test_a_preset_stands_for_its_values_and_a_block_may_change_them(tmp_path):
    text = "ours: {title: Ours, module: moe_sim_vae, params: {steps: 7, n_latent: 3}}\n"
    text += "paper: {title: Paper, extends: ours, params: {preset: paper, encoder: conv}}\n"
    text += "further: {title: Further, extends: paper, params: {deskew: true}}\n"
    blocks = load(tmp_path, text)
    params = {"steps": 7, "n_latent": 3} | PRESETS["paper"] | {"encoder": "conv"}
    params = {k: list(v) if isinstance(v, tuple) else v for k, v in params.items()}  # as in YAML
    assert blocks["paper"]["params"] == params
    assert list(blocks["paper"]["params"])[:2] == ["steps", "n_latent"]
    assert blocks["further"]["params"] == params | {"deskew": True}


def test_a_preset_is_plain_data_and_belongs_to_its_method(tmp_path):
    text = "released: {title: R, module: moe_sim_vae, params: {preset: released}}\n"
    text += "other: {title: Other, module: kmeans, params: {preset: released}}\n"
    blocks = load(tmp_path, text)
    assert blocks["released"]["params"]["expert_layers"] == [100]
    assert blocks["other"]["params"] == {"preset": "released"}
    with pytest.raises(UserError, match=r"'r' has the unknown preset 'papr'; did .*paper"):
        load(tmp_path, "r: {title: R, module: moe_sim_vae, params: {preset: papr}}")


@pytest.mark.parametrize("base", ["frist", "itself", "[first]"])
def test_what_extends_no_other_block_is_told(tmp_path, base):
    with pytest.raises(UserError, match=r"'itself' extends '.*', which is not in this file"):
        load(tmp_path, BASE + f"itself: {{title: Itself, extends: {base}}}")


def test_a_circle_of_blocks_is_told(tmp_path):
    with pytest.raises(UserError, match="extends 'one', which is not in this file"):
        load(tmp_path, "one: {extends: two}\ntwo: {extends: one}")


def test_a_method_that_is_a_users_own_may_extend_one(tmp_path):
    (tmp_path / "mine.py").write_text("def cluster(cells, n_clusters, seed, a): ...")
    text = "mine: {title: Mine, module: mine.py, params: {a: 1}}\n"
    blocks = load(tmp_path, text + "other: {extends: mine, params: {a: 2}}")
    assert blocks["other"] == blocks["mine"] | {"title": "other", "params": {"a": 2}}


ERROR = Metric("lower", (0, 1))  # a share of wrong cells


def test_a_metric_knows_which_of_its_values_are_better():
    error, score = ERROR, Metric.of({"better": "higher", "range": [0, 1]})
    assert (error.best, error.worst, score.best, score.worst) == (0, 1, 1, 0)
    values = {"a": 0.5, "b": 0.1, "c": 0.5}
    assert error.best_first(values) == ["b", "a", "c"]
    assert score.best_first(values) == ["a", "c", "b"]
    assert Metric("none").sign == 0


def errors(**values):
    rows = [{"method": method, "value": value} for method, value in values.items()]
    where = {"dataset": "toy", "split": "all", "metric": "error", "run": "r", "seed": 0}
    return pd.DataFrame(rows).assign(**where)


def test_where_lower_is_better_all_that_compare_know_it():
    assert list(statistics.friedman(np.tile([0.1, 0.2, 0.3], (6, 1)), "lower").ranks) == [1, 2, 3]
    assert list(statistics.pareto_front([1, 2, 2], [0.5, 0.1, 0.6], "lower")) == [True, True, False]
    assert verdicts.judge(0.2, [0.1], 0.01, "lower").direction == "better"
    cells = pd.DataFrame([{"dataset": "toy", "split": "all", "population": "p", "n_cells": 500}])
    controls = {"true_labels": 0.0, "one_cluster": 0.8, "random_labels": 0.9}
    check_controls(errors(**controls), {"error": ERROR}, cells)
    with pytest.raises(UserError, match=r"'true_labels' misbehaves .* expected 0 within"):
        check_controls(errors(**controls | {"true_labels": 1.0}), {"error": ERROR}, cells)


def test_quality_knows_where_lower_is_better():
    scores = errors(true_labels=0.1, one_cluster=0.8, random_labels=0.9, good=0.3, bad=0.85, odd=0)
    rows = quality._range(scores, scores["method"].unique(), {"error": ERROR})
    assert [(row["method"], row["level"], row["found"]) for row in rows] == [
        ("bad", "amber", "error 0.850 is no better than a blind control's 0.800"),
        ("odd", "red", "error 0.000 is below the true labels' 0.100"),
    ]


def test_the_schemas_are_those_of_the_nouns(root, tmp_path):
    write_schemas(tmp_path)
    kept, written = (
        {path.name: path.read_text() for path in folder.iterdir()}
        for folder in (root / "workflow/schemas", tmp_path)
    )
    assert kept == written, "stale; run `python -m moesimvae.nouns workflow/schemas`"


@pytest.mark.parametrize("name", ["methods", "datasets", "metrics"])
def test_the_registry_fits_its_schema_as_it_is_written(root, name):
    blocks = yaml.safe_load((root / f"workflow/registry/{name}.yaml").read_text())
    jsonschema.Draft202012Validator.check_schema(schemas()[name])
    jsonschema.validate(blocks, schemas()[name])


WRONG = [
    ("datasets", "mnist", {"bites": 1}),
    ("datasets", "mnist", {"files": {"images": {"name": "i", "hash": {"sha1": "0"}}}}),
    ("datasets", "mnist", {"split": {"test": 2, "seed": 0}}),
    ("datasets", "mnist", {"partial": "no"}),
    ("datasets", "levine_32dim", {"cytometry": {"instrument": "mass", "marker": ["CD4"]}}),
    ("datasets", "pbmc_facs", {"counts": {"label": "subpop", "empty_cells": "left out"}}),
    ("metrics", "ari", {"better": "high"}),
    ("metrics", "ari", {"range": [0]}),
]


@pytest.mark.parametrize(("name", "block", "wrong"), WRONG)
def test_a_wrong_block_does_not_fit_its_schema(root, name, block, wrong):
    blocks = yaml.safe_load((root / f"workflow/registry/{name}.yaml").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({block: blocks[block] | wrong}, schemas()[name])


def test_a_block_has_to_say_what_has_no_default():
    assert DataSet.required()[:2] == ["title", "reader"]
    assert "better" in Metric.required()
    assert Experiment.required() == ["title", "datasets", "methods"]
    assert Configuration.required() == []
    assert Configuration.defaults()["mirror"] is None
    assert "published_as" not in Method.defaults()


def test_defaults_are_nobodys_to_change():
    Experiment.defaults()["seeds"].append(3)
    assert Experiment.defaults()["seeds"] == [0, 1, 2]


def test_a_wrong_block_of_a_method_does_not_fit(root):
    schema = schemas()["methods"]
    blocks = yaml.safe_load((root / "workflow/registry/methods.yaml").read_text())
    for key, value in {"thread": 1, "threads": 0, "input": "raw", "gpu": "yes"}.items():
        wrong = {"kmeans": blocks["kmeans"] | {key: value}}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
