"""Preprocessing steps, each by the name that `datasets.yaml` uses.

A step takes cells (AnnData; X dense or CSR) and its parameters and returns cells; layers keep the
raw values. A registry block lists them: `- {step: arcsinh, cofactor: 5}`.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from moesimvae.data import named
from moesimvae.errors import UserError

Matrix = np.ndarray | sp.csr_matrix


def preprocess(cells: AnnData, steps: Iterable[dict[str, Any]]) -> AnnData:
    """Apply the steps in order; X is float32 afterwards.

    Raises UserError for an unknown step and for parameters that a step does not take.
    """
    for settings in steps:
        cells = named.call(STEPS, "step", settings, cells)
    cells.X = cells.X.astype(np.float32, copy=False)
    return cells


def divide(cells: AnnData, by: float) -> AnnData:
    """x / by: grey values to [0, 1]."""
    return _each_value(cells, lambda x: np.divide(x, np.float32(by), dtype=np.float32))


def arcsinh(cells: AnnData, cofactor: float) -> AnnData:
    """asinh(x / cofactor): by custom cofactor 5 in mass cytometry and 150 in flow cytometry."""
    return _each_value(cells, lambda x: np.arcsinh(x / np.float32(cofactor)))


def keep(cells: AnnData, layer: str) -> AnnData:
    """Keep the values so far as a layer, float32; X goes on with the steps that follow."""
    cells.layers[layer] = cells.X.astype(np.float32, copy=True)
    return cells


def log1p(cells: AnnData) -> AnnData:
    """log(1 + x)."""
    return _each_value(cells, np.log1p)


def library_size(cells: AnnData, target: float) -> AnnData:
    """Scale every cell's values to the same sum, `target`; a cell of sum 0 stays 0."""
    totals = np.asarray(cells.X.sum(axis=1), dtype=np.float64).ravel()
    factors = np.divide(target, totals, out=np.zeros_like(totals), where=totals > 0)[:, None]
    scaled = cells.X.multiply(factors).tocsr() if sp.issparse(cells.X) else cells.X * factors
    cells.X = scaled.astype(np.float32)
    return cells


def minmax(cells: AnnData) -> AnnData:
    """Each feature to [0, 1] over all cells; a constant feature becomes 0.

    A sparse matrix stays sparse when every feature's minimum is 0.
    """
    low, high = _columns(cells.X.min(axis=0)), _columns(cells.X.max(axis=0))
    factors = np.divide(1.0, high - low, out=np.zeros_like(low), where=high > low)
    if sp.issparse(cells.X) and not low.any():
        scaled = cells.X.multiply(factors[None, :]).tocsr()
    else:
        dense = cells.X.toarray() if sp.issparse(cells.X) else cells.X
        scaled = (dense - low) * factors
    scaled = scaled.astype(np.float32)
    # rounding to float32 may step over the edge by one unit in the last place
    values = scaled.data if sp.issparse(scaled) else scaled
    np.clip(values, 0, 1, out=values)
    cells.X = scaled
    return cells


def select_features(cells: AnnData, n_top: int) -> AnnData:
    """The `n_top` features of largest variance, in their old order; layers go along."""
    if not 0 < n_top <= cells.n_vars:
        raise UserError(
            f"the preprocessing step 'select_features' has n_top {n_top}, but the data set has "
            f"{cells.n_vars} features; give a number from 1 to {cells.n_vars}."
        )
    mean = _columns(cells.X.mean(axis=0))
    squares = cells.X.multiply(cells.X) if sp.issparse(cells.X) else np.square(cells.X)
    variance = _columns(squares.mean(axis=0)) - mean**2
    top = np.sort(np.argsort(-variance, kind="stable")[:n_top])
    return cells[:, top].copy()


def pca(cells: AnnData, n_components: int, seed: int = 0) -> AnnData:
    """The first principal components instead of the features; layers of features are dropped."""
    from sklearn.decomposition import PCA

    most = min(cells.shape)
    if not 0 < n_components <= most:
        raise UserError(
            f"the preprocessing step 'pca' has n_components {n_components}, but the data set is "
            f"{cells.n_obs} cells × {cells.n_vars} features; give a number from 1 to {most}."
        )
    dense = cells.X.toarray() if sp.issparse(cells.X) else np.asarray(cells.X, dtype=np.float32)
    components = PCA(n_components, random_state=seed).fit_transform(dense)
    reduced = AnnData(components, obs=cells.obs, uns=cells.uns)
    reduced.var_names = [f"PC{i + 1}" for i in range(n_components)]
    return reduced


def _each_value(cells: AnnData, function: Callable[[np.ndarray], np.ndarray]) -> AnnData:
    """Apply a function with f(0) = 0 to the values, which for a sparse matrix are the stored."""
    if sp.issparse(cells.X):
        matrix = cells.X.tocsr(copy=True).astype(np.float32)
        matrix.data = function(matrix.data)
        cells.X = matrix
    else:
        cells.X = function(cells.X)
    return cells


def _columns(values: Any) -> np.ndarray:
    """One value per feature as float64 (n_features,), from a matrix or a sparse matrix's answer."""
    values = values.toarray() if sp.issparse(values) else values
    return np.asarray(values, dtype=np.float64).ravel()


STEPS: dict[str, Callable[..., AnnData]] = {
    step.__name__: step
    for step in (arcsinh, divide, keep, library_size, log1p, minmax, pca, select_features)
}
