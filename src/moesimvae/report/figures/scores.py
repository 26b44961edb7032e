"""Scores: one panel per metric, one row per method."""

from collections.abc import Iterator
from textwrap import fill

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moesimvae.evaluation import comparison
from moesimvae.evaluation.quality import KNOW_NOTHING
from moesimvae.report import style
from moesimvae.report.figures.inputs import Part
from moesimvae.report.style import Picture, key

MANY_ROWS = 20  # methods in a figure
ARROWS = {"higher": " →", "lower": " ←"}
CHOSEN = (
    " Oracle and label-free: the same method with settings chosen with and without the true "
    "labels, respectively."
)


def pictures(part: Part) -> Iterator[Picture]:
    first = part.own[part.own["metric"] == part.metric]
    ranked = first[first["kind"] == "method"].sort_values("mean", ascending=False)
    said = ", ".join(f"{r.title} {r.mean:.3f}" for r in ranked.itertuples() if not np.isnan(r.mean))
    beside = set(part.quoted["method"]) & set(first["method"])
    title, lost = f"Scores on {part.title}", part.did_not_finish
    yield part.picture(
        "scores",
        title,
        f"{title}. Dots are seeds, bars their means, lines their ranges; arrows point to better "
        "values. Controls and oracles have a grey background; the dotted line marks the best "
        f"control that ignores the cells.{part.signs(CHOSEN)}"
        f"{' Diamonds: published values, not run here.' if beside else ''}{lost}",
        f"Dot plots of the scores of {len(first)} methods on {part.title}. Mean "
        f"{part.experiment.metric(part.metric)}: {said}.{lost}",
        draw(part, title),
    )


@style.styled
def draw(part: Part, title: str) -> Figure:
    """Every seed, mean, range and published value of each method.

    Methods are in the order of the first metric, with oracles and controls below them; a dotted
    line is the best blind control; DNF is written where no run finished.
    """
    own, quoted, metrics = part.own, part.quoted, part.experiment.metrics
    none = {metric for _, metric in comparison.lacking(own, metrics)}.union(comparison.FOUND)
    names = [m for m in dict.fromkeys(own["metric"]) if m not in none]
    kinds = [own[own["kind"] == kind] for kind in ("method", "oracle", "control")]
    order = [m for rows in kinds for m in comparison.best_first(rows, names[0], metrics)]
    # Four narrow panels side by side rather than a figure longer than a page.
    columns = 4 if len(names) == 4 and len(order) > MANY_ROWS else min(3, len(names))
    rows = -(-len(names) // columns)
    figure = style.sheet(rows * (0.55 + 0.185 * len(order)) + 0.9, title)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    apart = [y for y, method in enumerate(order) if method not in set(kinds[0]["method"])]
    for panel, metric in zip(panels, names, strict=False):
        by_method = own[own["metric"] == metric].set_index("method")
        _rows(panel, by_method.loc[order], [part.experiment.colours[m] for m in order])
        beside = quoted[(quoted["metric"] == metric) & quoted["method"].isin(order)]
        panel.scatter(beside["mean"], [order.index(m) for m in beside["method"]], s=26, marker="D",
                      facecolors="none", edgecolors="black", linewidths=0.9, zorder=3)  # fmt: skip
        floor = by_method[by_method.index.isin(KNOW_NOTHING)]["mean"].dropna()
        if len(floor):
            panel.axvline(floor.max(), color=style.CONTROL, linestyle=":", linewidth=1)
        low = min(0.0, float(by_method["min"].min()))
        panel.set_xlim(low - 0.03, max(1.03, float(by_method["max"].max()) + 0.03))
        arrow = ARROWS.get(metrics[metric].better, "")
        panel.set_title(fill(metrics[metric].title + arrow, 24), fontsize=9.5)
        panel.xaxis.set_major_locator(mpl.ticker.MultipleLocator(0.5))
        panel.xaxis.set_minor_locator(mpl.ticker.MultipleLocator(0.1))
        panel.grid(axis="x", which="both")
        if apart:  # oracles and controls are on grey: they do not compete
            panel.axhspan(min(apart) - 0.5, max(apart) + 0.5, color="#F2F2F2", zorder=-1)
    style.hide(panels[len(names) :])
    panels[0].set_ylim(len(order) - 0.4, -0.6)
    panels[0].set_yticks(range(len(order)), [part.label(m) for m in order])
    keys = [key("one seed", size=3.6), key("mean", **style.MEAN),
            key("min–max", marker="", linestyle="-", linewidth=1.2)]  # fmt: skip
    if (own["kind"] == "control").any():
        keys.append(key("best blind control", style.CONTROL, "", linestyle=":"))
    if set(quoted["method"]) & set(own["method"]):
        keys.append(key("published", marker="D", **style.HOLLOW))
    style.legend_below(figure, keys, 5, handletextpad=0.4)
    return figure


def _rows(panel: Axes, rows: pd.DataFrame, colours: list[str]) -> None:
    """Draw all rows with few artists: each costs time when the figure is laid out."""
    y = np.arange(len(rows))
    panel.hlines(y, rows["min"], rows["max"], colors=colours, linewidth=1.2, alpha=0.6)
    panel.vlines(rows["mean"], y - 0.32, y + 0.32, colors=colours, linewidth=2)
    every = [row for _, row in rows.iterrows()]
    seeds = [(v, i) for i, row in enumerate(every) for v in comparison.values(row).values()]
    if seeds:
        x, at = zip(*seeds, strict=True)
        panel.scatter(x, at, s=14, c=[colours[i] for i in at], alpha=0.65, linewidths=0)
    for i, row in enumerate(every):
        if row["n"] == 0:
            panel.text(0.0, i, comparison.failure(row["status"]), va="center", fontsize=8,
                       color=style.FAILED, style="italic")  # fmt: skip
