"""k-means (Lloyd 1982), scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moesimvae.methods.interface import Clustering, dense
from moesimvae.model.projection import fitted_components

if TYPE_CHECKING:
    from anndata import AnnData


def cluster(
    cells: AnnData, n_clusters: int, seed: int, n_pca: int | None = None, n_init: int = 10
) -> Clustering:
    """Lloyd's k-means, the best of `n_init` k-means++ starts.

    One or two threads give the same labels for the same seed; with more, scikit-learn adds
    partial sums in the order in which the threads finish.
    """
    from sklearn.cluster import KMeans

    points, project = fitted_components(dense(cells), n_pca, seed)
    fitted = KMeans(n_clusters, n_init=n_init, random_state=seed).fit(points)
    return Clustering(
        fitted.labels_,
        facts={"inertia": float(fitted.inertia_)},
        assign=lambda further: Clustering(fitted.predict(project(dense(further)))),
    )
