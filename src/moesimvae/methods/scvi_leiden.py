"""scVI (Lopez et al. 2018), then Leiden communities (Traag et al. 2019) of its latent space."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from moesimvae.errors import UserError
from moesimvae.methods.interface import Clustering
from moesimvae.methods.label_transfer import majority_of_nearest

if TYPE_CHECKING:
    from anndata import AnnData


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    n_latent: int = 10,
    n_hidden: int = 128,
    n_layers: int = 1,
    likelihood: str = "zinb",
    epochs: int | None = None,
    batch_size: int = 128,
    n_neighbors: int = 15,
    resolution: float = 1.0,
) -> Clustering:
    """Leiden communities of largest modularity at `resolution` in the latent space of scVI.

    cells: X holds counts. likelihood: "zinb", "nb" or "poisson", of the counts. epochs: None is
    scvi-tools' own rule, 400 up to 20,000 cells and fewer above. A larger resolution gives more
    clusters; the method finds their number itself and ignores `n_clusters`. The graph is UMAP's
    of `n_neighbors` nearest cells, as in Scanpy. A GPU is used if available.

    embedding: the means of the latent posteriors, (n_cells, n_latent). Further cells get the
    majority label of their 15 nearest training cells there.
    A cell without counts is uninformative: it is noise (-1), its embedding the others' mean.
    Raises UserError for counts that are negative or fractional.
    """
    counts, counted = counted_cells(cells)
    sizes = {"n_latent": n_latent, "n_hidden": n_hidden, "n_layers": n_layers}
    model = trained(counts, seed, epochs, batch_size, gene_likelihood=likelihood, **sizes)
    with quiet():
        latent = model.get_latent_representation()
    labels = leiden(latent, n_neighbors, resolution, seed)
    centre = latent.mean(axis=0)

    def assign(further: AnnData) -> Clustering:
        counts, counted = counted_cells(further)
        with quiet():
            there = model.get_latent_representation(counts)
        nearest = majority_of_nearest(latent, labels, there)
        return Clustering(
            among_all(nearest, counted, -1), embedding=among_all(there, counted, centre)
        )

    history = {
        name: frame.iloc[:, 0].astype(float).tolist()
        for name, frame in model.history.items()
        if name in ("elbo_train", "reconstruction_loss_train", "kl_local_train")
    }
    return Clustering(
        among_all(labels, counted, -1),
        embedding=among_all(latent, counted, centre),
        history=history,
        facts={"epochs": len(history["elbo_train"])},
        assign=assign,
    )


def trained(
    counts: AnnData, seed: int, epochs: int | None = None, batch_size: int = 128, **settings: Any
) -> Any:
    """Train scvi-tools' SCVI on these counts with the given `settings`."""
    with quiet():
        import scvi

        scvi.settings.seed = seed
        scvi.model.SCVI.setup_anndata(counts)
        model = scvi.model.SCVI(counts, **settings)
        model.train(
            max_epochs=epochs,
            batch_size=batch_size,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    return model


def posterior_predictive(cells: AnnData, seed: int, epochs: int | None = None) -> csr_matrix:
    """A draw from scVI's posterior predictive for each cell, counts (n_cells, n_genes).

    cells: X holds counts; negative binomial, otherwise scvi-tools' defaults. A cell without counts
    stays so. Each draw is conditioned on its cell: the best that a density of codes could give.
    """
    counts, counted = counted_cells(cells)
    model = trained(counts, seed, epochs, gene_likelihood="nb")
    with quiet():
        drawn = model.posterior_predictive_sample(n_samples=1)
    values = np.asarray(drawn.todense() if hasattr(drawn, "todense") else drawn, np.float32)
    values = values.reshape(counts.shape)
    return csr_matrix(among_all(values, counted, 0.0))


def counted_cells(cells: AnnData) -> tuple[AnnData, np.ndarray]:
    """Counts of the cells that have any, in a new AnnData, and which they are, (n_cells,) bool.

    New because scvi-tools writes into its input.
    """
    from anndata import AnnData

    matrix = csr_matrix(cells.X, dtype=np.float32)
    if matrix.nnz and (matrix.data.min() < 0 or (matrix.data % 1).any()):
        raise UserError(
            "scvi_leiden: the layer 'counts' contains negative or fractional values; raw counts "
            "are needed."
        )
    counted = np.asarray(matrix.sum(axis=1)).ravel() > 0
    counts = AnnData(matrix[counted])
    counts.obs_names, counts.var_names = cells.obs_names[counted], cells.var_names
    return counts, counted


def among_all(values: np.ndarray, counted: np.ndarray, otherwise: float | np.ndarray) -> np.ndarray:
    """The values of the counted cells in their places, and `otherwise` in all others."""
    full = np.empty((len(counted), *values.shape[1:]), dtype=values.dtype)
    full[counted], full[~counted] = values, otherwise
    return full


def leiden(points: np.ndarray, n_neighbors: int, resolution: float, seed: int) -> np.ndarray:
    """Communities of UMAP's nearest-neighbour graph of the points, (n_points,) numbers."""
    import scanpy
    from anndata import AnnData
    from sklearn.neighbors import KNeighborsTransformer

    graph = AnnData(points)
    # exact for any number of cells; Scanpy's own choice above 4,096 cannot read the output of
    # pynndescent 0.7
    nearest = KNeighborsTransformer(
        n_neighbors=min(n_neighbors, len(points) - 1), algorithm="kd_tree"
    )
    with quiet():
        scanpy.pp.neighbors(graph, use_rep="X", random_state=seed, transformer=nearest)
        scanpy.tl.leiden(graph, resolution=resolution, random_state=seed, flavor="leidenalg")
    return graph.obs["leiden"].astype(int).to_numpy()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence these libraries' messages: hints, devices, future changes."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
