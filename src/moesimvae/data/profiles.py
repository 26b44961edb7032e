"""What clusters look like: their sizes, and which features stand out in each."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

PIECE_VALUES = 1 << 24


@dataclass
class Profiles:
    """sizes: (K,) cells; means: (K, n_features) as clustered; standing: how far the means lie above
    the mean of all cells, in standard deviations of the feature.
    """

    sizes: np.ndarray
    means: np.ndarray
    standing: np.ndarray

    @property
    def in_use(self) -> np.ndarray:
        """Clusters that hold cells, the largest first."""
        return np.argsort(-self.sizes, kind="stable")[: np.count_nonzero(self.sizes)]

    def highest(self, cluster: int, most: int) -> np.ndarray:
        """The features that stand out most in a cluster, the most prominent first."""
        return np.argsort(-self.standing[cluster], kind="stable")[:most]


def profiles(cells: AnnData, labels: np.ndarray) -> Profiles:
    """Profiles of cells in memory or on disk, dense or sparse. labels: (n_cells,) ints from 0."""
    n_clusters, n_features = int(labels.max()) + 1, cells.n_vars
    sums, squares = np.zeros((n_clusters, n_features)), np.zeros(n_features)
    step = max(1, PIECE_VALUES // n_features)
    for start in range(0, cells.n_obs, step):
        rows = cells.X[start : start + step]
        part = labels[start : start + step]
        member = sp.csr_matrix((np.ones(len(part)), (part, np.arange(len(part)))))
        member.resize((n_clusters, len(part)))
        product = member @ rows
        sums += product.toarray() if sp.issparse(product) else product
        squared = rows.multiply(rows) if sp.issparse(rows) else np.square(rows, dtype=np.float64)
        squares += np.asarray(squared.sum(axis=0)).ravel()
    sizes = np.bincount(labels, minlength=n_clusters)
    mean = sums.sum(axis=0) / len(labels)
    spread = np.sqrt(np.maximum(squares / len(labels) - mean**2, 1e-12))
    means = sums / np.maximum(sizes, 1)[:, None]
    return Profiles(sizes, means, (means - mean) / spread)
