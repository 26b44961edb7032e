"""Differences between the methods of an experiment: tests, intervals, effect sizes, pictures."""

from typing import TYPE_CHECKING

from moesimvae import files, registry
from moesimvae.errors import logged
from moesimvae.evaluation import comparison
from moesimvae.evaluation.scores import write_csv
from moesimvae.evaluation.statistics import significance
from moesimvae.nouns import Plan
from moesimvae.report.figures import differences, ranks
from moesimvae.report.style import write
from moesimvae.report.tables.significance import to_markdown

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found, experiment = snakemake.input, Plan.of(snakemake.params.experiment)
    methods, metrics = registry.methods(found.methods), registry.metrics(found.metrics)
    table = significance(comparison.read_many(found.scores), methods, metrics, experiment)
    write_csv(table, snakemake.output.csv)
    titles = {name: method.title for name, method in methods.items()}
    text = to_markdown(table, titles, metrics, experiment.title)
    files.write_text(snakemake.output.md, text)
    drawn = [
        *ranks.pictures(table, titles, metrics),
        *differences.pictures(table, titles, metrics, comparison.read_facts(found.datasets)),
    ]
    write(drawn, snakemake.output.figures)
