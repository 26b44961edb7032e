"""Graphs of nearest neighbours, and communities in them; needs no torch."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix, diags, triu, vstack
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from moesimvae.model.projection import NeighbourSearch

if TYPE_CHECKING:
    import igraph

EXACT_UP_TO = 10_000  # cells; above it an approximate search is quicker than all pairs
BLOCK = 5_000  # cells whose shared neighbours are counted at once
# resolution of modularity: high enough for communities far smaller than any population of interest,
# yet some hundred cells each where there are many
FINE = 50.0
LOWEST_RESOLUTION, HIGHEST_RESOLUTION = 1e-3, 1e3  # that `seek_groups` tries
COINCIDING = 1e-3  # of the values' standard deviation, far less than differing cells are apart
# spreading of known groups ends when no cell's shares change by more, relative to the largest
SPREAD_TOLERANCE, SPREAD_ROUNDS = 1e-4, 1000


# ---------------------------------------------------------------------- neighbours


def nearest_neighbours(
    points: np.ndarray, n_neighbors: int, seed: int, search: NeighbourSearch | None = None
) -> np.ndarray:
    """Indices of the nearest neighbours of each cell, nearest first, without the cell itself.

    points: (n_cells, n_dimensions). search: one of these points with n_neighbors + 1 neighbours,
    if there is one already. Returns (n_cells, n_neighbors), at most n_cells − 1 of them.
    """
    n_neighbors = min(n_neighbors, len(points) - 1)
    if search is None and len(points) <= EXACT_UP_TO:
        with threadpool_limits(1):  # ties between equally near cells must not depend on it
            nearest = NearestNeighbors(n_neighbors=n_neighbors).fit(points)
            return nearest.kneighbors(return_distance=False)
    # it lists the cell itself too, usually first, but not where cells coincide
    search = search or NeighbourSearch(points, n_neighbors + 1, "euclidean", seed)
    return without_self(search.neighbours)


def neighbour_graph(points: np.ndarray, n_neighbors: int, seed: int) -> csr_matrix:
    """Directed graph of the `nearest_neighbours`: (n_cells, n_cells) CSR of ones, float32."""
    return graph_of(nearest_neighbours(points, n_neighbors, seed))


def graph_of(neighbours: np.ndarray) -> csr_matrix:
    """Directed graph of neighbours (n_cells, k): (n_cells, n_cells) CSR of ones, float32."""
    n_cells, n_neighbors = neighbours.shape
    starts = np.arange(0, neighbours.size + 1, n_neighbors)
    weights = np.ones(neighbours.size, dtype=np.float32)
    return csr_matrix((weights, neighbours.ravel(), starts), shape=(n_cells, n_cells))


def apart(points: np.ndarray, n_neighbors: int, seed: int) -> np.ndarray:
    """Points moved apart by a thousandth of the spread where more than `n_neighbors` coincide.

    Otherwise all of these would have the same few neighbours, and each would be a community of
    its own. points: (n_cells, n_dimensions), returned as they are where no more coincide.
    """
    _, group, sizes = np.unique(points, axis=0, return_inverse=True, return_counts=True)
    many = sizes[group] > n_neighbors
    if not many.any():
        return points
    noise = np.random.default_rng(seed).normal(size=(many.sum(), points.shape[1]))
    moved = points.copy()
    moved[many] += (COINCIDING * (points.std() or 1.0) * noise).astype(points.dtype)
    return moved


def without_self(neighbours: np.ndarray) -> np.ndarray:
    """Drop from each row of neighbours (n_cells, k + 1) the cell itself, else the last one."""
    keep = neighbours != np.arange(len(neighbours))[:, None]
    keep[keep.all(axis=1), -1] = False
    return neighbours[keep].reshape(len(neighbours), -1)


def jaccard_graph(graph: csr_matrix) -> csr_matrix:
    """Weight each edge by the share of neighbours that its two cells have in common.

    |N(i) ∩ N(j)| / |N(i) ∪ N(j)| as in PhenoGraph (Levine et al. 2015); edges with no shared
    neighbour are dropped. Works through the cells in blocks, since pairs with a common neighbour
    far outnumber the edges.
    """
    n_neighbors = graph.indptr[1]
    transposed = graph.T.tocsr()
    blocks = []
    for start in range(0, graph.shape[0], BLOCK):
        block = graph[start : start + BLOCK]
        shared = (block @ transposed).multiply(block).tocsr()
        shared.data = shared.data / (2 * n_neighbors - shared.data)
        blocks.append(shared)
    return vstack(blocks, format="csr")


def symmetric(graph: csr_matrix) -> csr_matrix:
    """(A + Aᵀ) / 2: a one-sided neighbour counts half."""
    return ((graph + graph.T) / 2).tocsr()


def spread_groups(graph: csr_matrix, groups: np.ndarray, alpha: float = 0.99) -> np.ndarray:
    """Each cell's group, from groups known, perhaps wrongly, for it and cells near it in a graph.

    Label spreading (Zhou et al. 2004, with their α): F ← α D^-½ W D^-½ F + (1 − α) Y until it
    converges, then the largest entry in each row of F. Y holds the known groups, each with the
    same sum, so that a group known for many cells does not drown out one known for few.

    graph: W, symmetric weights (n_cells, n_cells); groups: (n_cells,) integers, −1 = not known.
    Returns (n_cells,), −1 for cells not connected to any of known group. A cell's known group may
    be overruled by its neighbours.
    """
    known = np.flatnonzero(groups >= 0)
    if not known.size:
        return groups.copy()
    y = np.zeros((len(groups), groups.max() + 1))
    y[known, groups[known]] = 1 / np.bincount(groups[known])[groups[known]]
    degree = np.asarray(graph.sum(axis=1), dtype=np.float64).ravel()
    root = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    weights = diags(root) @ graph.astype(np.float64) @ diags(root)
    f = y
    for _ in range(SPREAD_ROUNDS):
        before, f = f, alpha * (weights @ f) + (1 - alpha) * y
        if np.abs(f - before).max() <= SPREAD_TOLERANCE * f.max():
            break
    return np.where(f.sum(axis=1) > 0, f.argmax(axis=1), -1).astype(groups.dtype)


# ---------------------------------------------------------------------- communities


def louvain(graph: csr_matrix, resolution: float, seed: int) -> tuple[np.ndarray, float]:
    """Communities of high modularity (Blondel et al. 2008): (n_cells,) numbers; the modularity.

    graph: symmetric weights; a larger resolution gives more communities.
    """
    return _multilevel(*as_igraph(graph), resolution, seed)


def _multilevel(
    drawn: igraph.Graph, weights: np.ndarray, resolution: float, seed: int
) -> tuple[np.ndarray, float]:
    with igraph_draws_from(seed):
        found = drawn.community_multilevel(weights, resolution=resolution)
    return np.asarray(found.membership), float(found.q)


def leiden(graph: csr_matrix, resolution: float, seed: int) -> np.ndarray:
    """Communities of high modularity by the Leiden algorithm (Traag et al. 2019): (n_cells,).

    graph: symmetric weights; a larger resolution gives more communities.
    """
    drawn, weights = as_igraph(graph)
    with igraph_draws_from(seed):
        found = drawn.community_leiden(
            objective_function="modularity",
            weights=weights.tolist(),
            resolution=resolution,
            n_iterations=4,
        )
    return np.asarray(found.membership)


def potts(
    weights: np.ndarray | csr_matrix, masses: np.ndarray, seed: int
) -> Callable[[float], np.ndarray]:
    """Resolution → groups (n,) with the largest Σ (w_ij − resolution · m_i m_j) within groups.

    The constant Potts model (Traag et al. 2011), by the Leiden algorithm. weights: (n, n),
    symmetric; masses: (n,).
    """
    drawn, between = as_igraph(csr_matrix(weights))
    unit = masses.mean()  # igraph stops at differences that are small in absolute terms
    of_edges, of_nodes = (between / unit**2).tolist(), (masses / unit).tolist()

    def groups_at(resolution: float) -> np.ndarray:
        with igraph_draws_from(seed):
            found = drawn.community_leiden(
                objective_function="CPM",
                weights=of_edges,
                node_weights=of_nodes,
                resolution=resolution,
                n_iterations=-1,
            )
        return np.asarray(found.membership)

    return groups_at


def fine_communities(graph: csr_matrix) -> Callable[[int], np.ndarray]:
    """Seed → the fine community of each cell, (n_cells,) int32: some hundred in all."""
    drawn, weights = as_igraph(graph)
    return lambda seed: _multilevel(drawn, weights, FINE, seed)[0].astype(np.int32)


def between(graph: csr_matrix, fine: np.ndarray) -> np.ndarray:
    """Sums of edge weights between fine communities, (n_fine, n_fine) float32, each edge twice.

    graph: the cells' symmetric weights; fine: (n_cells,) from `fine_communities`.
    """
    n_cells = len(fine)
    member = csr_matrix((np.ones(n_cells), fine, np.arange(n_cells + 1)))
    return (member.T @ graph @ member).toarray().astype(np.float32)


def by_modularity(weights: np.ndarray, seed: int) -> Callable[[float], np.ndarray]:
    """Resolution → fine communities joined into groups of high modularity, (n_fine,) numbers.

    weights: (n_fine, n_fine) from `between`. The graph of the cells is no longer needed.
    """
    # an isolated cell has no edge; a mass of 0 would leave its group to chance
    degree = np.maximum(weights.sum(axis=1, dtype=np.float64), 1e-9)
    groups_at = potts(weights, degree, seed)
    return lambda resolution: groups_at(resolution / degree.sum())


def seek_groups(
    groups_at: Callable[[float], np.ndarray], n_groups: int, rounds: int = 20
) -> tuple[np.ndarray, float]:
    """The groups whose number comes nearest to `n_groups`, and the resolution that gives them.

    groups_at: resolution → numbers of groups; a larger resolution gives more. It is sought by
    bisecting its logarithm. Of equally near numbers of groups the first found is taken.
    """
    low, high = np.log(LOWEST_RESOLUTION), np.log(HIGHEST_RESOLUTION)
    best, chosen, off = np.empty(0), 0.0, np.inf
    for _ in range(rounds):
        resolution = float(np.exp((low + high) / 2))
        found = groups_at(resolution)
        number = len(np.unique(found))
        if abs(number - n_groups) < off:
            best, chosen, off = found, resolution, abs(number - n_groups)
        if number == n_groups:
            break
        if number < n_groups:
            low = np.log(resolution)
        else:
            high = np.log(resolution)
    return best, chosen


def together(groups: np.ndarray) -> np.ndarray:
    """Share of partitions in which two are in one group. groups: (n, R) → (n, n) float32."""
    shared = np.zeros((len(groups), len(groups)), dtype=np.float32)
    for group in groups.T:
        shared += group[:, None] == group[None, :]
    return shared / groups.shape[1]


def as_igraph(graph: csr_matrix) -> tuple[igraph.Graph, np.ndarray]:
    """igraph's version of a symmetric graph, and the weights of its edges, (n_edges,)."""
    import igraph

    edges = triu(graph, k=1, format="coo")
    drawn = igraph.Graph(n=graph.shape[0], edges=np.column_stack([edges.row, edges.col]))
    return drawn, edges.data


@contextmanager
def igraph_draws_from(seed: int) -> Iterator[None]:
    """Let igraph's random numbers follow from a seed."""
    import igraph

    igraph.set_random_number_generator(random.Random(seed))
    try:
        yield
    finally:
        igraph.set_random_number_generator(random)
