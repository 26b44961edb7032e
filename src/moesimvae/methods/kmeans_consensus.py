"""Consensus of k-means codebooks, the codes of each joined by Ward's linkage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moesimvae.methods.interface import Clustering, dense
from moesimvae.model.projection import fitted_components

if TYPE_CHECKING:
    from anndata import AnnData


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    n_pca: int | None = 30,
    codes: int = 200,
    repeats: int = 10,
) -> Clustering:
    """Majority vote over repeats, each joining `codes` k-means centres into `n_clusters` groups.

    Ward's tree weights the centres by their cells. The votes are aligned to the repeat that agrees
    most with the others (`cutting.vote`).
    """
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    from moesimvae.model import cutting

    points, _ = fitted_components(dense(cells), n_pca, seed)
    n_codes = max(n_clusters, min(codes, len(points) // 5))
    labels = []
    for repeat in range(repeats):
        with threadpool_limits(1):
            codebook = MiniBatchKMeans(n_codes, n_init=1, random_state=seed * repeats + repeat)
            code = np.unique(codebook.fit_predict(points), return_inverse=True)[1]
        sizes = np.bincount(code)
        means = np.column_stack([np.bincount(code, column) for column in points.T])
        apart = np.zeros((len(sizes), len(sizes)))
        merges = cutting.agglomerate(means / sizes[:, None], sizes, apart, *cutting.TREES["Ward"])
        labels.append(cutting.groups_after(merges, min(n_clusters, len(sizes)))[code])
    return Clustering(cutting.vote(np.column_stack(labels), n_clusters))
