"""FlowSOM against the package called directly, and its rules for the number of clusters."""

import anndata
import numpy as np
import pytest
from flowsom.models import SOMEstimator
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from moesimvae.errors import UserError
from moesimvae.methods import flowsom_

points, BLOBS = make_blobs(600, 5, centers=6, cluster_std=0.5, random_state=3)
POINTS = points.astype(np.float32)


def cluster(n_clusters=6, seed=0, matrix=POINTS, **params):
    return flowsom_.cluster(anndata.AnnData(matrix), n_clusters, seed, **params)


def test_the_map_is_the_packages_own_and_every_cell_lies_at_its_nearest_node():
    nodes, node_of_cell, error = flowsom_.self_organising_map(POINTS, (10, 10), 10, seed=5)
    np.testing.assert_array_equal(nodes, SOMEstimator(seed=5).fit(POINTS).codes)
    distances = np.linalg.norm(POINTS[:, None] - nodes[None], axis=2)
    np.testing.assert_array_equal(node_of_cell, distances.argmin(axis=1))
    assert error == pytest.approx(distances.min(axis=1).mean(), rel=1e-5)
    # 100 nodes lie nearer to the cells than the 6 blobs' means do
    means = np.array([POINTS[b == BLOBS].mean(axis=0) for b in range(6)])
    assert error < np.linalg.norm(POINTS - means[BLOBS], axis=1).mean()


def test_the_seed_decides():
    one, again, other = (cluster(30, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.labels, again.labels)
    assert one.facts["quantisation_error"] != other.facts["quantisation_error"]
    assert adjusted_rand_score(one.labels, other.labels) < 1


def test_numpys_global_generator_is_left_alone():
    np.random.seed(7)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    cluster()
    assert np.random.random() == expected  # noqa: NPY002


def test_consensus_of_clear_groups_is_average_linkage():
    nodes = flowsom_.self_organising_map(POINTS, (10, 10), 10, seed=0)[0]
    plain = fcluster(linkage(nodes, "average"), 6, "maxclust")
    found = flowsom_.consensus(nodes, [2, 6], seed=0)
    assert found.shape == (100, 2)
    assert len(np.unique(found[:, 0])) == 2
    assert adjusted_rand_score(plain, found[:, 1]) > 0.9


def test_consensus_counts_draws_apart_over_draws_of_both():
    """Three groups far apart: never together with another's, always with their own."""
    group = np.repeat([0, 1, 2], 8)
    nodes = np.array([[0.0, 0], [10, 0], [0, 10]])[group]
    nodes += np.random.default_rng(0).normal(scale=0.1, size=nodes.shape)
    (distances,) = flowsom_.consensus_distances(nodes, [3], seed=1)
    np.testing.assert_array_equal(distances, group[:, None] != group)
    assert adjusted_rand_score(group, flowsom_.consensus(nodes, [3], seed=1)[:, 0]) == 1


def test_the_asked_number_of_clusters_is_given():
    for k in (1, 7, 100):
        assert len(np.unique(flowsom_.consensus(POINTS[:100], [k], seed=0))) == k


def test_the_elbow_of_two_lines_is_where_the_second_begins():
    numbers = np.arange(1, 21)
    assert flowsom_.elbow(np.where(numbers < 8, 100 - 12 * numbers, 20 - numbers)) == 8


def test_the_number_of_clusters_is_found_without_being_told():
    found = cluster(99, elbow_up_to=20)
    assert len(found.history["sum_of_squares"]) == 20
    assert 3 <= len(np.unique(found.labels)) <= 8
    assert adjusted_rand_score(BLOBS, found.labels) > 0.6


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"matrix": POINTS[:99]}, "99 cells for a grid of 100 nodes"),
        ({"n_clusters": 101}, "n_clusters is 101, but the grid has only 100 nodes"),
        ({"elbow_up_to": 26, "grid": (5, 5)}, "elbow_up_to is 26, but the grid has only 25"),
        ({"elbow_up_to": 3}, "elbow_up_to is 3, but an elbow needs at least 4"),
    ],
)
def test_bad_parameters_are_told(params, says):
    with pytest.raises(UserError, match=says):
        cluster(**params)
