"""The cells that a model is given: checked, named, scaled, and laid out on a device.

Dense cells are a float32 array, sparse ones a CSR matrix. A backed AnnData is only mapped into
memory: the operating system reads the pages that are touched, and may drop them again.
"""

from __future__ import annotations

import mmap
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias
from weakref import WeakSet

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from moesimvae.errors import UserError, WrongType

Matrix: TypeAlias = np.ndarray | sparse.csr_matrix
BLOCK_BYTES = 1 << 26  # of the cells that are examined at a time
_MAPS: WeakSet[mmap.mmap] = WeakSet()  # those made here, to which nothing is written


def matrix_of(X: Any) -> Matrix:
    """The features of X as float32, (n_cells, n_features), an array or a CSR matrix.

    X: array, any scipy sparse matrix, DataFrame, or AnnData in memory or backed by a file.
    Raises UserError for data that are not numbers in two dimensions, or not finite (saying where).
    """
    named = _columns(X), cell_names(X)
    if hasattr(X, "obs_names"):  # AnnData, without importing it
        X = _mapped(X) if getattr(X, "isbacked", False) else X.X
    try:
        if sparse.issparse(X):
            _require_real(X)
            matrix = sparse.csr_matrix(X, dtype=np.float32)
        else:
            X = np.asarray(X)
            _require_real(X)
            matrix = np.ascontiguousarray(X, dtype=np.float32) if X.ndim else X
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        kind = WrongType if isinstance(error, TypeError) else UserError
        raise kind(f"the data must be numbers, cells × features ({error}).") from error
    _require_cells_and_features(matrix.shape)
    _require_finite(matrix, *named)
    return matrix


def counts_of(counts: Any, shape: tuple[int, ...]) -> Matrix:
    """Molecule counts as `matrix_of` gives them; UserError for another shape, or for non-counts."""
    matrix = matrix_of(counts)
    if matrix.shape != shape:
        raise UserError(
            f"the counts have shape {matrix.shape}, but the cells {shape}; give one count for each "
            "value."
        )
    if not are_whole(matrix):
        raise UserError("the counts contain negative or fractional values; give raw counts.")
    return matrix


def are_whole(matrix: Any) -> bool:
    """Whether all values of an array or sparse matrix are whole and not negative."""
    values = matrix.data if sparse.issparse(matrix) else matrix
    return not ((values < 0).any() or (values % 1).any())


def feature_names(X: Any) -> np.ndarray | None:
    """The names of the features as objects, where X (AnnData or DataFrame) has any.

    A DataFrame's names that are not text do not count, as in scikit-learn. Raises WrongType where
    some are text and some are not.
    """
    names = _columns(X)
    if names is None or not len(names):
        return None
    names = np.array([*names], dtype=object)
    text = [isinstance(name, str) for name in names]
    if any(text) and not all(text):
        raise WrongType(
            f"the column names mix strings and other types, such as {names[text.index(False)]!r}; "
            "make all of them strings: X.columns = X.columns.astype(str)."
        )
    return names if all(text) else None


def _columns(X: Any) -> Any:
    return getattr(X, "var_names" if hasattr(X, "obs_names") else "columns", None)


def _require_real(X: Any) -> None:
    """Raise UserError for text, dates and complex numbers, which NumPy would turn into reals."""
    kind = X.dtype.kind
    if kind == "O":
        held = {type(value) for value in (X.data if sparse.issparse(X) else X).flat}
        kind = "U" if any(issubclass(one, str | bytes) for one in held) else kind
        kind = "c" if any(issubclass(one, complex | np.complexfloating) for one in held) else kind
    if kind == "c":
        raise UserError("Complex data not supported; give real numbers, cells × features.")
    if kind not in "biufO":
        raise UserError(
            f"the data are {'text' if kind in 'US' else X.dtype}, but must be numbers, cells × "
            "features; remove or convert everything that is not numeric."
        )


def _require_cells_and_features(shape: tuple[int, ...]) -> None:
    if len(shape) == 1:
        raise UserError(
            f"the data have shape {shape}; expected cells × features: Reshape your data with "
            "X.reshape(1, -1) for a single cell, or X.reshape(-1, 1) for a single feature."
        )
    if len(shape) == 2 and shape[0] > 0 and shape[1] == 0:
        raise UserError(
            f"the data have 0 feature(s) (shape={shape}) while a minimum of 1 is required."
        )
    if len(shape) != 2 or shape[0] == 0:
        raise UserError(f"the data have shape {shape}; expected cells × features.")


def cell_names(X: Any) -> Any:
    """The names of the cells, where X (AnnData or DataFrame) has any."""
    return getattr(X, "obs_names", getattr(X, "index", None) if hasattr(X, "columns") else None)


def _mapped(cells: Any) -> Matrix:
    """X of a backed AnnData without reading it whole.

    Uncompressed float32 values are mapped where they lie; others are first copied, block by
    block, into a temporary file that is gone when the process ends.
    """
    import h5py

    stored = cells.X
    if isinstance(stored, np.ndarray) or sparse.issparse(stored):
        return stored  # a selection of cells, which anndata has already read
    _require_real(stored)
    if isinstance(stored, h5py.Dataset):
        return _mapped_array(stored)
    parts = stored.group if hasattr(stored, "group") else stored._group
    # the type of indices that scipy asks for; it would copy any other
    number = np.int32 if max(*stored.shape, len(parts["data"])) < 2**31 else np.int64
    values, columns = _mapped_array(parts["data"]), _mapped_array(parts["indices"], number)
    starts = parts["indptr"][:].astype(number)
    kind = sparse.csr_matrix if stored.format == "csr" else sparse.csc_matrix
    return kind((values, columns, starts), shape=stored.shape, copy=False)


def _mapped_array(stored: Any, dtype: type = np.float32) -> np.ndarray:
    offset = stored.id.get_offset()
    if offset is not None and stored.dtype == dtype:
        # copy-on-write: torch asks for memory it might write to
        mapped = np.memmap(stored.file.filename, dtype, "c", offset, stored.shape)
        _MAPS.add(mapped._mmap)  # type: ignore[attr-defined]
        return mapped
    with tempfile.NamedTemporaryFile(prefix="moesimvae-") as file:
        copy = np.memmap(file.name, dtype, "w+", 0, stored.shape)
        for rows in _blocks(stored.shape, np.dtype(dtype).itemsize):
            copy[rows] = stored[rows]
    _MAPS.add(copy._mmap)  # type: ignore[attr-defined]
    return copy


def _blocks(shape: tuple[int, ...], itemsize: int) -> Iterator[slice]:
    """Slices of rows of at most BLOCK_BYTES each."""
    width = max(1, int(np.prod(shape[1:], dtype=np.int64)) * itemsize)
    step = max(1, BLOCK_BYTES // width)
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def _require_finite(matrix: Any, features: Any, cells: Any) -> None:
    values = matrix.data if sparse.issparse(matrix) else matrix
    for rows in _blocks(values.shape, values.itemsize):
        finite = np.isfinite(values[rows])
        if finite.all():
            continue
        where = np.argwhere(~finite)[0]
        if sparse.issparse(matrix):
            position = rows.start + int(where[0])
            cell = int(np.searchsorted(matrix.indptr, position, side="right")) - 1
            feature = int(matrix.indices[position])
        else:
            cell, feature = rows.start + int(where[0]), int(where[1])
        value = values[rows][tuple(where)]
        cell_name = f"'{cells[cell]}' (number {cell}" if cells is not None else f"{cell} (counting"
        feature_name = f"'{features[feature]}'" if features is not None else str(feature)
        raise UserError(
            f"the value of cell {cell_name} from 0), feature {feature_name}, is {value}, but "
            "NaN and inf are not accepted; remove or impute such values first."
        )


def matrix_for_model(X: Any, n_features: int, known: np.ndarray | None) -> Matrix:
    """`matrix_of` for cells given to a fitted model, checked against the features it knows.

    known: their names, None where it was fitted without. Warns, as scikit-learn does, where only
    one of the two has names. Raises UserError for other features, or the same in another order.
    """
    names = feature_names(X)
    if names is not None and known is not None:
        _require_same_names(names.tolist(), known.tolist())
    matrix = matrix_of(X)
    if matrix.shape[1] != n_features:
        raise UserError(
            f"X has {matrix.shape[1]} features, but MoESimVAE is expecting {n_features} features "
            "as input; give those it was fitted on, in the same order."
        )
    if names is None and known is not None:
        sentence = (
            "X does not have valid feature names, but MoESimVAE was fitted with feature names"
        )
        warnings.warn(sentence, UserWarning, stacklevel=4)
    if known is None and names is not None and hasattr(X, "columns"):  # AnnData always has names
        sentence = "X has feature names, but MoESimVAE was fitted without feature names"
        warnings.warn(sentence, UserWarning, stacklevel=4)
    return matrix


def _require_same_names(found: list[str], expected: list[str]) -> None:
    missing = [name for name in expected if name not in set(found)]
    if missing:
        raise UserError(
            f"the cells lack {len(missing)} of the model's {len(expected)} features (first: "
            f"'{missing[0]}'); give the features that the model was fitted on."
        )
    if found != expected:
        raise UserError(
            "the features of the cells, or their order, differ from the model's; select "
            "model.feature_names_in_ in that order."
        )


def find_offset_and_range(matrix: Matrix, scale: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """Offset and range, (n_features,) float32: (X − offset) / range is in [0, 1]; whether scaled.

    scale: as in `MoESimVAE`. Raises UserError for data outside [0, 1] with "none", and for a range
    that float32 cannot hold.
    """
    low, high = column_range(matrix)
    inside = low.min() >= 0 and high.max() <= 1
    if scale == "none" and not inside:
        raise UserError(
            f"the data range from {low.min():.4g} to {high.max():.4g}, but the binary "
            "cross-entropy needs values in [0, 1]; use scale='minmax'."
        )
    scaled = scale == "minmax" or not inside
    if not scaled:
        low, high = np.zeros_like(low), np.ones_like(high)
    with np.errstate(over="ignore"):
        span = high - low
    if not np.isfinite(span).all():
        raise UserError(
            f"the data range from {low.min():.4g} to {high.max():.4g}, too widely for "
            "float32; divide them by a large number first."
        )
    return low, span.astype(np.float32), scaled


def column_range(matrix: Matrix) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest value of each feature, (n_features,) float32 each."""
    low, high = matrix.min(axis=0), matrix.max(axis=0)
    if sparse.issparse(matrix):
        low, high = low.toarray().ravel(), high.toarray().ravel()
    return np.asarray(low, dtype=np.float32), np.asarray(high, dtype=np.float32)


def with_bearable_squares(matrix: Matrix) -> Matrix:
    """The cells, or a multiple of them where squares of their values would overflow or underflow.

    For distances in float32, whose order stays the same. The factor is a power of two, hence exact.
    """
    low, high = (float(extreme(axis=None)) for extreme in (matrix.min, matrix.max))
    largest = max(-low, high)
    if largest == 0 or 1e-15 < largest < 1e15:
        return matrix
    # within the exponents of float32
    return matrix * np.float32(2.0 ** np.clip(-np.floor(np.log2(largest)), -126, 126))


def rows_on_device(
    matrix: Matrix, low: np.ndarray, span: np.ndarray, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """index → (x − low) / span of those cells, clipped to [0, 1], (len(index), n_features).

    Dense data are held on the device in full (on the CPU without a copy); of sparse data only the
    batch is made dense.
    """
    start = torch.from_numpy(low).to(device)
    # a feature that was constant carries no information, even in new cells: it becomes 0 everywhere
    width = torch.from_numpy(np.where(span > 0, span, np.inf).astype(np.float32)).to(device)

    def scaled(x: Tensor) -> Tensor:
        # new cells may lie outside the range of those that were fitted
        return ((x - start) / width).clamp(0, 1)

    if sparse.issparse(matrix):
        return lambda index: scaled(
            torch.from_numpy(matrix[index.cpu().numpy()].toarray()).to(device)
        )
    with warnings.catch_warnings():
        # about read-only arrays; nothing writes to this one
        warnings.simplefilter("ignore", UserWarning)
        everything = torch.from_numpy(matrix).to(device)
    pages = _pages_of(matrix)
    if pages is None:
        return lambda index: scaled(everything[index])

    def rows(index: Tensor) -> Tensor:
        x = scaled(everything[index])
        pages.madvise(mmap.MADV_DONTNEED)  # else the whole file would stay in memory
        return x

    return rows


def _pages_of(matrix: np.ndarray) -> mmap.mmap | None:
    """The map of the file that backed cells lie in; None for others, also those that a user mapped.

    What the user wrote to a copy-on-write map would be lost with its pages.
    """
    owner: Any = matrix
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner if isinstance(owner, mmap.mmap) and owner in _MAPS else None
