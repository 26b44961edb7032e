"""Leiden (Traag et al. 2019) on the shared-neighbour graph, its resolution searched for K."""

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
    n_pca: int | None = 30,
    n_neighbors: int = 30,
    rounds: int = 20,
) -> Clustering:
    """Communities of large modularity whose number comes closest to `n_clusters`.

    The resolution is found by bisecting an interval of its logarithm, at most `rounds` times; no
    label is used. Of equally close numbers the first found is taken.
    """
    from moesimvae.model.graphs import (
        jaccard_graph,
        leiden,
        neighbour_graph,
        seek_groups,
        symmetric,
    )

    points = principal_components(dense(cells), n_pca, seed)
    graph = symmetric(jaccard_graph(neighbour_graph(points, n_neighbors, seed)))
    labels, resolution = seek_groups(
        lambda resolution: leiden(graph, resolution, seed), n_clusters, rounds
    )
    return Clustering(labels, facts={"resolution": resolution})
