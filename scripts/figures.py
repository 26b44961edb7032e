"""An experiment's pictures: scores, cost, and what the showcase method found."""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import registry
from moesimvae.errors import logged
from moesimvae.evaluation import comparison
from moesimvae.nouns import Run
from moesimvae.report.figure3 import read_figure3
from moesimvae.report.latent import read_view
from moesimvae.report.pictures import pictures, read_histories
from moesimvae.report.showcase import read_showcase
from moesimvae.report.style import write

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found = snakemake.input
    labels, features = (
        {Path(path).parent.name: path for path in paths} for paths in (found.labels, found.features)
    )
    views, shown = [], []
    for run, projection, decoded in zip(
        found.showcase, found.projections, found.decoded, strict=True
    ):
        name = Run.of(run).dataset
        views.append(read_view(projection, labels[name], run))
        shown.append(read_showcase(run, labels[name], features[name], decoded))
    figures3 = [
        read_figure3(
            Path(path).parent.name,
            labels[Path(path).parent.name],
            path,
            found.figure3,
            found.figure3_projections,
            snakemake.params.showcase,
        )
        for path in found.get("components") or []
    ]
    drawn = pictures(
        comparison.read_csv(found.table),
        comparison.read_many(found.runs),
        registry.load(found.metrics),
        registry.load(found.methods),
        comparison.read_facts(found.datasets),
        views,
        read_histories(found.showcase),
        comparison.read_many(found.populations),
        [run for run in shown if run is not None],
        figures3,
    )
    write(drawn, snakemake.output[0])
