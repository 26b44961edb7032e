"""From a registry block and raw files to a prepared data set: features and, separately, labels."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from moesimvae import files
from moesimvae.data import raw_file, readers, signature, writable
from moesimvae.data.dataset import FACTS, FEATURES, LABEL_COLUMNS, LABELS
from moesimvae.data.preprocessing import preprocess
from moesimvae.data.split import COLUMN as SPLIT
from moesimvae.data.split import TEST, TRAIN, same_as_paper, split
from moesimvae.errors import UserError
from moesimvae.layers import SELECTED
from moesimvae.nouns import DataSet, RawFile


def prepare(
    block: dict[str, Any], name: str, raw_files: Mapping[str, str | Path], out_dir: str | Path
) -> dict[str, Any]:
    """Write features.h5ad, labels.parquet and dataset.json (see `dataset`); return the facts.

    block: the data set's block in datasets.yaml, called `name` there.
    raw_files: role → path, for every role under the block's `files`; their content is checked.

    The three files appear only when all are complete, dataset.json last. The same input gives the
    same bytes. Raises UserError for a key missing from the block, a missing or wrong raw file, an
    unknown reader or step, numbers other than the block `expects`, a signature gene or group that
    does not exist, and prepared values that are not finite or not in [0, 1].
    """
    if missing := [key for key in DataSet.required() if key not in block]:
        raise UserError(
            f"the registry block of the data set {name} lacks {', '.join(missing)}; see the top "
            "of datasets.yaml for the keys required."
        )
    wanted = DataSet.of(block)
    sources = [
        _source(role, RawFile.of(file), raw_files.get(role), name)
        for role, file in (wanted.files or {}).items()
    ]
    cells, labels = readers.read(wanted, raw_files)
    _count(name, wanted.expects or {}, cells, labels)
    check_cells(name, cells, labels)
    if wanted.split is not None:
        labels["split"] = split(cells.n_obs, **wanted.split)
        cells.obs[SPLIT] = pd.Categorical(labels["split"], [TEST, TRAIN])
    genes = wanted.signature or {}
    signature.require_groups(genes, labels, f"the data set {name}")
    above = signature.above_average(cells, genes, f"the data set {name}") if genes else None
    cells = preprocess(cells, wanted.preprocessing)
    check_values(name, cells)
    if above is not None:
        signature.attach(cells, above, genes)
    cells.uns |= {"dataset": name, "preprocessing": json.dumps(wanted.preprocessing)}
    facts = _facts(wanted, name, cells, labels, sources)
    if "well" in block:  # wells of one inhibitor are drawn together
        facts |= {"family": block["family"], "group": block["inhibitor"], "well": block["well"]}
    return write(out_dir, cells, labels, facts)


def write(
    out_dir: str | Path, cells: AnnData, labels: pd.DataFrame, facts: dict[str, Any]
) -> dict[str, Any]:
    """Write the three files of a data set to a folder, all or none; return the facts with hash."""
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".prepare.", dir=out_dir) as folder:
        temporary = Path(folder)
        # gzip at its lightest: MNIST takes 26 MB instead of 222 and is read in a second
        writable.write(cells, temporary / FEATURES, compression="gzip", compression_opts=1)
        labels[LABEL_COLUMNS].to_parquet(temporary / LABELS, index=False)
        facts["features_sha256"] = files.sha256(temporary / FEATURES)
        files.write_json(temporary / FACTS, facts)
        (out_dir / FACTS).unlink(missing_ok=True)
        for file in (FEATURES, LABELS, FACTS):
            shutil.move(temporary / file, out_dir / file)
    return facts


def _source(role: str, file: RawFile, path: str | Path | None, name: str) -> dict[str, Any]:
    """Check one raw file's content; return what it is and where it came from."""
    if path is None or not Path(path).is_file():
        raise UserError(
            f"the data set {name} needs {file.name} for the role {role}, found "
            f"{path or 'no path'}; download it first."
        )
    if problem := raw_file.problem(path, file):
        raise UserError(f"{path} {problem}; delete it and fetch or export it again.")
    size, hashes = raw_file.measure(path, ("sha256",), file.bytes)
    record = raw_file.source_record(path)
    origin = files.read_json(record)["url_or_path"] if record.is_file() else str(path)
    return {"file": file.name, "url_or_path": origin, **hashes, "bytes": size}


def _count(name: str, expects: Mapping[str, int], cells: AnnData, labels: pd.DataFrame) -> None:
    """Compare what a reader returned with the numbers that the block expects."""
    gated = labels.loc[labels["scored"], "label"]
    found = {
        "cells": cells.n_obs,
        "markers": cells.n_vars,
        "genes": cells.n_vars,
        "populations": gated.nunique(),
        "gated": len(gated),
    }
    if unknown := set(expects) - set(found):
        raise UserError(
            f"the registry block of the data set {name} expects {', '.join(sorted(unknown))}; "
            f"only these can be counted: {', '.join(found)}."
        )
    wrong = [
        f"{found[k]:,} {k} instead of {expects[k]:,}" for k in expects if found[k] != expects[k]
    ]
    if wrong:
        raise UserError(
            f"the files of the data set {name} contain {' and '.join(wrong)}; they are not the "
            "published ones: delete them and fetch them again."
        )


def check_cells(name: str, cells: AnnData, labels: pd.DataFrame) -> None:
    """Check what a reader returned against contract 1."""
    if len(cells.obs.columns) or not cells.obs_names.is_unique:
        raise UserError(
            f"the reader of the data set {name} annotates cells or repeats a cell id; expected "
            "unique ids and nothing else in obs."
        )
    if list(labels["cell"]) != list(cells.obs_names):
        raise UserError(
            f"the labels of the data set {name} name {len(labels)} cells, expected the "
            f"{cells.n_obs} cells of its features in the same order; correct its reader."
        )


def check_values(name: str, cells: AnnData) -> None:
    """Check what the preprocessing steps returned against contract 1."""
    values = cells.X.data if sp.issparse(cells.X) else cells.X
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):  # also true for NaN
        raise UserError(
            f"the prepared values of the data set {name} range from {low:g} to {high:g}, expected "
            "finite values in [0, 1]; end its preprocessing with a step such as minmax or divide."
        )


def chosen_genes(names: Iterable[str], of: int) -> dict[str, Any]:
    """What dataset.json says of the genes that methods see, chosen from `of` genes."""
    how = "largest variance of the transformed values, in training cells where there is a split"
    return {"of": of, "chosen_by": how, "names": list(names)}


def _facts(
    wanted: DataSet, name: str, cells: AnnData, labels: pd.DataFrame, sources: list[dict[str, Any]]
) -> dict[str, Any]:
    facts = {
        "name": name,
        "title": wanted.title,
        "n_cells": cells.n_obs,
        "n_features": cells.n_vars,
        "n_clusters": wanted.n_clusters,
        "n_scored": int(labels["scored"].sum()),
        "n_populations": int(labels.loc[labels["scored"], "label"].nunique()),
        "scored": wanted.scored,
        "simulated": wanted.simulated,
        "partial": wanted.partial,
        "note": wanted.note,
        "citation": wanted.citation,
        "licence": wanted.licence,
        "sources": sources,
    }
    if SELECTED in cells.var:
        facts["genes"] = chosen_genes(cells.var_names[cells.var[SELECTED]], cells.n_vars)
    if wanted.simulate is not None:
        facts["simulate"] = wanted.simulate
    if "instrument" in cells.uns:
        facts |= {"instrument": cells.uns["instrument"], "panel": json.loads(cells.uns["panel"])}
    if "counts" in cells.uns:
        facts["counts"] = json.loads(cells.uns["counts"])
    if wanted.split is not None:
        facts |= {f"n_{part}": int((labels["split"] == part).sum()) for part in (TRAIN, TEST)}
    if wanted.signature is not None:
        facts["signature"] = wanted.signature
    if wanted.paper is not None:
        facts["paper"] = same_as_paper(labels, wanted.paper)
    return facts
