"""A prepared data set on disk: contract 1 of the benchmark.

features.h5ad   cells × features, X float32 (dense or CSR) in [0, 1]; raw counts, if any, in
                layers["counts"]; transformed but unscaled values in layers["arcsinh"] for
                cytometry, layers["lognorm"] for single-cell RNA;
                var: selected (bool), the genes that methods see where there are many, and
                signature (bool), the further ones that methods with prior knowledge see;
                obs: empty, or split ("train" | "test"), with all steps fitted on training cells;
                obsm: signature (n_cells, n_groups) bool, prior knowledge, if any;
                uns: dataset, preprocessing (JSON), image_shape (images), instrument and panel
                (JSON; cytometry), counts (JSON; single-cell RNA: numbers of spike-ins left out
                and of empty cells), signature (JSON: group → gene)
labels.parquet  cell, label ("" = none), scored, split
dataset.json    what it is, where it came from, and the sha256 of features.h5ad
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from moesimvae.data.split import COLUMN as SPLIT
from moesimvae.errors import UserError, first_line
from moesimvae.layers import SELECTED

# what a reader or a simulator returns: cells without a label anywhere, and the table of labels
Cells = tuple[anndata.AnnData, pd.DataFrame]
Raw = Mapping[str, str | Path]  # role → path of a raw file

FEATURES, LABELS, FACTS = "features.h5ad", "labels.parquet", "dataset.json"
LABEL_COLUMNS = ["cell", "label", "scored", "split"]


def labelled(cells: pd.Index, labels: np.ndarray) -> pd.DataFrame:
    """The table of labels for cells without a split; cells labelled "" (none) are not scored."""
    labels = labels.astype(object)
    return pd.DataFrame({"cell": cells, "label": labels, "scored": labels != "", "split": "all"})


@contextmanager
def _prepared(path: str | Path, kind: str) -> Iterator[None]:
    """Turn errors of a missing or unreadable file into one sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; prepare the data set first.") from error
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} is not a readable {kind} file ({first_line(error)}); prepare the data set "
            "again."
        ) from error


def load_features(path: str | Path) -> anndata.AnnData:
    """The cells of a features.h5ad; UserError if it is not one or annotates its cells.

    The only column obs may have is the split. Where genes are selected, only those are returned.
    """
    with _prepared(path, "h5ad"):
        cells = anndata.read_h5ad(path)
    if SELECTED in cells.var:
        cells = cells[:, cells.var[SELECTED]].copy()
    if others := [column for column in cells.obs if column != SPLIT]:
        raise UserError(
            f"{path} has the column '{others[0]}' in obs, expected only '{SPLIT}': labels "
            f"belong in {LABELS}, hidden from the methods."
        )
    return cells


def load_labels(path: str | Path) -> pd.DataFrame:
    """The table of a labels.parquet: cell, label, scored, split; UserError if it is not one."""
    with _prepared(path, "parquet"):
        labels = pd.read_parquet(path)
    if list(labels.columns) != LABEL_COLUMNS:
        raise UserError(
            f"{path} has the columns {', '.join(labels.columns)}, expected "
            f"{', '.join(LABEL_COLUMNS)}; prepare the data set again."
        )
    return labels
