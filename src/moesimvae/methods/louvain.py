"""Louvain communities of a nearest-neighbour graph (Blondel et al. 2008), igraph."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

from moesimvae.errors import UserError
from moesimvae.methods.interface import Clustering, dense
from moesimvae.methods.neighbours import jaccard_graph, neighbour_graph
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
    neighbours, as PhenoGraph) or "none". A neighbour on one side only counts half.
    """
    import igraph
    from scipy.sparse import triu

    if weights not in WEIGHTS:
        raise UserError(f"louvain: weights is '{weights}', expected one of {', '.join(WEIGHTS)}.")
    points = principal_components(dense(cells), n_pca, seed)
    directed = neighbour_graph(points, n_neighbors, seed)
    if weights == "jaccard":
        directed = jaccard_graph(directed)
    edges = triu((directed + directed.T) / 2, format="coo")

    graph = igraph.Graph(n=len(points), edges=np.column_stack([edges.row, edges.col]))
    igraph.set_random_number_generator(random.Random(seed))
    try:
        communities = graph.community_multilevel(edges.data, resolution=resolution)
    finally:
        igraph.set_random_number_generator(random)
    return Clustering(
        np.asarray(communities.membership), facts={"modularity": float(communities.q)}
    )
