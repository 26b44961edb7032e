"""Cells in two dimensions: a run's latent space, and the principal components of the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import read_elem
from sklearn.decomposition import PCA

from moesimvae.errors import UserError
from moesimvae.handover import map_of
from moesimvae.layers import TRANSFORMED
from moesimvae.nouns import Run

MAX_POINTS = 20_000
VALUES = {"arcsinh": "arcsinh values", "lognorm": "log-normalised counts"}


def project_run(run: str | Path) -> pd.DataFrame:
    """The projection of a run's embedding, or a table without rows where the run left none.

    run: a run folder (contract 3); its seed, at the end of its name, is also the projection's.
    """
    run = Path(run)
    if not (run / "embedding.npy").exists():
        return pd.DataFrame({"cell": pd.Series(dtype=str), "x": np.empty(0), "y": np.empty(0)})
    cells = pd.read_parquet(run / "labels.parquet", columns=["cell"])["cell"]
    return projection(cells, np.load(run / "embedding.npy"), int(Run.of(run).seed))


def projection(cells: Sequence[str], embedding: np.ndarray, seed: int) -> pd.DataFrame:
    """Table (cell, x, y) of at most MAX_POINTS cells, drawn without replacement.

    attrs["axes"] names the two axes. cells: n ids; embedding: (n, d). Raises UserError as
    `project` does.
    """
    kept = shown(len(embedding), seed)
    points, axes = project(embedding[kept], seed)
    table = pd.DataFrame({"cell": np.asarray(cells)[kept], "x": points[:, 0], "y": points[:, 1]})
    table.attrs["axes"] = axes
    return table


def shown(n_cells: int, seed: int) -> np.ndarray:
    """Which cells a picture shows: all, or MAX_POINTS drawn without replacement, ascending."""
    if n_cells <= MAX_POINTS:
        return np.arange(n_cells)
    return np.sort(np.random.default_rng(seed).choice(n_cells, MAX_POINTS, replace=False))


def project(embedding: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """(n, d) → (n, 2), and what the axes are.

    The embedding itself for d ≤ 2, else what `handover.map_of` gives. The same embedding and seed
    give the same points. Raises UserError for an embedding that is not a matrix of finite numbers.
    """
    if embedding.ndim != 2 or not np.isfinite(embedding).all():
        raise UserError(
            f"the embedding of shape {embedding.shape} must be a matrix (cells × dimensions) of "
            "finite numbers; run the method again."
        )
    embedding = embedding.astype(np.float32)
    if embedding.shape[1] <= 2:
        return np.pad(embedding, ((0, 0), (0, 2 - embedding.shape[1]))), "latent dimension"
    return map_of(embedding, seed)


def components(features: str | Path) -> pd.DataFrame:
    """Cells on the first two principal components of their transformed values.

    features: a features.h5ad; its layer lognorm or arcsinh is used where there is one, else X. The
    components are those of the training cells, where cells were held out. Columns cell, x, y; at
    most MAX_POINTS cells, drawn at random. attrs: "explained" (two shares of the variance) and
    "values" (what they are).
    """
    with h5py.File(features, "r") as file:  # read only what is needed
        obs = read_elem(file["obs"])
        layer = next((name for name in TRANSFORMED if f"layers/{name}" in file), None)
        values = read_elem(file[f"layers/{layer}" if layer else "X"])
    names = obs.index.to_numpy(str)
    train = np.ones(len(names), bool)
    if "split" in obs:
        train = obs["split"].to_numpy(str) == "train"
    pca = PCA(2, svd_solver="arpack" if sp.issparse(values) else "randomized", random_state=0)
    pca.fit(values[train])
    kept = shown(len(names), 0)
    points = pca.transform(values[kept])
    points *= np.where(np.abs(points).max(axis=0) == points.max(axis=0), 1, -1)  # fixed signs
    table = pd.DataFrame({"cell": names[kept], "x": points[:, 0], "y": points[:, 1]})
    table.attrs = {
        "explained": [float(share) for share in pca.explained_variance_ratio_],
        "values": VALUES.get(layer or "", "scaled values"),
    }
    return table
