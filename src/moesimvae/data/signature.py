"""Prior knowledge of single-cell RNA: one signature gene for each group of cells (organ, type).

A cell counts as similar to others of a group if it expresses the group's gene above average. The
average is taken over the training cells' shares of the gene (counts per million), not over their
logarithms, with totals over all genes, filtered out later or not. S1 Table: how often that is
right.
"""

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from moesimvae.data.split import training
from moesimvae.errors import UserError
from moesimvae.layers import SIGNATURE
from moesimvae.names import hint, listed

KEY = "signature"
MEAN = "mean"


def above_average(cells: AnnData, genes: Mapping[str, str], where: str) -> np.ndarray:
    """Where each group's gene is above its average: (n_cells, n_groups) bool, columns as `genes`.

    cells: X counts of all genes, before any are filtered out. genes: group → gene, by the names of
    the genes or by var["symbol"]. where: the data set, for error messages.
    Raises UserError for a missing gene, with similar names, or one that occurs twice.
    """
    columns = [_column(cells, gene, where) for gene in genes.values()]
    totals = np.asarray(cells.X.sum(axis=1), dtype=np.float64).ravel()[:, None]
    values = cells.X[:, columns]
    values = np.asarray(values.toarray() if sp.issparse(values) else values, dtype=np.float64)
    shares = np.divide(values, totals, out=np.zeros_like(values), where=totals > 0)
    return shares > shares[training(cells)].mean(axis=0)


def attach(cells: AnnData, signature: np.ndarray, genes: Mapping[str, str]) -> None:
    """Write the signature to obsm and its groups and genes, as JSON, to uns.

    var marks which features are signature genes.
    """
    names = [cells.var_names, *([cells.var["symbol"]] if "symbol" in cells.var else [])]
    cells.var[SIGNATURE] = np.any([np.isin(some, list(genes.values())) for some in names], axis=0)
    cells.obsm[KEY] = signature
    cells.uns[KEY] = json.dumps(dict(genes))


def accuracy(
    signature: np.ndarray, groups: Mapping[str, str], labels: np.ndarray, split: np.ndarray
) -> pd.DataFrame:
    """S1 Table: how well each signature gene separates its group from the rest.

    signature: (n_cells, n_groups) bool; groups: group → gene in the order of its columns; labels
    and split: (n_cells,) text. For each value of split, train before test, a row for each group
    and one called "mean" (gene ""). Columns: group, gene, split, n_cells (of that split), accuracy
    (share of cells for which "gene above average" equals "in the group"), balanced_accuracy (mean
    of this share among the group's cells and among the rest; NaN if either is empty).
    """
    labels, split = np.asarray(labels), np.asarray(split)
    if not len(signature) == len(labels) == len(split) or signature.shape[1] != len(groups):
        raise UserError(
            f"the signature has shape {signature.shape} for {len(groups)} groups, {len(labels)} "
            f"labels and {len(split)} entries of the split; give a row for each cell and a column "
            "for each group."
        )
    tables = []
    for part in sorted(set(split), key=lambda name: (name != "train", name)):
        cells = split == part
        rows = [
            (group, gene, part, int(cells.sum()), *_right(above, labels[cells] == group))
            for (group, gene), above in zip(groups.items(), signature[cells].T, strict=True)
        ]
        table = pd.DataFrame(
            rows, columns=["group", "gene", "split", "n_cells", "accuracy", "balanced_accuracy"]
        )
        mean = {"group": MEAN, "gene": "", "split": part, "n_cells": int(cells.sum())}
        mean |= table[["accuracy", "balanced_accuracy"]].mean(skipna=False).to_dict()
        tables.append(pd.concat([table, pd.DataFrame([mean])]))
    return pd.concat(tables, ignore_index=True)


def require_groups(genes: Mapping[str, str], labels: pd.DataFrame, where: str) -> None:
    """Raise UserError for a group of the signature that is no cell's label."""
    known = sorted(set(labels["label"]) - {""})
    for group in genes:
        if group not in known:
            raise UserError(
                f"the signature of {where} names the group '{group}', which is not a label of its "
                f"cells; {hint(group, known)}."
            )


def _right(above: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    sensitivity = above[inside].mean() if inside.any() else np.nan
    specificity = (~above[~inside]).mean() if (~inside).any() else np.nan
    return float((above == inside).mean()), float((sensitivity + specificity) / 2)


def _column(cells: AnnData, gene: str, where: str) -> int:
    candidates = [cells.var_names, *([cells.var["symbol"]] if "symbol" in cells.var else [])]
    for names in candidates:
        (found,) = np.nonzero(np.asarray(names) == gene)
        if len(found) == 1:
            return int(found[0])
        if len(found) > 1:
            raise UserError(
                f"{where} has {len(found)} genes with the symbol '{gene}' "
                f"({listed(cells.var_names[found])}); name one of these as the signature gene."
            )
    raise UserError(
        f"{where} has no gene '{gene}', a signature gene of its registry block; "
        f"{hint(gene, list(candidates[-1]))}."
    )
