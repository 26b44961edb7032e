"""An experiment's report: one HTML page that needs no network."""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import files, registry
from moesimvae.errors import logged
from moesimvae.evaluation import comparison
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
    statuses = {run: files.read_json(results / run / "status.json") for run in runs["run"]}
    facts = comparison.read_facts(found.datasets, statuses.values())
    methods = registry.load(found.methods)
    clustered = {name: [results / r for r in paths] for name, paths in params.clustered.items()}
    views = [
        viewed(spaces, methods, facts[spaces.dataset]["title"])
        for spaces in read_spaces(found.projections, found.labels, clustered)
    ]
    html = page(
        Comparison(comparison.read_csv(found.table), registry.load(found.metrics), facts),
        runs,
        statuses,
        params.experiment,
        methods,
        [found.figures, found.significance],
        views,
        comparison.read_remark(found.get("remark")),
        comparison.read_optional(found.get("signature")),
        comparison.read_optional(found.get("screening")),
        comparison.read_optional(found.quality),
    )
    files.write_text(snakemake.output.report, html)
