"""Scores: from made-up run folders to the long table, the table of runs, controls, summaries."""

import runpy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from moesimvae import registry
from moesimvae.errors import UserError
from moesimvae.evaluation import metrics as agreement
from moesimvae.evaluation.scores import (
    POPULATION_COLUMNS,
    RUN_COLUMNS,
    SCORE_COLUMNS,
    check_controls,
    read_labels,
    score_dataset,
    score_run,
    write_csv,
)
from moesimvae.files import write_json

METRICS = ["nmi_arithmetic", "ari", "f_flowcap", "noise_share"]
UNCOUNTED = pd.DataFrame(columns=POPULATION_COLUMNS)
N = 300


@pytest.fixture(scope="module")
def blocks(root):
    return registry.metrics(root / "workflow/registry/metrics.yaml")


class Inputs(SimpleNamespace):
    """A job's inputs as Snakemake gives them."""

    def get(self, name, default=None):
        return getattr(self, name, default)


class Results:
    """A made-up folder of results with one data set `toy` of 300 cells in 3 populations."""

    def __init__(self, folder):
        self.folder = folder
        population = np.arange(N) % 3
        self.truth = pd.DataFrame(
            {
                "cell": [f"cell{i}" for i in range(N)],
                "label": [f"population {i}" for i in population],
                "scored": True,
                "split": "all",
            }
        )
        self.population = population
        self.write_truth()

    @property
    def labels(self):
        return self.folder / "data/toy/labels.parquet"

    def write_truth(self):
        self.labels.parent.mkdir(parents=True, exist_ok=True)
        self.truth.to_parquet(self.labels)

    def run(self, method, seed, clusters=None, cells=None, under="", **status):
        """Write one run; without clusters there is no labels.parquet."""
        folder = self.folder / "runs/toy" / under / method / f"seed{seed}"
        folder.mkdir(parents=True)
        facts = {"status": "ok", "reason": "", "dataset": "toy", "method": method, "seed": seed}
        facts |= {"wall_seconds": 1.5, "cpu_seconds": 1.25, "peak_memory_mb": 100.0}
        facts |= {"peak_gpu_memory_mb": None, "device": "cpu", "threads": 2}
        facts |= {"clusters_found": 3, "noise_share": 0.0}
        write_json(folder / "status.json", facts | status)
        if clusters is not None:
            cells = self.truth["cell"] if cells is None else cells
            table = pd.DataFrame({"cell": np.asarray(cells), "label": clusters})
            table.to_parquet(folder / "labels.parquet")
        return folder

    def controls(self, under=""):
        random = np.random.default_rng(0).integers(3, size=N).astype("int32")
        return [
            self.run("true_labels", 0, self.population.astype("int32"), under=under),
            self.run("random_labels", 0, random, under=under),
            self.run("one_cluster", 0, np.zeros(N, dtype="int32"), under=under),
        ]

    def score(self, runs, metrics=METRICS):
        scores, _, table = score_dataset(runs, self.labels, metrics, self.folder)
        return scores, table


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results")


def test_long_table_and_table_of_runs(results):
    merged = np.where(results.population == 2, 1, results.population)
    runs = [
        results.run("kmeans", 10, results.population),
        results.run("kmeans", 2, merged),
        results.run("hdbscan", 0, status="timeout", reason="stopped after 60 minutes"),
    ]
    scores, table = results.score(runs)

    assert list(scores.columns) == SCORE_COLUMNS
    assert scores[["method", "seed"]].drop_duplicates().to_numpy().tolist() == [
        ["kmeans", 2],
        ["kmeans", 10],
    ]
    assert list(scores["metric"]) == METRICS * 2
    assert set(scores["split"]) == {"all"}
    assert scores.loc[scores["seed"] == 10, "value"].tolist() == pytest.approx([1, 1, 1, 0])
    # merged: F1 of the two merged populations is 2/3, of the other 1
    f = scores[(scores["seed"] == 2) & (scores["metric"] == "f_flowcap")]["value"].item()
    assert f == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert set(scores["run"]) == {"runs/toy/kmeans/seed2", "runs/toy/kmeans/seed10"}

    assert list(table.columns) == RUN_COLUMNS
    assert list(table["status"]) == ["timeout", "ok", "ok"]
    assert table.loc[0, "reason"] == "stopped after 60 minutes"
    assert table.loc[1, ["wall_seconds", "device", "run"]].tolist() == [
        1.5,
        "cpu",
        "runs/toy/kmeans/seed2",
    ]


def test_unscored_cells_are_clustered_but_count_nowhere(results):
    results.truth.loc[results.truth.index[::2], ["label", "scored"]] = ["", False]
    results.write_truth()
    clusters = results.population.copy()
    clusters[:100:2], clusters[100::2] = -1, 0  # wrong wherever nobody looks
    scores, _ = results.score([results.run("kmeans", 0, clusters)])
    assert scores["value"].tolist() == pytest.approx([1, 1, 1, 0])


def test_each_split_and_all_of_them(results):
    train = np.arange(N) < 200
    results.truth["split"] = np.where(train, "train", "test")
    results.write_truth()
    clusters = np.where(train, results.population, 0)
    scores, _ = results.score([results.run("kmeans", 0, clusters)], ["ari", "noise_share"])
    ari = scores[scores["metric"] == "ari"].set_index("split")["value"]
    assert list(ari.index) == ["test", "train", "all"]
    assert ari["train"] == 1
    assert ari["test"] == 0
    assert ari["all"] == pytest.approx(agreement.ari(results.population, clusters))


def test_a_split_without_scored_cells_has_no_rows(results):
    results.truth["split"] = np.where(np.arange(N) < 200, "train", "test")
    results.truth["scored"] = results.truth["split"] == "test"
    results.write_truth()
    rows = score_run(results.population, read_labels(results.labels), ["ari"])
    assert [row["split"] for row in rows] == ["test", "all"]


def test_runs_are_compared_in_each_split(results):
    results.truth["split"] = np.where(np.arange(N) < 200, "train", "test")
    results.write_truth()
    other = np.where(np.arange(N) < 200, results.population, 0)
    runs = [results.run(m, 0, c) for m, c in (("a", results.population), ("b", other))]
    scores, _ = results.score(runs, ["agreement"])
    values = scores[scores["method"] == "a"].set_index("split")["value"]
    assert values["train"] == 1
    assert values["test"] == 0
    assert values["all"] == pytest.approx(agreement.ari(results.population, other))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cells": [f"cell{i}" for i in range(N)][::-1]}, "the first is row 0 with cell 'cell299'"),
        ({"cells": [f"cell{i + 1}" for i in range(N)]}, "where 'cell0' is expected"),
        ({"cells": range(N - 1), "clusters": np.zeros(N - 1, int)}, "299 cells, expected 300"),
        ({"clusters": np.full(N, -2)}, "found -2"),
        ({"clusters": np.full(N, np.nan)}, "missing values"),
        ({"clusters": None}, "labels.parquet cannot be read"),
        ({"dataset": "other"}, "belongs to another run: dataset is 'other', expected 'toy'"),
    ],
)
def test_a_run_that_cannot_be_scored_is_invalid(results, change, says):
    bad = results.run("bad", 0, **{"clusters": results.population} | change)
    scores, table = results.score([bad, results.run("good", 0, results.population)])
    assert set(scores["method"]) == {"good"}
    assert table["status"].tolist() == ["invalid", "ok"]
    assert says in table.loc[0, "reason"]


@pytest.mark.parametrize("content", [None, "{broken", "[]", "{}"])
def test_a_run_without_readable_status_is_invalid(results, content):
    run = results.run("bad", 3, results.population)
    (run / "status.json").unlink()
    if content is not None:
        (run / "status.json").write_text(content)
    scores, table = results.score([run])
    assert scores.empty
    assert table.loc[0, ["method", "seed", "status"]].tolist() == ["bad", 3, "invalid"]
    assert "status.json" in table.loc[0, "reason"]


def test_all_runs_failed(results):
    scores, table = results.score([results.run("a", 0, status="error", reason="no")])
    assert list(scores.columns) == SCORE_COLUMNS
    assert scores.empty
    assert len(table) == 1


@pytest.mark.parametrize("path", ["runs/toy/kmeans", "data/toy/kmeans/seed0", "../elsewhere/seed0"])
def test_a_folder_that_is_no_run_is_told(results, path):
    with pytest.raises(UserError, match="is not a run folder"):
        results.score([results.folder / path])


def test_unknown_metric_is_told_before_any_run_is_read(results):
    with pytest.raises(UserError, match="unknown metric 'purity'"):
        results.score([], ["purity"])


@pytest.mark.parametrize(
    ("column", "row", "value", "says"),
    [
        ("label", 4, "", "1 scored cells have no label"),
        ("label", 4, None, "1 scored cells have no label"),
        ("cell", 4, "cell5", "1 cells are duplicated"),
        ("scored", slice(None), False, "no cell is scored"),
        ("split", 4, "test", "a split is named 'all'"),
    ],
)
def test_bad_true_labels_are_told(results, column, row, value, says):
    results.truth.loc[row, column] = value
    results.write_truth()
    with pytest.raises(UserError, match=says):
        results.score([])


def test_true_labels_without_a_column_are_told(results):
    results.truth.drop(columns="scored").to_parquet(results.labels)
    with pytest.raises(UserError, match="cell, label, scored, split"):
        results.score([])


# --- populations ------------------------------------------------------------------------------


def test_populations_are_the_matching_behind_mean_f1(results):
    """In every run and split the mean of f1 is f1_mean_hungarian, noise and unscored cells too."""
    rng = np.random.default_rng(1)
    results.truth["split"] = np.where(np.arange(N) % 2, "test", "train")
    results.truth.loc[::7, ["label", "scored"]] = ["", False]
    results.write_truth()
    noisy = np.where(rng.random(N) < 0.3, rng.integers(-1, 5, N), results.population)
    merged = np.minimum(results.population, 1)
    runs = [results.run("kmeans", s, c) for s, c in enumerate((noisy, merged, results.population))]
    runs.append(results.run("hdbscan", 0, status="timeout", reason="stopped"))
    metrics = ["f1_mean_hungarian"]
    scores, populations, _ = score_dataset(runs, results.labels, metrics, results.folder)

    assert list(populations.columns) == POPULATION_COLUMNS
    assert set(populations["method"]) == {"kmeans"}
    of = ["run", "split"]
    mean = populations.groupby(of)["f1"].mean()
    expected = scores.set_index(of)["value"]
    pd.testing.assert_series_equal(mean, expected.loc[mean.index], check_names=False)
    assert len(mean) == 3 * 3
    assert 0 < mean.min() < mean.max() == 1
    whole = populations[populations["split"] == "all"]
    assert set(whole.groupby("seed")["n_cells"].sum()) == {results.truth["scored"].sum()}
    lost = populations[(populations["seed"] == 1) & populations["cluster"].isna()]
    assert set(lost["f1"]) == {0}
    assert len(lost) == 3  # one of the two merged populations, in each split and in all


# --- controls ---------------------------------------------------------------------------------


def test_good_controls_pass_in_a_folder_of_their_own(results, blocks):
    scores, _ = results.score(results.controls(under="controls"), list(agreement.METRICS))
    assert set(scores["dataset"]) == {"toy"}
    check_controls(scores, blocks, UNCOUNTED)


@pytest.mark.parametrize(
    ("control", "metric", "value", "says"),
    [
        ("true_labels", "nmi_arithmetic", 0.999, "nmi_arithmetic is 0.999, expected 1"),
        ("true_labels", "f_flowcap", 0.5, "f_flowcap is 0.5, expected 1"),
        ("one_cluster", "ari", 0.01, "ari is 0.01, expected 0"),
        ("random_labels", "ami", 0.2, "ami is 0.2, expected 0 within 0.1"),
        ("random_labels", "ari", -0.2, "ari is -0.2, expected 0"),
        ("random_labels", "ari", np.nan, "ari is nan"),
    ],
)
def test_misbehaving_control_is_refused(results, blocks, control, metric, value, says):
    scores, _ = results.score(results.controls(), list(agreement.METRICS))
    scores.loc[(scores["method"] == control) & (scores["metric"] == metric), "value"] = value
    with pytest.raises(UserError, match=f"control '{control}' misbehaves on toy .*{says}"):
        check_controls(scores, blocks, UNCOUNTED)


def test_where_there_is_one_true_group_one_cluster_is_the_truth(results, blocks):
    results.truth["label"] = "the only one"
    results.population = np.zeros(N, dtype=int)
    results.write_truth()
    scores, _ = results.score(results.controls(), list(agreement.METRICS))
    check_controls(scores, blocks, UNCOUNTED)
    scores.loc[(scores["method"] == "one_cluster") & (scores["metric"] == "ari"), "value"] = 0.5
    with pytest.raises(UserError, match=r"control 'one_cluster' misbehaves on toy .*ari is 0\.5"):
        check_controls(scores, blocks, UNCOUNTED)


def test_random_labels_that_are_the_one_true_group_are_the_truth(results, blocks):
    results.truth["label"] = "the only one"
    results.population = np.zeros(N, dtype=int)
    results.write_truth()
    scores, _ = results.score(results.controls(), list(agreement.METRICS))
    alike = scores[scores["method"] == "one_cluster"].assign(method="random_labels")
    scores = pd.concat([scores[scores["method"] != "random_labels"], alike])
    check_controls(scores, blocks, UNCOUNTED)


def test_random_labels_that_are_the_truth_of_several_groups_are_refused(results, blocks):
    scores, _ = results.score(results.controls(), list(agreement.METRICS))
    known = scores[scores["method"] == "true_labels"].assign(method="random_labels")
    scores = pd.concat([scores[scores["method"] != "random_labels"], known])
    with pytest.raises(UserError, match="control 'random_labels' misbehaves"):
        check_controls(scores, blocks, UNCOUNTED)


def test_random_labels_of_few_scored_cells_may_be_further_off(results, blocks):
    scores, _ = results.score(results.controls(), list(agreement.METRICS))
    random = (scores["method"] == "random_labels") & (scores["metric"] == "ari")
    scores.loc[random, "value"] = 0.3
    counted = [("toy", "all", name, n) for name, n in (("a", 15), ("b", 5))]
    columns = ["dataset", "split", "population", "n_cells"]
    twenty = pd.DataFrame(counted * 2, columns=columns)  # of two runs: each cell counts once
    check_controls(scores, blocks, twenty)
    scores.loc[random, "value"] = 0.51
    with pytest.raises(UserError, match=r"expected 0 within 0\.5"):
        check_controls(scores, blocks, twenty)
    scores.loc[random, "value"] = 0.3
    with pytest.raises(UserError, match=r"expected 0 within 0\.1;"):
        check_controls(scores, blocks, twenty.assign(n_cells=100))


def test_uncorrected_and_descriptive_metrics_of_random_labels_are_free(results, blocks):
    scores, _ = results.score(results.controls(), list(agreement.METRICS))
    free = ["nmi_arithmetic", "f_flowcap", "clusters_found", "noise_share"]
    random = (scores["method"] == "random_labels") & scores["metric"].isin(free)
    scores.loc[random, "value"] = 0.7
    check_controls(scores, blocks, UNCOUNTED)


def test_missing_control_is_refused(results, blocks):
    scores, _ = results.score([*results.controls()[:2], results.run("k", 0, results.population)])
    with pytest.raises(UserError, match="control 'one_cluster' has no scores on toy"):
        check_controls(scores, blocks, UNCOUNTED)


def test_no_scores_at_all_is_refused(results, blocks):
    scores, _ = results.score([results.run("kmeans", 0, status="error")])
    with pytest.raises(UserError, match="no scores, not even for the controls"):
        check_controls(scores, blocks, UNCOUNTED)


def test_metric_without_a_block_is_told(results, blocks):
    scores, _ = results.score(results.controls(), ["ari"])
    with pytest.raises(UserError, match="metric 'ari' has no block"):
        check_controls(scores, {"ami": blocks["ami"]}, UNCOUNTED)


# --- files ------------------------------------------------------------------------


def test_same_scores_same_bytes(results):
    runs = [results.run("b", 1, results.population), results.run("a", 0, status="error")]
    files = []
    for order in (runs, runs[::-1]):
        for name, table in zip(("scores", "runs"), results.score(order), strict=True):
            path = results.folder / f"{name}{len(files)}.csv"
            write_csv(table, path)
            files.append(path.read_bytes())
    assert files[0] == files[2]
    assert files[1] == files[3]
    assert b"\r" not in files[1]
    assert b",cpu,2,3,0,runs/toy/a/seed0\n" in files[1]  # whole numbers stay whole


def test_missing_numbers_are_empty_and_whole_numbers_whole(results):
    failed = results.run("a", 0, status="error", clusters_found=None, noise_share=None)
    _, table = results.score([failed, results.run("b", 0, results.population)])
    write_csv(table, results.folder / "runs.csv")
    lines = (results.folder / "runs.csv").read_text().splitlines()
    assert lines[1].endswith(",cpu,2,,,runs/toy/a/seed0")
    assert lines[2].endswith(",cpu,2,3,0,runs/toy/b/seed0")


# --- the workflow's script --------------------------------------------------------------------


def run_script(root, results, runs, features=(), metrics=METRICS):
    output = {
        name: str(results.folder / "demo/scores" / f"{name}.csv")
        for name in ("scores", "populations", "runs")
    }
    job = SimpleNamespace(
        input=Inputs(
            runs=[str(run) for run in runs],
            controls=str(results.folder / "runs/toy/controls"),
            labels=str(results.labels),
            features=features,
            metrics=str(root / "workflow/registry/metrics.yaml"),
        ),
        output=SimpleNamespace(**output),
        params=SimpleNamespace(metrics=metrics),
        log=[str(results.folder / "log.txt")],
    )
    runpy.run_path(str(root / "scripts/score.py"), init_globals={"snakemake": job})


def test_script_scores_methods_and_controls(root, results):
    results.controls(under="controls")
    run_script(root, results, [results.run("kmeans", 0, results.population)])
    scores = pd.read_csv(results.folder / "demo/scores/scores.csv")
    assert set(scores["method"]) == {"kmeans", "true_labels", "random_labels", "one_cluster"}
    assert len(pd.read_csv(results.folder / "demo/scores/runs.csv")) == 4
    populations = pd.read_csv(results.folder / "demo/scores/populations.csv")
    assert len(populations) == 4 * 3
    assert set(populations.query("method == 'kmeans'")["f1"]) == {1}


def test_script_refuses_without_controls(root, results):
    (results.folder / "runs/toy/controls").mkdir(parents=True)
    with pytest.raises(SystemExit):
        run_script(root, results, [results.run("kmeans", 0, results.population)])
    assert "has no scores on toy" in (results.folder / "log.txt").read_text()
    assert not (results.folder / "demo/scores/scores.csv").exists()


# --- label-free metrics -----------------------------------------------------------------------


def write_features(results, path):
    """Three clouds of cells, one for each population, 60 features; the last 100 cells anywhere."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 60))
    points = centres[results.population] + 0.1 * rng.normal(size=(N, 60))
    points[200:] = rng.normal(size=(100, 60))
    cells = AnnData(points.astype("float32"))
    cells.obs_names = results.truth["cell"]
    path.parent.mkdir(parents=True, exist_ok=True)
    cells.write_h5ad(path)
    return str(path)


def split_results(results):
    results.truth["split"] = np.where(np.arange(N) < 200, "train", "test")
    results.truth.loc[::7, ["label", "scored"]] = ["", False]
    results.write_truth()


def test_silhouette_is_scored_on_training_cells_scored_or_not(root, results, blocks):
    split_results(results)
    features = write_features(results, results.folder / "data/toy/features.h5ad")
    results.controls(under="controls")
    runs = [
        results.run("kmeans", 0, results.population),
        results.run("hdbscan", 0, np.full(N, -1)),
        results.run("gmm", 0, status="timeout", reason="stopped"),
    ]
    run_script(root, results, runs, features, ["ari", "silhouette"])
    scores = pd.read_csv(results.folder / "demo/scores/scores.csv")
    rows = scores[scores["metric"] == "silhouette"].set_index("method")
    assert set(rows["split"]) == {"train"}
    assert set(scores.loc[scores["metric"] == "ari", "split"]) == {"train", "test", "all"}
    assert rows["value"]["kmeans"] == rows["value"]["true_labels"] > 0.5
    assert rows["value"]["one_cluster"] == rows["value"]["hdbscan"] == -1
    assert abs(rows["value"]["random_labels"]) < 0.1
    assert "gmm" not in rows.index


def test_one_cluster_must_have_the_worst_silhouette(results, blocks):
    features = write_features(results, results.folder / "data/toy/features.h5ad")
    runs = results.controls()
    scores, _, _ = score_dataset(
        runs, results.labels, ["ari", "silhouette"], results.folder, features
    )
    check_controls(scores, blocks, UNCOUNTED)  # the true labels' value is below 1, as it may be
    one = (scores["method"] == "one_cluster") & (scores["metric"] == "silhouette")
    scores.loc[one, "value"] = 0.2
    with pytest.raises(UserError, match=r"silhouette is 0\.2, expected -1"):
        check_controls(scores, blocks, UNCOUNTED)


def test_a_label_free_metric_needs_features(results):
    with pytest.raises(UserError, match="needs the features of the data set"):
        results.score([], ["silhouette"])


def test_features_of_other_cells_are_told(results):
    features = write_features(results, results.folder / "data/toy/features.h5ad")
    results.truth["cell"] = results.truth["cell"].to_numpy()[::-1]
    results.write_truth()
    with pytest.raises(UserError, match=r"other cells than .* or in another order"):
        score_dataset([], results.labels, ["silhouette"], results.folder, features)
