"""Differences between the methods of an experiment: tests, intervals, effect sizes, pictures."""

from typing import TYPE_CHECKING

from moesimvae import files, registry
from moesimvae.errors import logged
from moesimvae.evaluation import comparison
from moesimvae.evaluation.scores import write_csv
from moesimvae.evaluation.statistics import significance
from moesimvae.report.significance import pictures, to_markdown
from moesimvae.report.style import write

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found, experiment = snakemake.input, snakemake.params.experiment
    methods, metrics = registry.load(found.methods), registry.load(found.metrics)
    table = significance(comparison.read_many(found.scores), methods, metrics, experiment)
    write_csv(table, snakemake.output.csv)
    text = to_markdown(table, methods, metrics, experiment["title"])
    files.write_text(snakemake.output.md, text)
    drawn = pictures(table, methods, metrics, comparison.read_facts(found.datasets))
    write(drawn, snakemake.output.figures)
