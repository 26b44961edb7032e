"""A user's own cells from one file: h5ad, csv or tsv (also .gz), FCS, npz, 10x (folder or .h5).

h5ad   X, layers, obs, … as they are; sparse stays sparse. A file of more than `BACKED_BYTES`, or
       any on request, stays on disk: then `cells` holds names and annotation only, and
       `recipe.pieces` reads the values piece by piece.
table  One line per cell below a header line (`table`).
FCS    Versions 2.0 to 3.2. A channel is named by its $PnS (the marker) or, where that is empty or
       not unique, by its $PnN, with a number where that is not unique either. Values are those of
       the file, scaled by gain and time step as its header says, and compensated only on request
       (`compensation`). Cells are numbered from 0.
npz    `X` (cells × features) with, optionally, `cells` and `features`, their names, and further
       arrays of one value per cell, which become obs; or one sparse matrix as
       `scipy.sparse.save_npz` writes it. Nothing pickled is read.
10x    A folder with matrix.mtx, barcodes.tsv and features.tsv or genes.tsv (each also .gz), or the
       .h5 file of Cell Ranger (`tenx`). In GEO's folders these names are prefixed with a sample's
       name: where there are several samples, the path names one (`folder/GSM123_sample`) or its
       matrix. Counts, sparse; genes go by their symbols or, where these are not unique, their ids.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from moesimvae.data import hdf5, tenx, writable
from moesimvae.data.compensation import FILE, Spillover, compensate, of_keyword
from moesimvae.data.fcs import Fcs, read_fcs
from moesimvae.data.formats import format_of, is_tenx_parts
from moesimvae.data.orientation import OF_GENES, genes_in_rows
from moesimvae.data.raw_file import archive
from moesimvae.data.table import read_table
from moesimvae.errors import UserError, first_line
from moesimvae.names import hint, listed, names_in, require_unique

BACKED_BYTES = 4 << 30


@dataclass(frozen=True)
class CellFile:
    """What a file holds. `cells`: n_cells × features, float32 for tables and FCS.

    kind: "h5ad", "table", "fcs", "npz" or "10x". on_disk: `cells` has no X, the values are still in
    the file. fluorescence: an FCS file from a flow cytometer. compensation: the keyword of a
    compensation matrix in the file that was not used. version: of FCS. notes: what a user should
    know about the file. samples: for several FCS files, name → path, in the order of the cells.
    """

    path: Path
    kind: str
    cells: anndata.AnnData
    on_disk: bool = False
    fluorescence: bool = False
    compensation: str = ""
    version: str = ""
    notes: tuple[str, ...] = ()
    samples: Mapping[str, Path] = field(default_factory=dict)


def read_cells(
    path: str | Path,
    on_disk: bool = False,
    may_be_empty: bool = False,
    genome: str = "",
    transpose: bool | None = None,
    compensation: Any = None,
) -> CellFile:
    """Read the cells of a file, whose name gives its format (see the module's docstring).

    on_disk: leave the values of an h5ad on disk, as happens anyway above `BACKED_BYTES`.
    may_be_empty: accept a file without cells. genome: the one to take, for 10x.
    transpose: cells are in columns; False: in rows; None: in rows, and an error where these look
    like genes. compensation: for FCS, as `compensation.asked_for` gives it.
    Raises UserError for a file that is missing, unreadable, empty, of another format, or in which
    two cells or two features have the same name.
    """
    path = Path(path)
    kind, first = format_of(path), ""
    if on_disk and kind != "h5ad":
        raise UserError(
            f"{path} is not an h5ad file, the only format that can stay on disk; convert it."
        )
    if genome and kind != "10x":
        raise UserError(f"{path} is not a 10x file, the only format with genomes; omit the genome.")
    if compensation and kind != "fcs":
        raise UserError(
            f"{path} is not an FCS file, the only format that can be compensated; omit the "
            "compensation."
        )
    if kind == "h5ad":
        file = _h5ad(path, on_disk or path.stat().st_size > BACKED_BYTES)
    elif kind == "fcs":
        file = from_fcs(path, read_fcs(path), compensation)
    elif kind == "table":
        cells, first, notes = read_table(path)
        file = CellFile(path, kind, cells, notes=notes)
    elif kind == "10x":
        with _readable(f"{path} has no counts as written by Cell Ranger", "export them again"):
            read = tenx.read_folder if is_tenx_parts(path) else tenx.read_h5
            cells, said = read(path, genome)
        file = CellFile(path, kind, cells, notes=tuple(said))
    else:
        file = CellFile(path, kind, _npz(path))
    file = _oriented(file, transpose, first)
    if file.cells.n_obs == 0 and not may_be_empty:
        raise UserError(f"{path} has no cells (features: {file.cells.n_vars}).")
    for kind, what in (("obs", "cell"), ("var", "feature")):
        how = f", in anndata with {kind}_names_make_unique()" * (file.kind == "h5ad")
        require_unique(getattr(file.cells, f"{kind}_names"), f"{path}: the {what} name", how)
    return file


@contextmanager
def _readable(wrong: str, advice: str) -> Iterator[None]:
    """Turn whatever h5py, anndata, NumPy and scipy raise for damaged files into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{wrong} ({first_line(error)}); {advice}.") from error


def _oriented(file: CellFile, transpose: bool | None, first: str) -> CellFile:
    """The file with cells in rows.

    transpose: its columns are the cells. None: its rows are, and must not look like genes. first:
    the name of the column of row names.
    """
    if transpose:
        cells = _transposed(file)
        if genes_in_rows(list(cells.obs_names), list(cells.var_names)):
            raise UserError(
                f"{file.path} has its genes in columns ({listed(cells.obs_names, 2)}), which would "
                "become cells when transposed; omit the option to transpose."
            )
        return replace(file, cells=cells)
    cells = file.cells
    why = genes_in_rows(list(cells.obs_names), list(cells.var_names), first)
    if why and transpose is None:
        raise UserError(
            f"{file.path} seems to have genes in rows and cells in columns ({why}), so "
            f"{cells.n_obs:,} genes would be clustered as cells; use --transpose if its columns "
            "are cells, or --no-transpose if its rows are cells (in the workflow, --config "
            "transpose=true or transpose=false)."
        )
    return file


def _transposed(file: CellFile) -> anndata.AnnData:
    path, cells = file.path, file.cells
    if file.on_disk or file.kind in ("fcs", "10x"):
        what = "values that stay on disk" if file.on_disk else f"{file.kind} files"
        raise UserError(f"{path}: {what} cannot be transposed; omit that option.")
    if file.kind == "table":
        plain = {name: re.sub("[^a-z]", "", name.lower()) for name in cells.var_names}
        odd = [*cells.obs, *(name for name, letters in plain.items() if letters in OF_GENES)]
        if odd:
            raise UserError(
                f"{path} has columns that would not be cells when transposed ({listed(odd)}: text, "
                "or descriptions of genes); remove them, or correct the numbers in them."
            )
    matrix: Any = cells.X if cells.X is None else cells.X.T
    return anndata.AnnData(
        matrix.tocsr() if sp.issparse(matrix) else matrix,
        obs=cells.var,
        var=cells.obs,
        layers={name: cells.layers[name].T for name in names_in(cells.layers)},
        obsm=dict(cells.varm),
        varm=dict(cells.obsm),
    )


# ---------------------------------------------------------------------- columns


def find_column(file: CellFile, name: str, what: str) -> int:
    """The index in X of a marker or channel; UserError, with similar names, if there is none."""
    cells = file.cells
    for names in (cells.var_names, *([cells.var["channel"]] if "channel" in cells.var else [])):
        (found,) = np.nonzero(np.asarray(names) == name)
        if len(found) == 1:
            return int(found[0])
    raise UserError(
        f"{file.path} has no {what} '{name}'; {hint(name, [*cells.var_names, *cells.obs])}."
    )


def column_as_text(file: CellFile, name: str) -> np.ndarray:
    """The values of a column that assigns cells to groups, as text, numbers as integers.

    For h5ad, npz and 10x a column of obs, otherwise any. "" where a value is missing. Raises
    UserError where there is no such column, and for numbers that are not integers.
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
            f"{file.path} holds counts as written by Cell Ranger, without any groups of cells "
            f"('{name}' was requested); omit the label, or write an h5ad file with it in obs."
        )
    else:
        raise UserError(
            f"{file.path} has no column '{name}' in obs; {hint(name, list(file.cells.obs))}."
        )
    gated = np.isfinite(values)
    if (values[gated] != np.round(values[gated])).any():
        raise UserError(
            f"{file.path}: the label column '{name}' starts with {values[gated][0]:g} and contains "
            "numbers that are not integers; name the column that gives the populations."
        )
    return np.where(gated, np.where(gated, values, 0).astype(np.int64).astype(str), "")


# ---------------------------------------------------------------------- h5ad


def _h5ad(path: Path, on_disk: bool) -> CellFile:
    with _readable(f"{path} is not a readable h5ad file", "write it again"):
        hdf5.require_plain(path, on_disk)
        if on_disk:
            with h5py.File(path) as stored:
                obs, var = _annotation(path, stored)
                shape = stored.get("uns/image_shape")
                uns = {} if shape is None else {"image_shape": shape[:]}
            cells = anndata.AnnData(obs=obs, var=var, uns=uns)
        else:
            cells = anndata.read_h5ad(path)
            cells.obs, cells.var = (writable.plain_frame(table) for table in (cells.obs, cells.var))
    layers = [(name, cells.layers[name]) for name in names_in(cells.layers)]
    for name, matrix in [("X", cells.X), *layers, *cells.obsm.items()]:
        hdf5.require_whole(path, name, matrix)
    kinds = cells.var["feature_types"].astype(str) if "feature_types" in cells.var else []
    told = ", ".join(f"{number:,} of {kind}" for kind, number in Counter(kinds).items())
    note = f"the features are of several kinds ({told}), and all are used"
    return CellFile(path, "h5ad", cells, on_disk=on_disk, notes=(note,) * (len(set(kinds)) > 1))


def _annotation(path: Path, stored: h5py.File) -> tuple[pd.DataFrame, pd.DataFrame]:
    """obs and var from any version of anndata: the earliest wrote each as one array."""
    if isinstance(stored["obs"], h5py.Dataset) or isinstance(stored["var"], h5py.Dataset):
        old = anndata.read_h5ad(path, backed="r")
        obs, var = old.obs.copy(), old.var.copy()
        old.file.close()
    else:
        obs, var = (anndata.io.read_elem(stored[name]) for name in ("obs", "var"))
    return writable.plain_frame(obs), writable.plain_frame(var)


# ---------------------------------------------------------------------- npz


def _npz(path: Path) -> anndata.AnnData:
    with (
        _readable(f"{path} is not a readable npz file", "save it again, without object arrays"),
        archive(path),
        np.load(path, allow_pickle=False) as stored,
    ):
        if {"format", "shape"} <= set(stored.files):  # as scipy.sparse.save_npz writes it
            matrix = sp.csr_matrix(sp.load_npz(path))
            hdf5.require_whole(path, "X", matrix)
            matrix = matrix.astype(np.float32)
            return anndata.AnnData(matrix, *map(_numbered, matrix.shape))
        arrays = {name: stored[name] for name in stored.files}
    return _of_arrays(path, arrays)


def _of_arrays(path: Path, arrays: dict[str, np.ndarray]) -> anndata.AnnData:
    matrix = arrays.pop("X", None)
    if matrix is None or matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        held = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "none"
        what = "no array X" if matrix is None else f"X {matrix.shape} of {matrix.dtype}"
        raise UserError(
            f"{path} has {what}; it needs a numeric array X (cells × features); its other arrays: "
            f"{held}."
        )
    tables = []
    for name, n in zip(("cells", "features"), matrix.shape, strict=True):
        names = arrays.pop(name, None)
        if names is not None and names.shape != (n,):
            raise UserError(
                f"{path}: {name} has shape {names.shape} for {n:,} {name}; give one name for each."
            )
        table = _numbered(n) if names is None else pd.DataFrame(index=names.astype(str))
        tables.append(table.rename_axis(None))
    for name, array in arrays.items():
        if array.shape == (len(matrix),) and array.dtype.kind in "biufUS":
            values = array.astype(str) if array.dtype.kind in "US" else array
            tables[0][name] = values
    with np.errstate(over="ignore"):  # becomes infinite, reported when values are prepared
        return anndata.AnnData(matrix.astype(np.float32), *tables)


def _numbered(n: int) -> pd.DataFrame:
    return pd.DataFrame(index=pd.RangeIndex(n).astype(str))


# ---------------------------------------------------------------------- FCS


def from_fcs(path: Path, file: Fcs, compensation: Any = None) -> CellFile:
    """The cells of an FCS file that is already in memory.

    compensation: None, "file" for the matrix that the file carries, or a `Spillover` as JSON.
    """
    values, notes = file.values, list(file.notes)
    if compensation == FILE:
        if not file.spillover:
            raise UserError(
                f"{path} contains no compensation matrix; give one as a csv file, or none."
            )
        spillover = of_keyword(file.spillover, path)
    elif compensation:
        spillover = Spillover(**compensation)
    if compensation:
        values = compensate(values, spillover, file.channels, path)
        whose = f"its own ${file.compensation}" if compensation == FILE else "the given csv file"
        notes.append(f"{len(spillover.channels)} channels are compensated with {whose}")
    cells = anndata.AnnData(
        values,
        obs=pd.DataFrame(index=pd.RangeIndex(len(values)).astype(str)),
        var=pd.DataFrame({"channel": file.channels}, index=pd.Index(file.names, dtype=object)),
    )
    return CellFile(
        path,
        "fcs",
        cells,
        fluorescence=file.fluorescence,
        compensation="" if compensation else file.compensation,
        version=file.version,
        notes=tuple(notes),
    )


def read_samples(paths: Sequence[str | Path], compensation: Any = None) -> CellFile:
    """The cells of several FCS files, concatenated, with the file's name in obs["sample"].

    Channels are those that all files have. A cell is named by its sample and its number there.
    Raises UserError for other formats, for mass and fluorescence together, for two samples of the
    same name, and where no channel is shared.
    """
    read: dict[str, CellFile] = {}
    for path in map(Path, paths):
        if format_of(path) != "fcs":
            raise UserError(
                f"{path} is not an FCS file, and only FCS files can be clustered together; "
                "concatenate others beforehand, with anndata.concat."
            )
        if path.stem in read:
            raise UserError(f"two files, and so their samples, are named {path.stem}; rename one.")
        read[path.stem] = read_cells(path, compensation=compensation)
    first, *others = read.values()
    if odd := [f for f in others if f.fluorescence != first.fluorescence]:
        raise UserError(
            f"{first.path} and {odd[0].path} are from different kinds of cytometers, mass and "
            "flow; cluster them separately."
        )
    shared = [n for n in first.cells.var_names if all(n in f.cells.var_names for f in others)]
    if not shared:
        raise UserError(f"{first.path} and the other files have no channels in common.")
    every = dict.fromkeys(name for file in read.values() for name in file.cells.var_names)
    rest = [name for name in every if name not in shared]
    notes = dict.fromkeys(f"{file.path.name}: {n}" for file in read.values() for n in file.notes)
    if rest:
        notes[f"{len(rest)} channels are not in all files and are left out: {listed(rest)}"] = None
    cells = anndata.AnnData(
        np.concatenate([file.cells[:, shared].X for file in read.values()]),
        obs=pd.DataFrame(
            {"sample": pd.Categorical(np.repeat(list(read), [f.cells.n_obs for f in read.values()]),
                                      list(read))},
            index=[f"{name}_{i}" for name, f in read.items() for i in range(f.cells.n_obs)],
        ),
        var=first.cells.var.loc[shared],
    )  # fmt: skip
    return replace(
        first,
        path=Path(f"{first.path} and {len(others)} more"),
        cells=cells,
        compensation=next((f.compensation for f in read.values() if f.compensation), ""),
        notes=tuple(notes),
        samples={name: file.path for name, file in read.items()},
    )
