"""Contract 2: what every module of the registry must do, on 200 cells in three blobs."""

import importlib
import inspect
import random
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import minmax_scale

from moesimvae import registry
from moesimvae.methods import runner
from moesimvae.methods.worker import check, with_input

ROOT = Path(__file__).parents[2]
METHODS = registry.load(ROOT / "workflow" / "registry" / "methods.yaml")
BASE = [
    name
    for name, block in METHODS.items()
    if block["environment"] != "clustpy" and not block.get("control")
]
KEYS = {
    *("title", "module", "environment", "input", "uses_n_clusters", "uses_prior", "stochastic"),
    *("all_genes", "oracle", "gpu", "threads", "mem_mb", "runtime", "params", "reference"),
}
OPTIONAL = {"control", "embedding", "published_as"}
N_CELLS, N_FEATURES, N_CLUSTERS = 200, 12, 3
SMALL_NETWORK = {"hidden": [16], "batch_size": 64, "pretraining_steps": 30}
# Parameters that make a method quick on tiny data, by module.
QUICK = {
    "ae_kmeans": SMALL_NETWORK,
    "dec": SMALL_NETWORK | {"steps": 30, "update_interval": 10},
    "hdbscan_": {"min_cluster_size": 15},
    "moe_sim_vae": {
        **{key: [16] for key in ("encoder_layers", "expert_layers", "gate_layers")},
        "batch_size": 64,
        "steps": 20,
    },
    "n2d": SMALL_NETWORK,
    "scvi_leiden": {"epochs": 4, "n_hidden": 16, "batch_size": 64},
    "vade": SMALL_NETWORK | {"steps": 30},
}
# Methods without training, which must find the blobs.
PLAIN = [
    *("kmeans", "gmm", "hierarchical", "hdbscan", "fuzzy_c_means", "louvain", "umap_gmm"),
    *("flowsom", "flowsom_auto", "phenograph", "x_shift"),
]
# Methods that know what to say of cells that they were not fitted on.
PREDICT = ["kmeans", "gmm", "fuzzy_c_means", "scvi_leiden"] + [
    name for name in BASE if METHODS[name]["module"] == "moe_sim_vae"
]


def representatives():
    """One block of each module for each way to call it: with K or prior knowledge, or without.

    Further blocks differ in parameters, which are checked against the function's signature.
    """
    found = {}
    for name in BASE:
        block = METHODS[name]
        ways = (block[key] for key in ("module", "input", "uses_n_clusters", "uses_prior"))
        found.setdefault(tuple(ways), name)
    return list(found.values())


# Modules that take seconds even on so few cells.
SLOW = {"flowsom_", "moe_sim_vae", "scvi_leiden"}
FITTED = [
    pytest.param(name, marks=pytest.mark.slow) if METHODS[name]["module"] in SLOW else name
    for name in representatives()
]

points, BLOBS = make_blobs(N_CELLS, N_FEATURES, centers=N_CLUSTERS, cluster_std=1.0, random_state=0)
POINTS = minmax_scale(points).astype(np.float32)


def tiny_cells(matrix=POINTS):
    cells = anndata.AnnData(matrix.copy())
    cells.layers["counts"] = csr_matrix(np.round(POINTS * 20).astype(np.float32))
    cells.obsm["signature"] = BLOBS[:, None] == np.arange(N_CLUSTERS)
    cells.obsm["signature"][::5] = True  # of no known group
    return cells


def cluster(name, cells, seed=0):
    """As the worker calls it, after unseeded libraries have drawn numbers of their own."""
    block = METHODS[name]
    cells = with_input(cells, block["input"])
    method = importlib.import_module(runner.module_name(block["module"]))
    params = block["params"] | QUICK.get(block["module"], {})
    return method.cluster(cells, N_CLUSTERS, seed, **params)


def disturb(seed):
    """Put every global generator into another state: a method must not draw from them."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


@pytest.mark.parametrize("name", METHODS)
def test_block_is_complete(name):
    block = METHODS[name]
    assert set(block) - OPTIONAL == KEYS
    assert (ROOT / "envs" / f"{block['environment']}.yaml").exists()
    assert block["input"] in ("scaled", "transformed", "counts")
    for key in ("uses_n_clusters", "uses_prior", "all_genes", "oracle", "stochastic", "gpu"):
        assert isinstance(block[key], bool), key
    for key in ("threads", "mem_mb", "runtime"):
        assert block[key] > 0
    assert len(block["title"]) > 2
    assert len(block["reference"]) > 20


@pytest.mark.parametrize("name", [n for n in METHODS if not METHODS[n].get("control")])
def test_parameters_are_those_of_the_function(name):
    block = METHODS[name]
    method = importlib.import_module(runner.module_name(block["module"]))
    signature = inspect.signature(method.cluster)
    assert list(signature.parameters)[:3] == ["cells", "n_clusters", "seed"]
    signature.bind(None, 2, 0, **block["params"])


@pytest.mark.parametrize("name", FITTED)
def test_conformance(name):
    block = METHODS[name]
    cells = tiny_cells()
    disturb(1)
    result = cluster(name, cells)

    check(result, N_CELLS)
    assert np.issubdtype(result.labels.dtype, np.integer)
    assert result.labels.min() >= -1
    if block["uses_n_clusters"]:
        assert len(np.unique(result.labels[result.labels >= 0])) <= N_CLUSTERS
    if result.probabilities is not None:
        np.testing.assert_allclose(result.probabilities.sum(axis=1), 1, atol=1e-4)

    assert cells.obs.shape == (N_CELLS, 0), "wrote annotation into the cells"
    if block["input"] != "counts":
        np.testing.assert_array_equal(cells.X, POINTS, "changed the cells in place")

    disturb(2)
    again = cluster(name, tiny_cells())
    np.testing.assert_array_equal(again.labels, result.labels, "same seed, other labels")


@pytest.mark.parametrize("name", FITTED)
def test_further_cells_are_told_by_methods_that_can(name):
    cells = tiny_cells()
    result = cluster(name, cells[:150].copy())
    assert (result.assign is not None) == (name in PREDICT)
    if result.assign is None:
        return
    known, further = (with_input(c.copy(), METHODS[name]["input"]) for c in (cells[:150], cells))
    again, others = result.assign(known), result.assign(further)
    check(again, 150)
    check(others, N_CELLS)
    for part in ("embedding", "probabilities"):
        fitted, found = getattr(result, part), getattr(others, part)
        assert (fitted is None) == (found is None), part
        if fitted is not None:
            np.testing.assert_allclose(found[:150], fitted, atol=1e-3)
    np.testing.assert_array_equal(others.labels[:150], again.labels)
    assert (again.labels == result.labels).mean() > (0.6 if name == "scvi_leiden" else 0.99)
    if name in PLAIN:
        assert adjusted_rand_score(BLOBS, others.labels) > 0.95


@pytest.mark.parametrize("name", FITTED)
def test_sparse_cells_are_taken(name):
    if METHODS[name]["input"] == "counts":
        pytest.skip("counts are sparse already")
    result = cluster(name, tiny_cells(csr_matrix(POINTS)))
    check(result, N_CELLS)


def test_transformed_values_are_taken_where_there_are_some():
    """Without such a layer, as of images, X stays what it was."""
    cells = with_input(tiny_cells(), "transformed")
    np.testing.assert_array_equal(cells.X, POINTS)
    for layer in ("arcsinh", "lognorm"):
        for kind, expected in (("transformed", 5 * POINTS), ("scaled", POINTS)):
            cells = tiny_cells()
            cells.layers[layer] = 5 * POINTS
            np.testing.assert_array_equal(with_input(cells, kind).X, expected)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_methods_find_the_blobs(name):
    labels = cluster(name, tiny_cells(), seed=1).labels
    assert adjusted_rand_score(BLOBS, labels) > 0.95
