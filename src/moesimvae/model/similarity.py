"""Which cells are similar: the matrix S that the clustering network learns to reproduce (Eq 7).

A similarity is a function: batch of cell indices (n,) → S (n, n), symmetric, in [0, 1], with a
zero diagonal, on the index's device. A new kind of similarity is a new function that makes one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Similarity = Callable[[Tensor], Tensor]


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
