"""Preprocessing steps, each by the name that `datasets.yaml` uses.

A step takes cells (AnnData; X dense or CSR) and its parameters and returns cells; layers keep the
raw values. A registry block lists them: `- {step: arcsinh, cofactor: 5}`.

A step that fits something (minmax, gene_filter, mark_features, select_features, pca) does so on the
training cells where obs has a split, and on all cells where it has none.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from moesimvae.data.split import COLUMN as SPLIT
from moesimvae.data.split import training
from moesimvae.errors import UserError
from moesimvae.layers import SELECTED
from moesimvae.registry import call

# stored values of a sparse matrix processed at a time, in float64 (some 100 MB)
PIECE = 1 << 22


def preprocess(cells: AnnData, steps: Iterable[dict[str, Any]]) -> AnnData:
    """Apply the steps in order; X is float32 afterwards.

    Raises UserError for an unknown step and for parameters that a step does not take.
    """
    for settings in steps:
        cells = call(STEPS, "step", settings, cells)
    cells.X = cells.X.astype(np.float32, copy=False)
    return cells


def divide(cells: AnnData, by: float) -> AnnData:
    """x / by, as for grey values to [0, 1]."""
    return _each_value(cells, lambda x: np.divide(x, np.float32(by), dtype=np.float32))


def arcsinh(cells: AnnData, cofactor: float) -> AnnData:
    """asinh(x / cofactor); usual cofactors: 5 in mass cytometry, 150 in flow cytometry."""
    return _each_value(cells, lambda x: np.arcsinh(x / np.float32(cofactor)))


def keep(cells: AnnData, layer: str) -> AnnData:
    """Keep the current values as a layer, float32; later steps work on X."""
    cells.layers[layer] = cells.X.astype(np.float32, copy=True)
    return cells


def log1p(cells: AnnData) -> AnnData:
    """log(1 + x)."""
    return _each_value(cells, np.log1p)


def library_size(cells: AnnData, target: float) -> AnnData:
    """Scale every cell's values to the same sum, `target`; a cell with sum 0 stays 0.

    1e6 gives counts per million, the usual scale of Smart-seq2; 1e4 is usual for UMIs. How the
    paper made its "TPM" from counts is not documented.
    """
    totals = np.asarray(cells.X.sum(axis=1), dtype=np.float64).ravel()
    factors = np.divide(target, totals, out=np.zeros_like(totals), where=totals > 0)
    if sp.issparse(cells.X):
        matrix = cells.X.tocsr()
        cells.X = _stored(matrix, lambda x, row, column: x * factors[row])
    else:
        cells.X = (cells.X * factors[:, None]).astype(np.float32)
    return cells


def gene_filter(cells: AnnData, quantile: float) -> AnnData:
    """Genes whose sum *or* variance is above the `quantile` of all genes' sums or variances.

    As in the paper's released code (quantile 0.2), which computes both, and the MinMax scaling, on
    the training cells with exactly one signature gene above its average. Here all training cells
    count, so that methods without prior knowledge see data that owe nothing to it.
    Layers are subset as well.
    """
    if not 0 <= quantile < 1:
        raise UserError(
            f"the preprocessing step 'gene_filter' has quantile {quantile}; give a number of at "
            "least 0 and below 1."
        )
    sums = squares = np.zeros(cells.n_vars)
    for piece in _training_pieces(cells):
        values = piece.astype(np.float64)
        sums = sums + _columns(values.sum(axis=0))
        values = values.multiply(values) if sp.issparse(values) else np.square(values)
        squares = squares + _columns(values.sum(axis=0))
    n = int(training(cells).sum())
    variances = squares / n - (sums / n) ** 2
    above = [values > np.quantile(values, quantile) for values in (sums, variances)]
    cells._inplace_subset_var(above[0] | above[1])  # a second AnnData would double the memory
    return cells


def minmax(cells: AnnData) -> AnnData:
    """Scale each feature to [0, 1] over the training cells; a constant feature becomes 0.

    Values of test cells outside the training range are clipped to 0 or 1. A sparse matrix stays
    sparse if no value is negative.
    """
    pieces = _training_pieces(cells)
    extremes = [(_columns(x.min(axis=0)), _columns(x.max(axis=0))) for x in pieces]
    low = np.min([lowest for lowest, _ in extremes], axis=0)
    high = np.max([highest for _, highest in extremes], axis=0)
    factors = np.divide(1.0, high - low, out=np.zeros_like(low), where=high > low)
    if sp.issparse(cells.X) and low.min(initial=0) >= 0:
        # where a feature's minimum is above 0, a value that is not stored is a test cell's 0,
        # below that minimum, and so 0 again
        def scale(x: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
            return np.clip((x - low[column]) * factors[column], 0, 1)

        cells.X = _stored(cells.X.tocsr(), scale)
        cells.X.eliminate_zeros()
        return cells
    dense = cells.X.toarray() if sp.issparse(cells.X) else cells.X
    scaled = ((dense - low) * factors).astype(np.float32)
    # rounding to float32 may exceed the range by one unit in the last place
    cells.X = np.clip(scaled, 0, 1, out=scaled)
    return cells


def select_features(cells: AnnData, n_top: int) -> AnnData:
    """The `n_top` features of largest variance in training cells, in their original order.

    Layers are subset as well.
    """
    return cells[:, _vary_most(cells, n_top, "select_features")].copy()


def mark_features(cells: AnnData, n_top: int) -> AnnData:
    """Mark the same features in var["selected"]: what methods without `all_genes` see."""
    cells.var[SELECTED] = _vary_most(cells, n_top, "mark_features")
    return cells


def _vary_most(cells: AnnData, n_top: int, step: str) -> np.ndarray:
    if not 0 < n_top <= cells.n_vars:
        raise UserError(
            f"the preprocessing step '{step}' has n_top {n_top}, but the data set has "
            f"{cells.n_vars} features; give a number from 1 to {cells.n_vars}."
        )
    values = cells.X[training(cells)] if SPLIT in cells.obs else cells.X
    mean = _columns(values.mean(axis=0))
    squares = values.multiply(values) if sp.issparse(values) else np.square(values)
    variance = _columns(squares.mean(axis=0)) - mean**2
    chosen = np.zeros(cells.n_vars, dtype=bool)
    chosen[np.argsort(-variance, kind="stable")[:n_top]] = True
    return chosen


def pca(cells: AnnData, n_components: int, seed: int = 0) -> AnnData:
    """The first principal components, fitted on the training cells, in place of the features.

    Layers of features are dropped.
    """
    from sklearn.decomposition import PCA

    fitted = training(cells)
    most = min(fitted.sum(), cells.n_vars)
    if not 0 < n_components <= most:
        raise UserError(
            f"the preprocessing step 'pca' has n_components {n_components}, but the data set is "
            f"{cells.n_obs} cells × {cells.n_vars} features; give a number from 1 to {most}."
        )
    dense = cells.X.toarray() if sp.issparse(cells.X) else np.asarray(cells.X, dtype=np.float32)
    model = PCA(n_components, random_state=seed)
    components = (
        model.fit_transform(dense) if fitted.all() else model.fit(dense[fitted]).transform(dense)
    )
    reduced = AnnData(components, obs=cells.obs, uns=cells.uns)
    reduced.var_names = [f"PC{i + 1}" for i in range(n_components)]
    return reduced


def _each_value(cells: AnnData, function: Callable[[np.ndarray], np.ndarray]) -> AnnData:
    """Apply a function with f(0) = 0 to the values, or the stored values of a sparse matrix."""
    if sp.issparse(cells.X):
        matrix = cells.X.tocsr().astype(np.float32)  # a copy
        matrix.data = function(matrix.data)
        cells.X = matrix
    else:
        cells.X = function(cells.X)
    return cells


def _training_pieces(cells: AnnData) -> Iterator[Any]:
    """X of the training cells; if sparse, some rows at a time, since a copy costs too much."""
    fitted = training(cells)
    if not sp.issparse(cells.X):
        yield cells.X if fitted.all() else cells.X[fitted]
        return
    matrix = cells.X.tocsr()
    for rows, _ in _pieces(matrix):
        if fitted[rows].any():
            yield matrix[rows[fitted[rows]]]


def _stored(
    matrix: sp.csr_matrix, function: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
) -> sp.csr_matrix:
    """A float32 matrix of function(values, row, column), computed in float64 piece by piece."""
    data = np.empty(matrix.nnz, dtype=np.float32)
    for rows, stored in _pieces(matrix):
        row = np.repeat(rows, np.diff(matrix.indptr)[rows])
        values = matrix.data[stored].astype(np.float64)
        data[stored] = function(values, row, matrix.indices[stored])
    return sp.csr_matrix((data, matrix.indices.copy(), matrix.indptr.copy()), matrix.shape)


def _pieces(matrix: sp.csr_matrix) -> Iterator[tuple[np.ndarray, slice]]:
    """Some rows at a time, and where their stored values are."""
    step = max(1, PIECE * matrix.shape[0] // max(1, matrix.nnz))
    for start in range(0, matrix.shape[0], step):
        rows = np.arange(start, min(start + step, matrix.shape[0]))
        yield rows, slice(matrix.indptr[rows[0]], matrix.indptr[rows[-1] + 1])


def _columns(values: Any) -> np.ndarray:
    """One value per feature as float64 (n_features,), from a dense or sparse reduction."""
    values = values.toarray() if sp.issparse(values) else values
    return np.asarray(values, dtype=np.float64).ravel()


STEPS: dict[str, Callable[..., AnnData]] = {
    step.__name__: step
    for step in (
        *(arcsinh, divide, gene_filter, keep, library_size, log1p, mark_features, minmax, pca),
        select_features,
    )
}
