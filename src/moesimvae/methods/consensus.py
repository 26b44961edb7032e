"""The groups from MoE-Sim-VAE's own similarity, without a network: what the network must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moesimvae.methods.interface import Clustering

if TYPE_CHECKING:
    from anndata import AnnData


def cluster(cells: AnnData, n_clusters: int, seed: int, **parameters: Any) -> Clustering:
    """Exactly `n_clusters` groups: those of the similarity "communities", by vote of its repeats.

    parameters: of `similarity.Communities`.
    Raises UserError for an unknown parameter.
    """
    from moesimvae.model import cutting, similarity
    from moesimvae.model.cells import matrix_of

    _, settings = similarity.parse({"kind": "communities", **parameters})
    groups, facts = similarity.group(settings, matrix_of(cells), seed, n_clusters)
    return Clustering(cutting.vote(groups, n_clusters), facts=facts)
