"""Training and test cells, and whether labels and split match the paper's.

A data set with a split records it in obs["split"] and in labels.parquet; then nothing is fitted on
test cells.
"""

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from anndata import AnnData

TRAIN, TEST = "train", "test"
COLUMN = "split"


def split(n_cells: int, test: float, seed: int) -> np.ndarray:
    """ "train" or "test" for each cell: the first round(test · n_cells) of a permutation are test.

    The paper's: test 0.2, seed 123456 of NumPy's RandomState.
    """
    order = np.random.RandomState(seed).permutation(n_cells)
    parts = np.full(n_cells, TRAIN, dtype=object)
    parts[order[: round(test * n_cells)]] = TEST
    return parts


def training(cells: AnnData) -> np.ndarray:
    """Which cells steps may be fitted on, (n_cells,) bool: training cells, or all if no split."""
    if COLUMN not in cells.obs:
        return np.ones(cells.n_obs, dtype=bool)
    return (cells.obs[COLUMN] == TRAIN).to_numpy()


def same_as_paper(labels: pd.DataFrame, hashes: Mapping[str, str]) -> dict[str, bool]:
    """Whether labels and indices, written as in the paper's files, have their sha256.

    labels: a labels.parquet; hashes: of `labels` (one label per line), `indices_test` and
    `indices_train` (cell indices from 0, ascending, one per line).
    """
    parts = labels[COLUMN].to_numpy()
    lines = {
        "labels": labels["label"],
        "indices_test": np.flatnonzero(parts == TEST),
        "indices_train": np.flatnonzero(parts == TRAIN),
    }
    return {name: _sha256(lines[name]) == value for name, value in hashes.items()}


def _sha256(lines: Iterable[object]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
