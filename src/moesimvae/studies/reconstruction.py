"""What each expert decodes: its cells and their reconstruction on principal components (S8 Fig)."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from moesimvae.errors import UserError
from moesimvae.evaluation.scores import read_clusters
from moesimvae.nouns import Run
from moesimvae.studies.panels import MARKERS
from moesimvae.studies.projections import shown

COLUMNS = ["cell", "expert", "x", "y", "decoded_x", "decoded_y"]


def reconstruct_run(run: str | Path, features: str | Path) -> pd.DataFrame:
    """A run's cells and their reconstruction by its model, on the first two principal components.

    run: a run folder (contract 3); features: the features.h5ad that it clustered. Columns COLUMNS:
    expert is the cluster that decodes the cell, decoded_x and decoded_y its reconstruction on the
    same components, which are those of all cells; at most MAX_POINTS cells, drawn with the run's
    seed. attrs: "explained" (the components' two shares of the variance) and "experts" (how many
    the model has). The table has no rows where the run left no model, for images, and for more than
    MARKERS features, which other pictures suit better; nor for a model that cannot be read, such as
    one of an older version, when attrs hold "reason".

    Raises UserError when run and features are not about the same cells.
    """
    run, features = Path(run), Path(features)
    empty = pd.DataFrame({c: np.empty(0, str if c == "cell" else float) for c in COLUMNS})
    if not (run / "model").exists():
        return empty
    cells = anndata.read_h5ad(features, backed="r")
    try:
        if cells.n_vars > MARKERS or "image_shape" in cells.uns:
            return empty
        cells = cells.to_memory()
    finally:
        cells.file.close()
    from moesimvae.model.estimator import MoESimVAE  # pictures alone need no torch

    clusters = read_clusters(run, cells.obs_names)
    try:
        model = MoESimVAE.load(run / "model", device="cpu")
    except UserError as error:  # the other pictures of this run need no model
        empty.attrs = {"reason": str(error).replace(f"{run}/", "")}
        return empty
    values = cells.X.toarray() if hasattr(cells.X, "toarray") else np.asarray(cells.X)
    mean, axes, explained = principal_axes(values)
    kept = shown(len(values), int(Run.of(run).seed))
    some = cells[kept].copy()
    points = (values[kept] - mean) @ axes
    decoded = (model.reconstruct(some) - mean) @ axes
    table = pd.DataFrame(
        {
            "cell": cells.obs_names[kept].astype(str),
            "expert": clusters[kept],  # as the model gave them to the run
            "x": points[:, 0],
            "y": points[:, 1],
            "decoded_x": decoded[:, 0],
            "decoded_y": decoded[:, 1],
        }
    )
    table.attrs = {"explained": [float(e) for e in explained], "experts": int(model.n_clusters)}
    return table


def principal_axes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (d,), the first two principal axes (d, 2) and their shares of the variance (2,)."""
    mean = values.mean(axis=0, dtype=np.float64)
    covariance = np.cov(values, rowvar=False)
    sizes, axes = np.linalg.eigh(np.atleast_2d(covariance))
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.where(np.abs(axes).max(axis=0) == axes.max(axis=0), 1, -1)  # fixed signs
    if axes.shape[1] < 2:
        axes = np.column_stack([axes, np.zeros(len(axes))])
    shares = np.maximum(sizes[::-1], 0) / max(sizes.sum(), 1e-12)
    return mean, axes, np.append(shares, 0.0)[:2]
