"""Autoencoder, then k-means on its codes: DEC's starting point, which it has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from moesimvae.methods.interface import Clustering, dense

if TYPE_CHECKING:
    from anndata import AnnData


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    *,
    hidden: Sequence[int] = (500, 500, 2000),
    n_latent: int = 10,
    pretraining_steps: int = 6000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    device: str = "auto",
) -> Clustering:
    """k-means (best of 20 starts) on the codes of an autoencoder with squared error.

    embedding: the codes, (n_cells, n_latent).
    Raises UserError as `pretrained_autoencoder` does.
    """
    from sklearn.cluster import KMeans

    from moesimvae.methods.autoencoder import pretrained_autoencoder

    start = pretrained_autoencoder(
        dense(cells),
        n_clusters,
        seed,
        hidden=hidden,
        n_latent=n_latent,
        steps=pretraining_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        device=device,
    )
    codes = start.codes()
    labels = KMeans(n_clusters, n_init=20, random_state=seed).fit_predict(codes)
    return Clustering(labels, embedding=codes, history=start.history, facts=start.facts)
