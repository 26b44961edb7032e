"""PhenoGraph (Levine et al. 2015): Louvain communities of the shared-neighbour graph.

Implemented here with igraph, with graph and rules as in PhenoGraph 1.5.7 (a test compares them):
that package starts a Louvain program that seeds itself from clock and process number, so its
labels are not reproducible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moesimvae.errors import UserError
from moesimvae.methods.interface import Clustering, dense

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix

GAIN = 1e-3  # of modularity that another run of Louvain must bring to count
MOST_RUNS = 100


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    n_neighbors: int = 30,
    patience: int = 20,
    min_cluster_size: int = 10,
) -> Clustering:
    """Communities of the `n_neighbors`-nearest-neighbour graph, weighted by the Jaccard index.

    It finds its own number of clusters and ignores `n_clusters`. Louvain is repeated until
    `patience` runs in a row have not raised the modularity by 0.001. Communities of
    `min_cluster_size` cells or fewer are noise, -1; the others are numbered by size.
    """
    from moesimvae.model.graphs import jaccard_graph, neighbour_graph, symmetric

    points = dense(cells)
    if not 1 <= n_neighbors < len(points):
        raise UserError(
            f"phenograph: n_neighbors is {n_neighbors}, but there are {len(points)} cells; "
            f"give a number from 1 to {len(points) - 1}."
        )
    graph = symmetric(jaccard_graph(neighbour_graph(points, n_neighbors, seed)))
    communities, modularity, runs = repeated_louvain(graph, patience, seed)
    facts = {"modularity": modularity, "louvain_runs": runs}
    return Clustering(by_size(communities, min_cluster_size), facts=facts)


def repeated_louvain(graph: csr_matrix, patience: int, seed: int) -> tuple[np.ndarray, float, int]:
    """Communities, their modularity and the number of runs, from Louvain repeated as above."""
    from moesimvae.model.graphs import as_igraph, igraph_draws_from

    drawn, weights = as_igraph(graph)
    best, highest, last_gain = None, -np.inf, 0
    with igraph_draws_from(seed):
        for run in range(MOST_RUNS):
            found = drawn.community_multilevel(weights)
            if found.q - highest > GAIN:
                best, highest, last_gain = found.membership, found.q, run
            if run - last_gain >= patience:
                break
    return np.asarray(best), float(highest), run + 1


def by_size(communities: np.ndarray, min_cluster_size: int) -> np.ndarray:
    """Communities numbered by falling size; those of min_cluster_size cells or fewer are -1."""
    sizes = np.bincount(communities)
    rank = np.empty(len(sizes), dtype=int)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return np.where(sizes > min_cluster_size, rank, -1)[communities]
