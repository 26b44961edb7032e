"""Quality control of an experiment: what fired, in red and amber, and what is green."""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import files, registry
from moesimvae.errors import logged
from moesimvae.evaluation import comparison, quality
from moesimvae.evaluation.scores import write_csv
from moesimvae.nouns import Plan, Status, folders_of_controls
from moesimvae.report.tables.verdicts import quality_markdown

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found, experiment = snakemake.input, Plan.of(snakemake.params.experiment)
    runs = [*found.run_dirs, *(run for c in found.controls for run in folders_of_controls(c))]
    table = quality.check(
        comparison.read_many(found.scores),
        comparison.read_many(found.populations),
        comparison.read_many(found.runs),
        experiment,
        comparison.read_facts(found.datasets),
        registry.methods(found.methods),
        registry.metrics(found.metrics),
        [Status.read(run) for run in runs],
        snakemake.params.codes,
        [(Path(one), Path(other)) for one, other in snakemake.params.repeats],
    )
    write_csv(table, snakemake.output.csv)
    files.write_text(snakemake.output.md, quality_markdown(experiment.name, table))
