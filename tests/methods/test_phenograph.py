"""PhenoGraph against the package PhenoGraph, whose Louvain cannot be seeded."""

import anndata
import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from moesimvae.errors import UserError
from moesimvae.methods import phenograph_
from moesimvae.model.graphs import jaccard_graph, louvain, neighbour_graph, symmetric

points, _ = make_blobs(500, 4, centers=8, cluster_std=1.5, random_state=1)
POINTS = points.astype(np.float32)


def cluster(matrix=POINTS, seed=0, **params):
    return phenograph_.cluster(anndata.AnnData(matrix), 0, seed, **{"patience": 3} | params)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Labels, graph and modularity of the package; it writes its files where it runs."""
    import phenograph

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("phenograph"))
        return phenograph.cluster(POINTS, k=30, n_jobs=1)


def test_the_graph_is_the_packages(package):
    ours = symmetric(jaccard_graph(neighbour_graph(POINTS, 30, seed=0))).toarray()
    theirs = package[1].toarray()
    np.testing.assert_allclose(ours, theirs + theirs.T, atol=1e-6)


def test_communities_are_as_good_as_the_packages(package):
    labels, _, modularity = package
    ours = cluster(patience=20)
    assert ours.facts["modularity"] > modularity - 1e-3
    assert adjusted_rand_score(labels, ours.labels) > 0.8


def test_louvain_is_repeated_until_it_no_longer_gains():
    graph = symmetric(jaccard_graph(neighbour_graph(POINTS, 30, seed=0)))
    _, modularity, runs = phenograph_.repeated_louvain(graph, 4, seed=0)
    assert 5 <= runs <= 100
    assert modularity >= louvain(graph, 1.0, 0)[1] - 1e-3


def test_the_seed_decides():
    cells = np.random.default_rng(0).random((300, 5), dtype=np.float32)
    one, again, other = (cluster(cells, seed).labels for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_communities_are_numbered_by_size_and_small_ones_are_noise():
    communities = np.repeat([0, 1, 2, 3], [11, 30, 10, 20])
    labels = phenograph_.by_size(communities, 10)
    np.testing.assert_array_equal(labels, np.repeat([2, 0, -1, 1], [11, 30, 10, 20]))


def test_bad_parameters_are_told():
    with pytest.raises(UserError, match="n_neighbors is 30, but there are 30 cells"):
        cluster(POINTS[:30], n_neighbors=30)
