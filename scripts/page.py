"""An experiment's report: one HTML page that needs no network."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from moesimvae import files, registry
from moesimvae.errors import logged
from moesimvae.evaluation import comparison, ranking, reference
from moesimvae.nouns import Plan, Status
from moesimvae.report.pages.experiment import page
from moesimvae.report.pages.viewer import viewed
from moesimvae.report.words import Comparison
from moesimvae.studies.views import read_spaces

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found, params = snakemake.input, snakemake.params
    results = Path(snakemake.output.report).parents[1]
    runs = comparison.read_many(found.runs)
    statuses = {run: Status.read(results / run) for run in runs["run"]}
    methods = registry.methods(found.methods)
    facts = comparison.read_facts(found.datasets, statuses.values(), methods)
    clustered = {name: [results / r for r in paths] for name, paths in params.clustered.items()}
    table, metrics = comparison.read_csv(found.table), registry.metrics(found.metrics)
    ranked = list(ranking.rank(table, metrics).of_methods.index)
    views = [
        viewed(spaces, methods, facts[spaces.dataset].title, ranked)
        for spaces in read_spaces(found.projections, found.labels, clustered)
    ]
    kept = None
    if found.get("kept"):
        folder = Path(found.kept[0]).parent
        compared = reference.against(table, comparison.read_csv(folder / "table.csv"))
        labels = folder / "labels.parquet"
        same = pd.read_parquet(labels) if labels.exists() else None
        agree = {} if same is None else reference.agreement(same, table, results)
        kept = (f"docs/{folder.name}", compared, agree)
    html = page(
        Comparison(table, metrics, facts),
        runs,
        statuses,
        Plan.of(params.experiment),
        methods,
        [found.figures, found.significance],
        views,
        comparison.read_remark(found.get("remark")),
        comparison.read_optional(found.get("signature")),
        comparison.read_optional(found.get("screening")),
        comparison.read_optional(found.quality),
        kept,
    )
    files.write_text(snakemake.output.report, html)
