"""How sure clusters are, how many there are, and whether there are any."""

import json

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from moesimvae.model import stability
from moesimvae.model.similarity import Communities

WAY = "balanced"


def blobs(sizes, spread=0.15, n_features=8, seed=0):
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    centres = random.normal(size=(len(sizes), n_features))
    points = centres[group] + spread * random.normal(size=(len(group), n_features))
    return points.astype(np.float32), group


def structureless(kind):
    random = np.random.default_rng(0)
    if kind == "a Gaussian":
        return random.normal(size=(800, 6)) @ random.normal(size=(6, 6))
    if kind == "uniform":
        return random.uniform(size=(800, 6))
    if kind == "one long axis":
        return random.normal(size=(800, 4)) * [9, 1, 1, 1]
    points, _ = blobs((300, 250, 150, 100), n_features=6)
    return random.permuted(points, axis=0)


@pytest.mark.parametrize("kind", ["a Gaussian", "uniform", "one long axis", "shuffled columns"])
def test_where_there_is_no_structure_there_is_one_group(kind):
    found = stability.estimate(structureless(kind).astype(np.float32), resamples=5)
    assert found.n_clusters == 1
    assert found.crowding < stability.CROWDED
    assert str(found).startswith("no structure was found")
    assert found.facts()["structure"] is False


def test_the_number_of_groups_is_found_with_its_evidence():
    points, _ = blobs((300, 200, 150, 100, 50))
    found = stability.estimate(points)
    assert found.n_clusters == 5
    assert found.interval[0] <= 5 <= found.interval[1]
    at_five = next(row for row in found.curve if row["n_clusters"] == 5)
    assert at_five["stable"] == 5
    assert at_five["score"] == max(row["score"] for row in found.curve)
    assert json.loads(json.dumps(found.facts()))["structure"] is True
    assert "5, estimated without labels" in str(found)


def test_a_cut_through_one_group_is_not_stable():
    points, group = blobs((300, 250, 200))
    first = group == 0
    halves = np.where(first & (points[:, 0] > np.median(points[first, 0])), 3, group)
    found = stability.assess(points, halves, 4, WAY, Communities(), seed=0, resamples=8)
    assert found.clusters[1:3].min() > 0.95
    assert found.clusters[[0, 3]].max() < 0.8
    assert found.together[0, 3] > 0.3 > found.together[0, 1] + 0.2
    a, b, share = found.facts()["together"][0]
    assert (a, b) == (0, 3)
    assert share == pytest.approx(found.together[0, 3], abs=1e-3)
    # the halves are joined first, and none with another group
    joined = stability.join(found.merges(), 3)
    assert adjusted_rand_score(joined[halves], group) == 1
    assert stability.join(found.merges(), 4).tolist() == [0, 1, 2, 3]
    assert len(set(stability.join(found.merges(), 1))) == 1


def test_cells_are_found_in_the_clusters_that_they_are_in():
    points, group = blobs((300, 250, 200))
    found = stability.assess(points, group, 3, WAY, Communities(), seed=0, resamples=4)
    assert found.drawn.shape == found.found.shape == (4, 375)
    assert (found.found == group[found.drawn]).mean() > 0.99


def test_an_empty_cluster_has_no_stability():
    points, group = blobs((300, 250))
    found = stability.assess(points, 2 * group, 4, WAY, Communities(), seed=0, resamples=3)
    assert np.isnan(found.clusters).tolist() == [False, True, False, True]
    assert found.facts()["clusters"][1] is None


def test_jaccard_is_that_of_the_best_group():
    table = np.array([[8, 2, 0], [0, 0, 5], [0, 0, 0]])
    assert stability.jaccard(table) == pytest.approx([8 / 10, 1, np.nan], nan_ok=True)


def test_the_same_seed_gives_the_same():
    points, _ = blobs((120, 80, 60))
    one, other = (stability.estimate(points, seed=3, resamples=3) for _ in range(2))
    assert one == other
