"""VaDE and DEC as ClustPy (Leiber et al. 2023) implements them: an independent cross-check.

Runs in an environment of its own: ClustPy needs a different torch from the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moesimvae.errors import UserError
from moesimvae.methods.interface import Clustering, dense

if TYPE_CHECKING:
    from anndata import AnnData


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    *,
    algorithm: str,
    pretraining_steps: int = 5000,
    steps: int = 5000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    fine_tuning_rate: float = 1e-4,
) -> Clustering:
    """`algorithm` ("VaDE" or "DEC") with ClustPy's own networks, losses and final clustering.

    Its networks are d-500-500-2000-10. Steps are rounded to whole epochs, at least one.
    Labels are its `labels_`: a final k-means (DEC) or Gaussian mixture (VaDE) on the
    trained codes, which are the embedding, (n_cells, 10).
    Raises UserError for an unknown algorithm, and for VaDE if a feature is outside [0, 1].
    """
    from clustpy import deep

    if algorithm not in ("VaDE", "DEC"):
        raise UserError(f"unknown ClustPy algorithm '{algorithm}'; use VaDE or DEC.")
    matrix = dense(cells)
    if algorithm == "VaDE" and (matrix.min() < 0 or matrix.max() > 1):
        raise UserError(
            f"ClustPy's VaDE takes features in [0, 1] and found {matrix.min():g} to "
            f"{matrix.max():g}; scale them with the preprocessing step minmax."
        )
    steps_per_epoch = -(-len(matrix) // batch_size)
    epochs = [max(1, round(n / steps_per_epoch)) for n in (pretraining_steps, steps)]
    model = getattr(deep, algorithm)(
        n_clusters,
        batch_size=batch_size,
        pretrain_epochs=epochs[0],
        clustering_epochs=epochs[1],
        pretrain_optimizer_params={"lr": learning_rate},
        clustering_optimizer_params={"lr": fine_tuning_rate},
        random_state=seed,
    ).fit(matrix)
    facts = {"pretraining_epochs": epochs[0], "epochs": epochs[1]}
    return Clustering(model.labels_, embedding=model.transform(matrix), facts=facts)
