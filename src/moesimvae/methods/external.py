"""A user's own method as an executable, which reads features and writes a label per cell.

The command is run without a shell, in the folder of its block, and is given two files:

features  `csv`: a header `cell,<features>`, then a line for each cell, its name first;
          `mtx`: a sparse matrix (cells × features) in the Matrix Market format, and beside it
          cells.txt and features.txt with one name per line
labels    to be written: one integer per line, in the order of the cells, -1 = noise

Time and memory are limited and failures reported, as for any other method.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moesimvae.errors import UserError
from moesimvae.methods.interface import Clustering, Invalid, dense

if TYPE_CHECKING:
    from anndata import AnnData

MOST_BYTES = 24  # per line of labels


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    command: str,
    place: str,
    form: str,
    params: dict[str, Any],
    exchange: str,
) -> Clustering:
    """Run the command on the cells and read its labels.

    command: with {features}, {labels}, {n_clusters}, {seed}, {threads} and the names of the
        block's params as placeholders for their values. place: the folder in which it runs. form:
        csv or mtx. exchange: a folder for the two files, removed afterwards.

    Raises UserError when the program cannot be started or fails, Invalid for missing or invalid
    labels.
    """
    folder = Path(exchange)
    folder.mkdir()
    labels = folder / "labels.txt"
    features = write_features(cells, folder, form)
    values = {"features": features, "labels": labels, "n_clusters": n_clusters, "seed": seed}
    words = filled(command, values | params)
    try:
        ended = subprocess.run(words, cwd=place, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise UserError(
            f"the program '{words[0]}' of the command cannot be started ({error.strerror}); "
            "install it, or correct the command."
        ) from error
    if ended.returncode:
        raise UserError(f"the command ended with exit status {ended.returncode}; see its log.")
    found = read_labels(labels, cells.n_obs)
    shutil.rmtree(folder)
    return Clustering(found)


def filled(command: str, values: dict[str, Any]) -> list[str]:
    """The words of a command with values substituted for their names in braces.

    The command is split into words first, so no value can become two of them.
    """

    def value(found: re.Match) -> str:
        return str(values.get(found[1], found[0]))

    return [re.sub(r"\{(\w+)\}", value, word) for word in shlex.split(command)]


def write_features(cells: AnnData, folder: Path, form: str) -> Path:
    """Write the cells as features.csv, or features.mtx with cells.txt and features.txt."""
    import pandas as pd
    from scipy import io, sparse

    path = folder / f"features.{form}"
    if form == "csv":
        table = pd.DataFrame(dense(cells), cells.obs_names, cells.var_names)
        table.to_csv(path, index_label="cell", float_format="%.9g")
        return path
    io.mmwrite(path, sparse.coo_matrix(cells.X))
    for name, names in (("cells", cells.obs_names), ("features", cells.var_names)):
        text = "".join(f"{' '.join(str(one).split())}\n" for one in names)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return path


def read_labels(path: Path, n_cells: int) -> np.ndarray:
    """Read (n_cells,) integers, one per line; Invalid for anything else."""
    if not path.is_file():
        raise Invalid("the command succeeded but wrote no labels to the path {labels}.")
    if path.stat().st_size > MOST_BYTES * max(n_cells, 1):
        raise Invalid(
            f"the labels file is too long for {n_cells:,} cells with one number per line."
        )
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if len(lines) != n_cells:
        raise Invalid(f"the command wrote {len(lines):,} labels for {n_cells:,} cells.")
    labels = np.empty(n_cells, dtype=np.int64)
    for number, line in enumerate(lines):
        try:
            labels[number] = int(line)
        except (ValueError, OverflowError):
            raise Invalid(
                f"line {number + 1} of the labels is {line[:40]!r}, expected a whole number "
                "(-1 for noise)."
            ) from None
    return labels
