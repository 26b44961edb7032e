"""An experiment's report: one HTML page that needs no network."""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import files, registry
from moesimvae.errors import logged
from moesimvae.evaluation import comparison
from moesimvae.report.page import page
from moesimvae.report.spaces import spaces

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found, params = snakemake.input, snakemake.params
    results = Path(snakemake.output.report).parents[1]
    runs = comparison.read_many(found.runs)
    statuses = {run: files.read_json(results / run / "status.json") for run in runs["run"]}
    facts = comparison.read_facts(found.datasets, statuses.values())
    methods = registry.load(found.methods)
    views = spaces(
        found.projections,
        found.labels,
        {name: [results / run for run in runs] for name, runs in params.clustered.items()},
        methods,
        {name: fact["title"] for name, fact in facts.items()},
    )
    html = page(
        comparison.read_csv(found.table),
        runs,
        statuses,
        params.experiment,
        facts,
        methods,
        registry.load(found.metrics),
        [found.figures, found.significance],
        views,
        comparison.read_remark(found.get("remark")),
        comparison.read_optional(found.get("signature")),
        comparison.read_optional(found.get("screening")),
        comparison.read_optional(found.quality),
    )
    files.write_text(snakemake.output.report, html)
