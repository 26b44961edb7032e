"""Export of results to the tools people use: FlowJo, OMIQ, Cytobank, cellxgene, Seurat.

FCS is for all cytometry programs, a numeric csv for OMIQ and Cytobank, an h5ad with colours and a
map for cellxgene, and a plainer h5ad for SeuratDisk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from moesimvae import files
from moesimvae.colours import categories
from moesimvae.errors import UserError
from moesimvae.model.projection import umap_projection

if TYPE_CHECKING:
    from anndata import AnnData

    from moesimvae.data.cells import CellFile

LANDMARKS = 20_000  # cells that a map is fitted to; the others are placed among them
SMALL = 50  # fewest cells for UMAP's neighbourhoods
NAMES = ("cluster", "probability_percent", "map_1", "map_2")


@dataclass
class Clustered:
    """One clustering: clusters (n_cells,), -1 = noise; probability (n_cells,) of each cell's own;
    embedding (n_cells, d); the latter two may be None.
    """

    clusters: np.ndarray
    probability: np.ndarray | None = None
    embedding: np.ndarray | None = None


def write_all(
    file: CellFile, clusterings: Mapping[str, Clustered], showcase: str, folder: Path
) -> None:
    """Write several clusterings of one file in every format that programs for its kind read.

    labels.csv: a column for each; cells.h5ad: the cells with these in obs, for cellxgene. FCS files
    are rewritten with further parameters, a table as cells.csv, anything else, unless on disk, as
    seurat.h5ad. For `showcase`, probability and a map of its latent space are included.
    """
    cells = file.cells
    further: dict[str, np.ndarray] = {}
    for name, found in clusterings.items():
        sure = found.probability if name == showcase else None
        latent = found.embedding if name == showcase else None
        points = None if latent is None else map_of(latent, 0)[0]
        further |= columns(name, found.clusters, sure, points)
        key = f"{name}_cluster"
        while key in cells.obs:  # a column of the user's
            key += "_"
        cells.obs[key], cells.uns[f"{key}_colors"] = categories(found.clusters)
        if sure is not None:
            cells.obs[f"{key}_probability"] = sure
        if points is not None:
            cells.obsm[f"X_{name}_map"] = points
    table = {f"{name}_cluster": found.clusters for name, found in clusterings.items()}
    with files.atomic(folder / "labels.csv") as temporary:
        pd.DataFrame(table, cells.obs_names).to_csv(temporary, index_label="cell")
    with files.atomic(folder / "cells.h5ad") as temporary:
        cells.write_h5ad(temporary)
    if file.kind == "fcs":
        write_fcs_files(file, further, folder)
    elif file.kind == "table":
        write_table(file, further, folder / "cells.csv")
    elif not file.on_disk:
        write_for_seurat(cells, folder / "seurat.h5ad")


def map_of(embedding: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """Map latent codes (n_cells, d) to two dimensions, float32, and name the axes.

    UMAP; principal components for few or identical cells, or if umap-learn is not installed.
    """
    many = len(embedding) >= SMALL and np.ptp(embedding, axis=0).max() > 0
    if many and find_spec("umap") is not None:
        return umap_projection(embedding, seed=seed, landmarks=LANDMARKS), "UMAP"
    left, sizes, _ = np.linalg.svd(embedding - embedding.mean(axis=0), full_matrices=False)
    points = left[:, :2] * sizes[:2]
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1]))).astype(np.float32), "PC"


def columns(
    key: str, clusters: np.ndarray, probability: np.ndarray | None, points: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Results as cytometry parameters: (n_cells,) float32 each, none below 0.

    clusters: noise (-1) becomes the number after the last cluster. probability: becomes percent,
    since programs bin an axis by whole numbers. points: (n_cells, 2), mapped to positive axes.
    """
    from moesimvae.data.fcs_writing import on_positive_axes

    found = {"cluster": np.where(clusters < 0, clusters.max() + 1, clusters)}
    if probability is not None:
        found["probability_percent"] = 100 * probability
    if points is not None:
        found |= dict(zip(NAMES[2:], on_positive_axes(points).T, strict=True))
    return {f"{key}_{name}": values.astype(np.float32) for name, values in found.items()}


def require_values(file: CellFile, also: Sequence[str]) -> None:
    """Raise UserError, before hours of training, for values that no csv or seurat.h5ad can hold."""
    if also and file.on_disk:
        raise UserError(
            f"{file.path}: its values stay on disk, so no {also[0]} file can be written."
        )
    if "csv" in also and not isinstance(file.cells.X, np.ndarray):
        raise UserError(f"{file.path} holds a sparse matrix, unsuitable for a csv; omit csv.")


def write_fcs_files(file: CellFile, further: Mapping[str, np.ndarray], folder: Path) -> list[Path]:
    """Rewrite each FCS file of `file` into `folder`, with `further` parameters after its own."""
    from moesimvae.data.fcs_writing import write_fcs

    written = []
    for path, rows in parts(file).items():
        written.append(folder / f"{path.stem}.fcs")
        write_fcs(path, {name: values[rows] for name, values in further.items()}, written[-1])
    return written


def parts(file: CellFile) -> dict[Path, np.ndarray]:
    """FCS file → the rows of the cells that are its events."""
    if not file.samples:
        return {file.path: np.arange(file.cells.n_obs)}
    sample = file.cells.obs["sample"].to_numpy()
    return {path: np.flatnonzero(sample == name) for name, path in file.samples.items()}


def write_table(file: CellFile, further: Mapping[str, np.ndarray], path: Path) -> None:
    """Write all features and `further` columns as a purely numeric csv.

    Samples are numbered in order, in the first column.
    """
    cells = file.cells
    table = pd.DataFrame(cells.X, columns=cells.var_names)
    if file.samples:
        table.insert(0, "sample", cells.obs["sample"].cat.codes.to_numpy() + 1)
    table = pd.concat([table, pd.DataFrame(further)], axis=1)
    with files.atomic(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.7g")


def write_for_seurat(cells: AnnData, path: Path) -> None:
    """Write an h5ad that SeuratDisk's `Convert` and `LoadH5Seurat` accept.

    They fail on categories as anndata writes them since 0.8, on text as it does with pandas 3, on
    tables in obsm and nested uns (seurat-disk issues 107 and 109), and take a dense X for scaled
    values: here X is sparse, obs has text and numbers, obsm matrices, and the rest is left out.
    """
    import anndata

    plain = anndata.AnnData(
        sp.csr_matrix(cells.X),
        obs=pd.DataFrame({name: _plain(column) for name, column in cells.obs.items()},
                         index=cells.obs_names),
        var=pd.DataFrame({"name": cells.var_names.to_numpy(dtype=object)}, cells.var_names),
        obsm={f"X_{name[2:].replace('_', '')}": points for name, points in cells.obsm.items()
              if name.startswith("X_") and isinstance(points, np.ndarray)},
    )  # fmt: skip
    old_text = anndata.settings.override(allow_write_nullable_strings=False)
    with files.atomic(path) as temporary, old_text:
        plain.write_h5ad(temporary, convert_strings_to_categoricals=False)


def _plain(column: pd.Series) -> np.ndarray:
    """Numbers as numbers; all else, booleans included, as text ("" where missing)."""
    if column.dtype.kind in "iuf":
        return column.to_numpy()
    return column.astype(object).where(column.notna(), "").astype(str).to_numpy(dtype=object)


def abundance(sample: Sequence[Any], clusters: np.ndarray) -> pd.DataFrame:
    """Count the cells of each sample in each cluster: sample, cluster, cells, share.

    share: of the sample's cells. Every pair has a row, even without cells.
    """
    table = pd.DataFrame({"sample": np.asarray(sample), "cluster": clusters})
    counts = pd.crosstab(table["sample"], table["cluster"])
    shares = counts.div(counts.sum(axis=1), axis=0)
    cells = counts.stack().rename("cells").to_frame()
    return cells.assign(share=shares.stack()).reset_index()
