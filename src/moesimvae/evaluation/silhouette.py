"""How well separated clusters are, without labels: the silhouette in one space for every method.

The space is made once per data set: a fixed sample of its training cells (of all cells where
there is no split) on their first 50 principal components, from values on the markers' or genes'
own scale. So a method that clusters in a space of its own is not measured in that space.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances
from threadpoolctl import threadpool_limits

from moesimvae.errors import UserError
from moesimvae.layers import TRANSFORMED

MAX_CELLS = 5000
N_COMPONENTS = 50
SEED = 0
LAYERS = (*(f"layers/{name}" for name in TRANSFORMED), "X")  # the first one present is used
LOWEST = -1.0


@dataclass(frozen=True)
class Space:
    """The sampled cells and their pairwise distances.

    cells: (n,) their rows in the data set, ascending.
    distances: (n, n) float32, Euclidean.
    split: "train"; without training cells, the name of the only split, or "all".
    """

    cells: np.ndarray
    distances: np.ndarray
    split: str


def read_space(features: str | Path, labels: pd.DataFrame) -> Space:
    """The space of a data set's features.h5ad.

    labels: its cells in order and their split (columns cell, split); nothing else is used.
    Raises UserError if the two do not have the same cells.
    """
    with h5py.File(features, "r") as file:
        names = read_elem(file["obs"]).index
        if list(names) != list(labels["cell"]):
            raise UserError(
                f"{features} has other cells than the labels of the data set, or in another order; "
                "prepare the data set again."
            )
        values = read_elem(file[next(layer for layer in LAYERS if layer in file)])
    split = labels["split"]
    train = (split == "train").to_numpy()
    cells = sample(np.flatnonzero(train) if train.any() else np.arange(len(split)))
    with threadpool_limits(1):  # sums must not depend on the number of threads
        distances = pairwise_distances(components(values[cells]))
    name = "train" if train.any() else split.iloc[0] if split.nunique() == 1 else "all"
    return Space(cells, distances.astype(np.float32), name)


def sample(cells: np.ndarray) -> np.ndarray:
    """At most MAX_CELLS of the cells, always the same ones, in order."""
    if len(cells) <= MAX_CELLS:
        return cells
    return np.sort(np.random.default_rng(SEED).choice(cells, MAX_CELLS, replace=False))


def components(values: np.ndarray | sparse.csr_matrix) -> np.ndarray:
    """(n, d) values as (n, 50) principal components; unchanged where n or d is 50 or less."""
    if min(values.shape) <= N_COMPONENTS:
        return values if isinstance(values, np.ndarray) else values.toarray()
    # arpack accepts sparse values directly
    return PCA(N_COMPONENTS, svd_solver="arpack", random_state=SEED).fit_transform(values)


def silhouette(distances: np.ndarray, clusters: np.ndarray) -> float:
    """Mean over cells of (b - a) / max(a, b).

    a is a cell's mean distance to the others in its cluster, b its mean distance to the cells of
    the nearest other cluster. 0 for a cell alone in its cluster and for a noise cell (-1); noise is
    not a cluster for other cells either. -1 with fewer than two clusters. Rousseeuw (1987).

    distances: (n, n). clusters: (n,) integers. In [-1, 1].
    """
    found = np.unique(clusters[clusters >= 0])
    if len(found) < 2:
        return LOWEST
    member = (clusters[:, None] == found[None, :]).astype(distances.dtype)  # (n, k)
    sizes = member.sum(axis=0).astype(int)
    with threadpool_limits(1):
        totals = (distances @ member).astype(float)  # a cell's distances to each cluster, summed
    cell, own = np.nonzero(member)  # noise cells are in no cluster
    a = totals[cell, own] / np.maximum(sizes[own] - 1, 1)
    means = totals[cell] / sizes
    means[np.arange(len(cell)), own] = np.inf
    b = means.min(axis=1)
    scale = np.maximum(a, b)
    width = np.divide(b - a, scale, out=np.zeros_like(a), where=(sizes[own] > 1) & (scale > 0))
    return float(width.sum() / len(clusters))
