"""Maximum mean discrepancy: how far apart two distributions are, estimated from samples.

Gretton et al. 2012 (JMLR 13: 723–773), with the statistic of the paper's S2 and S3 Figures:
n m / (n + m) times the unbiased estimate of MMD², about 0 (possibly negative) for samples of one
distribution and growing with the number of samples for two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd

from moesimvae.errors import UserError

COLUMNS = ["first", "second", "n", "m", "statistic", "p_value"]


@dataclass(frozen=True)
class Test:
    """statistic: n m / (n + m) · MMD²; p_value: share of permutations at least as large."""

    statistic: float
    p_value: float


def statistic(x: np.ndarray, y: np.ndarray) -> float:
    """n m / (n + m) · unbiased MMD² of x (n, d) and y (m, d).

    Gaussian kernel exp(−‖a − b‖² / w), where w is the median squared distance between all points
    of both. Raises UserError for fewer than two points in either, differing numbers of
    dimensions, or values that are not finite.
    """
    kernel = _kernel(x, y)
    first = np.zeros((len(kernel), 1))
    first[: len(x)] = 1
    return float(_statistics(kernel, first)[0])


def two_sample_test(
    x: np.ndarray, y: np.ndarray, *, n_permutations: int = 200, seed: int = 0
) -> Test:
    """The statistic and its p-value by permutation of the points between the two samples.

    The p-value is (1 + number of permutations at least as large) / (1 + n_permutations), so never
    0, and uniform when x and y come from one distribution. Raises UserError as `statistic` does.
    """
    kernel = _kernel(x, y)
    rng = np.random.default_rng(seed)
    sides = np.zeros((len(kernel), 1 + n_permutations))
    sides[: len(x)] = 1
    sides[:, 1:] = rng.permuted(sides[:, 1:], axis=0)
    values = _statistics(kernel, sides)
    as_far = np.count_nonzero(values[1:] >= values[0])
    return Test(float(values[0]), (1 + as_far) / (1 + n_permutations))


def pairs(
    samples: Sequence[np.ndarray], *, n: int = 1000, n_permutations: int = 100, seed: int = 0
) -> pd.DataFrame:
    """Test all pairs of distributions, and each distribution against itself.

    samples: for each distribution (n_k, d) points. From each, up to n are drawn without
    replacement; a distribution is compared with itself by two disjoint samples of up to n. Columns
    COLUMNS: first ≤ second are positions in `samples`; n, m the numbers of points on the two
    sides. NaN for fewer than two points on a side, four for a distribution against itself.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i, j in combinations_with_replacement(range(len(samples)), 2):
        if i == j:
            order = rng.permutation(len(samples[i]))
            half = min(n, len(order) // 2)
            x, y = samples[i][order[:half]], samples[i][order[half : 2 * half]]
        else:
            x, y = (s[rng.permutation(len(s))[:n]] for s in (samples[i], samples[j]))
        tested = Test(np.nan, np.nan)
        if min(len(x), len(y)) >= 2:
            tested = two_sample_test(
                x, y, n_permutations=n_permutations, seed=int(rng.integers(2**31))
            )
        rows.append((i, j, len(x), len(y), tested.statistic, tested.p_value))
    return pd.DataFrame(rows, columns=COLUMNS)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """exp(−d² / w) between all points, x before y; 0 on the diagonal, which MMD² omits."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise UserError(
            f"the MMD compares two samples of at least 2 points with the same dimensions, but got "
            f"shapes {x.shape} and {y.shape}."
        )
    points = np.concatenate([x, y])
    if not np.isfinite(points).all():
        raise UserError(
            "the points for the MMD contain NaN or infinite values; remove those points."
        )
    points = points - points.mean(axis=0)  # keeps the following squares small
    norms = (points**2).sum(axis=1)
    squared = np.maximum(norms[:, None] + norms - 2 * points @ points.T, 0)
    width = np.median(squared[np.triu_indices(len(points), 1)])
    kernel = np.exp(-squared / width) if width > 0 else (squared == 0).astype(float)
    np.fill_diagonal(kernel, 0)
    return kernel


def _statistics(kernel: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """One statistic per column of `sides` (n + m, …), which is 1 for a point of x and 0 for y.

    With z a column and K the kernel without its diagonal, the three sums of MMD² are zᵀKz,
    (1−z)ᵀK(1−z) and zᵀK(1−z), all from one product K z.
    """
    n = sides[:, 0].sum()
    m = len(kernel) - n
    of_all = kernel.sum(axis=0) @ sides
    within_x = (sides * (kernel @ sides)).sum(axis=0)
    across = of_all - within_x
    within_y = kernel.sum() - 2 * of_all + within_x
    squared_mmd = within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * across / (n * m)
    return n * m / (n + m) * squared_mmd
