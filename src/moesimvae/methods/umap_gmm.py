"""UMAP (McInnes, Healy, Melville 2018), then a Gaussian mixture in the plane.

The decisive baseline for a similarity learnt from UMAP: what the projection alone is worth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moesimvae.methods.gmm import fit_mixture, most_probable
from moesimvae.methods.interface import Clustering, dense
from moesimvae.model.projection import principal_components

if TYPE_CHECKING:
    from anndata import AnnData


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    n_pca: int | None = None,
    n_neighbors: int = 15,
    n_components: int = 2,
    metric: str = "euclidean",
    n_init: int = 10,
) -> Clustering:
    """Full-covariance mixture of `n_clusters` Gaussians in a UMAP of `n_components` dimensions."""
    from moesimvae.model.projection import umap_projection

    points = principal_components(dense(cells), n_pca, seed)
    projection = umap_projection(
        points, n_neighbors=n_neighbors, n_components=n_components, metric=metric, seed=seed
    )
    mixture = fit_mixture(projection, n_clusters, seed, n_init=n_init)
    result = most_probable(mixture, projection)
    result.embedding = projection
    return result
