"""Fine communities joined into exactly as many groups as asked for; needs no torch.

No one way of joining is best for all cells: Ward's linkage finds groups of even size and splits
large populations, density alone finds uneven ones and keeps stray cells apart as groups. So
several are tried, and the one whose groups are the purest neighbourhoods is taken, without labels.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist, squareform

from moesimvae.model.graphs import by_modularity, seek_groups

# of groups that are together at every resolution, so that they are still told apart by distance
LEAST_APART = 0.05
# exponents of the joint size of two groups, and of how far apart they are in the graph
TREES = {
    "density": (0.1, 2),
    "density, sizes": (0.25, 2),
    "balanced": (0.5, 2),
    "sizes": (0.75, 2),
    "Ward": (1.0, 0),
}


def agglomerate(
    means: np.ndarray,
    sizes: np.ndarray,
    apart: np.ndarray,
    n_groups: int,
    size_power: float,
    apart_power: float,
) -> np.ndarray:
    """Join the two groups a, b of least h^α d² (A + ε)^β until `n_groups` are left.

    h = n_a n_b / (n_a + n_b) of their shares of the cells, d the distance of their means, A the
    mean of `apart` between their members, α = `size_power`, β = `apart_power`. With α = 1 and
    β = 0 it is Ward's linkage (1963), with α = 0 the centroid linkage.

    means: (n, n_dimensions); sizes: (n,) numbers of cells; apart: (n, n) in [0, 1].
    Returns (n,) numbers of groups from 0.
    """
    n = len(sizes)
    means, apart = means.astype(np.float64), apart.astype(np.float64)
    share = sizes / sizes.sum()
    squares = squareform(pdist(means, "sqeuclidean"))
    group = np.arange(n)

    def costs(rows: np.ndarray | int, others: np.ndarray | slice) -> np.ndarray:
        one, other = share[rows][..., None], share[others]
        joint = (one * other / (one + other)) ** size_power
        between = (apart[rows][..., others] + LEAST_APART) ** apart_power
        return joint * np.maximum(squares[rows][..., others], 0) * between

    cost = costs(np.arange(n), slice(None))
    np.fill_diagonal(cost, np.inf)
    nearest = cost.argmin(axis=1)
    least = cost[np.arange(n), nearest]
    for _ in range(n - n_groups):
        a = int(least.argmin())
        b = int(nearest[a])
        part = share[a] / (share[a] + share[b])
        squares[a] = part * squares[a] + (1 - part) * squares[b] - part * (1 - part) * squares[a, b]
        apart[a] = part * apart[a] + (1 - part) * apart[b]
        squares[:, a], apart[:, a] = squares[a], apart[a]
        share[a] += share[b]
        group[group == b] = a
        row = costs(a, slice(None))
        row[np.isinf(least)] = np.inf  # of groups that are joined to others already
        row[[a, b]] = np.inf
        cost[a], cost[:, a] = row, row
        cost[b], cost[:, b] = np.inf, np.inf
        least[b] = np.inf
        stale = np.flatnonzero(np.isfinite(least) & ((nearest == a) | (nearest == b)))
        stale = np.append(stale, a)
        nearest[stale] = cost[stale].argmin(axis=1)
        least[stale] = cost[stale, nearest[stale]]
        nearer = row < least
        nearest[nearer], least[nearer] = a, row[nearer]
    return np.unique(group, return_inverse=True)[1]


def purity(labels: np.ndarray, chosen: np.ndarray, neighbours: np.ndarray) -> float:
    """How far the neighbours of a cell are of its own group: of cells, and of groups, on average.

    The mean of two: the share of neighbours in the cell's own group, corrected for chance as
    Cohen's κ, which large groups govern; and its mean over groups, which it takes small ones to
    be groups for. Neither alone will do: the first likes few stray cells as groups of their own,
    the second does not mind how a large group is split.

    labels: (n_cells,) from 0; neighbours: (n_chosen, k) nearest neighbours of the cells `chosen`.
    """
    own = labels[chosen]
    shared = (labels[neighbours] == own[:, None]).mean(axis=1)
    by_chance = np.square(np.bincount(labels) / len(labels)).sum()
    corrected = (shared.mean() - by_chance) / max(1 - by_chance, 1e-9)
    sizes = np.bincount(own)
    by_group = np.bincount(own, shared)[sizes > 0] / sizes[sizes > 0]
    return float((corrected + by_group.mean()) / 2)


def cut(
    points: np.ndarray,
    fine: np.ndarray,
    partitions: np.ndarray,
    weights: np.ndarray,
    n_groups: int,
    seed: int,
    *,
    chosen: np.ndarray,
    neighbours: np.ndarray,
) -> tuple[np.ndarray, dict[str, float]]:
    """Exactly `n_groups` groups of the cells, once for each repeat, and the purity of each way.

    points: (n_cells, n_dimensions); fine: (n_cells, repeats) fine communities; partitions:
    (repeats, n_fine, n_resolutions) groups of them by modularity; weights: (repeats, n_fine,
    n_fine) of the edges between them; chosen, neighbours: as in
    `purity`.

    The purity of a way is its mean over the repeats; all repeats are cut in one way: the first in
    the order of TREES, modularity, whose purity is within a standard error of the
    largest. Returns (n_cells, repeats) numbers from 0, and way → purity, the one taken first.
    """
    ways: dict[str, list[np.ndarray]] = {}
    for communities, partition, edges in zip(fine.T, partitions, weights, strict=True):
        found = _cut_once(points, communities, partition, n_groups)
        found["modularity"] = _by_resolution(communities, edges, n_groups, seed, found)
        for way, labels in found.items():
            ways.setdefault(way, []).append(labels)
    purities = {
        way: float(np.mean([purity(labels, chosen, neighbours) for labels in repeats]))
        for way, repeats in ways.items()
    }
    most = max(purities.values())
    by_chance = np.sqrt(max(most * (1 - most), 0) / len(chosen))
    taken = next(way for way, value in purities.items() if value >= most - by_chance)
    return np.column_stack(ways[taken]), {taken: purities[taken]} | purities


def _cut_once(
    points: np.ndarray, communities: np.ndarray, partition: np.ndarray, n_groups: int
) -> dict[str, np.ndarray]:
    sizes = np.bincount(communities)
    if len(sizes) <= n_groups:
        return dict.fromkeys(TREES, communities)
    means = np.column_stack([np.bincount(communities, c) for c in points.T]) / sizes[:, None]
    apart = np.zeros((len(sizes), len(sizes)))
    for groups in partition[: len(sizes)].T:
        apart += groups[:, None] != groups[None, :]
    apart /= partition.shape[1]
    return {
        way: agglomerate(means, sizes, apart, n_groups, *powers)[communities]
        for way, powers in TREES.items()
    }


def _by_resolution(
    communities: np.ndarray,
    edges: np.ndarray,
    n_groups: int,
    seed: int,
    instead: dict[str, np.ndarray],
) -> np.ndarray:
    """Groups by modularity at the resolution that gives `n_groups`; `instead` where none does."""
    n_fine = int(communities.max()) + 1
    edges = edges[:n_fine, :n_fine]
    groups, _ = seek_groups(lambda r: by_modularity(edges, [r], seed)[:, 0], n_groups)
    groups = np.unique(groups, return_inverse=True)[1]
    if groups.max() + 1 != n_groups:
        return instead["balanced"]
    return groups[communities]


def align(labels: np.ndarray, reference: np.ndarray, n_groups: int) -> np.ndarray:
    """Labels renumbered, one to one, so that most cells agree with the reference; (n_cells,)."""
    table = np.zeros((n_groups, n_groups), dtype=np.int64)
    np.add.at(table, (labels, reference), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    renumbered = np.empty(n_groups, dtype=np.int64)
    renumbered[rows] = columns
    return renumbered[labels]


def vote(repeats: np.ndarray, n_groups: int) -> np.ndarray:
    """One labelling (n_cells,) of several (n_cells, repeats): numbers of groups by most votes.

    They are aligned to the one that shares most with the others. Of equal votes the smallest
    number wins.
    """

    def agreement(reference: np.ndarray) -> float:
        return sum((align(labels, reference, n_groups) == reference).mean() for labels in repeats.T)

    middle = max(range(repeats.shape[1]), key=lambda repeat: agreement(repeats[:, repeat]))
    votes = np.zeros((len(repeats), n_groups), dtype=np.int16)
    for labels in repeats.T:
        votes[np.arange(len(labels)), align(labels, repeats[:, middle], n_groups)] += 1
    return votes.argmax(axis=1)
