"""X-shift (Samusik et al. 2016, Nat. Methods 13: 493-496): density clusters of cytometry data.

No maintained Python version exists; this one is ours. Where the paper leaves a step open, it
follows the authors' program VorteX (github.com/nolanlab/vortex, class XShiftClustering; the elbow
in LinePlusExponent of github.com/nolanlab/sandbox), and each function says how:

1. distance of two cells: the angle between their marker vectors;
2. density of a cell: from the sum of the angles to its K nearest cells;
3. each cell is linked to its nearest denser neighbour; one without any is a centroid;
4. a centroid is linked to a denser one if no sparse gap lies between them;
5. clusters whose means are less than a Mahalanobis distance of 2 apart are merged;
6. all this for many K, of which the one at the elbow of the number of clusters is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moesimvae.errors import UserError
from moesimvae.methods.interface import Clustering, dense

if TYPE_CHECKING:
    from anndata import AnnData

FEWEST_CELLS = 50
BLOCK = 2**24  # cosines held at once
# VorteX looks for denser cells among enough neighbours that, were each a coin toss, any cell of the
# data set that is not at a maximum would find none with at most this probability
CHANCE = 0.01
ALONG = np.arange(1, 20) / 20  # where between two centroids the density is checked
SPREAD = 1.03  # by which VorteX divides standard deviations


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    k_from: int = 5,
    k_to: int = 150,
    k_steps: int = 30,
    mahalanobis: float = 2.0,
    max_cells: int = 250_000,
) -> Clustering:
    """Density clusters; the number of neighbours, K, is chosen and `n_clusters` ignored.

    k_from, k_to, k_steps: the evenly spaced values of K to try; the largest is at most a fifth of
        the cells. VorteX's defaults.
    mahalanobis: clusters closer than this are merged.
    max_cells: above this, that many are drawn at random (the only use of the seed), and each other
        cell gets the cluster of the nearest of them. Time grows as their square and memory as
        their number; Weber & Robinson drew as many from Samusik_all.
    """
    from threadpoolctl import threadpool_limits

    from moesimvae.model.projection import landmark_cells

    points = dense(cells)
    chosen = landmark_cells(len(points), max_cells, seed)
    drawn = points if chosen is None else points[chosen]
    numbers = numbers_to_try(len(drawn), k_from, k_to, k_steps)
    with threadpool_limits(1):  # sums must not depend on the number of threads
        units = directions(drawn)
        gradient_neighbours = neighbours_of_gradient(*drawn.shape)
        near, angles = nearest_cells(units, max(numbers[-1], gradient_neighbours))
        tried = [
            merged_by_mahalanobis(
                drawn,
                density_clusters(units, near[:, : gradient_neighbours - 1], angles, number),
                mahalanobis,
            )
            for number in numbers
        ]
        found = [int(labels.max()) + 1 for labels in tried]
        best = elbow(np.array(numbers, float), np.array(found, float))
        labels = tried[best]
        if chosen is not None:
            labels = spread_to_all(labels, units, directions(points), chosen)
    return Clustering(
        labels,
        history={"neighbours": list(numbers), "clusters": list(found)},
        facts={"neighbours": numbers[best], "neighbours_for_gradient": gradient_neighbours},
    )


def numbers_to_try(n_cells: int, k_from: int, k_to: int, k_steps: int) -> list[int]:
    """The numbers of neighbours K to try, ascending."""
    if n_cells < FEWEST_CELLS:
        raise UserError(
            f"x_shift: there are {n_cells} cells, too few to estimate densities; "
            f"give at least {FEWEST_CELLS}."
        )
    numbers = np.linspace(k_from, min(k_to, n_cells // 5), max(k_steps, 0)).astype(int)
    numbers = np.unique(numbers).tolist()
    if k_from < 2 or k_from > k_to or len(numbers) < 5 or numbers[0] != k_from:
        raise UserError(
            f"x_shift: k_from {k_from}, k_to {k_to} and k_steps {k_steps} give fewer than 5 "
            f"numbers of neighbours to try for {n_cells} cells; k_from must be at least 2, k_to at "
            "least 4 larger, and numbers above a fifth of the cells are not tried."
        )
    return numbers


def neighbours_of_gradient(n_cells: int, n_features: int) -> int:
    """How many nearest cells, itself included, are searched for a denser one."""
    number = max((n_features + 1) / 2, np.floor(np.log2(n_cells / CHANCE)))
    return min(int(number), n_cells)


# Neighbours


def directions(points: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a zero row stays zero, at a right angle to all."""
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return np.divide(points, lengths, out=np.zeros_like(points), where=lengths > 0)


def nearest_cells(units: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and angles of the k − 1 cells nearest to each, excluding itself, (n, k − 1) each.

    Exact: all pairs, block by block. In each row only the cosines above a bound estimated from a
    sample of them are sorted.
    """
    n, k = len(units), k - 1
    step = max(1, n // 4096)
    rank = k if step == 1 else 2 * k // step + 4
    near = np.empty((n, k), dtype=np.int32)
    angles = np.empty((n, k), dtype=np.float32)
    for rows, cosines in blocks_of_cosines(units, units):
        cosines[np.arange(len(rows)), rows] = -2
        bound = np.partition(cosines[:, ::step], -rank, axis=1)[:, -rank]
        enough = np.count_nonzero(cosines >= bound[:, None], axis=1) >= k
        bound[~enough] = -2
        row, cell = np.nonzero(cosines >= bound[:, None])
        order = np.lexsort((-cosines[row, cell], row))
        first = np.searchsorted(row, np.arange(len(rows)))
        found = order[first[:, None] + np.arange(k)]
        near[rows] = cell[found]
        angles[rows] = angle(cosines[row[found], cell[found]])
    return near, angles


def blocks_of_cosines(
    some: np.ndarray, units: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row numbers of `some` and their cosines with all units, block by block."""
    size = max(1, BLOCK // len(units))
    for start in range(0, len(some), size):
        rows = np.arange(start, min(start + size, len(some)))
        yield rows, some[rows] @ units.T


def angle(cosines: np.ndarray) -> np.ndarray:
    return np.arccos(np.clip(cosines, -1, 1))


# One number of neighbours


def density_clusters(units: np.ndarray, near: np.ndarray, angles: np.ndarray, k: int) -> np.ndarray:
    """The centroid at which each cell ends, as a number from 0, (n,).

    near: (n, N − 1), the neighbours searched for a denser cell, nearest first; angles: from
    `nearest_cells`. The sum of angles to the k nearest, the cell itself being the first of them,
    is larger where cells are sparser.
    """
    thinness = angles[:, : k - 1].sum(axis=1, dtype=np.float64)
    denser = thinness[near] < thinness[:, None]
    way = np.arange(len(units))
    climbs = denser.any(axis=1)
    way[climbs] = near[climbs, denser[climbs].argmax(axis=1)]
    centroids = np.flatnonzero(~climbs)
    way[centroids] = centroids[join_centroids(units, centroids, thinness[centroids], k)]
    while True:
        further = way[way]
        if (further == way).all():
            return np.unique(way, return_inverse=True)[1]
        way = further


def join_centroids(
    units: np.ndarray, centroids: np.ndarray, thinness: np.ndarray, k: int
) -> np.ndarray:
    """For each centroid, the number of the one it is joined to, or its own, (n_centroids,).

    The most similar of those that are denser, are its Gabriel neighbours (no third centroid is
    nearer to the midpoint), and are reached through cells that are everywhere at least as dense
    as around itself.
    """
    ends = units[centroids]
    similarity = ends @ ends.T
    choices = [gabriel_choices(similarity, thinness, i) for i in range(len(centroids))]
    target = np.arange(len(centroids))
    open_ = np.array([i for i, choice in enumerate(choices) if len(choice)], dtype=int)
    turn = 0
    while len(open_):
        other = np.array([choices[i][turn] for i in open_])
        joined = no_gap(units, ends[open_], ends[other], thinness[open_], k)
        target[open_[joined]] = other[joined]
        turn += 1
        open_ = np.array([i for i in open_[~joined] if len(choices[i]) > turn], dtype=int)
    return target


def gabriel_choices(similarity: np.ndarray, thinness: np.ndarray, i: int) -> np.ndarray:
    """Denser Gabriel neighbours of centroid i, the most similar first.

    For unit vectors, a third one c is nearer to the midpoint of a and b if a·c + b·c > 1 + a·b.
    """
    own = similarity[i]
    # of equally dense ones the first counts as denser, or they would join each other
    earlier = np.arange(len(own)) < i
    others = np.flatnonzero((thinness < thinness[i]) | ((thinness == thinness[i]) & earlier))
    witnesses = np.argsort(-own, kind="stable")[:32]
    for third in (witnesses, np.arange(len(own))):  # most are ruled out by a near one
        sums = similarity[np.ix_(others, third)] + own[third]
        sums[:, third == i] = -np.inf
        sums[others[:, None] == third] = -np.inf
        others = others[sums.max(axis=1, initial=-np.inf) <= 1 + own[others] + 1e-6]
    return others[np.argsort(-own[others], kind="stable")]


def no_gap(
    units: np.ndarray, start: np.ndarray, end: np.ndarray, limit: np.ndarray, k: int
) -> np.ndarray:
    """Whether cells are as dense as at `start` all the way to `end`, (n,) booleans.

    limit: (n,) sums of angles at the starts. The midpoint is checked first.
    """
    passed = np.arange(len(start))
    for places in (ALONG[9:10], np.delete(ALONG, 9)):
        shares = places[:, None, None]
        ways = shares * start[passed] + (1 - shares) * end[passed]
        ways = directions(ways.reshape(-1, start.shape[1])).astype(units.dtype)
        enough = dense_enough(units, ways, np.tile(limit[passed], len(shares)), k)
        passed = passed[enough.reshape(len(shares), -1).all(axis=0)]
    result = np.zeros(len(start), dtype=bool)
    result[passed] = True
    return result


def dense_enough(units: np.ndarray, places: np.ndarray, limit: np.ndarray, k: int) -> np.ndarray:
    """Whether the sum of angles to the k nearest cells is at most `limit`, (n_places,) booleans.

    Fewer than half of the k can exceed 2 / k of the sum, so few places need the sum itself.
    """
    result = np.zeros(len(places), dtype=bool)
    for rows, cosines in blocks_of_cosines(places, units):
        bound = np.cos(np.minimum(2 * limit[rows] / k, np.pi)) - 1e-6
        near = cosines >= bound[:, None]
        counts = np.count_nonzero(near, axis=1)
        for i in np.flatnonzero(counts >= k / 2):
            values = cosines[i, near[i]] if counts[i] >= k else cosines[i]
            largest = np.partition(values, len(values) - k)[len(values) - k :]
            result[rows[i]] = angle(largest).sum(dtype=np.float64) <= limit[rows[i]]
    return result


# Joining clusters


@dataclass
class Groups:
    """Size (C,), mean (C, d) and summed squared deviation (C, d) of clusters."""

    size: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    def distances_from(self, i: int) -> np.ndarray:
        """Mahalanobis distance of cluster i to each, with the mean of both standard deviations.

        Infinite for a single cell, which has none, and for a cluster of size 0.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            deviation = np.sqrt(self.squares / (self.size - 1)[:, None]) / SPREAD
            scaled = (self.mean - self.mean[i]) / ((deviation + deviation[i]) / 2)
        scaled[self.mean == self.mean[i]] = 0
        result = np.sqrt((scaled**2).sum(axis=1))
        result[(self.size < 2) | (self.size[i] < 2)] = np.inf
        result[i] = np.inf
        return result

    def join(self, i: int, j: int) -> None:
        """Merge cluster j into i."""
        size = self.size[i] + self.size[j]
        step = self.mean[j] - self.mean[i]
        self.squares[i] += self.squares[j] + step**2 * self.size[i] * self.size[j] / size
        self.mean[i] += step * self.size[j] / size
        self.size[i], self.size[j] = size, 0


def groups_of(points: np.ndarray, labels: np.ndarray) -> Groups:
    size = np.bincount(labels).astype(float)
    mean = np.column_stack([np.bincount(labels, column) for column in points.T]) / size[:, None]
    squares = [
        np.bincount(labels, (column - mean[labels, i]) ** 2) for i, column in enumerate(points.T)
    ]
    return Groups(size, mean, np.column_stack(squares))


def merged_by_mahalanobis(points: np.ndarray, labels: np.ndarray, threshold: float) -> np.ndarray:
    """Labels after repeatedly merging the two nearest clusters, while nearer than `threshold`."""
    groups = groups_of(points, labels)
    n = len(groups.size)
    joined_to = np.arange(n)
    distances = np.array([groups.distances_from(i) for i in range(n)], dtype=np.float32)
    nearest = distances.argmin(axis=1)
    while True:
        shortest = distances[np.arange(n), nearest]
        i = int(shortest.argmin())
        if not shortest[i] < threshold:
            break
        j = int(nearest[i])
        groups.join(i, j)
        joined_to[joined_to == j] = i
        distances[j] = distances[:, j] = np.inf
        distances[i] = distances[:, i] = groups.distances_from(i)
        stale = np.isin(nearest, (i, j)) | (np.arange(n) == i)
        nearest[stale] = distances[stale].argmin(axis=1)
        nearest[distances[:, i] < distances[np.arange(n), nearest]] = i
    return np.unique(joined_to[labels], return_inverse=True)[1]


# The number of neighbours


def elbow(numbers: np.ndarray, clusters: np.ndarray) -> int:
    """Index of the number of neighbours from which the number of clusters falls only linearly.

    The fit is clusters = line + exponential, with each number as the bend: the line to the numbers
    from there on, then the exponential to what lies above it. The best fit of all wins.
    """
    from scipy.optimize import least_squares

    def misfit(line: np.ndarray, curve: np.ndarray) -> np.ndarray:
        return clusters - np.polyval(line, numbers) - np.exp(np.polyval(curve, numbers))

    costs = {}
    for i in range(2, len(numbers) - 2):
        line = np.polyfit(numbers[i:], clusters[i:], 1)
        above = clusters[: i + 1] - np.polyval(line, numbers[: i + 1])
        start = np.polyfit(numbers[: i + 1], np.log(np.maximum(1, above)), 1)
        fit = least_squares(lambda curve, line=line: misfit(line, curve), start)
        costs[i] = fit.cost
    return min(costs, key=lambda i: costs[i])


# All cells


def spread_to_all(
    labels: np.ndarray, units: np.ndarray, every: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """Labels of all cells: those of the chosen ones, and for others that of the nearest chosen."""
    result = np.empty(len(every), dtype=labels.dtype)
    for rows, cosines in blocks_of_cosines(every, units):
        result[rows] = labels[cosines.argmax(axis=1)]
    result[chosen] = labels
    return result
