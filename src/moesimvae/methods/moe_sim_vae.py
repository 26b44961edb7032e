"""MoE-Sim-VAE: Kopf et al. 2021, PLoS Comput Biol 17(6): e1009086."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moesimvae.methods.interface import Clustering

if TYPE_CHECKING:
    from anndata import AnnData


def cluster(cells: AnnData, n_clusters: int, seed: int, **params) -> Clustering:
    """Cluster with `MoESimVAE(n_clusters, random_state=seed, **params)`, which tells of params.

    `refinements: 0` is the paper's setting. The embedding is the latent posterior mean.
    """
    from moesimvae.model.estimator import MoESimVAE

    model = MoESimVAE(n_clusters, random_state=seed, **params).fit(cells)
    return Clustering(
        labels=model.labels_,
        embedding=model.embedding_,
        probabilities=model.probabilities_,
        history=model.history_,
        facts=model.facts_,
        save=model.save,
    )
