"""Which cells are similar: the matrix S that the clustering network learns to reproduce (Eq 7).

A similarity is a function: batch of cell indices (n,) → S (n, n), symmetric, in [0, 1], with a
zero diagonal, on the index's device. A new kind of similarity is a new function that makes one.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Similarity = Callable[[Tensor], Tensor]


def umap_projection(
    matrix: np.ndarray,
    n_neighbors: int = 15,
    n_components: int = 2,
    metric: str = "euclidean",
    seed: int = 0,
) -> np.ndarray:
    """UMAP coordinates (n_cells, n_components), float32, the same for the same seed.

    The seed reaches both the neighbour search and the layout. Both run in one thread: the layout
    is a race in several, and the neighbours found would depend on the number of threads.

    matrix: (n_cells, n_features), dense or CSR. n_neighbors is cut to n_cells − 1.
    """
    import umap

    n_cells = matrix.shape[0]
    projection = umap.UMAP(
        n_neighbors=max(2, min(n_neighbors, n_cells - 1)),
        n_components=n_components,
        metric=metric,
        random_state=seed,
        n_jobs=1,
        # the spectral start needs more cells than dimensions
        init="spectral" if n_cells > n_components + 2 else "random",
    ).fit_transform(matrix)
    return np.ascontiguousarray(projection, dtype=np.float32)


def neighbours_in_batch(projection: Tensor, k: int) -> Similarity:
    """S from `knn_in_batch`. projection: (n_cells, d) on the device."""
    return lambda index: knn_in_batch(projection[index], k)


def knn_in_batch(points: Tensor, k: int) -> Tensor:
    """S_ij = 1 when i is among the k nearest of j or j among those of i, within the batch.

    points: (n, d). k is cut to n − 1. Of equally near points the choice is torch's.
    """
    n = len(points)
    distance = _distance(points)
    distance.fill_diagonal_(torch.inf)
    nearest = distance.topk(min(k, n - 1), largest=False).indices
    directed = torch.zeros_like(distance).scatter_(1, nearest, 1.0)
    return torch.maximum(directed, directed.T)


def within_distance(points: Tensor, radius: float) -> Tensor:
    """S_ij = 1 when i and j lie at most `radius` apart. points: (n, d)."""
    return (_distance(points) <= radius).to(points.dtype).fill_diagonal_(0.0)


def _distance(points: Tensor) -> Tensor:
    """Euclidean distances (n, n); the faster way by products would not give duplicates exact 0."""
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
