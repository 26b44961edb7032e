"""A user's own cells from one file: h5ad, csv or tsv (also .gz), FCS.

h5ad   X, layers, obs, … as they are; sparse stays sparse. A file of more than `BACKED_BYTES`, or
       any when asked for, stays on disk: then `cells` holds names and annotation only, and
       `recipe.pieces` reads the values piece by piece.
table  One line for each cell below a line of names. The separator is the one of comma, semicolon
       and tab that the first line has most of. The first column names the cells when its own name
       is empty or one of `CELL_COLUMNS`, or when its values are text and all different; without
       such a column, cells are numbered from 0. Columns of numbers become X, others obs.
FCS    Versions 2.0 to 3.1. A channel is named by its $PnS (the marker) or, where that is empty or
       not unique, by its $PnN. Values are those of the file, scaled by gain and time step as its
       header says; nothing is compensated (see `fcs`). Cells are numbered from 0.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd

from moesimvae.data.content import opened
from moesimvae.data.fcs import Fcs, read_fcs
from moesimvae.errors import UserError

BACKED_BYTES = 4 << 30
CELL_COLUMNS = frozenset(
    {"barcode", "barcodes", "cell", "cell_barcode", "cell_id", "cell_name", "cellid", "index"}
)
SUFFIXES = {
    ".h5ad": "h5ad",
    ".csv": "table",
    ".csv.gz": "table",
    ".tsv": "table",
    ".tsv.gz": "table",
    ".fcs": "fcs",
}


@dataclass(frozen=True)
class CellFile:
    """What a file holds. `cells`: n_cells × features, float32 for tables and FCS.

    kind: "h5ad", "table" or "fcs". on_disk: `cells` has no X, the values are still in the file.
    fluorescence: an FCS file that has scatter channels. compensation: the keyword that holds its
    compensation matrix. version: its version.
    """

    path: Path
    kind: str
    cells: anndata.AnnData
    on_disk: bool = False
    fluorescence: bool = False
    compensation: str = ""
    version: str = ""

    @property
    def spillover(self) -> bool:
        return bool(self.compensation)


def read_cells(path: str | Path, on_disk: bool = False, may_be_empty: bool = False) -> CellFile:
    """Read the cells of a file, whose format its name tells (see the module's description).

    on_disk: leave the values of an h5ad where they are; files above `BACKED_BYTES` do so anyway.
    may_be_empty: a file without cells is none of the wrong ones.
    Raises UserError for a file that is missing, unreadable, empty, of another format, or that
    names two cells or two features alike.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; check the name of the file.")
    if not path.is_file():
        raise UserError(f"{path} is not a file; give one of {', '.join(SUFFIXES)}.")
    kind = SUFFIXES.get(suffix(path))
    if kind is None:
        raise UserError(
            f"{path} has none of the endings {', '.join(SUFFIXES)}, by which formats are told "
            "apart; rename or convert it."
        )
    if on_disk and kind != "h5ad":
        raise UserError(f"{path} is no h5ad, the only format that can stay on disk; convert it.")
    if kind == "h5ad":
        file = _h5ad(path, on_disk or path.stat().st_size > BACKED_BYTES)
    else:
        file = _table(path) if kind == "table" else from_fcs(path, read_fcs(path))
    if file.cells.n_obs == 0 and not may_be_empty:
        raise UserError(f"{path} has no cells (features: {file.cells.n_vars}).")
    require_unique(file.cells.obs_names, f"{path}: the cell name")
    require_unique(file.cells.var_names, f"{path}: the feature name")
    return file


def suffix(path: str | Path) -> str:
    """The ending that tells the format, in lower case, with .gz where there is one."""
    *_, before, last = ["", "", *Path(path).suffixes]
    return (before + last if last.lower() == ".gz" else last).lower()


def require_unique(names: pd.Index, what: str) -> None:
    """UserError that tells the first name which stands twice, and where."""
    twice = names.duplicated()
    if twice.any():
        name = names[twice][0]
        first, second = np.flatnonzero(names == name)[:2]
        raise UserError(
            f"{what} '{name}' stands twice (numbers {first} and {second}, counted from 0); names "
            "must be unique."
        )


# ---------------------------------------------------------------------- h5ad


def _h5ad(path: Path, on_disk: bool) -> CellFile:
    try:
        if on_disk:
            with h5py.File(path) as stored:
                obs, var = (anndata.io.read_elem(stored[name]) for name in ("obs", "var"))
                shape = stored.get("uns/image_shape")
                uns = {} if shape is None else {"image_shape": shape[:]}
            cells = anndata.AnnData(obs=obs, var=var, uns=uns)
        else:
            cells = anndata.read_h5ad(path)
    except Exception as error:  # of a damaged file h5py and anndata raise all kinds
        raise UserError(
            f"{path} is not a readable h5ad file ({first_line(error)}); write it again."
        ) from error
    return CellFile(path, "h5ad", cells, on_disk=on_disk)


# ---------------------------------------------------------------------- csv, tsv


def _table(path: Path) -> CellFile:
    try:
        names, separator = _head(path)
        named = names[0] == "" or names[0].lower() in CELL_COLUMNS
        with opened(path) as stream:
            table = pd.read_csv(
                stream,
                sep=separator,
                header=None,
                names=range(len(names)),
                skiprows=1,
                dtype={0: str} if named else None,  # a cell named 007 keeps its zeros
                low_memory=False,
            )
    except (ValueError, csv.Error) as error:  # pandas' and Unicode's errors are ValueErrors
        raise UserError(
            f"{path} is not a table of cells ({first_line(error)}); mend that line."
        ) from error
    names = pd.Index(names, dtype=object)
    cell = pd.RangeIndex(len(table)).astype(str)
    if named or _all_different_text(table[0]):
        cell, names = pd.Index(table.pop(0).astype(str).to_numpy(), dtype=object), names[1:]
    require_unique(names, f"{path}: the column")
    table.columns, table.index = names, cell
    numbers = np.array([dtype.kind in "iuf" for dtype in table.dtypes], dtype=bool)
    text = table.loc[:, ~numbers]
    with np.errstate(over="ignore"):  # becomes infinite and is told where values are prepared
        values = table.loc[:, numbers].to_numpy(dtype=np.float32)
    cells = anndata.AnnData(
        values,
        obs=text.astype(str).where(text.notna(), ""),
        var=pd.DataFrame(index=names[numbers]),
    )
    return CellFile(path, "table", cells)


def _head(path: Path) -> tuple[list[str], str]:
    """The columns' names and the separator, from the first two lines."""
    with opened(path) as stream:
        lines = [stream.readline().decode("utf-8-sig") for _ in range(2)]
    if not lines[0].strip():
        raise UserError(f"{path} is empty; its first line must name the features.")
    separator = max(",;\t", key=lines[0].count)
    names, *first = csv.reader(filter(None, lines), delimiter=separator)
    names = [name.strip() for name in names]
    fields = len(first[0]) if first else len(names)
    if fields == len(names) + 1:
        names = ["", *names]  # as R writes tables: the column of the cells' names has none
    elif fields > len(names):
        raise UserError(
            f"{path} names {len(names)} columns in its first line but has {fields} fields in the "
            "second; mend the table."
        )
    return names, separator


def _all_different_text(column: pd.Series) -> bool:
    return column.dtype == object and len(column) > 0 and column.notna().all() and column.is_unique


# ---------------------------------------------------------------------- FCS


def from_fcs(path: Path, file: Fcs) -> CellFile:
    """The cells of an FCS file that is already in memory."""
    cells = anndata.AnnData(
        file.values,
        obs=pd.DataFrame(index=pd.RangeIndex(len(file.values)).astype(str)),
        var=pd.DataFrame({"channel": file.channels}, index=pd.Index(file.names, dtype=object)),
    )
    return CellFile(
        path,
        "fcs",
        cells,
        fluorescence=file.fluorescence,
        compensation=file.compensation,
        version=file.version,
    )


def first_line(error: BaseException) -> str:
    """What an exception of a library says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
