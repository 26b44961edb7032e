"""X-shift: each step against a slow version of its definition, and the whole on Gaussians."""

import anndata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from moesimvae.errors import UserError
from moesimvae.methods import x_shift

seeds = st.integers(0, 10_000)


def gaussians(n_cells=1500, n_groups=6, n_features=8, seed=0):
    """Groups of unlike sizes around random non-negative means, and their numbers."""
    random = np.random.default_rng(seed)
    means = random.gamma(0.8, 3, size=(n_groups, n_features)) + 0.5
    group = random.choice(n_groups, n_cells, p=random.dirichlet(np.full(n_groups, 6)))
    return (means[group] + random.normal(scale=0.3, size=(n_cells, n_features))).astype(
        np.float32
    ), group


def cluster(matrix, seed=0, **params):
    return x_shift.cluster(anndata.AnnData(matrix), 0, seed, **params)


def all_angles(units, others):
    return np.arccos(np.clip(units.astype(float) @ others.T, -1, 1))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gaussians_are_found_with_their_number(seed):
    matrix, group = gaussians(seed=seed)
    result = cluster(matrix)
    assert len(np.unique(result.labels)) == 6
    assert adjusted_rand_score(group, result.labels) > 0.95
    assert result.facts["neighbours"] in result.history["neighbours"]


@pytest.mark.parametrize("n_cells", [300, 9000])
def test_nearest_cells_are_those_of_a_full_sort(n_cells):
    units = x_shift.directions(gaussians(n_cells)[0])
    near, angles = x_shift.nearest_cells(units, 40)
    rows = np.random.default_rng(0).choice(n_cells, 200, replace=False)
    full = all_angles(units[rows], units)
    full[np.arange(200), rows] = 9
    np.testing.assert_allclose(angles[rows], np.sort(full, axis=1)[:, :39], atol=2e-3)
    np.testing.assert_allclose(full[np.arange(200)[:, None], near[rows]], angles[rows], atol=2e-3)
    assert (near != np.arange(n_cells)[:, None]).all()
    assert all(len(set(row)) == 39 for row in near[rows])


def test_cells_without_any_signal_are_at_a_right_angle_to_all():
    matrix, _ = gaussians(200)
    matrix[7] = 0
    near, angles = x_shift.nearest_cells(x_shift.directions(matrix), 5)
    np.testing.assert_allclose(angles[7], np.pi / 2)
    assert (near != 7).all()
    assert len(cluster(matrix).labels) == 200


@given(seed=seeds, k=st.integers(2, 12))
@settings(max_examples=25, deadline=None)
def test_cells_climb_to_their_nearest_denser_neighbour(seed, k):
    """Against the definition cell by cell, centroids not yet joined."""
    units = x_shift.directions(np.random.default_rng(seed).random((60, 4)).astype(np.float32))
    near, angles = x_shift.nearest_cells(units, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            x_shift, "join_centroids", lambda units, centroids, *_: np.arange(len(centroids))
        )
        labels = x_shift.density_clusters(units, near[:, :5], angles, k)
    thinness = [sum(map(float, row[: k - 1])) for row in angles]

    def top(cell):
        denser = [other for other in near[cell, :5] if thinness[other] < thinness[cell]]
        return top(denser[0]) if denser else cell

    tops = [top(cell) for cell in range(60)]
    assert adjusted_rand_score(tops, labels) == 1


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_gabriel_choices_are_the_denser_ones_with_an_empty_middle(seed):
    random = np.random.default_rng(seed)
    ends = x_shift.directions(random.normal(size=(100, 10)))
    thinness = random.choice(20, 100).astype(float)
    similarity = ends @ ends.T
    for i in (0, 17, 99):
        expected = []
        for j in range(100):
            nearest_two = np.argsort(-(x_shift.directions(ends[[i]] + ends[[j]]) @ ends.T)[0])[:2]
            denser = (thinness[j], j) < (thinness[i], i)
            if i != j and denser and set(nearest_two) == {i, j}:
                expected.append(j)
        expected.sort(key=lambda j: -similarity[i, j])
        assert x_shift.gabriel_choices(similarity, thinness, i).tolist() == expected


@given(seed=seeds, k=st.integers(2, 40))
@settings(max_examples=25, deadline=None)
def test_dense_enough_is_the_sum_of_the_nearest_angles(seed, k):
    random = np.random.default_rng(seed)
    clumps = random.random((20, 5))[random.choice(20, 80)]  # so that some of k lie far away
    units = x_shift.directions((clumps + 0.03 * random.random((80, 5))).astype(np.float32))
    places = x_shift.directions((units[:30] + 0.03 * random.random((30, 5))).astype(np.float32))
    sums = np.sort(all_angles(places, units), axis=1)[:, :k].sum(axis=1)
    limit = sums * random.choice([0.5, 0.9, 0.98, 1.02, 1.1, 3], 30)
    np.testing.assert_array_equal(x_shift.dense_enough(units, places, limit, k), sums <= limit)


def test_a_gap_anywhere_on_the_way_is_seen():
    """Cells all around a quarter circle but for a stretch off its middle."""
    turn = np.linspace(0, np.pi / 2, 400)
    circle = np.column_stack([np.cos(turn), np.sin(turn)]).astype(np.float32)
    gap = (turn > 1.0) & (turn < 1.2)
    limit = np.array([0.1])
    start, end = circle[:1], circle[-1:]
    assert x_shift.no_gap(circle, start, end, limit, k=8).tolist() == [True]
    assert x_shift.no_gap(circle[~gap], start, end, limit, k=8).tolist() == [False]


def slow_mahalanobis_merge(points, labels, threshold):
    groups = [points[labels == label] for label in np.unique(labels)]
    while len(groups) > 1:
        pairs = {}
        for i, a in enumerate(groups):
            for j in range(i):
                b = groups[j]
                if min(len(a), len(b)) > 1:
                    spread = (a.std(axis=0, ddof=1) + b.std(axis=0, ddof=1)) / 1.03 / 2
                    pairs[i, j] = np.linalg.norm((a.mean(axis=0) - b.mean(axis=0)) / spread)
        if not pairs or min(pairs.values()) >= threshold:
            break
        i, j = min(pairs, key=pairs.get)
        groups[j] = np.vstack([groups[j], groups.pop(i)])
    return groups


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_near_clusters_are_joined_one_pair_after_the_other(seed):
    random = np.random.default_rng(seed)
    labels = np.unique(
        random.choice(15, 120, p=random.dirichlet(np.ones(15))), return_inverse=True
    )[1]
    points = random.normal(size=(15, 3))[labels] * 2 + random.normal(size=(120, 3))
    expected = slow_mahalanobis_merge(points, labels, 2.0)
    found = x_shift.merged_by_mahalanobis(points, labels, 2.0)
    groups = [points[found == label] for label in np.unique(found)]
    assert sorted(map(len, groups)) == sorted(map(len, expected))
    assert {tuple(g.sum(axis=0).round(6)) for g in groups} == {
        tuple(g.sum(axis=0).round(6)) for g in expected
    }


def test_a_constant_marker_does_not_keep_clusters_apart():
    points = np.random.default_rng(0).normal(size=(100, 2))
    points[:, 1] = 3
    assert x_shift.merged_by_mahalanobis(points, np.arange(100) % 2, 2.0).max() == 0


@pytest.mark.parametrize(("curve", "bend"), [((600, 1, 10), 30), ((2000, 1.2, 12), 30)])
def test_the_elbow_is_vortex_s(curve, bend):
    """The bends are those that VorteX's search gives for the same numbers."""
    numbers = np.arange(5, 151, 5.0)
    height, power, floor = curve
    clusters = np.round(height / numbers**power + floor)
    assert numbers[x_shift.elbow(numbers, clusters)] == bend


def test_an_elbow_of_a_flat_curve_is_one_of_its_points():
    assert 2 <= x_shift.elbow(np.arange(5, 151, 5.0), np.full(30, 3.0)) < 28


def test_the_numbers_of_neighbours_are_vortex_s_own_where_there_are_cells_enough():
    assert x_shift.numbers_to_try(60_000, 5, 150, 30) == list(range(5, 151, 5))
    assert x_shift.numbers_to_try(100, 5, 150, 30)[-1] == 20
    assert x_shift.neighbours_of_gradient(60_000, 32) == 22
    assert x_shift.neighbours_of_gradient(1000, 99) == 50


def test_cells_beyond_the_most_go_to_the_cluster_of_the_nearest_drawn_one():
    matrix, group = gaussians(1500)
    drawn = cluster(matrix, max_cells=700)
    assert adjusted_rand_score(group, drawn.labels) > 0.9
    np.testing.assert_array_equal(drawn.labels, cluster(matrix, max_cells=700).labels)
    assert (cluster(matrix, seed=1).labels == cluster(matrix, seed=2).labels).all()


@pytest.mark.parametrize(
    ("n_cells", "params", "says"),
    [
        (49, {}, "there are 49 cells, too few"),
        (99, {"k_from": 1}, "k_from 1, k_to 150 and k_steps 30"),
        (99, {"k_from": 9, "k_to": 9}, "k_to 9"),
        (99, {"k_from": 30}, "fewer than 5 numbers of neighbours to try for 99 cells"),
        (99, {"k_steps": 4}, "k_steps 4"),
    ],
)
def test_bad_parameters_are_told(n_cells, params, says):
    with pytest.raises(UserError, match=says):
        cluster(gaussians(n_cells)[0], **params)
