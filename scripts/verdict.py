"""Every number of the paper beside ours, with a verdict: csv, LaTeX, Markdown and one page."""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import files, registry
from moesimvae.errors import logged
from moesimvae.evaluation import comparison
from moesimvae.evaluation.finished import read_results
from moesimvae.evaluation.verdicts import Results, Rules, verdicts
from moesimvae.nouns import Experiment, Variant
from moesimvae.report.pages.verdicts import page
from moesimvae.report.tables.verdicts import to_latex, to_markdown

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found, params, output = snakemake.input, snakemake.params, snakemake.output
    metrics = registry.metrics(found.metrics)
    results = Path(output.csv).parents[1]
    paths = [path for pattern in params.tables for path in results.glob(pattern)]
    scores, runs, datasets, checks = read_results(paths)
    published = comparison.read_many(found.published)
    methods = registry.methods(found.methods)
    experiments = Experiment.by_name(params.experiments)
    table = verdicts(
        published,
        Results(scores, runs, datasets, experiments, Variant.by_name(params.variants)),
        Rules.of(registry.load(found.comparison), published, methods),
        methods,
        metrics,
    )
    files.write_text(output.csv, comparison.to_csv(table))
    files.write_text(output.tex, to_latex(table, metrics))
    files.write_text(output.md, to_markdown(table, checks, metrics))
    files.write_text(output.html, page(table, checks, metrics))
