"""Compensation of fluorescence: removing the spillover between detectors.

A measured event is the true one times the spillover matrix, so the true one is the measured one
times its inverse (Bagwell and Adams 1993, Ann. N.Y. Acad. Sci. 677: 167-184), on the linear scale,
before any transformation.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moesimvae.errors import UserError, first_line
from moesimvae.names import listed, near

FILE = "file"  # instead of a matrix: the one in the file itself


@dataclass(frozen=True)
class Spillover:
    """matrix: (n, n), row by fluorochrome, column by detector; channels: their names ($PnN)."""

    channels: list[str]
    matrix: list[list[float]]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def asked_for(given: str | None) -> Any:
    """A user's choice, as a recipe stores it: None, FILE, or the matrix of a csv."""
    return given if given in (None, FILE) else of_csv(str(given)).as_json()


def of_keyword(text: str, path: str | Path) -> Spillover:
    """The matrix in the text of $SPILLOVER or $SPILL: n, n names, n × n numbers, row by row."""
    parts = [part.strip() for part in text.split(",")]
    try:
        n = int(parts[0])
        names, numbers = parts[1 : n + 1], np.array(parts[n + 1 :], dtype=float)
        matrix = numbers.reshape(n, n)
    except ValueError:
        raise UserError(
            f"{path}: the compensation matrix cannot be read ({text[:40]!r}…); give it as a csv "
            "file."
        ) from None
    return _checked(names, matrix, path)


def of_csv(path: str | Path) -> Spillover:
    """The matrix in a csv as FlowJo, flowCore and FlowKit write it: a header line, then numbers.

    A first column of names is ignored; a name such as "FITC-A :: CD3" is cut at the "::".
    """
    try:
        table = pd.read_csv(path, sep=None, engine="python")
        if not pd.api.types.is_numeric_dtype(table.iloc[:, 0]):
            table = table.iloc[:, 1:]
        matrix = table.to_numpy(dtype=float)
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"{path} is not a compensation matrix ({first_line(error)}).") from error
    if matrix.shape[0] != matrix.shape[1]:
        raise UserError(
            f"{path} is not a compensation matrix: it has {matrix.shape[0]} rows of numbers for "
            f"{matrix.shape[1]} channels; give one row for each channel."
        )
    return _checked([str(name).partition("::")[0].strip() for name in table.columns], matrix, path)


def _checked(names: list[str], matrix: np.ndarray, path: str | Path) -> Spillover:
    if not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix) < len(matrix):
        raise UserError(f"{path}: the compensation matrix cannot be inverted; give another one.")
    return Spillover(names, matrix.tolist())


def compensate(
    values: np.ndarray, spillover: Spillover, channels: Sequence[str], path: str | Path
) -> np.ndarray:
    """Compensated values (n_cells, n_channels), float32; other channels stay as they are.

    channels: the $PnN. Raises UserError where the file lacks a channel of the matrix.
    """
    known = list(channels)
    missing = [name for name in spillover.channels if name not in known]
    if missing:
        raise UserError(
            f"{path} lacks channels of the compensation matrix ({listed(missing)}); it has "
            f"{listed(near(missing[0], known) or known)}."
        )
    columns = [known.index(name) for name in spillover.channels]
    found = values.copy()
    measured = values[:, columns].astype(np.float64)
    found[:, columns] = np.linalg.solve(np.array(spillover.matrix).T, measured.T).T
    return found
