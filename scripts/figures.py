"""An experiment's pictures: scores, cost, and what the showcase method found."""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import registry
from moesimvae.errors import logged
from moesimvae.evaluation import comparison
from moesimvae.nouns import Run
from moesimvae.report import FIGURE3
from moesimvae.report.figures.catalogue import pictures
from moesimvae.report.figures.inputs import Experiment
from moesimvae.report.style import write
from moesimvae.studies import views

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found = snakemake.input
    labels, features = (
        {Path(path).parent.name: path for path in paths} for paths in (found.labels, found.features)
    )
    spaces, shown = [], []
    for run, projection, decoded in zip(
        found.showcase, found.projections, found.decoded, strict=True
    ):
        name = Run.of(run).dataset
        spaces.append(views.read_view(projection, labels[name], run))
        shown.append(views.read_showcase(run, labels[name], features[name], decoded))
    experiment = Experiment(
        comparison.read_csv(found.table),
        registry.metrics(found.metrics),
        comparison.read_facts(found.datasets),
        comparison.read_many(found.runs),
        registry.methods(found.methods),
        spaces,
        views.read_histories(found.showcase),
        comparison.read_many(found.populations),
        [run for run in shown if run is not None],
        [
            views.read_figure3(
                labels[Path(path).parent.name], path, found.figure3, found.figure3_projections,
                (snakemake.params.showcase, *FIGURE3),
            )
            for path in found.get("components") or []
        ],
    )  # fmt: skip
    write(pictures(experiment), snakemake.output[0])
