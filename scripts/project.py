"""A run's latent space in two dimensions; an empty table where the run left none."""

from typing import TYPE_CHECKING

from moesimvae import files
from moesimvae.errors import logged
from moesimvae.studies.projections import project_run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    projection = project_run(snakemake.input.run)
    with files.atomic(snakemake.output.projection) as path:
        projection.to_parquet(path, index=False)
