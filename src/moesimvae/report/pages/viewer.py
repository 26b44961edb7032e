"""The viewer of latent spaces: coordinates and labels, small enough for one page.

Bokeh draws them in the browser, when somebody opens one.
"""

import base64
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from bokeh.core.types import ID
from bokeh.embed import json_item
from bokeh.models import ColumnDataSource, HoverTool, Range1d, WheelZoomTool
from bokeh.plotting import figure

from moesimvae.evaluation.matching import match
from moesimvae.nouns import Run
from moesimvae.registry import Block
from moesimvae.report import style
from moesimvae.report.style import NOISE, UNSCORED
from moesimvae.studies.views import Spaces

FINEST = 32_767  # 16 bits for each coordinate: finer than any screen


def viewed(spaces: Spaces, methods: Mapping[str, Block], title: str) -> Block:
    """A data set's cells in each latent space, with the colours of each labelling."""
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
                "title": f"{methods[run.method]['title']}, seed {run.seed}",
                "axes": axes,
                "xy": _packed(_fine(points)),
            }
            for run, (points, axes) in spaces.points.items()
        ],
        "colours": [
            _by_truth(shown, colours),
            *(
                _by_cluster(run, methods[run.method]["title"], clusters, spaces, colours)
                for run, clusters in spaces.clusters.items()
            ),
        ],
    }


def _by_truth(truth: np.ndarray, colours: Mapping[str, str]) -> Block:
    entries = list(colours.items())
    codes = pd.Categorical(truth, list(colours)).codes.astype(int)
    if (codes < 0).any():
        codes[codes < 0] = len(entries)
        entries.append(("no true label (not scored)", UNSCORED))
    return _colouring("True label", codes, entries)


def _by_cluster(
    run: Run, method: str, clusters: np.ndarray, spaces: Spaces, colours: Mapping[str, str]
) -> Block:
    """A cluster has the colour of the population it is matched to, a further one of mostly the
    same population that colour, lighter; where nobody knows the populations, one of its own.
    """
    numbers = sorted(set(clusters) - {-1})
    matched, own = match(spaces.truth, clusters), style.colours_of(numbers)
    entries = []
    for cluster in numbers:
        name, first = matched.get(cluster, ("", False))
        colour = colours[name] if name else UNSCORED if colours else own[cluster]
        shade = colour if first or not colours else style.lighter(colour)
        entries.append((f"{cluster}: {name}" if name else str(cluster), shade))
    codes = pd.Categorical(clusters[spaces.shown], numbers).codes.astype(int)
    if (codes < 0).any():
        codes[codes < 0] = len(entries)
        entries.append(("noise", NOISE))
    return _colouring(f"{method} ({len(numbers)} clusters, seed {run.seed})", codes, entries)


def _colouring(title: str, codes: np.ndarray, entries: Iterable[tuple[str, str]]) -> Block:
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
    """(n, 2) → 2n 16-bit integers, all x before all y, the wider axis filling their range."""
    centred = points - (points.min(axis=0) + points.max(axis=0)) / 2
    return np.round(centred / max(np.abs(centred).max(), 1e-12) * FINEST).T.astype("<i2")


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def plot() -> Block:
    """The empty plot that the page's script fills: pan, zoom, and what a cell is on hover."""
    cells = ColumnDataSource({k: [] for k in ("x", "y", "colour", "alpha", "truth", "cluster")},
                             name="cells")  # fmt: skip
    made = figure(
        name="plot", sizing_mode="stretch_both", tools="pan,box_zoom,reset,save",
        active_drag="pan", toolbar_location="above", x_range=Range1d(), y_range=Range1d(),
    )  # fmt: skip
    wheel = WheelZoomTool(modifiers={"ctrl": True})
    made.add_tools(wheel, HoverTool(tooltips=[("true label", "@truth"), ("cluster", "@cluster")]))
    made.toolbar.active_scroll = wheel
    made.toolbar.logo = None
    made.scatter("x", "y", source=cells, size=4, color="colour", alpha="alpha", line_color=None)
    made.grid.visible = False
    made.axis.major_label_text_font_size = "0pt"
    made.axis.major_tick_line_color = None
    made.axis.minor_tick_line_color = None
    return dict(json_item(made, ID("space")))
