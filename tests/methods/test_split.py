"""Data sets with a split: no method is fitted on a test cell, and every cell gets a label."""

import json
from collections import Counter
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from moesimvae.errors import UserError
from moesimvae.files import read_json
from moesimvae.methods import runner, scvi_leiden, worker
from moesimvae.methods.label_transfer import by_nearest_cells, majority_of_nearest

HERE = Path(__file__).parent
N_CELLS, N_FEATURES = 80, 60
TRAIN = np.random.default_rng(1).random(N_CELLS) < 0.7


@pytest.fixture(autouse=True)
def lab_on_path(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("PYTHONPATH", str(HERE))


def split_cells():
    """Two groups apart in the first feature, noise in the others, signatures that tell them."""
    random = np.random.default_rng(0)
    matrix = random.normal(size=(N_CELLS, N_FEATURES)).astype(np.float32)
    group = random.integers(2, size=N_CELLS)
    matrix[:, 0] = 50 * (2 * group - 1) + matrix[:, 0]
    cells = anndata.AnnData(matrix)
    cells.obs_names = [f"cell{i:03}" for i in random.permutation(N_CELLS)]
    cells.obs["split"] = pd.Categorical(np.where(TRAIN, "train", "test"))
    cells.layers["counts"] = csr_matrix(np.full_like(matrix, 2))
    cells.obsm["signature"] = group[:, None] == np.arange(2)
    cells.uns["signature"] = json.dumps({"a": "gene1", "b": "gene2"})
    cells.uns["dataset"] = "toy"
    return cells


@pytest.fixture
def record(tmp_path):
    """The inside of a run: what the worker reports, what the method saw, and the run's folder."""

    def record(cells=None, uses_prior=False, kind="scaled", all_genes=False, **params):
        features, note = tmp_path / "features.h5ad", tmp_path / "seen.json"
        (cells if cells is not None else split_cells()).write_h5ad(features)
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        job = {
            "features": str(features),
            "module": "lab.recorder",
            "input": kind,
            "uses_prior": uses_prior,
            "all_genes": all_genes,
            "seed": 0,
            "n_clusters": 2,
            "params": {"note": str(note)} | params,
        }
        report = worker.outcome(job, folder)
        return report, json.loads(note.read_text()) if note.exists() else [], folder

    return record


def labels_of(folder):
    table = pd.read_parquet(folder / "labels.parquet")
    assert table["cell"].tolist() == split_cells().obs_names.tolist()
    return table["label"].to_numpy()


GROUP = (split_cells().X[:, 0] > 0).astype(int)


def test_a_method_sees_the_training_cells_and_nothing_else(record):
    report, seen, _ = record(how="nothing")
    assert report["status"] == "ok"
    cells = split_cells()
    assert seen == [
        {
            "cells": cells.obs_names[TRAIN].tolist(),
            "X": cells.X[TRAIN].tolist(),
            "obs": [],
            "obsm": {},
            "uns": ["dataset"],
            "shapes": [[int(TRAIN.sum()), N_FEATURES]],
            "raw": False,
            "var": [],
            "base": False,
        }
    ]


@pytest.mark.parametrize(
    ("asked", "seen_genes"),
    [({}, [1]), ({"uses_prior": True}, [0, 1]), ({"all_genes": True}, [0, 1, 2])],
)
def test_of_selected_genes_methods_see_these_those_with_prior_the_signature_and_some_all(
    record, asked, seen_genes
):
    cells = split_cells()[:, :3].copy()
    cells.var["selected"] = [False, True, False]
    cells.var["signature"] = [True, False, False]
    report, seen, _ = record(cells, how="assign", **asked)
    assert report["status"] == "ok", report["reason"]
    x = cells.X.toarray() if hasattr(cells.X, "toarray") else cells.X
    for sight, part in zip(seen, (TRAIN, ~TRAIN), strict=True):
        np.testing.assert_allclose(sight["X"], x[part][:, seen_genes])
        assert ("signature" in sight["var"]) == ("uses_prior" in asked)


def test_only_a_method_that_uses_the_prior_sees_it(record):
    signature = split_cells().obsm["signature"]
    _, seen, _ = record(uses_prior=True, how="assign")
    assert [sight["obsm"]["signature"] for sight in seen] == [
        signature[TRAIN].tolist(),
        signature[~TRAIN].tolist(),
    ]
    assert seen[0]["uns"] == ["dataset", "signature"]
    _, seen, _ = record(uses_prior=False, how="assign")
    assert [sight["obsm"] for sight in seen] == [{}, {}]
    assert [sight["uns"] for sight in seen] == [["dataset"], ["dataset"]]


def test_without_a_split_the_prior_is_hidden_too(record):
    cells = split_cells()
    del cells.obs["split"]
    report, seen, folder = record(cells)
    assert (seen[0]["obsm"], seen[0]["uns"]) == ({}, ["dataset"])
    assert len(seen[0]["cells"]) == N_CELLS
    assert "split" not in report["facts"]
    np.testing.assert_array_equal(labels_of(folder), GROUP)


@pytest.mark.parametrize("sparse", [False, True])
def test_test_cells_get_the_label_of_their_nearest_training_cells(record, sparse):
    cells = split_cells()
    if sparse:
        cells.X = csr_matrix(cells.X)
    report, _, folder = record(cells)
    np.testing.assert_array_equal(labels_of(folder), GROUP)
    assert report["facts"]["split"] == {
        "train": TRAIN.sum(),
        "test": (~TRAIN).sum(),
        "test_labels": "majority of the 15 nearest training cells",
    }
    assert report["clusters_found"] == 2
    # there is no embedding of the test cells, and half of one is worse than none
    assert [path.name for path in folder.iterdir()] == ["labels.parquet"]


def test_noise_is_carried_over(record):
    report, _, folder = record(how="noise")
    assert (labels_of(folder) == -1).all()
    assert report["noise_share"] == 1


def test_a_method_s_own_labels_of_the_test_cells_are_put_where_they_belong(record):
    report, seen, folder = record(how="assign")
    cells = split_cells()
    assert [sight["cells"] for sight in seen] == [
        cells.obs_names[TRAIN].tolist(),
        cells.obs_names[~TRAIN].tolist(),
    ]
    assert [sight["obs"] for sight in seen] == [[], []]
    expected = np.where(TRAIN, GROUP, 1 - GROUP)
    np.testing.assert_array_equal(labels_of(folder), expected)
    np.testing.assert_array_equal(np.load(folder / "embedding.npy"), cells.X)
    np.testing.assert_array_equal(np.load(folder / "probabilities.npy"), np.eye(2)[expected])
    assert report["facts"]["split"]["test_labels"] == "predicted by the method"


def test_an_embedding_of_one_part_alone_is_left_out(record):
    _, _, folder = record(how="bare")
    np.testing.assert_array_equal(labels_of(folder), np.where(TRAIN, GROUP, 1 - GROUP))
    assert not (folder / "embedding.npy").exists()


def test_test_cells_are_labelled_one_by_one(record):
    """What one of them is changes no other's label: nothing is fitted on them, no component."""
    _, before, folder = record()
    labels = labels_of(folder)
    cells = split_cells()
    odd = np.flatnonzero(~TRAIN)[0]
    cells.X[odd] = 1e4 * np.random.default_rng(2).normal(size=N_FEATURES)
    _, after, folder = record(cells)
    assert after == before
    others = np.arange(N_CELLS) != odd
    np.testing.assert_array_equal(labels_of(folder)[others], labels[others])


def test_the_transformed_values_of_sequencing_are_split_too(record):
    cells = split_cells()
    cells.layers["lognorm"] = csr_matrix(2 * cells.X)
    _, seen, _ = record(cells, kind="transformed")
    assert seen[0]["X"] == (2 * split_cells().X[TRAIN]).tolist()


def test_a_split_without_test_cells_clusters_all(record):
    cells = split_cells()
    cells.obs["split"] = "train"
    report, seen, folder = record(cells)
    assert len(seen[0]["cells"]) == N_CELLS
    np.testing.assert_array_equal(labels_of(folder), GROUP)
    assert report["facts"]["split"]["test"] == 0
    assert (folder / "embedding.npy").exists()


def test_a_split_without_training_cells_is_a_reason(record):
    cells = split_cells()
    cells.obs["split"] = "test"
    report, seen, _ = record(cells)
    assert seen == []
    assert report == {
        "status": "error",
        "reason": "the data set has no training cells; change its split.",
    }


def test_labels_missing_for_a_test_cell_are_invalid(record):
    report, _, folder = record(how="short")
    assert report["status"] == "invalid"
    n = (~TRAIN).sum()
    assert report["reason"] == f"labels have shape ({n - 1},), expected ({n},), one per cell."
    assert not (folder / "labels.parquet").exists()


def test_annotation_in_place_of_a_split_or_beside_it_is_refused(record):
    cells = split_cells()
    cells.obs["organ"] = "Liver"
    assert "has column 'organ' in obs" in record(cells)[0]["reason"]
    cells = split_cells()
    cells.obs["split"] = ["Liver" if i else "train" for i in range(N_CELLS)]
    report, seen, _ = record(cells)
    assert report["status"] == "misuse"
    assert "has 'Liver' in obs column 'split', expected train or test" in report["reason"]
    assert seen == []


def test_a_run_of_the_workflow_hands_the_prior_over_where_the_block_says_so(tmp_path):
    features, note = tmp_path / "features.h5ad", tmp_path / "seen.json"
    split_cells().write_h5ad(features)
    block = {"module": "lab.recorder", "environment": "base", "input": "scaled", "gpu": False}
    for prior in ({}, {"uses_prior": True, "all_genes": True}):
        out = tmp_path / "seed0"
        params = {"note": str(note), "how": "assign"}
        status = runner.run(
            features, out, "toy", "recorder", block | prior, 0, 2, params, 1, 4000, 1
        )
        assert status["status"] == "ok"
        assert read_json(out / "status.json")["facts"]["split"]["train"] == TRAIN.sum()
        np.testing.assert_array_equal(labels_of(out), np.where(TRAIN, GROUP, 1 - GROUP))
        seen = json.loads(note.read_text())
        assert [list(sight["obsm"]) for sight in seen] == [["signature"] if prior else []] * 2


@given(seed=st.integers(0, 10_000), k=st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_the_majority_is_that_of_a_full_sort(seed, k):
    random = np.random.default_rng(seed)
    points, further = random.normal(size=(30, 2)), random.normal(size=(20, 2))
    labels = random.integers(-1, 3, size=30) * 7
    found = majority_of_nearest(points, labels, further, k)
    for point, label in zip(further, found, strict=True):
        near = labels[np.argsort(((points - point) ** 2).sum(axis=1))[:k]].tolist()
        votes = Counter(near)
        first = next(name for name in near if votes[name] == max(votes.values()))
        assert label == first


def test_fewer_training_cells_than_neighbours_are_enough():
    points = np.arange(3.0)[:, None]
    assert majority_of_nearest(points, np.array([4, 4, 1]), points).tolist() == [4, 4, 4]


def test_distances_are_those_between_principal_components_of_the_training_cells():
    """50 of 60 features: the ten without any spread among training cells are not looked at."""
    random = np.random.default_rng(0)
    matrix = random.normal(size=(200, 60)).astype(np.float32)
    labels = (matrix[:, 0] > 0).astype(int)
    matrix[:, 0] += 100 * labels
    matrix[:, 50:] = 0
    cells = anndata.AnnData(matrix)
    further = cells[:40].copy()
    further.X[:, 50:] = 1e3 * random.normal(size=(40, 10))
    assign = by_nearest_cells(cells, labels, 0)
    np.testing.assert_array_equal(assign(further).labels, labels[:40])


def test_leiden_of_more_cells_than_scanpy_compares_one_by_one():
    random = np.random.default_rng(0)
    group = np.arange(4200) % 3
    points = random.normal(size=(4200, 4)) + 9 * np.eye(4)[group]
    labels = scvi_leiden.leiden(points.astype(np.float32), 15, 0.02, 0)
    assert len(set(zip(labels, group, strict=True))) == 3


def test_scvi_calls_cells_without_counts_noise():
    counts = np.random.default_rng(0).poisson(3, (60, 12)).astype(np.float32)
    empty = [0, 17, 59]
    counts[empty] = 0
    settings = {"epochs": 1, "n_hidden": 8, "batch_size": 16}
    result = scvi_leiden.cluster(anndata.AnnData(csr_matrix(counts)), 2, 0, **settings)
    further = result.assign(anndata.AnnData(csr_matrix(counts[10:20])))
    assert np.flatnonzero(result.labels == -1).tolist() == empty
    assert np.flatnonzero(further.labels == -1).tolist() == [7]
    assert np.isfinite(result.embedding).all()
    assert np.isfinite(further.embedding).all()
    counts[5, 5] = 0.5
    with pytest.raises(UserError, match="negative or fractional"):
        scvi_leiden.cluster(anndata.AnnData(csr_matrix(counts)), 2, 0, **settings)
