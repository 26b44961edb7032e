"""Fine communities joined into exactly as many groups as asked for; needs no torch.

No single way of joining is best for all cells: Ward's linkage finds groups of even size and splits
large populations; density alone finds uneven ones but keeps stray cells as groups of their own. So
several are tried, and the one whose groups are purest in neighbours is taken, without labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.spatial.distance import pdist, squareform

from moesimvae.model.graphs import (
    between,
    by_modularity,
    fine_communities,
    seek_groups,
    together,
)

# ε of `agglomerate`, so that groups together at every resolution are still ranked by distance
LEAST_APART = 0.05
# exponents of the joint size of two groups, and of how far apart they are in the graph
TREES = {
    "density": (0.1, 2),
    "density, sizes": (0.25, 2),
    "balanced": (0.5, 2),
    "sizes": (0.75, 2),
    "Ward": (1.0, 0),
}
MODULARITY = "modularity"
# difference in purity that does not count, in units of a single cell's standard deviation,
# √(p (1 − p)); chosen on the development sets of docs/findings.md
AS_PURE = 0.028
WAYS = (*TREES, MODULARITY)


@dataclass(frozen=True)
class Fine:
    """Fine communities of cells, from which groups are made.

    of: (n_cells,) the cells' communities; weights: (n_fine, n_fine) sums of the edges between them
    (`graphs.between`); groups: (n_fine, n_resolutions) groups of communities by modularity.
    """

    of: np.ndarray
    weights: np.ndarray
    groups: np.ndarray

    @classmethod
    def find(
        cls, graph: csr_matrix, resolutions: np.ndarray, seeds: Iterable[int]
    ) -> Iterator[Fine]:
        """Find them with each seed; graph: symmetric weights between cells (n_cells, n_cells)."""
        communities_by = fine_communities(graph)
        for seed in seeds:
            communities = communities_by(seed)
            weights = between(graph, communities)
            groups_at = by_modularity(weights, seed)
            groups = np.column_stack([groups_at(r) for r in resolutions])
            yield cls(communities, weights, groups)

    def tree(self, points: np.ndarray, size_power: float, apart_power: float) -> np.ndarray:
        """The `agglomerate` merges of the communities; points: cells (n_cells, n_dimensions)."""
        sizes = np.bincount(self.of)
        means = np.column_stack([np.bincount(self.of, c) for c in points.T]) / sizes[:, None]
        return agglomerate(means, sizes, 1 - together(self.groups), size_power, apart_power)

    def cut(self, points: np.ndarray, n_groups: int, way: str, seed: int) -> np.ndarray:
        """`n_groups` groups of the cells (n_cells,), joined in one of the WAYS.

        Fewer where there are no more communities. "modularity" gives "balanced" groups where no
        resolution yields exactly that many.
        """
        n_fine = len(self.weights)
        if n_fine <= n_groups:
            return self.of
        if way != MODULARITY:
            return groups_after(self.tree(points, *TREES[way]), n_groups)[self.of]
        found, _ = seek_groups(by_modularity(self.weights, seed), n_groups)
        groups = np.unique(found, return_inverse=True)[1]
        if groups.max() + 1 != n_groups:
            return self.cut(points, n_groups, "balanced", seed)
        return groups[self.of]


def agglomerate(
    means: np.ndarray,
    sizes: np.ndarray,
    apart: np.ndarray,
    size_power: float,
    apart_power: float,
) -> np.ndarray:
    """Join, pair by pair, the two groups a, b with the smallest h^α d² (A + ε)^β.

    h = n_a n_b / (n_a + n_b) of their shares of the cells, d the distance between their means, A
    the mean of `apart` between their members, α = `size_power`, β = `apart_power`. With β = 0 it
    is Ward's linkage (1963) for α = 1, and centroid linkage for α = 0.

    means: (n, n_dimensions); sizes: (n,) numbers of cells; apart: (n, n) in [0, 1].
    Returns (n − 1, 2) pairs, the first joined first, for `groups_after`.
    """
    n = len(sizes)
    means, apart = means.astype(np.float64), apart.astype(np.float64)
    share = sizes / sizes.sum()
    squares = squareform(pdist(means, "sqeuclidean"))

    def costs(rows: np.ndarray | int, others: np.ndarray | slice) -> np.ndarray:
        one, other = share[rows][..., None], share[others]
        joint = (one * other / (one + other)) ** size_power
        between = (apart[rows][..., others] + LEAST_APART) ** apart_power
        return joint * np.maximum(squares[rows][..., others], 0) * between

    cost = costs(np.arange(n), slice(None))
    np.fill_diagonal(cost, np.inf)
    nearest = cost.argmin(axis=1)
    least = cost[np.arange(n), nearest]
    merges = np.empty((n - 1, 2), dtype=np.int64)
    for step in range(n - 1):
        a = int(least.argmin())
        b = int(nearest[a])
        merges[step] = a, b
        part = share[a] / (share[a] + share[b])
        squares[a] = part * squares[a] + (1 - part) * squares[b] - part * (1 - part) * squares[a, b]
        apart[a] = part * apart[a] + (1 - part) * apart[b]
        squares[:, a], apart[:, a] = squares[a], apart[a]
        share[a] += share[b]
        row = costs(a, slice(None))
        row[np.isinf(least)] = np.inf  # groups already joined to others
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
    return merges


def groups_after(merges: np.ndarray, n_groups: int) -> np.ndarray:
    """The `n_groups` groups that the first n − n_groups merges (n − 1, 2) leave; (n,) from 0."""
    n = len(merges) + 1
    group = np.arange(n)
    for a, b in merges[: n - n_groups]:
        group[group == b] = group[a]
    return np.unique(group, return_inverse=True)[1]


def purity(labels: np.ndarray, chosen: np.ndarray, neighbours: np.ndarray) -> float:
    """How often neighbours of a cell are in its own group, averaged over cells and over groups.

    The mean of two: the share of neighbours in the cell's own group, corrected for chance as in
    Cohen's κ, which large groups dominate; and the mean of that share over groups, which is high
    only if small ones are groups, too. Neither alone will do: the first favours a few stray cells
    as groups of their own, the second does not mind how a large group is split.

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
    repeats: Sequence[Fine],
    n_groups: int,
    seed: int,
    *,
    chosen: np.ndarray,
    neighbours: np.ndarray,
) -> tuple[np.ndarray, dict[str, float]]:
    """Exactly `n_groups` groups of the cells, once for each repeat; and how pure each way is.

    points: (n_cells, n_dimensions); repeats: fine communities from different seeds; chosen,
    neighbours: as in `purity`.

    All repeats are cut in the same way: the first of the WAYS that is about as pure as the purest,
    on average over the repeats. Modularity comes last, since it is fitted to the neighbours that
    purity is measured by. Returns (n_cells, repeats) numbers from 0, and way → purity, with the
    chosen way listed first.
    """
    found = {
        way: np.column_stack([fine.cut(points, n_groups, way, seed) for fine in repeats])
        for way in WAYS
    }
    purities = {
        way: float(np.mean([purity(one, chosen, neighbours) for one in labels.T]))
        for way, labels in found.items()
    }
    most = max(purities.values())
    near = most - AS_PURE * np.sqrt(max(most * (1 - most), 0))
    taken = next(way for way, value in purities.items() if value >= near)
    return found[taken], {taken: purities[taken]} | purities


def align(labels: np.ndarray, reference: np.ndarray, n_groups: int) -> np.ndarray:
    """Labels renumbered, one to one, so that most cells agree with the reference; (n_cells,)."""
    table = np.zeros((n_groups, n_groups), dtype=np.int64)
    np.add.at(table, (labels, reference), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    renumbered = np.empty(n_groups, dtype=np.int64)
    renumbered[rows] = columns
    return renumbered[labels]


def vote(repeats: np.ndarray, n_groups: int) -> np.ndarray:
    """One labelling (n_cells,) from several (n_cells, repeats): each cell's most frequent group.

    They are aligned to the repeat that agrees most with the others. In a tie the smallest number
    wins. Where a group would be left without cells, that repeat is returned as it is.
    """

    def agreement(reference: np.ndarray) -> float:
        return sum((align(labels, reference, n_groups) == reference).mean() for labels in repeats.T)

    middle = max(range(repeats.shape[1]), key=lambda repeat: agreement(repeats[:, repeat]))
    votes = np.zeros((len(repeats), n_groups), dtype=np.int16)
    for labels in repeats.T:
        votes[np.arange(len(labels)), align(labels, repeats[:, middle], n_groups)] += 1
    voted = votes.argmax(axis=1)
    # a group that the repeats disagree on may get no cell, but all groups are asked for
    kept = len(np.unique(voted)) == len(np.unique(repeats[:, middle]))
    return voted if kept else repeats[:, middle].astype(voted.dtype)
