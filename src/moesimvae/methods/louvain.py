"""Louvain communities of a nearest-neighbour graph (Blondel et al. 2008), igraph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moesimvae.errors import UserError
from moesimvae.methods.interface import Clustering, dense
from moesimvae.model.projection import principal_components

if TYPE_CHECKING:
    from anndata import AnnData

WEIGHTS = ("jaccard", "none")


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    n_pca: int | None = 30,
    n_neighbors: int = 30,
    weights: str = "jaccard",
    resolution: float = 1.0,
) -> Clustering:
    """Communities of largest modularity at `resolution`; a larger one gives more clusters.

    It finds its own number of clusters and ignores `n_clusters`. `weights` is "jaccard" (shared
    neighbours, as in PhenoGraph) or "none". A one-sided neighbour counts half.
    """
    from moesimvae.model.graphs import jaccard_graph, louvain, neighbour_graph, symmetric

    if weights not in WEIGHTS:
        raise UserError(f"louvain: weights is '{weights}', expected one of {', '.join(WEIGHTS)}.")
    points = principal_components(dense(cells), n_pca, seed)
    graph = neighbour_graph(points, n_neighbors, seed)
    if weights == "jaccard":
        graph = jaccard_graph(graph)
    communities, modularity = louvain(symmetric(graph), resolution, seed)
    return Clustering(communities, facts={"modularity": modularity})
