"""N2D: clustering the local manifold of an autoencoded embedding (McConville et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from moesimvae.methods.gmm import fit_mixture, most_probable
from moesimvae.methods.interface import Clustering, dense

if TYPE_CHECKING:
    from anndata import AnnData


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    *,
    hidden: Sequence[int] = (500, 500, 2000),
    pretraining_steps: int = 6000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    n_neighbors: int = 20,
    device: str = "auto",
) -> Clustering:
    """Autoencoder, UMAP of its codes, Gaussian mixture with full covariances.

    Codes and UMAP both have as many dimensions as there are clusters, as published, and UMAP's
    min_dist is 0. Pre-training is counted in steps (the paper: 1,000 epochs).

    embedding: the UMAP, (n_cells, n_clusters). probabilities: the mixture's.
    Raises UserError as `pretrained_autoencoder` does.
    """
    from moesimvae.methods.autoencoder import pretrained_autoencoder
    from moesimvae.model.projection import umap_projection

    start = pretrained_autoencoder(
        dense(cells),
        n_clusters,
        seed,
        hidden=hidden,
        n_latent=n_clusters,
        steps=pretraining_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        device=device,
    )
    manifold = umap_projection(
        start.codes(), n_neighbors=n_neighbors, n_components=n_clusters, seed=seed, min_dist=0
    )
    result = most_probable(fit_mixture(manifold, n_clusters, seed), manifold)
    result.embedding, result.history = manifold, start.history
    result.facts |= start.facts
    return result
