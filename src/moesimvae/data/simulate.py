"""Simulated cells for the demo and for tests, always marked as simulated.

Every simulator returns raw values and, separately, the labels:

    cells: AnnData (n_cells, n_features), X float32, cells in random order, `layers["counts"]`
        (CSR) where the values are counts;
    labels: DataFrame with the columns cell, label ("" = none), scored, split, in the same order.
"""

from collections.abc import Callable

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from moesimvae.data.dataset import Cells, labelled
from moesimvae.errors import UserError


def gaussians(
    n_cells: int = 2000,
    n_features: int = 12,
    n_components: int = 8,
    imbalance: float = 6.0,
    separation: float = 1.7,
    n_factors: int = 2,
    seed: int = 0,
) -> Cells:
    """A mixture of Gaussians with unequal weights and a random covariance for each component.

    imbalance: largest weight over smallest; the weights fall geometrically.
    separation: the components' means are drawn from N(0, separation² I).
    n_factors: every covariance is L Lᵀ + 0.25 I with L (n_features, n_factors) standard normal, so
        components are ellipsoids with different orientations.
    """
    random = np.random.default_rng(seed)
    component = _assign(n_cells, _shares(n_components, 1 / imbalance), random)
    means = separation * random.standard_normal((n_components, n_features))
    loadings = random.standard_normal((n_components, n_features, n_factors))
    factors = random.standard_normal((n_cells, n_factors, 1))
    values = (
        means[component]
        + (loadings[component] @ factors)[..., 0]
        + 0.5 * random.standard_normal((n_cells, n_features))
    )
    labels = np.array([f"component_{k + 1}" for k in range(n_components)])[component]
    cells = _cells(values, "feature")
    return cells, labelled(cells.obs_names, labels)


def cytof(
    n_cells: int = 2500,
    n_markers: int = 30,
    n_populations: int = 14,
    n_lineages: int = 4,
    rare_share: float = 0.01,
    ungated_share: float = 0.06,
    zero_inflation: float = 0.15,
    spread: float = 1.0,
    seed: int = 0,
) -> Cells:
    """A mass cytometry panel: ion counts of populations that belong to lineages.

    Every lineage expresses a random third of the markers; every population differs from its
    lineage in four markers, two lost or gained and two at another level. A count is
    Poisson(level · cell size · exp(spread · N(0, 1))), with exponential background where a marker
    is not expressed, and is set to 0 with probability zero_inflation.

    rare_share: the smallest population's share of the gated cells; the others rise geometrically.
    ungated_share: share of cells without a gate (label "", scored False): half are doublets of two
        populations, half debris with background only.
    """
    random = np.random.default_rng(seed)
    if not 0 < rare_share <= 1 / n_populations:
        raise UserError(
            f"the simulator 'cytof' has rare_share {rare_share} for {n_populations} populations; "
            f"give a share above 0 and up to 1/{n_populations}."
        )
    n_ungated = round(ungated_share * n_cells)
    shares = _shares(n_populations, _smallest_over_largest(n_populations, rare_share))
    levels = _levels(n_populations, n_lineages, n_markers, random)
    population = _assign(n_cells - n_ungated, shares, random)
    doublets = random.choice(n_populations, size=(n_ungated // 2, 2), p=shares)
    debris = np.zeros((n_ungated - len(doublets), n_markers))
    intensity = np.vstack([levels[population], levels[doublets].sum(axis=1), debris])
    # in place, since at a million cells each float64 matrix takes a quarter of a gigabyte
    intensity *= random.lognormal(0, 0.25, (n_cells, 1))
    intensity *= random.lognormal(0, spread, intensity.shape)
    intensity += random.exponential(0.6, intensity.shape)
    counts = random.poisson(intensity).astype(np.float32)
    del intensity
    counts[random.random(counts.shape) < zero_inflation] = 0

    names = np.array([f"population_{k + 1:02d}" for k in range(n_populations)])
    labels = np.concatenate([names[population], np.full(n_ungated, "")])
    order = random.permutation(n_cells)
    cells = _cells(counts[order], "marker")
    cells.layers["counts"] = sp.csr_matrix(cells.X)
    return cells, labelled(cells.obs_names, labels[order])


def scrna(
    n_cells: int = 1500,
    n_genes: int = 1500,
    n_types: int = 7,
    n_markers: int = 24,
    fold_change: float = 3.0,
    imbalance: float = 8.0,
    library_spread: float = 0.35,
    inverse_dispersion: float = 2.0,
    dropout_midpoint: float = 0.4,
    seed: int = 0,
) -> Cells:
    """Single-cell RNA counts: negative binomial with marker genes, library sizes and dropout.

    Gene means are log-normal. Every cell type has n_markers marker genes of its own, with means
    raised `fold_change`-fold; types 1 and 2, 3 and 4 … share as many more, so that they are close
    to each other. Counts are NB(mean, variance = mean + mean² / inverse_dispersion).

    imbalance: size of the largest type over the smallest; sizes fall geometrically.
    library_spread: standard deviation of the log library size.
    dropout_midpoint: a gene's count is lost with probability 1 / (1 + mean / dropout_midpoint).
    """
    random = np.random.default_rng(seed)
    cell_type = _assign(n_cells, _shares(n_types, 1 / imbalance), random)
    n_needed = n_markers * (n_types + (n_types + 1) // 2)
    if n_needed > n_genes:
        raise UserError(
            f"the simulator 'scrna' needs {n_needed} marker genes for {n_types} types but has "
            f"n_genes {n_genes}; give more genes or fewer markers."
        )
    means = np.tile(random.lognormal(-0.7, 1.2, n_genes), (n_types, 1))
    genes = random.permutation(n_genes)
    for k in range(n_types):
        own = genes[k * n_markers : (k + 1) * n_markers]
        pair = genes[(n_types + k // 2) * n_markers : (n_types + k // 2 + 1) * n_markers]
        for markers in (own, pair):
            means[k, markers] *= fold_change
    expected = means[cell_type] * random.lognormal(0, library_spread, (n_cells, 1))
    rates = random.gamma(inverse_dispersion, expected / inverse_dispersion)
    counts = random.poisson(rates)
    counts[random.random(counts.shape) < 1 / (1 + expected / dropout_midpoint)] = 0

    labels = np.array([f"type_{k + 1}" for k in range(n_types)])[cell_type]
    cells = _cells(counts, "gene")
    cells.layers["counts"] = sp.csr_matrix(cells.X)
    cells.X = cells.layers["counts"].copy()
    return cells, labelled(cells.obs_names, labels)


def _shares(n: int, smallest_over_largest: float) -> np.ndarray:
    """n shares that fall geometrically and sum to 1."""
    falling = smallest_over_largest ** (np.arange(n) / max(n - 1, 1))
    return falling / falling.sum()


def _smallest_over_largest(n: int, smallest_share: float) -> float:
    """The ratio for which the last of `_shares(n, ratio)` is `smallest_share`, by bisection."""
    low, high = 1e-12, 1.0
    for _ in range(100):
        middle = (low * high) ** 0.5
        if _shares(n, middle)[-1] < smallest_share:
            low = middle
        else:
            high = middle
    return high


def _assign(n_cells: int, shares: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A group for each cell, (n_cells,) int: sizes as close to `shares` as possible, shuffled."""
    ends = np.round(np.cumsum(shares) * n_cells).astype(int)
    return random.permutation(np.repeat(np.arange(len(shares)), np.diff(ends, prepend=0)))


def _levels(
    n_populations: int, n_lineages: int, n_markers: int, random: np.random.Generator
) -> np.ndarray:
    """Expected ion counts (n_populations, n_markers), 0 where a marker is not expressed."""
    on = random.random((n_lineages, n_markers)) < 1 / 3
    lineages = on * random.lognormal(np.log(25), 0.6, on.shape)
    levels = lineages[np.arange(n_populations) % n_lineages]
    for level in levels:
        switched = random.choice(n_markers, 2, replace=False)
        level[switched] = np.where(level[switched] > 0, 0, random.lognormal(np.log(25), 0.6, 2))
        graded = random.choice(np.flatnonzero(level), 2, replace=False)
        level[graded] *= random.choice([0.3, 3.0], 2)
    return levels


def _cells(values: np.ndarray, feature: str) -> anndata.AnnData:
    n_cells, n_features = values.shape
    return anndata.AnnData(
        values.astype(np.float32),
        obs=pd.DataFrame(index=pd.Index(_names("cell", n_cells))),
        var=pd.DataFrame(index=pd.Index(_names(feature, n_features))),
    )


def _names(kind: str, n: int) -> list[str]:
    return [f"{kind}_{i:0{len(str(n - 1))}d}" for i in range(n)]


SIMULATORS: dict[str, Callable[..., Cells]] = {
    "gaussians": gaussians,
    "cytof": cytof,
    "scrna": scrna,
}
