import random

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, pairwise_distances

from moesimvae.errors import UserError
from moesimvae.methods import hierarchical, louvain, neighbours


def two_groups(n_cells=60):
    rng = np.random.default_rng(0)
    group = np.arange(n_cells) % 2
    return (rng.normal(size=(n_cells, 3)) + 20 * group[:, None]).astype(np.float32), group


def cells_of(points):
    from anndata import AnnData

    return AnnData(points)


def test_graph_holds_the_nearest_others():
    points, _ = two_groups()
    graph = neighbours.neighbour_graph(points, 4, seed=0).toarray()
    distance = pairwise_distances(points)
    np.fill_diagonal(distance, np.inf)
    for row, near in zip(graph, np.argsort(distance)[:, :4], strict=True):
        assert set(np.flatnonzero(row)) == set(near)


def test_few_cells_get_fewer_neighbours():
    points, _ = two_groups(3)
    assert neighbours.neighbour_graph(points, 15, seed=0).sum() == 3 * 2


def test_without_self_where_cells_coincide():
    listed = np.array([[0, 2, 1], [2, 1, 0], [0, 1, 3]])
    assert neighbours.without_self(listed).tolist() == [[2, 1], [2, 0], [0, 1]]


@pytest.mark.parametrize("block", [7, 5000])
def test_jaccard_is_the_share_of_common_neighbours(block, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    points, _ = two_groups()
    graph = neighbours.neighbour_graph(points, 5, seed=0)
    weighted = neighbours.jaccard_graph(graph).toarray()
    sets = [set(graph[[i]].indices) for i in range(60)]
    for i in range(60):
        for j in range(60):
            expected = len(sets[i] & sets[j]) / len(sets[i] | sets[j]) if j in sets[i] else 0
            assert weighted[i, j] == pytest.approx(expected)


@pytest.mark.slow
def test_approximate_neighbours_are_the_true_ones(monkeypatch):
    points, _ = two_groups(800)
    exact = neighbours.neighbour_graph(points, 10, seed=0)
    monkeypatch.setattr(neighbours, "EXACT_UP_TO", 0)
    near = neighbours.neighbour_graph(points, 10, seed=0)
    assert near.diagonal().sum() == 0
    assert near.multiply(exact).sum() > 0.97 * exact.sum()
    assert (near != neighbours.neighbour_graph(points, 10, seed=0)).nnz == 0


def test_ward_over_the_graph_of_neighbours_finds_the_groups():
    points, group = two_groups()
    result = hierarchical.cluster(cells_of(points), 2, 0, max_cells_dense=59, n_neighbors=15)
    assert result.facts == {"merges": "neighbours"}
    assert adjusted_rand_score(group, result.labels) == 1


def test_louvain_resolution_and_weights():
    points, group = two_groups(200)
    cells = cells_of(points)
    coarse = louvain.cluster(cells, 0, 0, weights="none", n_neighbors=10, resolution=0.05)
    assert adjusted_rand_score(group, coarse.labels) == 1
    fine = louvain.cluster(cells, 0, 0, n_neighbors=10, resolution=3.0)
    assert fine.labels.max() > coarse.labels.max()
    with pytest.raises(UserError, match="weights is 'snn', expected one of jaccard, none"):
        louvain.cluster(cells, 0, 0, weights="snn")


def test_louvain_draws_from_its_seed_alone():
    """Cells without structure, where the order of moves decides."""
    cells = cells_of(np.random.default_rng(0).random((300, 5), dtype=np.float32))
    labels = []
    for state in (1, 2):
        random.seed(state)
        labels.append(louvain.cluster(cells, 0, seed=4, n_neighbors=10).labels)
    np.testing.assert_array_equal(*labels)
    assert (louvain.cluster(cells, 0, seed=5, n_neighbors=10).labels != labels[0]).any()
