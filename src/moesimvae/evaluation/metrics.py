"""Agreement between populations (the truth) and clusters.

Every metric is a pure function `metric(truth, clusters) -> float` of

    truth     (n,) labels of the scored cells, text or numbers
    clusters  (n,) integers, one cluster per scored cell, -1 = noise

Unscored cells are removed beforehand by the caller: they count in no metric, neither in
a population nor in the size of a cluster (Weber & Robinson 2016). All metrics see the labels only
through one table of counts, so names and order of populations and clusters do not matter, and
`evaluate` computes many metrics in one pass over the cells.

Noise (-1), by metric:
- NMI, ARI, AMI: the noise cells are one more cluster, as in scikit-learn and in the benchmarks
  that use it with HDBSCAN. (Leaving them out would reward a method for giving up on hard cells.)
- accuracy, FlowCAP F, mean F1: noise is not a cluster and matches no population. Its cells are
  errors (accuracy) or missed (they lower the recall of their population but no precision).
- number of clusters: noise is not counted.

Invalid input raises UserError: unequal lengths, no cells, missing values, clusters that are not
integers or are below -1.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import expected_mutual_information

from moesimvae.errors import UserError

NOISE = -1
RARE = 0.01  # share of the scored cells below which a population is rare


@dataclass(frozen=True)
class Counts:
    """Number of scored cells of each population in each cluster.

    populations: (n_populations,) sorted true labels.
    clusters: (n_clusters,) sorted cluster numbers, without noise.
    table: (n_populations, n_clusters) integers.
    noise: (n_populations,) integers, the noise cells of each population.
    """

    populations: np.ndarray
    clusters: np.ndarray
    table: np.ndarray
    noise: np.ndarray

    @property
    def population_sizes(self) -> np.ndarray:
        """Number of cells of each population, including noise."""
        return self.table.sum(axis=1) + self.noise

    @property
    def n_cells(self) -> int:
        return int(self.table.sum() + self.noise.sum())

    @property
    def with_noise_as_cluster(self) -> np.ndarray:
        """`table` with one more column for the noise cells, if there are any."""
        return np.column_stack([self.table, self.noise]) if self.noise.any() else self.table


def count(truth: ArrayLike, clusters: ArrayLike) -> Counts:
    """Count cells by population and cluster, after checking both (see module docstring)."""
    truth, clusters = _checked(truth, clusters)
    population, populations = pd.factorize(truth, sort=True)
    if population.min() < 0:
        raise UserError(
            f"truth: {np.sum(population < 0)} scored cells have no label (NaN or None); "
            "give each scored cell a label or mark it as not scored."
        )
    column, names = pd.factorize(clusters, sort=True)
    shape = (len(populations), len(names))
    cells = np.bincount(population * shape[1] + column, minlength=shape[0] * shape[1])
    cells = cells.reshape(shape)
    is_noise = names == NOISE
    return Counts(
        populations=np.asarray(populations),
        clusters=names[~is_noise],
        table=cells[:, ~is_noise],
        noise=cells[:, is_noise].sum(axis=1),
    )


def _checked(truth: ArrayLike, clusters: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    truth, clusters = np.asarray(truth), np.asarray(clusters)
    if truth.ndim != 1 or truth.shape != clusters.shape:
        raise UserError(
            f"truth has shape {truth.shape} and clusters {clusters.shape}, expected two vectors "
            "of equal length; give one label and one cluster per scored cell."
        )
    if truth.size == 0:
        raise UserError("there are no scored cells to compute a metric on; at least 1 is needed.")
    if not np.issubdtype(clusters.dtype, np.integer):
        missing = int(pd.isna(clusters).sum())
        found = f"{missing} missing values" if missing else f"values of type {clusters.dtype}"
        raise UserError(f"clusters: found {found}, expected integers; mark noise cells with -1.")
    if clusters.min() < NOISE:
        raise UserError(
            f"clusters: found {clusters.min()}, expected numbers from 0, or -1 for noise; "
            "renumber the clusters."
        )
    return truth, clusters


# Metric name → function of the table of counts; the same names are keys of metrics.yaml, which also
# has those of LABEL_FREE: these use features or other runs, not the truth.
CONCORDANCE = ("stability", "agreement")
LABEL_FREE = ("silhouette", *CONCORDANCE)
METRICS: dict[str, Callable[[Counts], float]] = {}


def _metric(of_counts: Callable[[Counts], float]) -> Callable[[ArrayLike, ArrayLike], float]:
    """Register a metric on counts in METRICS; return it as a function of truth and clusters."""
    METRICS[of_counts.__name__] = of_counts

    def of_labels(truth: ArrayLike, clusters: ArrayLike) -> float:
        return of_counts(count(truth, clusters))

    of_labels.__name__ = of_labels.__qualname__ = of_counts.__name__
    of_labels.__doc__ = of_counts.__doc__
    return of_labels


def evaluate(
    truth: ArrayLike, clusters: ArrayLike, metrics: Iterable[str] | None = None
) -> dict[str, float]:
    """Several metrics (default: all) of one labelling, from one table of counts.

    NaN where the metric is undefined, as `f1_rare_hungarian` without a rare population.

    Raises UserError for bad labels (see module docstring) and for an unknown metric.
    """
    names = list(METRICS) if metrics is None else list(metrics)
    check_names(names)
    counts = count(truth, clusters)
    return {name: float(METRICS[name](counts)) for name in names}


def check_names(metrics: Iterable[str]) -> None:
    """Raise UserError if one of `metrics` does not exist."""
    for name in metrics:
        if name not in METRICS:
            raise UserError(f"unknown metric '{name}'; choose from: {', '.join(METRICS)}.")


@_metric
def nmi_arithmetic(counts: Counts) -> float:
    """Mutual information over the *arithmetic* mean of both entropies; 1 when both are trivial.

    Noise is one more cluster. Same as scikit-learn's normalized_mutual_info_score by default.
    Strehl & Ghosh (2002) normalise by the geometric mean, which never gives a smaller value.
    """
    table = counts.with_noise_as_cluster
    entropy = _mean_entropy(table)
    return 1.0 if entropy == 0 else float(np.clip(_mutual_information(table) / entropy, 0, 1))


@_metric
def ari(counts: Counts) -> float:
    """Adjusted Rand index (Hubert & Arabie 1985): chance-corrected agreement on pairs of cells.

    Noise is one more cluster. 1 when both labellings give the same pairs, 0 on average by chance.
    """
    table = counts.with_noise_as_cluster
    # Python integers: products of pair counts exceed 2^63 from about 50,000 cells on.
    squares = int((table**2).sum())
    rows, columns = int((table.sum(1) ** 2).sum()), int((table.sum(0) ** 2).sum())
    n = counts.n_cells
    together, only_truth, only_clusters = squares - n, rows - squares, columns - squares
    apart = n**2 - rows - columns + squares
    if only_truth == only_clusters == 0:
        return 1.0
    chance_free = (together + only_truth) * (only_truth + apart)
    chance_free += (together + only_clusters) * (only_clusters + apart)
    return 2 * (together * apart - only_truth * only_clusters) / chance_free


@_metric
def ami(counts: Counts) -> float:
    """Adjusted mutual information (Vinh, Epps & Bailey 2010), arithmetic mean of the entropies.

    Noise is one more cluster. 0 on average for random labels with the same cluster sizes;
    1 when the labellings are equal up to names.
    """
    table = counts.with_noise_as_cluster
    entropy = _mean_entropy(table)
    if entropy == 0 or _one_to_one(table):
        return 1.0
    information = _mutual_information(table)
    expected = float(expected_mutual_information(table, counts.n_cells))
    return (information - expected) / (entropy - expected)


@_metric
def accuracy_hungarian(counts: Counts) -> float:
    """Clustering accuracy: share of cells in the cluster matched to their population.

    The matching is one to one and maximises that share (Hungarian algorithm on the table, which
    need not be square). Cells of unmatched clusters and noise cells are errors. (Xie, Girshick &
    Farhadi 2016, Eq 10.)
    """
    rows, columns = linear_sum_assignment(counts.table, maximize=True)
    return counts.table[rows, columns].sum() / counts.n_cells


@_metric
def f_flowcap(counts: Counts) -> float:
    """FlowCAP's F-measure: Σ_i n_i/N · max_j F1(i, j), populations i, clusters j.

    A cluster may serve several populations. Noise cells count as missed. (Aghaeepour et al. 2013;
    the F-measure of the MoE-Sim-VAE paper.)
    """
    best = _f1(counts).max(axis=1, initial=0)
    return float(best @ counts.population_sizes / counts.n_cells)


@_metric
def f1_mean_hungarian(counts: Counts) -> float:
    """Unweighted mean over populations of F1 with the matched cluster.

    The matching is one to one and maximises the sum of F1; a population without a cluster has
    F1 = 0. Noise cells count as missed. (Weber & Robinson 2016.)
    """
    f1 = _f1(counts)
    return f1[linear_sum_assignment(f1, maximize=True)].sum() / len(counts.populations)


@_metric
def f1_rare_hungarian(counts: Counts) -> float:
    """Mean F1 with the matched cluster over populations with a share below RARE of scored cells.

    The matching is that of `f1_mean_hungarian`, over all populations; ties are broken in favour of
    the rare ones. NaN without a rare population.
    """
    rare = counts.population_sizes < RARE * counts.n_cells
    if not rare.any():
        return float("nan")
    f1 = _f1(counts)
    rows, columns = linear_sum_assignment(f1 * (1 + 1e-9 * rare[:, None]), maximize=True)
    return float(f1[rows, columns][rare[rows]].sum() / rare.sum())


@_metric
def clusters_found(counts: Counts) -> float:
    """Number of clusters with at least one scored cell; noise is not counted."""
    return float(len(counts.clusters))


@_metric
def noise_share(counts: Counts) -> float:
    """Share of scored cells that are noise."""
    return counts.noise.sum() / counts.n_cells


def per_population_f1(truth: ArrayLike, clusters: ArrayLike) -> pd.DataFrame:
    """Cluster matched to each population, one row per population, sorted by label.

    Columns: population, n_cells, f1, precision, recall, cluster (<NA> when unmatched). The matching
    is that of `f1_mean_hungarian`, whose value is the mean of f1.
    """
    counts = count(truth, clusters)
    f1 = _f1(counts)
    rows, columns = linear_sum_assignment(f1, maximize=True)
    shared = f1[rows, columns] > 0  # a match without a shared cell is no match
    rows, columns = rows[shared], columns[shared]

    sizes = counts.population_sizes
    found = counts.table[rows, columns]
    result = pd.DataFrame({"population": counts.populations, "n_cells": sizes})
    result[["f1", "precision", "recall"]] = 0.0
    result["cluster"] = pd.array([pd.NA] * len(sizes), dtype="Int64")
    result.loc[rows, "f1"] = f1[rows, columns]
    result.loc[rows, "precision"] = found / counts.table.sum(axis=0)[columns]
    result.loc[rows, "recall"] = found / sizes[rows]
    result.loc[rows, "cluster"] = counts.clusters[columns]
    return result


def _f1(counts: Counts) -> np.ndarray:
    """(n_populations, n_clusters): 2 n_ij / (n_i + n_j), harmonic mean of precision and recall."""
    sizes = counts.population_sizes[:, None] + counts.table.sum(axis=0)[None, :]
    return 2 * counts.table / sizes


def _entropy(sizes: np.ndarray) -> float:
    share = sizes[sizes > 0] / sizes.sum()
    return float(-(share * np.log(share)).sum())


def _mean_entropy(table: np.ndarray) -> float:
    return (_entropy(table.sum(axis=1)) + _entropy(table.sum(axis=0))) / 2


def _mutual_information(table: np.ndarray) -> float:
    """In nats. A single logarithm of a ratio: exactly 0 when all cells are in one cluster."""
    n = table.sum()
    row, column = np.nonzero(table)
    cells = table[row, column]
    ratio = cells * float(n) / (table.sum(axis=1)[row] * table.sum(axis=0)[column].astype(float))
    return float((cells / n) @ np.log(ratio))


def _one_to_one(table: np.ndarray) -> bool:
    """Whether clusters and populations are the same up to names."""
    filled = table > 0
    return bool((filled.sum(axis=0) == 1).all() and (filled.sum(axis=1) == 1).all())
