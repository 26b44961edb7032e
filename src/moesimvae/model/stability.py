"""How stable groups of cells are, and how many there are; by resampling, without labels or torch.

The groups of the similarity "communities" are made again and again from half of the cells. A
genuine group is found again; an arbitrary cut through a cloud of cells is not (Hennig 2007).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from moesimvae.model.cutting import TREES, Fine, align, groups_after
from moesimvae.model.graphs import (
    COINCIDING,
    apart,
    jaccard_graph,
    neighbour_graph,
    symmetric,
)
from moesimvae.model.projection import Matrix, landmark_cells
from moesimvae.model.similarity import (
    RARE_SHARE,
    Communities,
    components,
)

RESAMPLES = 20
RESAMPLED_CELLS = 5_000  # of a resample at most, else half of all
STABLE = 0.6  # least stability of a genuine cluster (Hennig 2007)
FEWEST_CELLS = 10  # of a group that counts
MOST_GROUPS = 40  # that an estimate considers
JOINED = "balanced"  # the way of joining that the number of groups is estimated by
CROWD = 15  # rank of the neighbour whose distance shows how crowded it is around a cell
CROWDED = 0.05  # nats of `measure_crowding` that exceed chance
BOOTSTRAPS = 200


@dataclass(frozen=True)
class Stability:
    """What resampling shows of a clustering.

    clusters: (n_clusters,) mean over resamples of the largest Jaccard index with a group found
        there, NaN for an empty cluster. together: (n_clusters, n_clusters) share of pairs, one
        cell of each cluster, that are found in one group. drawn, found: (n_resamples, n_drawn)
        cells, and the groups that they were found in, numbered like the clusters.
    """

    clusters: np.ndarray
    together: np.ndarray
    drawn: np.ndarray
    found: np.ndarray

    def merges(self) -> np.ndarray:
        """The clusters' merge tree, SciPy's linkage (n − 1, 4) with heights 1 − `together`."""
        return linkage(squareform(1 - self.together, checks=False), "average")

    def facts(self, together_above: float = 0.1) -> dict[str, Any]:
        """JSON-able: stability of each cluster; pairs (a, b, share) that are often in one group."""
        pairs = [
            [int(a), int(b), round(float(self.together[a, b]), 3)]
            for a, b in zip(*np.nonzero(np.triu(self.together, 1) > together_above), strict=True)
        ]
        return {
            "resamples": len(self.drawn),
            "clusters": [None if np.isnan(s) else round(float(s), 3) for s in self.clusters],
            "together": sorted(pairs, key=lambda pair: -pair[2]),
        }


@dataclass(frozen=True)
class Evidence:
    """How many groups there are, and the evidence for it.

    n_clusters: estimated, 1 where no structure was found; interval: within which it lies in 95 %
    of bootstraps of the resamples. crowding: see `measure_crowding`. curve: for each number of
    groups their mean stability, how many of them are stable, and the score that is largest at the
    number chosen.
    """

    n_clusters: int
    interval: tuple[int, int]
    crowding: float
    curve: list[dict[str, float]]

    def __str__(self) -> str:
        if self.n_clusters == 1:
            return (
                "no structure was found: groups are not recovered from random halves of the cells, "
                "or cells are no closer to each other than after shuffling their values"
            )
        low, high = self.interval
        return f"{self.n_clusters}, estimated without labels ({low} to {high} by resampling)"

    def facts(self) -> dict[str, Any]:
        """The same, JSON-able."""
        return {
            "n_clusters": self.n_clusters,
            "interval": list(self.interval),
            "structure": self.n_clusters > 1,
            "crowding": round(self.crowding, 3),
            "curve": self.curve,
        }


def assess(
    cells: Matrix,
    labels: np.ndarray,
    n_clusters: int,
    way: str,
    parameters: Communities,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Stability:
    """How stable the clusters of the cells are.

    cells: (n_cells, n_features); labels: (n_cells,) from 0; way: of `cutting.WAYS`, by which the
    cells of a resample are joined into as many groups as there are clusters in use.
    """
    points, _ = components(parameters, cells, seed)
    chosen = landmark_cells(len(points), parameters.landmarks, seed)
    if chosen is None:
        chosen = np.arange(len(points))
    in_use = len(np.unique(labels))
    indices, shares, drawn, found = [], [], [], []
    for drawn_of, fine in resample(points[chosen], parameters, seed, resamples):
        index = chosen[drawn_of]
        groups = fine.cut(points[index], in_use, way, seed)
        table = _count(labels[index], groups, n_clusters)
        indices.append(jaccard(table))
        within = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        shares.append(within @ within.T)
        drawn.append(index)
        found.append(align(groups, labels[index], n_clusters))
    return Stability(
        _mean(indices), np.mean(shares, axis=0), np.array(drawn), np.array(found, dtype=np.int32)
    )


def estimate(
    cells: Matrix,
    parameters: Communities | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Evidence:
    """How many groups of cells there are. cells: (n_cells, n_features), dense or CSR, finite.

    The number for which the score Σ over groups of (stability − STABLE) is largest; the stability
    of a few stray cells, fewer than FEWEST_CELLS or RARE_SHARE of all, counts as 0. A single group
    scores as one that is always found again. The number is also 1 where cells lie no nearer to
    each other than shuffled ones (`measure_crowding`).
    """
    parameters = parameters or Communities()
    crowding = measure_crowding(cells, parameters, seed=seed)
    if crowding < CROWDED:
        return Evidence(1, (1, 1), crowding, [])
    points, _ = components(parameters, cells, seed)
    chosen = landmark_cells(len(points), 2 * RESAMPLED_CELLS, seed)
    points = points if chosen is None else points[chosen]
    fine = _find_fine(points, parameters, seed)
    numbers = range(2, min(MOST_GROUPS, len(fine.weights) - 1) + 1)
    if not numbers:
        return Evidence(1, (1, 1), crowding, [])
    tree = fine.tree(points, *TREES[JOINED])
    reference = {k: groups_after(tree, k)[fine.of] for k in numbers}
    least = max(FEWEST_CELLS, RARE_SHARE * len(points))
    many = {k: np.bincount(groups, minlength=k) >= least for k, groups in reference.items()}
    # for each number of groups, their Jaccard indices in each resample; 0 for tiny groups
    stability: dict[int, list[np.ndarray]] = {k: [] for k in numbers}
    for index, other in resample(points, parameters, seed, resamples):
        own = other.tree(points[index], *TREES[JOINED])
        for k in numbers:
            found = groups_after(own, min(k, len(other.weights)))[other.of]
            indices = jaccard(_count(reference[k][index], found, k))
            stability[k].append(np.where(many[k], indices, 0))
    means = {k: _mean(stability[k]) for k in numbers}
    curve = [
        {
            "n_clusters": k,
            "stability": round(float(mean.mean()), 3),
            "stable": int((mean >= STABLE).sum()),
            "score": round(float((mean - STABLE).sum()), 3),
        }
        for k, mean in means.items()
    ]
    # (n_numbers, n_resamples), and their means over each bootstrap of the resamples
    scores = np.array([[np.nansum(one - STABLE) for one in stability[k]] for k in numbers])
    random = np.random.default_rng(seed)
    draws = random.integers(resamples, size=(BOOTSTRAPS, resamples))
    found = [_choose(numbers, column) for column in scores[:, draws].mean(axis=2).T]
    best = _choose(numbers, scores.mean(axis=1))
    low, high = np.quantile([*found, best], [0.025, 0.975], method="nearest")
    return Evidence(best, (min(int(low), best), max(int(high), best)), crowding, curve)


def _choose(numbers: Sequence[int], scores: np.ndarray) -> int:
    return numbers[int(scores.argmax())] if scores.max() > 1 - STABLE else 1


def resample(
    points: np.ndarray, parameters: Communities, seed: int, resamples: int
) -> Iterator[tuple[np.ndarray, Fine]]:
    """Half of the cells, RESAMPLED_CELLS at most: their indices, and their fine communities.

    points: (n_cells, n_dimensions).
    """
    random = np.random.default_rng(seed)
    n = min((len(points) + 1) // 2, RESAMPLED_CELLS)
    for repeat in range(resamples):
        index = np.sort(random.choice(len(points), n, replace=False))
        yield index, _find_fine(points[index], parameters, seed + 1 + repeat)


def jaccard(table: np.ndarray) -> np.ndarray:
    """Largest Jaccard index of each row's group with any column's, (n_rows,).

    table: (n_rows, n_columns) numbers of cells; NaN for a row without any.
    """
    sizes = table.sum(axis=1)
    union = sizes[:, None] + table.sum(axis=0) - table
    return np.where(sizes > 0, (table / np.maximum(union, 1)).max(axis=1), np.nan)


def join(merges: np.ndarray, n_groups: int) -> np.ndarray:
    """The group of each cluster, (n_clusters,) from 0, when merges leave `n_groups` of them."""
    return cut_tree(merges, n_groups).ravel()


def _find_fine(points: np.ndarray, parameters: Communities, seed: int) -> Fine:
    points = apart(points, parameters.n_neighbors, seed)
    graph = jaccard_graph(neighbour_graph(points, parameters.n_neighbors, seed))
    return next(Fine.find(symmetric(graph), parameters.ladder(), [seed]))


def measure_crowding(cells: Matrix, parameters: Communities, *, seed: int) -> float:
    """How much nearer cells lie to each other than they would without structure, at least 0.

    The mean over cells of ln(distance to the 15th neighbour) says how crowded they are. The result
    is how far it lies below that of a Gaussian of the same covariance, less the same for the cells
    with each feature shuffled on its own. Times the number of dimensions, it is how many nats the
    features tell about each other beyond their covariance: none for a Gaussian, nor for independent
    features of any distribution. cells: (n_cells, n_features).
    """
    random = np.random.default_rng(seed)
    if cells.shape[0] > RESAMPLED_CELLS:
        cells = cells[np.sort(random.choice(cells.shape[0], RESAMPLED_CELLS, replace=False))]
    points, n_pca = components(parameters, cells, seed)
    alone, _ = components(replace(parameters, n_pca=n_pca), shuffle(cells, random), seed)
    return max(0.0, _beyond_gaussian(points, random) - max(0.0, _beyond_gaussian(alone, random)))


def shuffle(cells: Matrix, random: np.random.Generator) -> Matrix:
    """Permute each feature's values on their own."""
    if isinstance(cells, np.ndarray):
        return random.permuted(cells, axis=0)
    columns = cells.tocsc(copy=True)
    for start, end in pairwise(columns.indptr):
        columns.indices[start:end] = random.choice(cells.shape[0], end - start, replace=False)
    return columns.tocsr()


def _beyond_gaussian(points: np.ndarray, random: np.random.Generator) -> float:
    """Crowding of points (n_cells, n_dimensions) beyond that of a Gaussian of their covariance."""
    centred = points - points.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    gaussian = random.normal(size=(len(points), len(sizes))) * sizes / np.sqrt(len(points)) @ axes
    least = COINCIDING * points.std()
    return _measure_distance(gaussian, least) - _measure_distance(centred, least)


def _measure_distance(points: np.ndarray, least: float) -> float:
    """Mean logarithm of the distances to the 15th neighbour, floored at `least`."""
    k = min(CROWD, len(points) - 1)
    with threadpool_limits(1):
        far = NearestNeighbors(n_neighbors=k).fit(points).kneighbors()[0][:, -1]
    return float(np.log(np.maximum(far, max(least, np.finfo(float).tiny))).mean())


def _count(labels: np.ndarray, groups: np.ndarray, n_clusters: int) -> np.ndarray:
    """Numbers of cells by cluster and group, (n_clusters, n_groups)."""
    table = np.zeros((n_clusters, int(groups.max()) + 1))
    np.add.at(table, (labels, groups), 1)
    return table


def _mean(indices: list[np.ndarray]) -> np.ndarray:
    """Mean over resamples of each cluster's Jaccard index, NaN where it never had a cell."""
    values = np.array(indices)
    seen = ~np.isnan(values)
    total = np.where(seen, values, 0).sum(axis=0)
    return np.where(seen.any(axis=0), total / np.maximum(seen.sum(axis=0), 1), np.nan)
