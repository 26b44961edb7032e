"""The methods section of an experiment, from its runs."""

from typing import TYPE_CHECKING

from moesimvae import files, registry
from moesimvae.errors import logged
from moesimvae.evaluation import comparison
from moesimvae.nouns import Plan, Status
from moesimvae.report import methods_text

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found, experiment = snakemake.input, Plan.of(snakemake.params.experiment)
    statuses = {run: Status.read(run) for run in found.run_dirs}
    methods = registry.methods(found.methods) | experiment.variants
    metrics = registry.metrics(found.metrics)
    text = methods_text.document(
        experiment.title,
        comparison.read_facts(found.datasets),
        methods_text.steps_of(found.features),
        {name: methods[name] for name in [*experiment.methods, *experiment.variants]},
        {name: metrics[name] for name in experiment.metrics},
        statuses,
    )
    files.write_text(snakemake.output.md, text)
