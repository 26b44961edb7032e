"""HDBSCAN (McInnes, Healy, Astels 2017), hdbscan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moesimvae.methods.interface import Clustering, dense
from moesimvae.model.projection import principal_components

if TYPE_CHECKING:
    from anndata import AnnData


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    n_pca: int | None = 20,
    min_cluster_size: int = 50,
    min_samples: int | None = None,
) -> Clustering:
    """Density clusters of at least `min_cluster_size` cells; all other cells are noise, -1.

    It finds its own number of clusters and ignores `n_clusters`. Only the PCA uses the seed.
    """
    import hdbscan

    points = principal_components(dense(cells), n_pca, seed).astype(np.float64)
    model = hdbscan.HDBSCAN(
        min_cluster_size=min_cluster_size, min_samples=min_samples, core_dist_n_jobs=1
    )
    return Clustering(model.fit_predict(points))
