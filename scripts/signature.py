"""S1 Table: how well each group's signature gene separates its cells from the rest."""

from typing import TYPE_CHECKING

from moesimvae import files
from moesimvae.errors import logged
from moesimvae.evaluation import comparison
from moesimvae.report.tables import latex, markdown
from moesimvae.report.tables.signatures import signature_sections
from moesimvae.studies import signatures

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found, output, experiment = snakemake.input, snakemake.output, snakemake.params.experiment
    table = signatures.table(found.features, found.labels, comparison.read_many([found.published]))
    parts = signature_sections(table, comparison.read_facts(found.datasets))
    title = f"Signature genes (S1 Table): {experiment['title']}"
    files.write_text(output.csv, table.to_csv(index=False, lineterminator="\n"))
    files.write_text(output.tex, latex.write(parts, f"{experiment['name']}-signature"))
    files.write_text(output.md, markdown.write(parts, title))
    measured = signatures.measured(table)
    files.write_text(output.measured, measured.to_csv(index=False, lineterminator="\n"))
