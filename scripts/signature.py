"""S1 Table: how well each group's signature gene tells its cells from the rest."""

from typing import TYPE_CHECKING

from moesimvae import files
from moesimvae.errors import logged
from moesimvae.evaluation import comparison
from moesimvae.report import signatures

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found, output, experiment = snakemake.input, snakemake.output, snakemake.params.experiment
    table = signatures.table(found.features, found.labels, comparison.read_many([found.published]))
    parts = signatures.signature_sections(table, comparison.read_facts(found.datasets))
    title = f"Signature genes (S1 Table): {experiment['title']}"
    files.write_text(output.csv, table.to_csv(index=False, lineterminator="\n"))
    files.write_text(output.tex, signatures.to_latex(parts, experiment["name"]))
    files.write_text(output.md, signatures.to_markdown(parts, title))
    measured = signatures.measured(table)
    files.write_text(output.measured, measured.to_csv(index=False, lineterminator="\n"))
