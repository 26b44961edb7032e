"""What a clustering method takes and returns: contract 2 of the benchmark.

A method is a module in this folder with one function

    def cluster(cells: AnnData, n_clusters: int, seed: int, **params) -> Clustering

and a block in `workflow/registry/methods.yaml`. It never sees a label. It imports the library
it wraps inside `cluster`, so that listing methods stays fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData


class Invalid(Exception):
    """The method's result violates contract 2; the message is one sentence."""


@dataclass
class Clustering:
    """The result of one run.

    labels: (n_cells,) integers, -1 = noise.
    embedding: (n_cells, n_dimensions) or None, the space in which the method clustered.
    probabilities: (n_cells, n_clusters) or None, rows sum to 1.
    history: loss term → one value per recorded step, or empty.
    facts: small JSON-serialisable facts worth keeping (chosen K, experts in use, device, …).
    save: writes the fitted model into a folder, or None.
    assign: labels further cells with the fitted model, with embedding and probabilities where the
        method has them; None if it cannot. Data sets with a split need it: a method is
        fitted on their training cells and never sees the others.
    """

    labels: np.ndarray
    embedding: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    save: Callable[[Path], None] | None = None
    assign: Callable[[AnnData], Clustering] | None = None


def dense(cells: AnnData) -> np.ndarray:
    """`cells.X` as a C-ordered float32 array of shape (n_cells, n_features)."""
    matrix = cells.X.toarray() if hasattr(cells.X, "toarray") else cells.X
    return np.ascontiguousarray(matrix, dtype=np.float32)
