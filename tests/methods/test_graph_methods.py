import random

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from moesimvae.errors import UserError
from moesimvae.methods import hierarchical, louvain


def two_groups(n_cells=60):
    rng = np.random.default_rng(0)
    group = np.arange(n_cells) % 2
    return (rng.normal(size=(n_cells, 3)) + 20 * group[:, None]).astype(np.float32), group


def cells_of(points):
    from anndata import AnnData

    return AnnData(points)


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
