"""A user's own cells from one file: h5ad, csv or tsv (also .gz), FCS, npz, 10x (folder or .h5).

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
npz    `X` (cells × features) beside, as far as they are there, `cells` and `features`, their names,
       and further arrays of one value for each cell, which become obs; or one sparse matrix as
       `scipy.sparse.save_npz` writes it. Nothing pickled is read.
10x    A folder with matrix.mtx, barcodes.tsv and features.tsv or genes.tsv (each also .gz), or the
       .h5 file of Cell Ranger (`tenx`). Counts, sparse; genes are called by their symbols or, where
       these are not unique, by their ids.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from moesimvae.data import hdf5, tenx
from moesimvae.data.content import archive, opened
from moesimvae.data.fcs import Fcs, read_fcs
from moesimvae.data.formats import format_of
from moesimvae.data.named import near
from moesimvae.errors import UserError, first_line

BACKED_BYTES = 4 << 30
CELL_COLUMNS = frozenset(
    {
        *("barcode", "barcodes", "cell", "cell_barcode", "cell_id", "cell_name", "cellid", "index"),
        *("id", "event_id", "unnamed:_0"),
    }
)
# as 7.8, 7,8, 1e-3, <0.5: in a column that holds such, others are no names of cells
NUMBER = re.compile(r"\s*[<>]?\s*[+-]?\d[\d.,]*([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class CellFile:
    """What a file holds. `cells`: n_cells × features, float32 for tables and FCS.

    kind: "h5ad", "table", "fcs", "npz" or "10x". on_disk: `cells` has no X, the values are still in
    the file. fluorescence: an FCS file that has scatter channels. compensation: the keyword that
    holds its compensation matrix. version: its version.
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
    kind = format_of(path)
    if on_disk and kind != "h5ad":
        raise UserError(f"{path} is no h5ad, the only format that can stay on disk; convert it.")
    if kind == "h5ad":
        file = _h5ad(path, on_disk or path.stat().st_size > BACKED_BYTES)
    elif kind == "fcs":
        file = from_fcs(path, read_fcs(path))
    else:
        read = {"table": _table, "npz": _npz, "10x": _tenx}[kind]
        file = CellFile(path, kind, read(path))
    if file.cells.n_obs == 0 and not may_be_empty:
        raise UserError(f"{path} has no cells (features: {file.cells.n_vars}).")
    for kind, what in (("obs", "cell"), ("var", "feature")):
        how = f", in anndata by {kind}_names_make_unique()" * (file.kind == "h5ad")
        require_unique(getattr(file.cells, f"{kind}_names"), f"{path}: the {what} name", how)
    return file


def require_unique(names: pd.Index, what: str, how: str = "") -> None:
    """UserError that tells the first name which stands twice, where, and how to mend it."""
    twice = names.duplicated()
    if twice.any():
        name = names[twice][0]
        first, second = np.flatnonzero(names == name)[:2]
        raise UserError(
            f"{what} '{name}' stands twice (numbers {first} and {second}, counted from 0); give "
            f"each a name of its own{how}."
        )


# ---------------------------------------------------------------------- columns


def find_column(file: CellFile, name: str, what: str) -> int:
    """The column of X of a marker or channel; UserError with the nearest names of the file."""
    cells = file.cells
    for names in (cells.var_names, *([cells.var["channel"]] if "channel" in cells.var else [])):
        (found,) = np.nonzero(np.asarray(names) == name)
        if len(found) == 1:
            return int(found[0])
    raise UserError(
        f"{file.path} has no {what} '{name}'; {near(name, [*cells.var_names, *cells.obs])}."
    )


def column_as_text(file: CellFile, name: str) -> np.ndarray:
    """The values of a column that tells groups of cells, as text, numbers as whole numbers.

    Of h5ad, npz and 10x a column of obs, else any. "" where there is no value. Raises UserError
    where there is no such column, and for numbers that are not whole.
    """
    if name in file.cells.obs:
        column = file.cells.obs[name]
        if column.dtype.kind not in "fc":
            column = column.astype(object)
            return column.where(column.notna(), "").to_numpy(dtype=str)
        values = column.to_numpy()
    elif file.kind in ("table", "fcs"):
        values = file.cells.X[:, find_column(file, name, "label column")]
    elif file.kind == "10x":
        raise UserError(
            f"{file.path} holds counts as Cell Ranger writes them, which tell no groups of cells "
            f"('{name}' is asked for); leave the label out, or write an h5ad with it in obs."
        )
    else:
        raise UserError(
            f"{file.path} has no column '{name}' in obs; {near(name, list(file.cells.obs))}."
        )
    gated = np.isfinite(values)
    if (values[gated] != np.round(values[gated])).any():
        raise UserError(
            f"{file.path}: the label column '{name}' holds {values[gated][0]:g} and other numbers "
            "that are not whole; name the column that tells the populations."
        )
    return np.where(gated, np.where(gated, values, 0).astype(np.int64).astype(str), "")


# ---------------------------------------------------------------------- h5ad


def _h5ad(path: Path, on_disk: bool) -> CellFile:
    try:
        hdf5.require_plain(path, on_disk)
        if on_disk:
            with h5py.File(path) as stored:
                obs, var = (anndata.io.read_elem(stored[name]) for name in ("obs", "var"))
                shape = stored.get("uns/image_shape")
                uns = {} if shape is None else {"image_shape": shape[:]}
            cells = anndata.AnnData(obs=obs, var=var, uns=uns)
        else:
            cells = anndata.read_h5ad(path)
    except UserError:
        raise
    except Exception as error:  # of a damaged file h5py and anndata raise all kinds
        raise UserError(
            f"{path} is not a readable h5ad file ({first_line(error)}); write it again."
        ) from error
    for name, matrix in [("X", cells.X), *cells.layers.items(), *cells.obsm.items()]:
        hdf5.require_whole(path, name, matrix)
    return CellFile(path, "h5ad", cells, on_disk=on_disk)


# ---------------------------------------------------------------------- csv, tsv


def _table(path: Path) -> anndata.AnnData:
    try:
        names, separator = _head(path)
        named = names[0] == "" or names[0].lower().replace(" ", "_") in CELL_COLUMNS
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
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not in UTF-8 ({first_line(error)}); save it as UTF-8."
        ) from error
    except UserError:
        raise
    except (ValueError, csv.Error) as error:  # pandas' errors are ValueErrors
        raise UserError(
            f"{path} is not a table of cells ({first_line(error)}); mend that line."
        ) from error
    names = pd.Index(names, dtype=object)
    cell = pd.RangeIndex(len(table)).astype(str)
    if named or _names_cells(table[0]):
        cell, names = pd.Index(table.pop(0).astype(str).to_numpy(), dtype=object), names[1:]
    require_unique(names, f"{path}: the column")
    table.columns, table.index = names, cell
    numbers = np.array([dtype.kind in "iuf" for dtype in table.dtypes], dtype=bool)
    text = table.loc[:, ~numbers]
    with np.errstate(over="ignore"):  # becomes infinite and is told where values are prepared
        values = table.loc[:, numbers].to_numpy(dtype=np.float32)
    return anndata.AnnData(
        values,
        obs=text.astype(str).where(text.notna(), ""),
        var=pd.DataFrame(index=names[numbers]),
    )


def _head(path: Path) -> tuple[list[str], str]:
    """The columns' names and the separator, from the first two lines."""
    with opened(path) as stream:
        lines = [stream.readline().decode("utf-8-sig") for _ in range(2)]
    if not lines[0].strip():
        what = "has an empty first line" if lines[0] else "is empty"
        raise UserError(f"{path} {what}; its first line must name the features.")
    separator = max(",;\t", key=lines[0].count)
    names, *first = csv.reader(filter(None, lines), delimiter=separator)
    names = [name.strip() for name in names]
    if _are_values([name for name in names if name]):
        raise UserError(
            f"{path} has numbers in its first line ({names[0] or names[-1]}, …) where the names of "
            "the features must stand; add a line of names."
        )
    fields = len(first[0]) if first else len(names)
    if len(names) == fields == 1 and first and not NUMBER.fullmatch(first[0][0]):
        raise UserError(
            f"{path} has a single column, and text in it ('{first[0][0]}'); separate columns by "
            "comma, semicolon or tab."
        )
    if fields == len(names) + 1:
        names = ["", *names]  # as R writes tables: the column of the cells' names has none
    elif fields > len(names):
        raise UserError(
            f"{path} names {len(names)} columns in its first line but has {fields} fields in the "
            "second; mend the table."
        )
    return names, separator


def _are_values(names: list[str]) -> bool:
    """Whether all are numbers, and not whole ones that count: a first cell, not a line of names."""
    numbers = pd.to_numeric(pd.Series(names, dtype=object), errors="coerce")
    counts = numbers.is_unique and (numbers == numbers.round()).all()
    return len(numbers) > 0 and bool(numbers.notna().all()) and not counts


def _names_cells(column: pd.Series) -> bool:
    """Whether a first column, whatever its name, is no feature: text of its own, or a counter."""
    if not len(column) or column.isna().any() or not column.is_unique:
        return False
    if column.dtype.kind in "iu":
        place = column.to_numpy() - np.arange(len(column))
        return len(column) > 2 and bool((place == place[0]).all() and place[0] in (0, 1))
    return column.dtype == object and not column.astype(str).map(NUMBER.fullmatch).any()


# ---------------------------------------------------------------------- npz


def _npz(path: Path) -> anndata.AnnData:
    try:
        with archive(path), np.load(path, allow_pickle=False) as stored:
            if {"format", "shape"} <= set(stored.files):  # as scipy.sparse.save_npz writes it
                matrix = sp.csr_matrix(sp.load_npz(path))
                hdf5.require_whole(path, "X", matrix)
                matrix = matrix.astype(np.float32)
                return anndata.AnnData(matrix, *map(_numbered, matrix.shape))
            arrays = {name: stored[name] for name in stored.files}
    except UserError:
        raise
    except Exception as error:  # of a damaged file NumPy raises all kinds
        raise UserError(
            f"{path} is not a readable npz file ({first_line(error)}); write it again, without "
            "objects."
        ) from error
    return _of_arrays(path, arrays)


def _of_arrays(path: Path, arrays: dict[str, np.ndarray]) -> anndata.AnnData:
    matrix = arrays.pop("X", None)
    if matrix is None or matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        held = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
        what = "no array X" if matrix is None else f"X {matrix.shape} of {matrix.dtype}"
        raise UserError(
            f"{path} has {what}; it needs numbers X (cells × features), and holds {held} besides."
        )
    tables = []
    for name, n in zip(("cells", "features"), matrix.shape, strict=True):
        names = arrays.pop(name, None)
        if names is not None and names.shape != (n,):
            raise UserError(
                f"{path}: {name} has the shape {names.shape} for {n:,} {name}; give each a name."
            )
        table = _numbered(n) if names is None else pd.DataFrame(index=names.astype(str))
        tables.append(table.rename_axis(None))
    for name, array in arrays.items():
        if array.shape == (len(matrix),) and array.dtype.kind in "biufUS":
            values = array.astype(str) if array.dtype.kind in "US" else array
            tables[0][name] = values
    with np.errstate(over="ignore"):  # becomes infinite and is told where values are prepared
        return anndata.AnnData(matrix.astype(np.float32), *tables)


def _numbered(n: int) -> pd.DataFrame:
    return pd.DataFrame(index=pd.RangeIndex(n).astype(str))


# ---------------------------------------------------------------------- 10x


def _tenx(path: Path) -> anndata.AnnData:
    try:
        return tenx.read_folder(path) if path.is_dir() else tenx.read_h5(path)
    except UserError:
        raise
    except Exception as error:  # of a damaged file h5py and scipy raise all kinds
        raise UserError(
            f"{path} holds no counts as Cell Ranger writes them ({first_line(error)}); export them "
            "again."
        ) from error


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
