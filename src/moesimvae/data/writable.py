"""Cells from any source, changed so that an h5ad can hold them and any anndata can read it.

What newer versions of pandas and anndata write is turned into what every version reads: nullable
strings become plain ones, or a category where some are missing. What an h5ad cannot hold at all is
renamed, written as text or, as a last resort, left out; each such change is reported in words.
"""

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from moesimvae.errors import UserError, first_line
from moesimvae.names import names_in

RESERVED = "_index"  # where an h5ad keeps the names of the rows
ALIGNED = ("layers", "obsm", "varm", "obsp", "varp")
SPARE = 1 << 20  # bytes of free space required beyond the results


def plain(column: pd.Series) -> pd.Series:
    """A column in a form that every version of anndata can write and read."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        given = pd.Series(dtype.categories)
        categories = _plain_values(given)
        if categories.dtype == dtype.categories.dtype and categories.equals(given):
            return column
        if not categories.is_unique:  # as 1 and "1" are in text
            return _plain_values(column.astype(object))
        return column.cat.rename_categories(pd.Index(categories))
    return _plain_values(column)


def _plain_values(column: pd.Series) -> pd.Series:
    dtype, missing = column.dtype, column.isna()
    is_object = pd.api.types.is_object_dtype(dtype)
    if isinstance(dtype, np.dtype) and dtype.kind in "biufc":
        return column
    kind = pd.api.types.infer_dtype(column, skipna=True)
    floats = pd.Series(np.nan, column.index, name=column.name)
    if kind == "empty" and len(column):
        return floats
    if pd.api.types.is_bool_dtype(dtype) or (is_object and kind == "boolean"):
        return column.astype("boolean") if missing.any() else column.astype(bool)
    numeric = pd.api.types.is_numeric_dtype(dtype)
    if numeric or (is_object and kind in ("integer", "floating", "mixed-integer-float")):
        if pd.api.types.is_integer_dtype(dtype) or kind == "integer":
            return _integers(column, missing)
        floats[:] = column.to_numpy(dtype=float, na_value=np.nan)
        return floats
    return _text(column)


def _integers(column: pd.Series, missing: pd.Series) -> pd.Series:
    try:
        if missing.any():
            masked = isinstance(column.array, pd.arrays.IntegerArray)
            return column if masked else column.astype("Int64")
        values = column.to_numpy()
        values = np.array(values.tolist()) if values.dtype == object else values
        if values.dtype.kind in "iu":
            return pd.Series(values, column.index, name=column.name)
    except (OverflowError, TypeError, ValueError):
        pass  # beyond 64-bit integers
    return _text(column)


def _text(column: pd.Series) -> pd.Series:
    missing, text = column.isna(), column.astype(object)
    text = text.where(missing, text.map(lambda v: v.decode() if isinstance(v, bytes) else str(v)))
    return text.where(~missing, None).astype("category") if missing.any() else text


def plain_frame(table: pd.DataFrame) -> pd.DataFrame:
    """A table with all columns and its row names made plain; column names stay."""
    columns = [plain(table.iloc[:, i]) for i in range(table.shape[1])]
    index = pd.Index(table.index.astype(str).to_numpy(dtype=object), name=table.index.name)
    found = pd.DataFrame(dict(enumerate(columns)), index=table.index)
    return found.set_axis(table.columns, axis=1).set_axis(index, axis=0)


def make(cells: anndata.AnnData) -> list[str]:
    """Change `cells` in place so that an h5ad can hold them; return the changes in words.

    X stays: column names, columns and uns are changed; entries that no h5ad can hold are dropped.
    """
    notes: list[str] = []
    cells.obs = _frame(cells.obs, "obs", notes)
    cells.var = _frame(cells.var, "var", notes)
    if cells.raw is not None:
        var = _frame(cells.raw.var, "raw/var", notes)
        obs = pd.DataFrame(index=cells.obs_names)
        raw = anndata.AnnData(cells.raw.X, obs=obs, var=var, varm=dict(cells.raw.varm))
        _align(raw.varm, "raw/varm", notes)
        cells.raw = raw
    for place in ALIGNED:
        _align(getattr(cells, place), place, notes)
    cells.uns = _mapping(dict(cells.uns), "uns", notes)
    return notes


def write(cells: anndata.AnnData, path: str | Path, **how: Any) -> None:
    """Write an h5ad that older anndata can read as well: pandas 3 has its own type for text."""
    with anndata.settings.override(allow_write_nullable_strings=False):
        cells.write_h5ad(path, **how)


def _frame(table: pd.DataFrame, place: str, notes: list[str]) -> pd.DataFrame:
    table = plain_frame(table)
    names = [str(name) for name in table.columns]
    same = [i for i, name in enumerate(names) if name == RESERVED]
    if same and (table.iloc[:, same[0]].astype(str).to_numpy() == table.index.to_numpy()).all():
        notes.append(f"{place}: the column '{RESERVED}' repeats the names and is left out")
        table = table.iloc[:, [i for i in range(len(names)) if i not in same]]
        names = [str(name) for name in table.columns]
    # column names become HDF5 paths, in which / and . have a meaning
    wanted = ["index_" if name == RESERVED else name.replace("/", "_") for name in names]
    wanted = [
        f"{name}_{i}" if not name.strip(".") or wanted.count(name) > 1 else name
        for i, name in enumerate(wanted)
    ]
    changed = [f"'{a}' is now '{b}'" for a, b in zip(names, wanted, strict=True) if a != b]
    if changed:
        notes.append(f"{place}: {', '.join(changed)}, since an h5ad cannot hold such names")
    table = table.set_axis(pd.Index(wanted, dtype=object), axis=1)
    name = table.index.name
    if name is not None and (not isinstance(name, str) or "/" in name or name in wanted):
        table = table.rename_axis(None)
    for i, column in enumerate(table):
        if table.dtypes.iloc[i].kind not in "biuf" and not _fits(table.iloc[:, [i]]):
            table[column] = _text(table[column])
            notes.append(f"{place}: '{column}' is written as text")
    return table


def _align(values: Any, place: str, notes: list[str]) -> None:
    for name in names_in(values):
        value, told = values[name], str(name).replace("/", "_")
        if isinstance(value, pd.DataFrame):
            value = _frame(value, f"{place}/{name}", notes)
        if not _fits(value):
            notes.append(f"{place}/{name} is left out: an h5ad cannot hold {type(value).__name__}")
            del values[name]
            continue
        if told != name:
            notes.append(f"{place}: '{name}' is now '{told}'")
            del values[name]
        if told != name or isinstance(value, pd.DataFrame):
            values[told] = value


def _mapping(values: Mapping[Any, Any], place: str, notes: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("/", "_") or "_"
        while name in found:
            name += "_"
        found[name] = _uns(value, f"{place}/{name}", notes)
        if name != key and isinstance(key, str):
            notes.append(f"{place}: '{key}' is now '{name}'")
    return found


def _uns(value: Any, place: str, notes: list[str]) -> Any:
    if isinstance(value, Mapping):
        return _mapping(value, place, notes)
    if isinstance(value, pd.DataFrame):
        return _frame(value, place, notes)
    if isinstance(value, pd.api.extensions.ExtensionArray) and not isinstance(
        value, pd.Categorical
    ):
        value = np.asarray(plain(pd.Series(value)))
    if _fits(value):
        return value
    if isinstance(value, list | tuple | set | np.ndarray | pd.Series | pd.Index):
        notes.append(f"{place} is written as text")
        return np.array([str(part) for part in value], dtype=object)
    notes.append(f"{place} is written as text: an h5ad cannot hold {type(value).__name__}")
    return str(value)


def _fits(value: Any) -> bool:
    """Whether an h5ad can hold such a value, tried in memory on its first rows."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return True
    if sp.issparse(value):
        value = value[:1]
    with h5py.File("tried", "w", driver="core", backing_store=False) as file:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                anndata.io.write_elem(file, "tried", value)
        except Exception:  # anndata and h5py raise all kinds of errors
            return False
    return True


# ---------------------------------------------------------------------- before training


def require(folder: Path, cells: anndata.AnnData, columns: Mapping[str, Any]) -> None:
    """Raise UserError unless an h5ad of these cells, with `columns` in obs, can be written there.

    The annotation is written as a trial, and free space is compared with the size of the values.
    """
    needed, free = SPARE + _bytes(cells), shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder} has {free / 1e6:,.0f} MB of free space, but the results need about "
            f"{needed / 1e6:,.0f} MB; free some space, or name another folder with --out."
        )
    tried = folder / ".tried.h5ad"
    obs = cells.obs.assign(**columns)
    try:
        annotation = anndata.AnnData(obs=obs, var=cells.var, uns=dict(cells.uns))
        write(annotation, tried)
        with h5py.File(tried, "a") as file:
            if cells.raw is not None:
                anndata.io.write_elem(file.require_group("raw"), "var", cells.raw.var)
            for place in ("obsm", "varm"):
                for name, value in getattr(cells, place).items():
                    anndata.io.write_elem(file.require_group(place), name, value[:1])
    except OSError:
        raise
    except Exception as error:  # anndata and h5py raise all kinds of errors
        raise UserError(
            f"the annotation of the cells cannot be written as an h5ad ({first_line(error)}); "
            "remove what this names from the file."
        ) from error
    finally:
        tried.unlink(missing_ok=True)


def _bytes(cells: anndata.AnnData) -> int:
    raw = [cells.raw.X] if cells.raw is not None else []
    values = [*raw, cells.X, *(v for place in ALIGNED for v in getattr(cells, place).values())]
    return sum(
        sum(part.nbytes for part in (value.data, value.indices, value.indptr))
        if sp.issparse(value) and value.format in ("csr", "csc")
        else getattr(value, "nbytes", 0)
        for value in values
    )
