"""Probabilities that hold as often as they say, and cells unlike any that were seen; NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar

LOG_TEMPERATURES = (-2.0, 4.0)  # between which one is sought
LEAST = 1e-12  # of a probability, before its logarithm
SEEN = 0.999  # of the fitted cells that lie within reach of a cluster
RIDGE = 1e-3  # of a cluster's mean variance, on the diagonal of its covariance
BLOCK = 20_000  # cells at once


def temper(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """p^(1/T), of sum 1 in each row: (n_cells, n_clusters) float32; T > 1 makes them less sure."""
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities, LEAST)) / temperature
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


def find_temperature(probabilities: np.ndarray, cells: np.ndarray, clusters: np.ndarray) -> float:
    """The T of `temper` that makes what was found in resamples most likely (Guo et al. 2017).

    probabilities: (n_cells, n_clusters); cells, clusters: (n,) each time that a cell was drawn,
    and the cluster that it was found in.
    """
    logits = np.log(np.maximum(probabilities, LEAST))[cells]

    def surprise(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        top = scaled.max(axis=1)
        total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float((total - scaled[np.arange(len(cells)), clusters]).mean())

    return float(np.exp(minimize_scalar(surprise, bounds=LOG_TEMPERATURES, method="bounded").x))


def reliability(
    probabilities: np.ndarray, cells: np.ndarray, clusters: np.ndarray, n_bins: int = 10
) -> list[dict[str, Any]]:
    """How often cells are found in their most probable cluster, by how probable it is.

    As `find_temperature`. For each bin of equal width that has any: mean "probability", share
    "found" there, number of "cells" drawn.
    """
    top, own = probabilities.max(axis=1)[cells], probabilities.argmax(axis=1)[cells]
    hit = own == clusters
    bins = np.minimum((top * n_bins).astype(int), n_bins - 1)
    return [
        {
            "probability": round(float(top[bins == b].mean()), 3),
            "found": round(float(hit[bins == b].mean()), 3),
            "cells": int((bins == b).sum()),
        }
        for b in np.unique(bins)
    ]


def distances(codes: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Mahalanobis distance of each code to the nearest of the clusters, (n_cells,).

    codes: (n_cells, d); means: (n_clusters, d); covariances: (n_clusters, d, d).
    """
    nearest = np.full(len(codes), np.inf)
    for mean, covariance in zip(means, covariances, strict=True):
        ridge = RIDGE * max(np.trace(covariance) / len(mean), LEAST)
        factor = cho_factor(covariance.astype(np.float64) + ridge * np.eye(len(mean)))
        for start in range(0, len(codes), BLOCK):
            off = codes[start : start + BLOCK] - mean
            squares = (off * cho_solve(factor, off.T).T).sum(axis=1)
            part = nearest[start : start + BLOCK]
            np.minimum(part, squares, out=part)
    return np.sqrt(nearest)
