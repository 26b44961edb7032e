"""One cluster, random labels, true labels: runs whose scores are known beforehand."""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import files
from moesimvae.errors import logged
from moesimvae.methods.controls import write_controls

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    n_clusters = snakemake.params.n_clusters
    if n_clusters is None:  # the user's own cells: it was estimated from them
        n_clusters = files.read_json(snakemake.input.clusters)["n_clusters"]
    write_controls(
        Path(snakemake.input.labels),
        n_clusters,
        snakemake.params.seeds,
        Path(snakemake.output.runs),
    )
