"""Tables as HTML, using the macros of cells.html.j2, and the templates that use them."""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from moesimvae.report.records import anchor
from moesimvae.report.tables import Table, letter


def write(tables: Sequence[Table]) -> str:
    """A fragment for Snakemake's own report: a `<div class="comparison">` for each table."""
    return render("table.html.j2", tables=tables, anchor=None)  # no runs to link to


def render(template: str, **values: Any) -> str:
    """Fill `templates/<template>`, escaping every name from data or configuration; a missing
    value is an error.
    """
    environment = Environment(
        loader=PackageLoader("moesimvae.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(
        **{"anchor": anchor, "letter": letter} | values
    )
