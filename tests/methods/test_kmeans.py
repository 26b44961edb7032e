"""k-means against a plain NumPy version of Lloyd's algorithm."""

import anndata
import numpy as np
from sklearn.cluster import kmeans_plusplus
from sklearn.metrics import adjusted_rand_score

from moesimvae.methods import kmeans

POINTS = np.random.default_rng(0).gamma(2, size=(700, 6)).astype(np.float32)


def lloyd(points, centres):
    """Labels and sum of squares when no cell changes its cluster any more."""
    labels = None
    while True:
        squares = ((points[:, None] - centres[None]) ** 2).sum(axis=2)
        if labels is not None and (squares.argmin(axis=1) == labels).all():
            return labels, squares.min(axis=1).sum()
        labels = squares.argmin(axis=1)
        centres = np.array([points[labels == k].mean(axis=0) for k in range(len(centres))])


def test_from_the_same_start_it_is_lloyds():
    result = kmeans.cluster(anndata.AnnData(POINTS), 9, seed=4, n_init=1)
    centred = POINTS.astype(float) - POINTS.mean(axis=0)
    start, _ = kmeans_plusplus(centred, 9, random_state=np.random.RandomState(4))
    labels, squares = lloyd(centred, start)
    assert adjusted_rand_score(labels, result.labels) > 0.97
    assert abs(result.facts["inertia"] / squares - 1) < 1e-3


def test_the_best_of_its_starts_is_no_worse_than_ours():
    result = kmeans.cluster(anndata.AnnData(POINTS), 9, seed=1)
    random = np.random.default_rng(1)
    ours = [lloyd(POINTS, POINTS[random.choice(700, 9, replace=False)])[1] for _ in range(10)]
    assert result.facts["inertia"] < 1.01 * min(ours)
