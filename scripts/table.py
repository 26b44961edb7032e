"""An experiment's comparison as csv, LaTeX, Markdown and HTML."""

from typing import TYPE_CHECKING

from moesimvae import files, registry
from moesimvae.errors import logged
from moesimvae.evaluation import comparison
from moesimvae.nouns import Plan, Status
from moesimvae.report import words
from moesimvae.report.tables import dataset, html, latex, markdown, overview

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found, output = snakemake.input, snakemake.output
    experiment = Plan.of(snakemake.params.experiment)
    metrics, methods = registry.metrics(found.metrics), registry.methods(found.methods)
    published = found.get("published") or []
    published = [published] if isinstance(published, str) else list(published)
    table = comparison.compare(
        comparison.read_many(found.scores),
        comparison.read_many(found.runs),
        methods,
        metrics,
        experiment,
        comparison.read_many(published) if published else None,
    )
    statuses = [Status.read(run) for run in found.run_dirs]
    datasets = comparison.read_facts(found.datasets, statuses, methods)
    remark = comparison.read_remark(found.get("remark"))
    shown = words.Comparison(table, metrics, datasets)
    machine = words.machine_of(status.machine for status in statuses)
    parts = dataset.sections(shown, machine, remark)
    views = overview.overviews(shown, remark)
    every = comparison.by_dataset(table, datasets)
    files.write_text(output.csv, comparison.to_csv(table))
    printed = [part for section in parts for part in dataset.in_print(section)]
    files.write_text(output.tex, latex.write([*views, *printed], experiment.name))
    files.write_text(output.md, markdown.write([*views, *parts], experiment.title))
    files.write_text(output.html, html.write([*views, *parts]))
    files.write_text(output.by_dataset, comparison.to_csv(every))
    by_dataset = overview.by_dataset_latex(every, metrics, experiment.name)
    files.write_text(output.by_dataset_tex, by_dataset)
