"""Coordinates of the cells in fewer dimensions: principal components and UMAP; needs no torch."""

from functools import cache

import numpy as np
from scipy import sparse


def principal_components(
    matrix: np.ndarray | sparse.csr_matrix, n_pca: int | None, seed: int
) -> np.ndarray | sparse.csr_matrix:
    """The first `n_pca` principal components of `matrix`, (n_cells, n_pca), or `matrix` itself.

    It is returned unchanged when `n_pca` is None or not smaller than both of its dimensions.
    A sparse matrix stays sparse on the way.
    """
    if n_pca is None or n_pca >= min(matrix.shape):
        return matrix
    from sklearn.decomposition import PCA

    solver = "arpack" if sparse.issparse(matrix) else "randomized"
    return PCA(n_pca, random_state=seed, svd_solver=solver).fit_transform(matrix)


def umap_projection(
    matrix: np.ndarray,
    n_neighbors: int = 15,
    n_components: int = 2,
    metric: str = "euclidean",
    seed: int = 0,
    min_dist: float = 0.1,
) -> np.ndarray:
    """UMAP coordinates (n_cells, n_components), float32, the same for the same seed.

    The seed reaches both the neighbour search and the layout. Both run in one thread: the layout
    is a race in several, and the neighbours found would depend on the number of threads.

    matrix: (n_cells, n_features), dense or CSR. n_neighbors is cut to n_cells − 1.
    min_dist: how near to each other neighbours may be laid.
    """
    import umap

    _keep_compiled()
    n_cells = matrix.shape[0]
    projection = umap.UMAP(
        n_neighbors=max(2, min(n_neighbors, n_cells - 1)),
        n_components=n_components,
        metric=metric,
        min_dist=min_dist,
        random_state=seed,
        n_jobs=1,
        # the spectral start needs more cells than dimensions
        init="spectral" if n_cells > n_components + 2 else "random",
    ).fit_transform(matrix)
    return np.ascontiguousarray(projection, dtype=np.float32)


@cache
def _keep_compiled() -> None:
    """Let Numba keep UMAP's compiled functions on disk, as PyNNDescent's already are.

    Compiling them takes about 9 s of each process, more than UMAP of 2,000 cells itself (4 s).
    """
    import umap.layouts
    import umap.umap_
    import umap.utils
    from numba.core.dispatcher import Dispatcher

    for module in (umap.layouts, umap.umap_, umap.utils):
        for function in vars(module).values():
            if isinstance(function, Dispatcher) and function.py_func.__module__ == module.__name__:
                function.enable_caching()
