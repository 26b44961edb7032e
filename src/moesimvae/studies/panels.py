"""The markers of a cytometry panel, as stored in a data set's features."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import dendrogram, linkage

MARKERS = 100  # more features than this are no panel


@dataclass
class Panel:
    """values: (n_cells, n_markers), arcsinh of what the cytometer gave; markers: their names."""

    values: np.ndarray
    markers: list[str]


def read_panel(features: str | Path) -> Panel | None:
    """A cytometry panel's values on arcsinh scale; None for any other kind of features.

    A panel has at most MARKERS features and either a layer "arcsinh", or raw values in the layer
    "counts" and an arcsinh among its preprocessing steps.
    """
    cells = anndata.read_h5ad(features, backed="r")
    try:
        if cells.n_vars > MARKERS:
            return None
        markers = list(map(str, cells.var_names))
        if "arcsinh" in cells.layers:
            return Panel(_dense(cells.layers["arcsinh"]), markers)
        steps = json.loads(cells.uns.get("preprocessing", "[]"))
        cofactors = [step["cofactor"] for step in steps if step.get("step") == "arcsinh"]
        if not cofactors or "counts" not in cells.layers:
            return None
        raw = _dense(cells.layers["counts"])
        return Panel(np.arcsinh(raw / cofactors[0]), markers) if raw.shape[1] == len(
            markers) else None  # fmt: skip
    finally:
        cells.file.close()


def _dense(matrix: Any) -> np.ndarray:
    matrix = matrix[:]
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, np.float32)


def medians(panel: Panel, clusters: np.ndarray, most: int) -> pd.DataFrame:
    """Cluster → median of each marker, of the `most` largest clusters; noise (-1) is left out."""
    sizes = pd.Series(clusters[clusters >= 0]).value_counts()
    rows = {int(c): np.median(panel.values[clusters == c], axis=0) for c in sizes.index[:most]}
    return pd.DataFrame.from_dict(rows, orient="index", columns=panel.markers).sort_index()


def tree(values: np.ndarray) -> dict:
    """Average linkage of the rows' Euclidean distances, as scipy's `dendrogram` gives it.

    Neighbouring leaves are as close as they can be.
    """
    if len(values) < 3:
        return {"leaves": list(range(len(values))), "icoord": [], "dcoord": []}
    return dendrogram(linkage(values, "average", optimal_ordering=True), no_plot=True)
