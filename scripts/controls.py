"""One cluster, random labels, true labels: runs whose scores are known beforehand."""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae.errors import logged
from moesimvae.methods.controls import write_controls

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    write_controls(
        Path(snakemake.input.labels),
        snakemake.params.n_clusters,
        snakemake.params.seeds,
        Path(snakemake.output.runs),
    )
