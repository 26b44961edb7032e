"""Calibration of cluster probabilities, and detection of cells unlike any that were seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.decomposition import PCA
from torch import Tensor

from moesimvae.model.projection import AUTO_PCA, AUTO_PCA_ABOVE

LOG_TEMPERATURES = (-2.0, 4.0)  # bounds of the search
LEAST = 1e-12  # floor of a probability, before its logarithm
SEEN_CELLS, MEASURED_CELLS = 2_000, 3_000  # seen cells to keep, and to measure `reach` on
NEAREST = 5  # rank of the neighbour whose distance shows whether a cell is like those seen
LEAST_SPREAD = 0.1  # floor of a feature's spread, as a share of the median one
WITHIN = 0.9995  # share of the cells measured that lie within `reach`, for each of two distances


def temper(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """p^(1/T), rows normalised to sum 1, (n_cells, n_clusters) float32; T > 1 softens them."""
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities, LEAST)) / temperature
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


def find_temperature(probabilities: np.ndarray, cells: np.ndarray, clusters: np.ndarray) -> float:
    """The T of `temper` that makes the clusters found in resamples most likely (Guo et al. 2017).

    probabilities: (n_cells, n_clusters); cells, clusters: (n,) the cell of each draw, and the
    cluster that it was found in.
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
    """How often cells are found in their most probable cluster, by its probability.

    Arguments as in `find_temperature`. For each non-empty bin of equal width: the mean
    "probability", the share "found" in that cluster, the number of "cells" drawn.
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


@dataclass(frozen=True)
class Seen:
    """What a model has seen: some of its cells, and how far others of their kind lie from them.

    Features are divided by their standard deviations, floored at a tenth of the median one, so
    that a feature that is silent in all cells seen, but not in a new one, counts.

    points: (n_seen, n_dimensions) cells in principal components; axes: (n_dimensions, n_features)
    of these; centre, spread: (n_features,) means and deviations; reach: (2,) 99.95 % quantiles of
    the distance to the fifth nearest of the points, and of that from the space of the components.
    They are measured on cells other than those that gave the components and points, which always
    lie nearer than new cells of the same kind.
    """

    points: np.ndarray
    axes: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    reach: np.ndarray

    @classmethod
    def of(cls, cells: np.ndarray, seed: int) -> Seen:
        """From cells (n_cells, n_features) in random order, SEEN_CELLS + MEASURED_CELLS at most."""
        n_seen = min(SEEN_CELLS, (len(cells) + 1) // 2)
        centre, spread = cells[:n_seen].mean(axis=0), cells[:n_seen].std(axis=0)
        usual = np.median(spread[spread > 0]) if spread.any() else 1
        spread = np.maximum(spread, LEAST_SPREAD * usual)
        some = (cells[:n_seen] - centre) / spread
        axes: np.ndarray = np.eye(cells.shape[1])
        if cells.shape[1] > AUTO_PCA_ABOVE:
            pca = PCA(min(AUTO_PCA, n_seen), random_state=seed, svd_solver="randomized")
            axes = pca.fit(some).components_
        axes, centre, spread = (part.astype(np.float32) for part in (axes, centre, spread))
        unlimited = cls(some @ axes.T, axes, centre, spread, np.full(2, np.inf, np.float32))
        far = unlimited._measure(torch.from_numpy(cells[n_seen:])).numpy()
        return replace(unlimited, reach=np.quantile(far, WITHIN, axis=0).astype(np.float32))

    def outside(self, cells: Tensor) -> Tensor:
        """Whether cells (n, n_features) lie beyond `reach` in either distance; (n,) bool."""
        return (self._measure(cells) > torch.from_numpy(self.reach).to(cells.device)).any(dim=1)

    def _measure(self, cells: Tensor) -> Tensor:
        points, axes, centre, spread = (
            torch.from_numpy(part).to(cells.device)
            for part in (self.points, self.axes, self.centre, self.spread)
        )
        centred = (cells - centre) / spread
        projected = centred @ axes.T
        nearest = min(NEAREST, len(points))
        near = torch.cdist(projected, points).kthvalue(nearest, dim=1).values
        return torch.stack([near, (centred - projected @ axes).norm(dim=1)], dim=1)
