"""The viewer of latent spaces: coordinates and labels, small enough for one page.

Bokeh draws them in the browser.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from bokeh.document import Document
from bokeh.embed.util import standalone_docs_json_and_render_items
from bokeh.models import ColumnDataSource, HoverTool, Range1d, WheelZoomTool
from bokeh.plotting import figure

from moesimvae.evaluation.matching import match
from moesimvae.nouns import Method, Run
from moesimvae.report import style
from moesimvae.report.style import NOISE, UNSCORED
from moesimvae.report.tables.sureness import mark
from moesimvae.studies.views import Spaces

FINEST = 32_767  # 16 bits per coordinate: finer than any screen


def viewed(
    spaces: Spaces, methods: Mapping[str, Method], title: str, ranked: Sequence[str] = ()
) -> dict[str, Any]:
    """A data set's cells in each latent space, with the colours of each labelling.

    ranked: methods in the order in which to offer them, best first.
    """
    place = {method: i for i, method in enumerate(ranked)}

    def best_first(runs: Iterable[Run]) -> list[Run]:
        return sorted(runs, key=lambda run: place.get(run.method, len(place)))

    shown = spaces.truth[spaces.shown]
    colours = style.colours_of(style.populations_of(spaces.truth))
    return {
        "name": spaces.dataset,
        "title": title,
        "of": len(spaces.truth),
        "cells": len(shown),
        "labelled": bool(colours),
        "spaces": [
            {
                "method": run.method,
                "title": f"{methods[run.method].title}, seed {run.seed}",
                "axes": spaces.points[run][1],
                "xy": _packed(_fine(spaces.points[run][0])),
            }
            for run in best_first(spaces.points)
        ],
        "colours": [
            _by_truth(shown, colours),
            *(
                {"method": run.method}
                | _by_cluster(run, methods[run.method].title, spaces.clusters[run], spaces, colours)
                for run in best_first(spaces.clusters)
            ),
        ],
    }


def _by_truth(truth: np.ndarray, colours: Mapping[str, str]) -> dict[str, Any]:
    entries = list(colours.items())
    codes = pd.Categorical(truth, list(colours)).codes.astype(int)
    if (codes < 0).any():
        codes[codes < 0] = len(entries)
        entries.append(("no true label (not scored)", UNSCORED))
    return _colouring("True label", codes, entries)


def _by_cluster(
    run: Run, method: str, clusters: np.ndarray, spaces: Spaces, colours: Mapping[str, str]
) -> dict[str, Any]:
    """Colour a cluster like the population it is matched to, an unmatched one lighter than its
    majority population; without known populations, each gets a colour of its own.
    """
    numbers = sorted(set(clusters) - {-1})
    matched, own = match(spaces.truth, clusters), style.colours_of(numbers)
    entries = []
    for cluster in numbers:
        name, first = matched.get(cluster, ("", False))
        colour = colours[name] if name else UNSCORED if colours else own[cluster]
        shade = colour if first or not colours else style.lighter(colour)
        number = mark(cluster, spaces.unstable[run])
        entries.append((f"{number}: {name}" if name else number, shade))
    codes = pd.Categorical(clusters[spaces.shown], numbers).codes.astype(int)
    if (codes < 0).any():
        codes[codes < 0] = len(entries)
        entries.append(("noise", NOISE))
    return _colouring(f"{method} ({len(numbers)} clusters, seed {run.seed})", codes, entries)


def _colouring(title: str, codes: np.ndarray, entries: Iterable[tuple[str, str]]) -> dict[str, Any]:
    names, colours = zip(*entries, strict=True)
    width = 1 if len(names) <= 256 else 2  # bytes
    return {
        "title": title,
        "width": width,
        "codes": _packed(codes.astype(f"<u{width}")),
        "names": names,
        "colours": colours,
    }


def _fine(points: np.ndarray) -> np.ndarray:
    """(n, 2) → 2n 16-bit integers, all x before all y, with the wider axis filling the range."""
    centred = points - (points.min(axis=0) + points.max(axis=0)) / 2
    return np.round(centred / max(np.abs(centred).max(), 1e-12) * FINEST).T.astype("<i2")


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def plots() -> dict[str, Any]:
    """Two empty plots of the same cells, to be filled by the page's script; for `Bokeh.embed`.

    Pan and zoom move both; hovering shows a cell's label in each.
    """
    columns = ("x", "y", "alpha", "left", "right", "left_colour", "right_colour")
    cells = ColumnDataSource({k: [] for k in columns}, name="cells")
    x, y = Range1d(), Range1d()
    sides = [_side(side, cells, x, y) for side in ("left", "right")]
    document = Document()
    for plot in sides:
        document.add_root(plot)
    docs, (item,) = standalone_docs_json_and_render_items(document)
    places = {plot.id: f"space-{plot.name}" for plot in sides}
    return {"docs": docs, "items": [item.to_json() | {"roots": places}]}


def _side(side: str, cells: ColumnDataSource, x: Range1d, y: Range1d) -> figure:
    made = figure(
        name=side, title=" ", sizing_mode="stretch_both", tools="pan,box_zoom,reset,save",
        active_drag="pan", toolbar_location="above", x_range=x, y_range=y,
    )  # fmt: skip
    wheel = WheelZoomTool(modifiers={"ctrl": True})
    made.add_tools(wheel, HoverTool(tooltips=[("left", "@left"), ("right", "@right")]))
    made.toolbar.active_scroll = wheel
    made.toolbar.logo = None
    made.scatter(
        "x", "y", source=cells, size=4, color=f"{side}_colour", alpha="alpha", line_color=None
    )
    made.grid.visible = False
    made.axis.major_label_text_font_size = "0pt"
    made.axis.major_tick_line_color = None
    made.axis.minor_tick_line_color = None
    return made
