"""An experiment's pictures: scores, cost, and the showcase method's latent space and losses."""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import registry
from moesimvae.errors import logged
from moesimvae.report import tables
from moesimvae.report.latent import read_view
from moesimvae.report.pictures import pictures, read_histories
from moesimvae.report.style import write

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found = snakemake.input
    labels = {Path(path).parent.name: path for path in found.labels}
    # Projections and showcase runs are named alike: …/<data set>/<method>/seed<seed>.
    runs = {Path(run).parts[-3:]: run for run in found.showcase}
    views = []
    for path in found.projections:
        key = Path(path).with_suffix("").parts[-3:]
        views.append(read_view(path, labels[key[0]], runs[key]))
    drawn = pictures(
        tables.read_csv(found.table),
        tables.read_many(found.runs),
        registry.load(found.metrics),
        registry.load(found.methods),
        tables.read_facts(found.datasets),
        views,
        read_histories(found.showcase),
    )
    write(drawn, snakemake.output[0])
