"""Fuzzy c-means (Bezdek 1981), scikit-fuzzy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moesimvae.methods.interface import Clustering, dense
from moesimvae.model.projection import fitted_components

if TYPE_CHECKING:
    from anndata import AnnData


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    n_pca: int | None = 50,
    m: float | None = None,
    tolerance: float = 1e-5,
    max_iterations: int = 1000,
) -> Clustering:
    """Cluster of largest membership; the memberships are the probabilities.

    `m` > 1 is the fuzzifier, None for `estimated_fuzzifier`. If it is too large, as the usual 2
    is for more than a few features, all centres collapse to the mean of the cells:
    `fuzzy_partition_coefficient` in `facts` is then 1 / n_clusters.
    Iteration ends when the memberships change by less than `tolerance` (norm of the whole matrix).
    """
    from skfuzzy import cmeans, cmeans_predict

    points, project = fitted_components(dense(cells), n_pca, seed)
    points = points.astype(np.float64)
    m = m or estimated_fuzzifier(*points.shape)
    centres, memberships, _, _, objective, iterations, coefficient = cmeans(
        points.T, n_clusters, m, error=tolerance, maxiter=max_iterations, seed=seed
    )

    def assign(further: AnnData) -> Clustering:
        others = project(dense(further)).astype(np.float64)
        found = cmeans_predict(others.T, centres, m, tolerance, max_iterations, seed=seed)[0]
        return Clustering(found.argmax(axis=0), probabilities=found.T)

    return Clustering(
        memberships.argmax(axis=0),
        probabilities=memberships.T,
        history={"objective": objective.tolist()},
        facts={
            "m": float(m),
            "iterations": int(iterations),
            "fuzzy_partition_coefficient": float(coefficient),
        },
        assign=assign,
    )


def estimated_fuzzifier(n_cells: int, n_features: int) -> float:
    """The smallest m that finds no clusters in noise, after Schwämmle and Jensen (2010)."""
    power = -0.0406 * np.log(n_cells) - 0.1134
    return (
        1
        + (1418 / n_cells + 22.05) * n_features**-2
        + (12.33 / n_cells + 0.243) * n_features**power
    )
