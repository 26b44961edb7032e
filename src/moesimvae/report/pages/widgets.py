"""What a page needs in the browser: the libraries' own files, and the data they show.

itables provides DataTables (tables that sort and filter), Bokeh its plots; both are embedded in the
page whole, so that it opens without a network.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files as package
from typing import Any

from moesimvae.report.pages import viewer
from moesimvae.studies.views import MOST_CELLS


def widgets(board: Mapping[str, Any], views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Values for the template: data as JSON and the libraries as text, safe within a <script>.

    board: from `leaderboard.leaderboard`; views: from `viewer.viewed`. Bokeh is included only
    if there is something to draw.
    """
    bokeh = package("bokeh") / "server" / "static" / "js" / "bokeh.min.js"
    datatables = package("itables") / "html" / "dt_bundle.js"
    return {
        "board": as_json(board),
        "datatables": inside_script(datatables.read_text("utf-8")),
        "script": package("moesimvae.report").joinpath("templates", "page.js").read_text("utf-8"),
        "views": [{**view, "json": as_json(view)} for view in views],
        "plot": as_json(viewer.plots()) if views else "",
        "bokeh": inside_script(bokeh.read_text("utf-8")) if views else "",
        "most_cells": MOST_CELLS,
    }


def as_json(value: Any) -> str:
    """JSON in which nothing can end the <script> around it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def inside_script(code: str) -> str:
    """JavaScript in which nothing can end the <script> around it."""
    return code.replace("</script", "\\x3c/script").replace("<!--", "\\x3c!--")
