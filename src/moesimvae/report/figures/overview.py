"""Printable version of an experiment's page at a glance: methods by metrics and data sets."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from moesimvae.report import style
from moesimvae.report.figures.inputs import Experiment
from moesimvae.report.glance import Column, Glance, Glyph, glance
from moesimvae.report.style import QUIET, Picture, cut, wrapped

SCORE, SPENT = "#0A5C99", "#A86A00"
WIDE = {"circle": 1.0, "bar": 3.2, "cost": 3.0, "text": 2.6}  # in row heights
GAP, LETTER = 0.6, 0.33
LETTERS, HEAD = 34, 24  # of a method's name, of a column's title


def pictures(experiment: Experiment) -> Iterator[Picture]:
    shown = glance(experiment)
    yield Picture(
        "overview",
        "",
        shown.title,
        f"{shown.title}. {shown.headline} {' '.join(shown.legend)}",
        f"Table of circles and bars, one row per method. {shown.headline} The numbers are in the "
        "tables.",
        draw(shown),
    )


@style.styled
def draw(shown: Glance) -> Figure:
    names = [f"{cut(line.title, LETTERS)} {line.marks}".strip() for line in shown.lines]
    places, x, group = [], 1.6 + LETTER * max(map(len, names)), ""
    for column in shown.columns:
        x += GAP if column.group != group else 0
        places.append(x)
        x, group = x + WIDE[column.kind], column.group
    rows = len(shown.lines)
    heads = [len(cut(c.title, HEAD)) for c in shown.columns if c.kind == "circle"]
    top = 0.7 + LETTER * max(heads, default=0)
    figure = style.sheet(style.WIDTH * (rows + top + 2.3) / x)
    panel = figure.subplots()
    panel.set(xlim=(0, x), ylim=(rows, -top - 2.3), aspect="equal")
    panel.axis("off")
    small = 72 * style.WIDTH / x * 0.52  # points: half a row
    for y, (line, name) in enumerate(zip(shown.lines, names, strict=True)):
        panel.text(0.9, y + 0.5, line.rank or "–", ha="right", va="center", fontsize=small)
        panel.text(1.3, y + 0.5, name, va="center", fontsize=small)
        panel.plot([0, x], [y, y], color="#E3E3E3" if y else "black", linewidth=0.5)
    for column, place in zip(shown.columns, places, strict=True):
        upright = column.kind == "circle"
        panel.text(
            place + WIDE[column.kind] / 2 if upright else place, -0.25, cut(column.title, HEAD),
            rotation=90 if upright else 0, ha="center" if upright else "left", va="bottom",
            fontsize=small * 0.9,
        )  # fmt: skip
        for y, glyph in enumerate(column.glyphs):
            _draw(panel, glyph, column.kind, place, y, small)
    _group_titles(panel, shown.columns, places, -top, small)
    return figure


def _draw(panel: Axes, glyph: Glyph, kind: str, x: float, y: float, small: float) -> None:
    if kind == "circle" and not np.isnan(glyph.size):
        tone = 0.18 + 0.82 * glyph.tone
        red, green, blue = (1 - tone * (1 - channel) for channel in to_rgb(SCORE))
        radius = 0.06 + 0.4 * glyph.size
        panel.add_patch(Circle((x + 0.5, y + 0.5), radius, color=(red, green, blue), linewidth=0))
        return
    width = 0.0
    if kind in ("bar", "cost") and not np.isnan(glyph.size):
        width = (1.4 if kind == "bar" else 1.1) * glyph.size
        colour = SCORE if kind == "bar" else SPENT
        panel.add_patch(Rectangle((x, y + 0.22), width, 0.56, color=colour, linewidth=0))
    missing = kind == "circle"
    size, colour = (0.6, QUIET) if missing else (0.9, "black")
    start = x + (0.2 if missing else width + 0.15 * (width > 0))
    panel.text(start, y + 0.5, glyph.text, va="center", fontsize=small * size, color=colour)


def _group_titles(
    panel: Axes, columns: list[Column], places: list[float], y: float, small: float
) -> None:
    for title in dict.fromkeys(column.group for column in columns):
        mine = [
            (x, x + WIDE[c.kind]) for x, c in zip(places, columns, strict=True) if c.group == title
        ]
        left, right = mine[0][0], mine[-1][1]
        letters = max(13, int((right - left) * 3))
        panel.text((left + right) / 2, y - 0.2, wrapped(cut(title, 48), letters), ha="center",
                   va="bottom", fontsize=small * 0.95, weight="bold")  # fmt: skip
        panel.plot([left, right - 0.2], [y, y], color=QUIET, linewidth=0.5)
