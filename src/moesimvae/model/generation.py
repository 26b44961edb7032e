"""The density of each cluster's codes, from which new cells are generated (a richer Eq 1)."""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from sklearn.covariance import ledoit_wolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

# numbers of Gaussians that are tried, and how many codes each of them needs
COMPONENTS = (1, 2, 4, 8, 16)
CODES_EACH = 50
MOST_CODES, ALL_CODES = 5000, 50_000  # codes that mixtures are fitted to, per cluster and in all
FLOOR = 1e-4  # added to variances, as a share of the codes' mean variance


class Mixtures(NamedTuple):
    """A mixture of at most M = 16 Gaussians in d dimensions for each of K clusters, float32.

    weights (K, M), 0 for Gaussians that a cluster does not use; means (K, M, d); roots
    (K, M, d, d), L with L Lᵀ the covariance.
    """

    weights: np.ndarray
    means: np.ndarray
    roots: np.ndarray

    def draw(self, cluster: int, n: int, random: np.random.Generator) -> np.ndarray:
        """Codes z ~ Σ_m w_km N(μ_km, Σ_km) of a cluster k, (n, d) float32."""
        share = self.weights[cluster].astype(np.float64)
        which = random.choice(len(share), n, p=share / share.sum())
        noise = random.standard_normal((n, self.means.shape[2]), dtype=np.float32)
        turned = np.einsum("nij,nj->ni", self.roots[cluster, which], noise)
        return self.means[cluster, which] + turned


def code_mixtures(
    codes: np.ndarray, labels: np.ndarray, means: np.ndarray, components: int, seed: int
) -> Mixtures:
    """Each cluster's mixture, of as many Gaussians as Schwarz's criterion (BIC) favours.

    codes: (n_cells, d); labels: (n_cells,) clusters, the only labels used; components: the most
    Gaussians of a cluster. A cluster of fewer than two cells gets its row of `means`
    (n_clusters, d) and the identity; the covariances of other small ones are shrunk (Ledoit and
    Wolf 2004), as they would otherwise be singular.
    """
    n_clusters, d = means.shape
    most = max(COMPONENTS)
    found = Mixtures(
        np.zeros((n_clusters, most), np.float32),
        np.zeros((n_clusters, most, d), np.float32),
        np.zeros((n_clusters, most, d, d), np.float32),
    )
    random = np.random.default_rng(seed)
    enough = min(MOST_CODES, max(CODES_EACH, ALL_CODES // n_clusters))
    for k in range(n_clusters):
        own = np.flatnonzero(labels == k)
        own = np.sort(random.permutation(own)[:enough])
        parts = [(1.0, means[k], np.eye(d))]
        if len(own) >= 2:
            with threadpool_limits(1):  # on two, matrices this small take twice as long
                parts = list(_gaussians(codes[own].astype(np.float64), components, seed))
        for m, (weight, mean, covariance) in enumerate(parts):
            found.weights[k, m], found.means[k, m] = weight, mean
            found.roots[k, m] = root(covariance)
    return found


def _gaussians(
    codes: np.ndarray, components: int, seed: int
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Weight, mean and covariance of each Gaussian of one cluster's codes (n, d)."""
    n, d = codes.shape
    best, least = None, np.inf
    for m in COMPONENTS:
        if m > components or n < CODES_EACH * m or n <= d:
            break
        floor = FLOOR * codes.var(axis=0).mean() + 1e-9
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = GaussianMixture(m, reg_covar=floor, random_state=seed).fit(codes)
        criterion = fitted.bic(codes)
        if criterion > least:
            break
        best, least = fitted, criterion
    if best is None:
        yield 1.0, codes.mean(axis=0), ledoit_wolf(codes)[0]
    else:
        yield from zip(best.weights_, best.means_, best.covariances_, strict=True)


def root(covariance: np.ndarray) -> np.ndarray:
    """L (d, d) with L Lᵀ = covariance (d, d), which may be singular."""
    sizes, axes = np.linalg.eigh(covariance)
    return axes * np.sqrt(np.maximum(sizes, 0))
