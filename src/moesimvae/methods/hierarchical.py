"""Hierarchical clustering with Ward's linkage (Ward 1963), scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moesimvae.methods.interface import Clustering, dense
from moesimvae.model.projection import principal_components

if TYPE_CHECKING:
    from anndata import AnnData


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    n_pca: int | None = 20,
    max_cells_dense: int = 20_000,
    n_neighbors: int = 15,
) -> Clustering:
    """Ward's tree cut at `n_clusters`.

    Up to `max_cells_dense` cells, any two clusters may merge, which requires two copies of all
    n(n − 1)/2 distances: 3.2 GB at 20,000 cells, 39 GB at 70,000. Above that, only clusters
    connected in the graph of `n_neighbors` nearest neighbours may, in memory linear in n.
    """
    from sklearn.cluster import AgglomerativeClustering

    from moesimvae.model.graphs import neighbour_graph

    points = principal_components(dense(cells), n_pca, seed)
    whole = len(points) <= max_cells_dense
    connectivity = None if whole else neighbour_graph(points, n_neighbors, seed)
    tree = AgglomerativeClustering(n_clusters, linkage="ward", connectivity=connectivity)
    return Clustering(
        tree.fit_predict(points),
        facts={"merges": "neighbours" if connectivity is not None else "all pairs"},
    )
