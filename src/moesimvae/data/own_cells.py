"""A user's own file as a data set of the benchmark, without any registry.

The file is read as by the command line (`cells`), features are chosen and transformed as there
(`recipe`), and the label column, if one is named, is split off here: no method ever sees it. Cells
without a label are clustered but not scored; without any label, no accuracy can be reported, and
runs are compared by metrics that need no labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from moesimvae import files
from moesimvae.data import recipe as recipes
from moesimvae.data import writable
from moesimvae.data.cells import CellFile, column_as_text, read_cells
from moesimvae.data.compensation import asked_for
from moesimvae.data.cytometry import UNGATED, panel_facts
from moesimvae.data.dataset import FACTS, FEATURES, LABEL_COLUMNS, LABELS, labelled
from moesimvae.data.formats import files_of, format_of
from moesimvae.data.prepare import check_values, chosen_genes
from moesimvae.data.preprocessing import preprocess
from moesimvae.errors import UserError

CLUSTERS, PREPARED = "clusters.json", "prepared.json"  # beside the files of `dataset`
LEAST_CELLS = 100  # with fewer, chance alone moves the controls beyond their limits
UNLABELLED = tuple(text for text in UNGATED if text != "0")
LAYERS = {"arcsinh": "arcsinh", "log1p": "lognorm", "": "values"}  # by the last step


class Evidence(Protocol):
    """An estimate of the number of clusters, as from `model.stability`; `str` puts it in words."""

    @property
    def n_clusters(self) -> int: ...

    def facts(self) -> dict[str, Any]: ...


def write_features(
    name: str,
    path: str | Path,
    out_dir: str | Path,
    estimate: Callable[[np.ndarray | sp.csr_matrix], Evidence],
    label: str | None = None,
    clusters: int | None = None,
    transform: str = "auto",
    cofactor: float | None = None,
    features: Sequence[str] = (),
    drop: Sequence[str] = (),
    layer: str = "",
    use_rep: str = "",
    genes: int | None = 2000,
    min_counts: int = 0,
    genome: str = "",
    transpose: bool | None = None,
    compensate: str | None = None,
    existing: Sequence[str] = (),
) -> dict[str, Any]:
    """Write features.h5ad, clusters.json (the number to ask for) and PREPARED; return its facts.

    label: a column that is left out of the features and not used otherwise. clusters: how many to
    ask for; if None, what `estimate` returns for the transformed values, its only input. genes:
    if there are more features, keep this many of largest variance (transformed), unless values are
    negative, as scaled ones are; None: all. min_counts: cells with fewer over all features are left
    out. genome: the one to take, if 10x counts have several. transpose: as in `read_cells`.
    compensate: as in `compensation.asked_for`. existing: further columns that are left out, like
    the label.
    The others are those of `recipe.choose` and `recipe.make`.
    Raises UserError as the readers do, for fewer than LEAST_CELLS cells, and where no number of
    clusters can be estimated.
    """
    asked = asked_for(compensate)
    file = read_cells(path, genome=genome, transpose=transpose, compensation=asked)
    n_cells = file.cells.n_obs
    file = recipes.with_counts(file, min_counts, layer)
    if file.cells.n_obs < LEAST_CELLS:
        raise UserError(
            f"{path} has {file.cells.n_obs} cells, too few for comparing methods; give at least "
            f"{LEAST_CELLS}, or cluster them with `moesimvae cluster`."
        )
    told = [column for column in (label, *existing) if column is not None]
    if file.kind in ("table", "fcs"):
        for column in told:
            column_as_text(file, column)  # reports a missing column first
    drop = [*drop, *(column for column in told if column in _columns(file))]
    chosen = recipes.choose(file, features, drop, use_rep, as_config)
    recipe, words = recipes.make(file, chosen, transform, cofactor, layer, use_rep, as_config)
    cells, steps = _transformed(file, recipe, genes)
    recipes.require_differences(cells, path)
    values = cells.layers[_kept(recipe)]
    evidence, number = None, clusters
    if number is None:
        evidence = _estimate(estimate, values, path)
        number = evidence.n_clusters
    cells = preprocess(cells, [{"step": "minmax"}])
    check_values(name, cells)
    cells.uns |= {"dataset": name, "preprocessing": json.dumps([*steps, {"step": "minmax"}])}
    said = [
        f"{cells.n_vars:,} of the file's {file.cells.n_vars:,} features; transform: {words}",
        "number of clusters " + ("given" if evidence is None else str(evidence)),
    ]
    if min_counts:
        said.append(f"{file.cells.n_obs:,} of {n_cells:,} cells have {min_counts:,} counts or more")
    said += file.notes
    if empty := recipes.empty_barcodes(file, recipe, as_config):
        said.append(empty)
    if file.compensation:
        said.append(
            f"the file contains a compensation matrix (${file.compensation}) that is not used; if "
            f"its values are not yet compensated, use {as_config('compensate', ['file'])}"
        )
    out_dir = Path(out_dir)
    with files.atomic(out_dir / FEATURES) as temporary:
        writable.write(cells, temporary, compression="gzip", compression_opts=1)
    facts = _facts(name, file, cells, number) | {
        "note": f"{'; '.join(said)}.",
        "n_clusters_estimated": evidence is not None,
        "n_clusters_evidence": None if evidence is None else evidence.facts(),
        "features_sha256": files.sha256(out_dir / FEATURES),
    }
    if any(step["step"] == "select_features" for step in steps):
        facts["genes"] = chosen_genes(cells.var_names, len(recipe.features))
    files.write_json(out_dir / CLUSTERS, {"n_clusters": number})
    files.write_json(out_dir / PREPARED, facts)
    return facts


def write_labels(
    path: str | Path,
    out_dir: str | Path,
    label: str | None = None,
    genome: str = "",
    transpose: bool | None = None,
) -> dict[str, Any]:
    """Write labels.parquet and dataset.json beside the features; return the facts.

    A step of its own, so that naming another column of an h5ad reruns no method; in a table or an
    FCS file every column but the label is a feature.
    label: the column that gives the group of each cell; None: no cell has a label. transpose: as
    for the features.
    Raises UserError for fewer than two groups, or more than half as many groups as cells.
    """
    out_dir = Path(out_dir)
    file = cells_of(path, out_dir / FEATURES, genome, transpose)
    groups = _groups(file, label)
    labels = labelled(file.cells.obs_names, groups)
    with files.atomic(out_dir / LABELS) as temporary:
        labels[LABEL_COLUMNS].to_parquet(temporary, index=False)
    scored = labels["scored"]
    every = "all cells" if scored.all() else "cells with a label" if scored.any() else "no cell"
    facts = files.read_json(out_dir / PREPARED) | {
        "n_scored": int(scored.sum()),
        "n_populations": int(labels.loc[scored, "label"].nunique()),
        "scored": every,
    }
    files.write_json(out_dir / FACTS, facts)
    return facts


def existing_clusters(
    path: str | Path,
    features: str | Path,
    column: str,
    genome: str = "",
    transpose: bool | None = None,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A column of the user's file as a finished clustering: cells, clusters, the clusters' names.

    features: the features.h5ad made from the file, whose cells are used. Clusters are integers as
    given in the column, or the ranks of their sorted names; −1 where there is no value.
    Raises UserError for a column that does not exist.
    """
    file = cells_of(path, features, genome, transpose)
    found = column_as_text(file, column)
    missing = np.isin(np.char.lower(np.char.strip(found.astype(str))), UNLABELLED)
    names = sorted(set(found[~missing].tolist()))
    if all(name.isdecimal() and len(name) < 8 for name in names):
        clusters = np.where(missing, "-1", found).astype(np.int64)
    else:
        clusters = np.where(missing, -1, np.searchsorted(names, found))
    return file.cells.obs_names.to_numpy(), clusters, names


def cells_of(
    path: str | Path,
    features: str | Path,
    genome: str = "",
    transpose: bool | None = None,
    values: bool = False,
) -> CellFile:
    """The user's file, with only those of its cells that are in features.h5ad.

    values: read X of an h5ad, too; otherwise only its annotation.
    """
    on_disk = format_of(path) == "h5ad" and not transpose and not values
    file = read_cells(path, on_disk, genome=genome, transpose=transpose)
    with h5py.File(features) as stored:
        names = anndata.io.read_elem(stored["obs"]).index
    if len(names) < file.cells.n_obs:  # some were left out by their counts
        return replace(file, cells=file.cells[names].copy())
    return file


def as_config(kind: str, names: Sequence[str]) -> str:
    """What a user of the workflow types to take or leave out columns, or to choose a transform."""
    if kind not in ("features", "drop"):
        return f"--config {kind.replace('-', '_')}={names[0]}"
    return f"--config '{kind}={json.dumps(list(names), ensure_ascii=False)}'"


def _columns(file: CellFile) -> list[str]:
    """What `choose` chooses from; for tables and FCS, text columns too."""
    tabular = file.kind in ("table", "fcs")
    return [*file.cells.var_names, *(file.cells.obs if tabular else ())]


def _groups(file: CellFile, label: str | None) -> np.ndarray:
    """The group of each cell as text, "" for none, as for all cells without a label column."""
    n = file.cells.n_obs
    if label is None:
        return np.full(n, "", dtype=object)
    found = column_as_text(file, label)
    plain = np.char.lower(np.char.strip(found.astype(str)))
    groups = np.where(np.isin(plain, UNLABELLED), "", found).astype(object)
    many = len(set(groups) - {""})
    if many < 2 or many > n / 2:
        what = "no group" if many == 0 else "one group" if many == 1 else f"{many:,} groups"
        raise UserError(
            f"{file.path}: the column '{label}' gives {what} for {n:,} cells; name the column with "
            "the labels, or omit the label."
        )
    return groups


def _transformed(
    file: CellFile, recipe: recipes.Recipe, genes: int | None
) -> tuple[anndata.AnnData, list[dict[str, Any]]]:
    """Transformed cells with the layers that methods may ask for, and the steps applied."""
    counts = any(step["step"] == "library_size" for step in recipe.steps)
    cells = _prepared(file, recipe)
    if counts:
        raw = recipes.Recipe(recipe.features, [], [], recipe.layer, recipe.use_rep)
        cells.layers["counts"] = sp.csr_matrix(_prepared(file, raw).X)
    steps: list[dict[str, Any]] = []
    if genes is not None and cells.n_vars > genes and cells.X.min() >= 0:
        steps.append({"step": "select_features", "n_top": genes})
    steps.append({"step": "keep", "layer": _kept(recipe)})
    if file.kind == "fcs":
        instrument = "fluorescence" if file.fluorescence else "mass"
        panel = {key: value for key, value in panel_facts([file], cells).items() if key != "notes"}
        cells.uns |= {"instrument": instrument, "panel": json.dumps(panel)}
    return preprocess(cells, steps), [*recipe.steps, *steps]


def _kept(recipe: recipes.Recipe) -> str:
    return LAYERS[recipe.steps[-1]["step"] if recipe.steps else ""]


def _prepared(file: CellFile, recipe: recipes.Recipe) -> anndata.AnnData:
    if not file.on_disk:
        return recipes.prepared(file, recipe)
    parts = list(recipes.pieces(file, recipe))
    stack = sp.vstack if sp.issparse(parts[0].X) else np.concatenate
    matrix = stack([part.X for part in parts])
    return anndata.AnnData(
        matrix, obs=pd.DataFrame(index=file.cells.obs_names), var=parts[0].var.copy()
    )


def _estimate(estimate: Callable[..., Evidence], values: Any, path: str | Path) -> Evidence:
    evidence = estimate(values)
    if evidence.n_clusters < 2:
        raise UserError(
            f"{path}: {evidence}; to cluster the cells anyway, give the number of clusters: "
            "--config clusters=NUMBER."
        )
    return evidence


def _facts(name: str, file: CellFile, cells: anndata.AnnData, n_clusters: int) -> dict[str, Any]:
    facts = {
        "name": name,
        "title": file.path.name,
        "n_cells": cells.n_obs,
        "n_features": cells.n_vars,
        "n_clusters": n_clusters,
        "simulated": False,
        "partial": False,
        "citation": "none: the user's own file",
        "licence": "the user's own",
        "sources": [_source(path) for path in files_of(file.path)],
    }
    if "panel" in cells.uns:
        panel: Mapping[str, Any] = json.loads(cells.uns["panel"])
        facts |= {"instrument": cells.uns["instrument"], "panel": panel}
    return facts


def _source(path: Path) -> dict[str, Any]:
    return {
        "file": path.name,
        "url_or_path": str(path),
        "sha256": files.sha256(path),
        "bytes": path.stat().st_size,
    }
