"""Graphs of nearest neighbours, for the methods that cluster a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

EXACT_UP_TO = 10_000  # cells; above it pynndescent's approximation is quicker than all pairs
BLOCK = 5_000  # cells whose shared neighbours are counted at once


def neighbour_graph(points: np.ndarray, n_neighbors: int, seed: int) -> csr_matrix:
    """Directed graph of the `n_neighbors` nearest neighbours, the cell itself left out.

    points: (n_cells, n_dimensions). Returns (n_cells, n_cells) CSR of ones, float32.
    """
    from scipy.sparse import csr_matrix

    n_cells = len(points)
    n_neighbors = min(n_neighbors, n_cells - 1)
    if n_cells <= EXACT_UP_TO:
        from sklearn.neighbors import NearestNeighbors

        search = NearestNeighbors(n_neighbors=n_neighbors).fit(points)
        neighbours = search.kneighbors(return_distance=False)
    else:
        from pynndescent import NNDescent

        # One thread: what it finds depends on their number. It lists the cell itself too, as a
        # rule first, but not where cells coincide.
        index = NNDescent(points, n_neighbors=n_neighbors + 1, random_state=seed, n_jobs=1)
        neighbours = without_self(index.neighbor_graph[0])
    targets = neighbours.ravel()
    starts = np.arange(0, targets.size + 1, n_neighbors)
    weights = np.ones(targets.size, dtype=np.float32)
    return csr_matrix((weights, targets, starts), shape=(n_cells, n_cells))


def without_self(neighbours: np.ndarray) -> np.ndarray:
    """Drop from each row of neighbours (n_cells, k + 1) the cell itself, else the last one."""
    keep = neighbours != np.arange(len(neighbours))[:, None]
    keep[keep.all(axis=1), -1] = False
    return neighbours[keep].reshape(len(neighbours), -1)


def jaccard_graph(graph: csr_matrix) -> csr_matrix:
    """Weigh each edge by the share of neighbours that its two cells have in common.

    |N(i) ∩ N(j)| / |N(i) ∪ N(j)| as in PhenoGraph (Levine et al. 2015); edges with no shared
    neighbour go. Works through the cells in blocks, since all pairs with a common neighbour are
    far more than the edges.
    """
    from scipy.sparse import vstack

    n_neighbors = graph.indptr[1]
    transposed = graph.T.tocsr()
    blocks = []
    for start in range(0, graph.shape[0], BLOCK):
        block = graph[start : start + BLOCK]
        shared = (block @ transposed).multiply(block).tocsr()
        shared.data = shared.data / (2 * n_neighbors - shared.data)
        blocks.append(shared)
    return vstack(blocks, format="csr")
