"""Tables as HTML, by the macro of cells.html.j2 that the page uses, too."""

from __future__ import annotations

from collections.abc import Sequence

from moesimvae.report.render import render
from moesimvae.report.tables import Table, letter


def write(tables: Sequence[Table]) -> str:
    """A fragment for Snakemake's own report: a `<div class="comparison">` for each table."""
    return render("table.html.j2", tables=tables, letter=letter, anchor=None)  # no runs to lead to
