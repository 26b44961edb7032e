"""A data set's cells on the first two principal components of their values."""

from typing import TYPE_CHECKING

from moesimvae import files
from moesimvae.errors import logged
from moesimvae.studies.projections import components

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    table = components(snakemake.input.features)
    with files.atomic(snakemake.output.components) as path:
        table.to_parquet(path, index=False)
