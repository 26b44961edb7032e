"""A run's cells and their reconstruction by its experts; no rows where the run left no model."""

from typing import TYPE_CHECKING

from moesimvae import files
from moesimvae.errors import logged
from moesimvae.studies.reconstruction import reconstruct_run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    decoded = reconstruct_run(snakemake.input.run, snakemake.input.features)
    with files.atomic(snakemake.output.decoded) as path:
        decoded.to_parquet(path, index=False)
