"""FlowSOM (Van Gassen et al. 2015): a self-organising map by flowsom, its nodes metaclustered.

The map is the package's. The metaclustering is implemented here after R's FlowSOM and
ConsensusClusterPlus, the source of the published numbers: the class of that name in flowsom 0.2.2
cuts a plain tree of the nodes without any consensus.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from moesimvae.errors import UserError
from moesimvae.methods.interface import Clustering, dense

if TYPE_CHECKING:
    from anndata import AnnData

# as in FlowSOM's metaClustering_consensus
RESAMPLES = 100
DRAWN = 0.9
SMOOTH = 0.2  # smoothing of the curve in which the elbow is sought


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    grid: Sequence[int] = (10, 10),
    passes: int = 10,
    elbow_up_to: int | None = None,
) -> Clustering:
    """`n_clusters` metaclusters of the nodes of a map of `grid` nodes.

    passes: number of passes, each over as many randomly drawn cells as there are.
    elbow_up_to: None, or the largest number of metaclusters to try; the number is then at the
        elbow of their sum of squares (`elbow`), and n_clusters is ignored.
    """
    n_nodes = grid[0] * grid[1]
    points = dense(cells)
    check(len(points), n_nodes, n_clusters, elbow_up_to)
    nodes, node_of_cell, error = self_organising_map(points, grid, passes, seed)
    facts = {"nodes_in_use": len(np.unique(node_of_cell)), "quantisation_error": error}
    history = {}
    if elbow_up_to is None:
        metaclusters = consensus(nodes, [n_clusters], seed)[:, 0]
    else:
        tried = consensus(nodes, range(1, elbow_up_to + 1), seed)
        history["sum_of_squares"] = [within_squares(nodes, labels) for labels in tried.T]
        metaclusters = tried[:, elbow(np.array(history["sum_of_squares"])) - 1]
    return Clustering(metaclusters[node_of_cell], history=history, facts=facts)


def check(n_cells: int, n_nodes: int, n_clusters: int, elbow_up_to: int | None) -> None:
    if n_cells < n_nodes:
        raise UserError(
            f"flowsom: there are {n_cells} cells for a grid of {n_nodes} nodes; "
            "give at least as many cells, or a smaller grid."
        )
    wanted = n_clusters if elbow_up_to is None else elbow_up_to
    if wanted > n_nodes:
        name = "n_clusters" if elbow_up_to is None else "elbow_up_to"
        raise UserError(
            f"flowsom: {name} is {wanted}, but the grid has only {n_nodes} nodes to join into "
            "clusters; give a smaller number or a larger grid."
        )
    if elbow_up_to is not None and elbow_up_to < 4:
        raise UserError(
            f"flowsom: elbow_up_to is {elbow_up_to}, but an elbow needs at least 4 numbers of "
            "clusters."
        )


def self_organising_map(
    points: np.ndarray, grid: Sequence[int], passes: int, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """The map's nodes (n_nodes, n_features), each cell's node, and the mean distance to it."""
    from flowsom.models import SOMEstimator

    state = np.random.get_state()  # noqa: NPY002 - the package seeds NumPy's global generator
    try:
        som = SOMEstimator(xdim=grid[0], ydim=grid[1], rlen=passes, seed=seed % 2**32).fit(points)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return som.codes, som.labels_.astype(int), float(som.distances.mean())


def consensus(nodes: np.ndarray, numbers: Sequence[int], seed: int) -> np.ndarray:
    """Consensus clustering (Monti et al. 2003): a column of labels for each of `numbers`.

    Average linkage of the nodes by `consensus_distances`, as in ConsensusClusterPlus.
    nodes: (n, n_features).
    """
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import squareform

    distances = consensus_distances(nodes, numbers, seed)
    trees = (linkage(squareform(distance, checks=False), "average") for distance in distances)
    cuts = [cut_tree(tree, number)[:, 0] for tree, number in zip(trees, numbers, strict=True)]
    return np.column_stack(cuts)


def consensus_distances(nodes: np.ndarray, numbers: Sequence[int], seed: int) -> np.ndarray:
    """Share of draws with both nodes in which they are apart: (len(numbers), n, n) in [0, 1].

    Each of 100 random draws of 90 % of the nodes is cut into each number of clusters by average
    linkage.
    """
    from scipy.cluster.hierarchy import cut_tree, linkage

    n, random = len(nodes), np.random.default_rng(seed)
    together = np.zeros((len(numbers), n, n), dtype=np.float32)
    both_drawn = np.zeros((n, n), dtype=np.float32)
    for _ in range(RESAMPLES):
        drawn = np.sort(random.choice(n, int(DRAWN * n), replace=False))
        pairs = np.ix_(drawn, drawn)
        both_drawn[pairs] += 1
        tree = linkage(nodes[drawn], "average")
        labels = cut_tree(tree, np.minimum(numbers, len(drawn))).T
        for count, label in zip(together, labels, strict=True):
            count[pairs] += label[:, None] == label[None, :]
    return 1 - together / np.maximum(both_drawn, 1)


def within_squares(points: np.ndarray, labels: np.ndarray) -> float:
    """Sum of squared distances of the points to the mean of their cluster."""
    groups = (points[labels == label] for label in np.unique(labels))
    return float(sum(((group - group.mean(axis=0)) ** 2).sum() for group in groups))


def elbow(curve: np.ndarray) -> int:
    """The number of clusters at the elbow of `curve`, its values for 1, 2, … clusters.

    As in R's FlowSOM: the smoothed curve is split into two straight lines with the smallest sum of
    absolute residuals; the number is the first point of the second.
    """
    smooth = curve.astype(float)
    for i in range(1, len(curve) - 1):  # sequentially, as in R's FlowSOM
        smooth[i] = (1 - SMOOTH) * smooth[i] + SMOOTH / 2 * (smooth[i - 1] + smooth[i + 1])
    numbers = np.arange(1, len(curve) + 1)
    residuals = [
        residual(numbers[:i], smooth[:i]) + residual(numbers[i:], smooth[i:])
        for i in range(1, len(curve) - 1)
    ]
    return int(np.argmin(residuals)) + 2


def residual(x: np.ndarray, y: np.ndarray) -> float:
    """Sum of absolute residuals of the least-squares line; 0 for one or two points."""
    if len(x) <= 2:
        return 0.0
    return float(np.abs(y - np.polyval(np.polyfit(x, y, 1), x)).sum())
