"""An experiment's report: one HTML page that needs no network."""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import files, registry
from moesimvae.errors import logged
from moesimvae.report import tables
from moesimvae.report.page import page

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found = snakemake.input
    html = page(
        tables.read_csv(found.table),
        tables.read_many(found.runs),
        [files.read_json(Path(run, "status.json")) for run in found.run_dirs],
        snakemake.params.experiment,
        tables.read_facts(found.datasets),
        registry.load(found.methods),
        registry.load(found.metrics),
        found.figures,
        tables.read_remark(found.get("remark")),
        tables.read_optional(found.get("signature")),
        tables.read_optional(found.get("screening")),
    )
    files.write_text(snakemake.output.report, html)
