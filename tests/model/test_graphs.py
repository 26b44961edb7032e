import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score, pairwise_distances

from moesimvae.model import graphs
from moesimvae.model.projection import NeighbourSearch


def two_groups(n_cells=60, apart=20):
    rng = np.random.default_rng(0)
    group = np.arange(n_cells) % 2
    return (rng.normal(size=(n_cells, 3)) + apart * group[:, None]).astype(np.float32), group


def shared_neighbours(points, k=10):
    return graphs.symmetric(graphs.jaccard_graph(graphs.neighbour_graph(points, k, seed=0)))


def test_graph_holds_the_nearest_others():
    points, _ = two_groups()
    graph = graphs.neighbour_graph(points, 4, seed=0).toarray()
    distance = pairwise_distances(points)
    np.fill_diagonal(distance, np.inf)
    for row, near in zip(graph, np.argsort(distance)[:, :4], strict=True):
        assert set(np.flatnonzero(row)) == set(near)


def test_few_cells_get_fewer_neighbours():
    points, _ = two_groups(3)
    assert graphs.neighbour_graph(points, 15, seed=0).sum() == 3 * 2


def test_without_self_where_cells_coincide():
    listed = np.array([[0, 2, 1], [2, 1, 0], [0, 1, 3]])
    assert graphs.without_self(listed).tolist() == [[2, 1], [2, 0], [0, 1]]


@pytest.mark.parametrize("block", [7, 5000])
def test_jaccard_is_the_share_of_common_neighbours(block, monkeypatch):
    monkeypatch.setattr(graphs, "BLOCK", block)
    points, _ = two_groups()
    graph = graphs.neighbour_graph(points, 5, seed=0)
    weighted = graphs.jaccard_graph(graph).toarray()
    sets = [set(graph[[i]].indices) for i in range(60)]
    for i in range(60):
        for j in range(60):
            expected = len(sets[i] & sets[j]) / len(sets[i] | sets[j]) if j in sets[i] else 0
            assert weighted[i, j] == pytest.approx(expected)


@pytest.mark.slow
def test_approximate_neighbours_are_the_true_ones():
    points, _ = two_groups(800)
    exact = graphs.neighbour_graph(points, 10, seed=0)
    near = [
        graphs.graph_of(
            graphs.nearest_neighbours(points, 10, 0, NeighbourSearch(points, 11, "euclidean", 0))
        )
        for _ in range(2)
    ]
    assert near[0].diagonal().sum() == 0
    assert near[0].multiply(exact).sum() > 0.97 * exact.sum()
    assert (near[0] != near[1]).nnz == 0


def gain_of(groups, weights, masses, resolution):
    same = np.equal.outer(groups, groups)
    return np.triu((weights - resolution * np.outer(masses, masses)) * same, 1).sum()


def best_gain(weights, masses, resolution):
    """By trying all partitions of a few."""
    n = len(masses)

    def partitions(i, groups):
        if i == n:
            yield groups
            return
        for g in range(max(groups, default=-1) + 2):
            yield from partitions(i + 1, [*groups, g])

    return max(gain_of(groups, weights, masses, resolution) for groups in partitions(0, []))


@pytest.mark.parametrize("seed", range(5))
def test_potts_finds_the_best_partition(seed):
    rng = np.random.default_rng(seed)
    weights = rng.random((7, 7))
    weights = (weights + weights.T) / 2
    masses = rng.random(7) + 0.2
    found = graphs.potts(csr_matrix(weights), masses, seed)(1.3)
    assert gain_of(found, weights, masses, 1.3) >= 0.9 * best_gain(weights, masses, 1.3)


def test_fine_communities_joined_by_modularity():
    points, group = two_groups(200)
    graph = shared_neighbours(points)
    fine = graphs.fine_communities(graph)(0)
    assert fine.max() > 5
    weights = graphs.between(graph, fine)
    assert weights.sum() == pytest.approx(graph.sum(), rel=1e-5)
    groups_at = graphs.by_modularity(weights, seed=0)
    low, high = groups_at(0.05)[fine], groups_at(4.0)[fine]
    assert adjusted_rand_score(group, low) == 1
    assert len(set(high)) > 2


def test_the_resolution_is_sought_that_gives_the_number_of_groups():
    graph = shared_neighbours(two_groups(200)[0])
    for wanted in (2, 5, 9):
        found, resolution = graphs.seek_groups(lambda r: graphs.leiden(graph, r, seed=0), wanted)
        assert len(set(found)) == wanted
        assert (graphs.leiden(graph, resolution, seed=0) == found).all()
    # one group at any resolution: the nearest number is kept
    found, _ = graphs.seek_groups(lambda r: np.zeros(5, dtype=int), 3)
    assert (found == 0).all()


def test_joining_by_modularity_is_modularity_of_the_cells():
    """Over the fine communities it must lead where Louvain leads over the cells."""
    points, _ = two_groups(300, apart=3)
    graph = shared_neighbours(points)
    _, of_cells = graphs.louvain(graph, 1.0, seed=0)
    fine = graphs.fine_communities(graph)(0)
    joined = graphs.by_modularity(graphs.between(graph, fine), seed=0)(1.0)[fine]
    degree = np.asarray(graph.sum(axis=1)).ravel()
    same = np.equal.outer(joined, joined)
    expected = np.outer(degree, degree) / degree.sum()
    modularity = (graph.toarray() - expected)[same].sum() / degree.sum()
    assert modularity > 0.95 * of_cells


def test_together_is_the_share_of_partitions():
    groups = np.array([[0, 0], [0, 1], [1, 1]])
    assert graphs.together(groups).tolist() == [[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]]


@pytest.mark.parametrize("alpha", [0.5, 0.99])
def test_spread_groups_solve_their_equation(alpha):
    points, _ = two_groups(40, apart=2)
    graph = shared_neighbours(points)
    groups = np.full(40, -1)
    groups[:12] = np.arange(12) % 3
    groups[0] = 1
    weights = graph.toarray()
    root = 1 / np.sqrt(weights.sum(axis=1))
    y = (groups[:, None] == np.arange(3)) / np.bincount(groups[groups >= 0])
    f = np.linalg.solve(np.eye(40) - alpha * root[:, None] * weights * root, y)
    assert (graphs.spread_groups(graph, groups, alpha) == f.argmax(axis=1)).all()


def test_spread_groups_reach_all_and_overrule_what_contradicts_the_neighbours():
    points, group = two_groups(200)
    groups = np.full(200, -1)
    groups[:100] = group[:100]
    groups[:10] = 1 - group[:10]
    assert (graphs.spread_groups(shared_neighbours(points), groups) == group).all()


def test_spread_groups_leave_what_is_not_connected_with_a_known_cell():
    points, group = two_groups(60)
    groups = np.where(np.arange(60) == 3, 4, -1)
    found = graphs.spread_groups(shared_neighbours(points), groups)
    assert set(found[group == 1]) == {4}
    assert set(found[group == 0]) == {-1}
    nothing = np.full(60, -1)
    assert (graphs.spread_groups(shared_neighbours(points), nothing) == nothing).all()


def test_many_coinciding_points_make_no_communities_of_one_cell_each():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 5)).astype(np.float32)[rng.integers(0, 20, 1000)]
    moved = graphs.apart(points, 10, seed=0)
    assert moved.dtype == points.dtype
    assert 0 < np.abs(moved - points).max() < 0.01
    assert np.array_equal(moved, graphs.apart(points, 10, seed=0))
    sizes = []
    for part in (points, moved):
        near = graphs.neighbour_graph(part, 10, seed=0)
        graph = graphs.symmetric(graphs.jaccard_graph(near))
        sizes.append(graphs.fine_communities(graph)(0).max() + 1)
    assert sizes[0] > 600
    assert sizes[1] < 300


def test_few_coinciding_points_stay_where_they_are():
    points = np.random.default_rng(0).normal(size=(30, 3))
    points[:10] = points[0]
    assert graphs.apart(points, 10, seed=0) is points
    assert graphs.apart(points, 9, seed=0)[0].tolist() != points[0].tolist()
