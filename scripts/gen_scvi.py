"""Cells that scVI draws for the half of a data set's cells that generators learn from.

input   features
params  seed
output  cells: npz, a sparse matrix of counts, cells of the half × genes compared
"""

from typing import TYPE_CHECKING

from anndata import AnnData
from scipy import sparse

from moesimvae import files
from moesimvae.data.dataset import load_features
from moesimvae.errors import logged
from moesimvae.evaluation.generation import compared_genes, halves
from moesimvae.methods.scvi_leiden import posterior_predictive

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    cells = load_features(snakemake.input.features)
    half = halves(cells.n_obs, snakemake.params.seed)[0]
    counts = sparse.csr_matrix(cells.layers["counts"])[half]
    drawn = posterior_predictive(AnnData(counts[:, compared_genes(counts)]), snakemake.params.seed)
    with files.atomic(snakemake.output.cells) as path, open(path, "wb") as file:
        sparse.save_npz(file, drawn)
