"""Transfer labels from the cells that a method was fitted on to other cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from moesimvae.methods.interface import Clustering
from moesimvae.model.projection import Matrix, fitted_components

if TYPE_CHECKING:
    from anndata import AnnData

NEIGHBOURS = 15
N_PCA = 50


def majority_of_nearest(
    points: Matrix, labels: np.ndarray, further: Matrix, n_neighbors: int = NEIGHBOURS
) -> np.ndarray:
    """Most common label among each further point's nearest `points`, (n_further,).

    points: (n, d) with labels (n,), -1 (noise) counting like any other; further: (n_further, d).
    Ties go to the label of the nearest point.
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(n_neighbors, points.shape[0])
    names, numbers = np.unique(labels, return_inverse=True)
    with threadpool_limits(1):
        search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points)
        near = numbers[search.kneighbors(further, return_distance=False)]
    votes = np.zeros((len(near), len(names)), dtype=np.int32)
    np.add.at(votes, (np.arange(len(near))[:, None], near), 1)
    chosen = np.take_along_axis(votes, near, axis=1).argmax(axis=1)
    return names[near[np.arange(len(near)), chosen]]


def by_nearest_cells(
    cells: AnnData, labels: np.ndarray, seed: int
) -> Callable[[AnnData], Clustering]:
    """`Clustering.assign` for a method without one.

    A cell gets the majority label of its 15 nearest neighbours among `cells`, in the first 50
    principal components of the method's input, fitted on `cells` alone.
    """

    def assign(further: AnnData) -> Clustering:
        points, project = fitted_components(cells.X, N_PCA, seed)
        return Clustering(majority_of_nearest(points, labels, project(further.X)))

    return assign
