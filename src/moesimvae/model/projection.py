"""Coordinates of the cells in fewer dimensions: principal components and UMAP; needs no torch."""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from moesimvae import surroundings

Matrix: TypeAlias = np.ndarray | sparse.csr_matrix

# "auto": with hundreds of noisy features distances mean little, and searching takes long
AUTO_PCA_ABOVE = 100
AUTO_PCA = 50
FEWEST_PCA, COUNTED_CELLS = 15, 3000  # of `count_components`
# metrics whose values are (nearly) the same between principal components as between features
ROTATION_INVARIANT = ("euclidean", "l2", "cosine")
# up to this many cells UMAP compares all pairs; above, neighbours come from `NeighbourSearch`
EXACT_UP_TO = 4096
BLOCK = 50_000  # cells placed among the landmarks at once
PLACING_NEIGHBOURS = 5
# modules whose compiled functions are kept on disk
UMAP, PYNNDESCENT = ("umap.layouts", "umap.umap_", "umap.utils"), ("pynndescent.",)


def principal_components(matrix: Matrix, n_pca: int | str | None, seed: int) -> Matrix:
    """The first `n_pca` principal components of `matrix`, (n_cells, n_pca), or `matrix` itself.

    It is returned unchanged when `n_pca` is None or not smaller than both of its dimensions.
    "auto" takes 50 where there are more than 100 features, else all features.
    A sparse matrix stays sparse on the way.
    """
    return fitted_components(matrix, n_pca, seed)[0]


def fitted_components(
    matrix: Matrix, n_pca: int | str | None, seed: int
) -> tuple[Matrix, Callable[[Matrix], Matrix]]:
    """`principal_components` of the matrix, and the function that gives those of other cells."""
    if n_pca == "auto":
        n_pca = AUTO_PCA if matrix.shape[1] > AUTO_PCA_ABOVE else None
    if n_pca is None or n_pca >= min(matrix.shape):
        return matrix, lambda others: others
    from sklearn.decomposition import PCA

    pca = PCA(
        n_pca, random_state=seed, svd_solver="arpack" if sparse.issparse(matrix) else "randomized"
    )
    with threadpool_limits(1):  # sums must not depend on the number of threads
        return pca.fit_transform(matrix), pca.transform


def count_components(matrix: Matrix, seed: int) -> int:
    """How many principal components to measure distances in: twice those above chance, 15 to 50.

    Above chance are those of larger variance than the first one after each feature is shuffled
    among the cells (Horn's parallel analysis, 1965). Twice as many are taken, since components
    below that line still hold part of small groups; all 50 drown these in noise. At most 3,000
    cells are examined. matrix: (n_cells, n_features).
    """
    from sklearn.decomposition import PCA

    random = np.random.default_rng(seed)
    some = np.arange(matrix.shape[0])
    if len(some) > COUNTED_CELLS:
        some = np.sort(random.choice(len(some), COUNTED_CELLS, replace=False))
    rows: Any = matrix[some]
    part = rows.toarray() if sparse.issparse(rows) else np.asarray(rows)
    most = min(AUTO_PCA, *part.shape)
    with threadpool_limits(1):
        real = PCA(most, svd_solver="randomized", random_state=seed).fit(part)
        by_chance = PCA(1, svd_solver="randomized", random_state=seed).fit(
            random.permuted(part, axis=0)
        )
    above = (real.explained_variance_ > by_chance.explained_variance_[0]).sum()
    return int(np.clip(2 * above, FEWEST_PCA, AUTO_PCA))


class NeighbourSearch:
    """Approximate nearest neighbours (NN-descent), the same whatever the number of threads.

    points: (n_points, n_features), dense or CSR. `neighbours`, `distances`: (n_points, k), each
    point first among its own, unless others coincide with it.
    """

    def __init__(self, points: Matrix, k: int, metric: str, seed: int):
        surroundings.provide_caches()
        from pynndescent import NNDescent

        _keep_compiled(PYNNDESCENT)
        # one thread: the neighbours found depend on the number of threads
        self._index = NNDescent(points, metric=metric, n_neighbors=k, random_state=seed, n_jobs=1)
        self.neighbours, self.distances = self._index.neighbor_graph

    def query(self, points: Matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the k nearest points and their distances, (n, k) each, for new points."""
        return self._index.query(points, k=k)

    def others(
        self, points: Matrix, chosen: np.ndarray, k: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For the rows of `points` not among `chosen`, block by block: rows, `query` of them."""
        rest = np.setdiff1d(np.arange(points.shape[0]), chosen, assume_unique=True)
        for start in range(0, len(rest), BLOCK):
            rows = rest[start : start + BLOCK]
            yield rows, *self.query(points[rows], k)

    def precomputed(self) -> tuple[np.ndarray, np.ndarray, Any]:
        """Neighbours, distances and index, as UMAP expects them."""
        return self.neighbours, self.distances, self._index


def landmark_cells(n_cells: int, landmarks: int, seed: int) -> np.ndarray | None:
    """Indices of `landmarks` cells drawn at random, in order, or None when there are no more."""
    if n_cells <= landmarks:
        return None
    random = np.random.default_rng([seed, n_cells])
    return np.sort(random.choice(n_cells, landmarks, replace=False))


def umap_projection(
    matrix: Matrix,
    n_neighbors: int = 15,
    n_components: int = 2,
    metric: str = "euclidean",
    seed: int = 0,
    min_dist: float = 0.1,
    landmarks: int | None = None,
) -> np.ndarray:
    """UMAP coordinates (n_cells, n_components), float32, the same for the same seed.

    The seed determines both the neighbour search and the layout. Both run in one thread: in
    several, the layout is a race, and the neighbours found would depend on their number.

    matrix: (n_cells, n_features), dense or CSR. n_neighbors is capped at n_cells − 1.
    min_dist: how near to each other neighbours may be placed.
    landmarks: with more cells than this, UMAP is made from this many, drawn at random, and every
        other cell lies at the weighted mean of its 5 nearest landmarks. None: from all cells.
    """
    chosen = None if landmarks is None else landmark_cells(matrix.shape[0], landmarks, seed)
    part = matrix if chosen is None else matrix[chosen]
    n_neighbors = max(2, min(n_neighbors, part.shape[0] - 1))
    search = None
    if chosen is not None or part.shape[0] > EXACT_UP_TO:
        search = NeighbourSearch(part, n_neighbors, metric, seed)
    layout = _layout(part, n_neighbors, n_components, metric, seed, min_dist, search)
    if chosen is None:
        return layout
    assert search is not None  # made above, for landmarks
    projection = np.empty((matrix.shape[0], n_components), dtype=np.float32)
    projection[chosen] = layout
    for rows, near, distance in search.others(matrix, chosen, PLACING_NEIGHBOURS):
        weight = 1 / np.maximum(distance, 1e-6)
        weight /= weight.sum(axis=1, keepdims=True)
        projection[rows] = (weight[:, :, None] * layout[near]).sum(axis=1)
    return projection


def _layout(
    matrix: Matrix,
    n_neighbors: int,
    n_components: int,
    metric: str,
    seed: int,
    min_dist: float,
    search: NeighbourSearch | None,
) -> np.ndarray:
    surroundings.provide_caches()
    import umap

    _keep_compiled(UMAP)
    model = umap.UMAP(
        n_neighbors=n_neighbors,
        n_components=n_components,
        metric=metric,
        min_dist=min_dist,
        random_state=seed,
        n_jobs=1,
        # the spectral start needs more cells than dimensions
        init="spectral" if matrix.shape[0] > n_components + 2 else "random",
        precomputed_knn=(None, None, None) if search is None else search.precomputed(),
    )
    with threadpool_limits(1):
        return np.ascontiguousarray(model.fit_transform(matrix), dtype=np.float32)


@cache
def _keep_compiled(modules: tuple[str, ...]) -> None:
    """Let Numba keep the compiled functions of imported modules on disk, where these do not.

    Compiling them takes about 9 s for UMAP and 20 s for PyNNDescent in each process, more than
    UMAP of 2,000 cells itself (4 s). A function that is given another, as `dist`, cannot be kept:
    in the next process that is another object.
    """
    from numba.core.dispatcher import Dispatcher

    for name, module in list(sys.modules.items()):
        if not name.startswith(modules):
            continue
        for function in vars(module).values():
            if isinstance(function, Dispatcher) and function.py_func.__module__ == name:
                code = function.py_func.__code__
                if "dist" not in code.co_varnames[: code.co_argcount]:
                    function.enable_caching()
