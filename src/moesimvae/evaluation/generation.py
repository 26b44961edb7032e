"""Do generated samples resemble real ones? Distances between two samples, by population.

Everything here takes plain arrays: real and generated cells, or images in the feature space of a
classifier trained independently of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse, stats
from scipy.spatial.distance import cdist

from moesimvae.errors import UserError

MOST_GENES = 2000


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """‖μ_x − μ_y‖² + tr(Σ_x + Σ_y − 2 (Σ_x Σ_y)^½), the squared Fréchet distance of two Gaussians.

    x (n, d), y (m, d): Heusel et al. 2017, arXiv:1706.08500, there on Inception features. 0 for
    equal means and covariances. The estimator's bias decreases with n and m: compare samples
    of equal size. Raises UserError for fewer than two points.
    """
    x, y = _checked(x, y)
    shift = x.mean(axis=0) - y.mean(axis=0)
    first, second = (np.atleast_2d(np.cov(v, rowvar=False)) for v in (x, y))
    sizes, axes = np.linalg.eigh(first)
    root = (axes * np.sqrt(np.maximum(sizes, 0))) @ axes.T
    # (Σ_x Σ_y)^½ has the same trace as (Σ_x^½ Σ_y Σ_x^½)^½, which is symmetric
    mixed = np.linalg.eigvalsh(root @ second @ root)
    shared = 2 * np.sqrt(np.maximum(mixed, 0)).sum()
    return float(max(shift @ shift + np.trace(first) + np.trace(second) - shared, 0.0))


def precision_recall(real: np.ndarray, generated: np.ndarray, k: int = 3) -> tuple[float, float]:
    """Share of generated points that lie among the real ones, and vice versa.

    A point lies among the others when it is no farther from one of them than that one's k-th
    nearest neighbour of its own kind: Kynkäänniemi et al. 2019, arXiv:1904.06991, also with k = 3.
    Precision falls when generated points look unreal, recall when they lack variety. Use samples
    of equal size, up to a few thousand. Raises UserError for k points or fewer.
    """
    real, generated = _checked(real, generated, least=k + 1)
    between = cdist(generated, real)
    radius_real, radius_generated = (
        np.partition(cdist(v, v), k, axis=1)[:, k] for v in (real, generated)
    )
    precision = (between <= radius_real).any(axis=1).mean()
    recall = (between <= radius_generated[:, None]).any(axis=0).mean()
    return float(precision), float(recall)


def two_sample_classifier(
    real: np.ndarray, generated: np.ndarray, *, folds: int = 5, seed: int = 0
) -> dict[str, float]:
    """How well a classifier tells generated from real: {"accuracy", "auc", "p_value"}.

    Gradient-boosted trees, cross-validated, on equally many of each; 0.5 is chance. p_value: the
    probability of at least as many right answers by guessing (binomial; Lopez-Paz and Oquab 2017,
    arXiv:1610.06545). Raises UserError for fewer than `folds` cells on either side.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    real, generated = _checked(real, generated, least=folds)
    rng = np.random.default_rng(seed)
    n = min(len(real), len(generated))
    real, generated = (v[rng.permutation(len(v))[:n]] for v in (real, generated))
    x, y = np.concatenate([real, generated]), np.repeat([0, 1], n)
    classifier = HistGradientBoostingClassifier(max_iter=50, random_state=seed)
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    score = cross_val_predict(classifier, x, y, cv=split, method="predict_proba")[:, 1]
    right = int(((score > 0.5) == y).sum())
    return {
        "accuracy": right / (2 * n),
        "auc": float(roc_auc_score(y, score)),
        "p_value": float(stats.binomtest(right, 2 * n, 0.5, alternative="greater").pvalue),
    }


def marginals(real: np.ndarray, generated: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Each feature's distribution, real against generated.

    Columns: feature; mean_real, mean_generated, sd_real, sd_generated; ks, the largest difference
    between the two distribution functions (0 to 1); wasserstein, the mean distance that values
    would have to move, in the feature's units. Raises UserError for fewer than two cells.
    """
    real, generated = _checked(real, generated)
    rows = [
        {
            "feature": name,
            "mean_real": a.mean(),
            "mean_generated": b.mean(),
            "sd_real": a.std(),
            "sd_generated": b.std(),
            "ks": stats.ks_2samp(a, b, method="asymp").statistic,
            "wasserstein": stats.wasserstein_distance(a, b),
        }
        for name, a, b in zip(names, real.T, generated.T, strict=True)
    ]
    return pd.DataFrame(rows)


def correlation_agreement(real: np.ndarray, generated: np.ndarray) -> tuple[float, float]:
    """Compare the Pearson correlations of all pairs of features, real against generated.

    Returns the mean absolute difference, and the correlation between the two sets of correlations
    (NaN where either does not vary). Features that are constant in either sample are left out.
    Raises UserError for fewer than two cells.
    """
    real, generated = _checked(real, generated)
    varying = (real.std(axis=0) > 1e-8) & (generated.std(axis=0) > 1e-8)
    if varying.sum() < 2:
        return float("nan"), float("nan")
    upper = np.triu_indices(int(varying.sum()), 1)
    a, b = (np.corrcoef(v[:, varying], rowvar=False)[upper] for v in (real, generated))
    alike = np.corrcoef(a, b)[0, 1] if len(a) > 1 and a.std() > 0 and b.std() > 0 else np.nan
    return float(np.abs(a - b).mean()), float(alike)


def halves(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two random halves of n cells, as sorted rows: those a generator sees, and the held-out."""
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[: n // 2]), np.sort(order[n // 2 :])


def normalised(counts: sparse.csr_matrix) -> np.ndarray:
    """log(1 + 10,000 · counts / library size), (n, n_genes) float32; 0 where there are none."""
    library = np.asarray(counts.sum(axis=1), dtype=np.float64).reshape(-1, 1)
    return np.log1p(counts.toarray() * (1e4 / np.maximum(library, 1))).astype(np.float32)


def compared_genes(counts: sparse.csr_matrix) -> np.ndarray:
    """The MOST_GENES genes whose `normalised` counts vary most in these cells, sorted."""
    library = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    scaled = sparse.diags_array(1e4 / np.maximum(library, 1)) @ sparse.csr_array(counts)
    scaled.data = np.log1p(scaled.data)
    variance = scaled.power(2).mean(axis=0) - np.square(scaled.mean(axis=0))
    return np.sort(np.argsort(-np.asarray(variance).ravel(), kind="stable")[:MOST_GENES])


def contrast_slope(
    real: np.ndarray, real_groups: np.ndarray, generated: np.ndarray, groups: np.ndarray
) -> float:
    """Slope of group-mean differences, generated against real: 1 where equally large.

    real (n, d), generated (m, d): on a logarithmic scale, so that differences are log fold changes;
    over all pairs of groups that both have, and all features. NaN for fewer than two such groups.
    """
    shared = np.intersect1d(real_groups, groups)
    if len(shared) < 2:
        return float("nan")
    a, b = (
        np.stack([values[of == k].mean(axis=0) for k in shared]).astype(np.float64)
        for values, of in ((real, real_groups), (generated, groups))
    )
    # sums over pairwise differences equal, up to a factor, those over deviations from the mean
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return float((a * b).sum() / (a * a).sum())


def trained_on(
    cells: np.ndarray, groups: np.ndarray, test: np.ndarray, test_groups: np.ndarray, seed: int = 0
) -> float:
    """Accuracy on `test` (m, d) of a random forest trained on cells (n, d) with groups (n,)."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(100, random_state=seed).fit(cells, groups)
    return float((forest.predict(test) == test_groups).mean())


def nearest(known: np.ndarray, cells: np.ndarray) -> float:
    """Mean Euclidean distance from cells (n, d) to the nearest known cell (m, d)."""
    from sklearn.neighbors import NearestNeighbors

    return float(NearestNeighbors(n_neighbors=1).fit(known).kneighbors(cells)[0].mean())


def _checked(x: np.ndarray, y: np.ndarray, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < least:
        raise UserError(
            f"two samples of at least {least} cells with the same features are needed, but got "
            f"shapes {x.shape} and {y.shape}."
        )
    return x, y
