"""Fine communities joined into exactly K groups, and the choice between ways of joining."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, ward
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from moesimvae.model import cutting


def blobs(sizes, apart, seed=0, n_features=5):
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    centres = apart * random.normal(size=(len(sizes), n_features))
    return centres[group] + random.normal(size=(len(group), n_features)), group


def joined(means, sizes, apart, n_groups, *powers):
    return cutting.groups_after(cutting.agglomerate(means, sizes, apart, *powers), n_groups)


def test_without_density_and_with_full_sizes_it_is_wards_linkage():
    points, _ = blobs((30, 20, 10), 2)
    ones = np.ones(len(points))
    for k in (2, 5, 20):
        found = joined(points, ones, np.zeros((60, 60)), k, 1.0, 0.0)
        assert adjusted_rand_score(fcluster(ward(points), k, "maxclust"), found) == 1
        assert len(set(found)) == k


def test_a_group_counts_as_all_its_cells():
    """Joined groups of several cells are as the cells themselves, each joined to its group."""
    points, _ = blobs((30, 20, 10), 2)
    ones = np.ones(60)
    fine = joined(points, ones, np.zeros((60, 60)), 15, 1.0, 0.0)
    sizes = np.bincount(fine)
    means = np.column_stack([np.bincount(fine, column) for column in points.T]) / sizes[:, None]
    later = joined(means, sizes, np.zeros((15, 15)), 4, 1.0, 0.0)[fine]
    at_once = joined(points, ones, np.zeros((60, 60)), 4, 1.0, 0.0)
    assert adjusted_rand_score(later, at_once) == 1


def test_what_the_graph_holds_apart_is_joined_last():
    means = np.array([[0.0], [1.0], [1.1], [2.0]])  # the nearest two lie in different groups
    apart = 1 - np.kron(np.eye(2), np.ones((2, 2)))
    found = joined(means, np.ones(4), apart, 2, 0.1, 2)
    assert found.tolist() == [0, 0, 1, 1]
    assert joined(means, np.ones(4), apart, 2, 0.1, 0).tolist() != [0, 0, 1, 1]


def test_purity_prefers_the_groups_that_are_there():
    points, group = blobs((300, 100, 30), 6)
    chosen = np.arange(len(points))
    near = NearestNeighbors(n_neighbors=15).fit(points).kneighbors(return_distance=False)
    true = cutting.purity(group, chosen, near)
    assert true > 0.95
    split = np.where((group == 0) & (points[:, 0] > np.median(points[:300, 0])), 3, group)
    merged = np.minimum(group, 1)
    stray = group.copy()
    stray[:3] = 3
    at_random = np.random.default_rng(0).integers(3, size=len(points))
    for worse in (split, stray, at_random):
        assert cutting.purity(worse, chosen, near) < true
    assert cutting.purity(merged, chosen, near) <= true + 0.01
    assert cutting.purity(np.zeros(430, dtype=int), chosen, near) == pytest.approx(0.5, abs=1e-6)


def test_repeats_vote_whatever_their_numbers():
    random = np.random.default_rng(0)
    group = random.integers(4, size=200)
    repeats = np.column_stack([random.permutation(4)[group] for _ in range(5)])
    repeats[:20, 0] = 0
    found = cutting.vote(repeats, 4)
    assert adjusted_rand_score(group, found) == 1
    assert adjusted_rand_score(group, repeats[:, 0]) < 1
    assert (cutting.align(repeats[:, 1], repeats[:, 2], 4) == repeats[:, 2]).all()


def test_no_group_is_lost_in_the_vote():
    one = np.repeat(np.arange(3), 4)
    # each repeat has a third group elsewhere, so none of these wins
    repeats = np.array([[0, 0, 0, 2, 1, 1], [0, 0, 2, 0, 1, 1], [0, 2, 0, 0, 1, 1]]).T
    assert len(np.unique(cutting.vote(repeats, 3))) == 3
    assert adjusted_rand_score(cutting.vote(np.column_stack([one] * 3), 3), one) == 1


def fine_of(of, groups, weights):
    return cutting.Fine(np.asarray(of), np.asarray(weights, dtype=float), np.asarray(groups))


def test_a_tie_goes_to_the_first_way(monkeypatch):
    points, group = blobs((60, 60), 20)
    near = NearestNeighbors(n_neighbors=5).fit(points).kneighbors(return_distance=False)
    halves = 2 * group + np.arange(120) % 2
    fine = fine_of(halves, [[0], [0], [1], [1]], np.kron(np.eye(2), np.ones((2, 2))))
    arguments = (points, [fine, fine], 2, 0)
    labels, purities = cutting.cut(*arguments, chosen=np.arange(120), neighbours=near)
    assert adjusted_rand_score(group, labels[:, 0]) == 1
    assert list(purities) == list(cutting.WAYS)
    for best, taken in ((0.6, "balanced"), (0.51, "density")):  # clearly purer, or hardly
        values = iter([0.5, 0.5, 0.5, 0.5, best, best] + [0.5] * 6)
        monkeypatch.setattr(cutting, "purity", lambda *_, values=values: next(values))
        found = cutting.cut(*arguments, chosen=np.arange(120), neighbours=near)[1]
        assert next(iter(found)) == taken
