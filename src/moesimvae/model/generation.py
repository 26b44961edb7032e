"""The Gaussians of the clusters' codes, from which new cells are generated (Eq 1)."""

import numpy as np


def code_gaussians(
    codes: np.ndarray, labels: np.ndarray, means: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n_clusters, d) and covariance (n_clusters, d, d) of each cluster's codes, float32.

    codes: (n_cells, d); labels: (n_cells,). A cluster of no more cells than dimensions has its row
    of `means`, (n_clusters, d), and the identity.
    """
    own_means = means.astype(np.float32)
    covariances = np.tile(np.eye(codes.shape[1], dtype=np.float32), (len(means), 1, 1))
    for cluster in range(len(means)):
        own = codes[labels == cluster]
        if len(own) > codes.shape[1]:
            own_means[cluster] = own.mean(axis=0)
            covariances[cluster] = np.cov(own, rowvar=False)
    return own_means, covariances


def root(covariance: np.ndarray) -> np.ndarray:
    """L (d, d) with L Lᵀ = covariance (d, d), which may be singular."""
    sizes, axes = np.linalg.eigh(covariance)
    return axes * np.sqrt(np.maximum(sizes, 0))
