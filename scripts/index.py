"""The index of the results folder: whatever experiments it holds now, on one page."""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import files, registry
from moesimvae.errors import logged
from moesimvae.report.pages.index import index

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    html = index(
        Path(snakemake.output.index).parent,
        snakemake.params.titles,
        registry.metrics(snakemake.input.metrics),
    )
    files.write_text(snakemake.output.index, html)
