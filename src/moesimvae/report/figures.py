"""Scores, cost and losses, drawn from the comparison, the runs and their histories.

Every function gives a matplotlib Figure as wide as a printed page, so that no letter is smaller
than 8 pt in print; `pictures` says what they show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moesimvae.evaluation import comparison
from moesimvae.evaluation.quality import KNOW_NOTHING
from moesimvae.evaluation.statistics import pareto_front
from moesimvae.report.style import CONTROL, DARK, FAILED, QUIET, WIDTH, log_axis, styled
from moesimvae.report.tables import sections

Block = dict[str, Any]

MANY_ROWS = 20  # methods in a picture


@styled
def unavailable(title: str, reason: str) -> Figure:
    """A picture that says why there is none."""
    figure = Figure((WIDTH, 1.5), layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    panel = figure.subplots()
    panel.axis("off")
    panel.text(0.5, 0.5, fill(reason, 90), ha="center", va="center", color=QUIET, fontsize=10)
    return figure


@styled
def losses(histories: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> Figure:
    """Small multiples: one panel for each loss term with its own scale, one line for each run.

    histories: name of the run → loss term → one value for each recorded step. A term "step"
    gives the x axis; without it records are counted from 1.
    """
    terms = list(dict.fromkeys(t for h in histories.values() for t in h if t != "step"))
    columns = min(3, len(terms))
    rows = -(-len(terms) // columns)
    figure = Figure((WIDTH, 0.65 + 1.65 * rows), layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    counted = all("step" in history for history in histories.values())
    for panel, term in zip(panels, terms, strict=False):
        last = []
        for (name, history), colour in zip(histories.items(), DARK, strict=False):
            if term not in history:
                continue
            y = np.asarray(history[term], float)
            x = np.asarray(history.get("step", np.arange(1, len(y) + 1)), float)
            if len(y) >= 100:  # the noise of batches behind, their running mean in front
                panel.plot(x, y, color=colour, alpha=0.25, linewidth=0.6)
                window = len(y) // 25
                y = np.convolve(y, np.ones(window) / window, "valid")
                x = x[(window - 1) // 2 :][: len(y)]
            panel.plot(x, y, color=colour, linewidth=1.3, label=name)
            last.append(y[-1])
        panel.set_title(f"{term.replace('_', ' ')}  (end: {np.mean(last):.3g})", fontsize=9)
        panel.grid(axis="y")
        panel.margins(x=0.02)
        panel.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4, integer=True))
        panel.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    for panel in panels[len(terms) :]:
        panel.set_visible(False)
    for i, panel in enumerate(panels[: len(terms)]):
        if i + columns >= len(terms):
            panel.set_xlabel("training step" if counted else "record")
            panel.tick_params(labelbottom=True)
    handles, labels = panels[0].get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)))
    return figure


@styled
def scores(
    table: pd.DataFrame, metrics: dict[str, Block], colours: Mapping[str, str], title: str
) -> Figure:
    """One panel for each metric, one row for each method: every seed, mean, range, published.

    table: the comparison's rows of one data set and split. Methods stand in the order of the
    first metric, oracles and controls below them; a dotted line is the best control that knows
    nothing of the cells; DNF is written where no run finished.
    """
    own, quoted = table[table["source"] == "run"], table[table["source"] == "published"]
    names = [m for m in dict.fromkeys(own["metric"]) if m not in comparison.FOUND]
    order = _order(own, names[0], metrics)
    # Four narrow panels side by side rather than a picture longer than a page.
    columns = 4 if len(names) == 4 and len(order) > MANY_ROWS else min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure((WIDTH, rows * (0.55 + 0.185 * len(order)) + 0.9), layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    titles = own.drop_duplicates("method").set_index("method")["title"]
    for panel, metric in zip(panels, names, strict=False):
        by_method = own[own["metric"] == metric].set_index("method")
        _score_rows(panel, by_method.loc[order], [colours[m] for m in order])
        beside = quoted[(quoted["metric"] == metric) & quoted["method"].isin(order)]
        panel.scatter(
            beside["mean"],
            [order.index(m) for m in beside["method"]],
            s=26,
            marker="D",
            facecolors="none",
            edgecolors="black",
            linewidths=0.9,
            zorder=3,
        )
        floor = by_method[by_method.index.isin(KNOW_NOTHING)]["mean"].dropna()
        if len(floor):
            panel.axvline(floor.max(), color=CONTROL, linestyle=":", linewidth=1)
        low = min(0.0, float(by_method["min"].min()))
        panel.set_xlim(low - 0.03, max(1.03, float(by_method["max"].max()) + 0.03))
        panel.set_title(fill(_with_arrow(metrics[metric]), 24), fontsize=9.5)
        panel.xaxis.set_major_locator(mpl.ticker.MultipleLocator(0.5))
        panel.xaxis.set_minor_locator(mpl.ticker.MultipleLocator(0.1))
        panel.grid(axis="x", which="both")
        _band(panel, own, order)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    panels[0].set_ylim(len(order) - 0.4, -0.6)
    panels[0].set_yticks(range(len(order)), [_short(titles[m], own, m) for m in order])
    figure.legend(
        handles=_score_keys(own, quoted), loc="outside lower center", ncols=5, handletextpad=0.4
    )
    return figure


def _score_rows(panel: Axes, rows: pd.DataFrame, colours: list[str]) -> None:
    """Few artists for many rows: each costs time when the figure is laid out."""
    y = np.arange(len(rows))
    panel.hlines(y, rows["min"], rows["max"], colors=colours, linewidth=1.2, alpha=0.6)
    panel.vlines(rows["mean"], y - 0.32, y + 0.32, colors=colours, linewidth=2)
    seeds = [
        (v, i)
        for i, (_, row) in enumerate(rows.iterrows())
        for v in comparison.values(row).values()
    ]
    if seeds:
        x, at = zip(*seeds, strict=True)
        panel.scatter(x, at, s=14, c=[colours[i] for i in at], alpha=0.65, linewidths=0)
    for i, (_, row) in enumerate(rows.iterrows()):
        if row["n"] == 0:
            said = comparison.failure(row["status"])
            panel.text(0.0, i, said, va="center", fontsize=8, color=FAILED, style="italic")


def _score_keys(own: pd.DataFrame, quoted: pd.DataFrame) -> list[Line2D]:
    grey = {"color": QUIET, "linestyle": ""}
    keys = [
        Line2D([], [], marker="o", markersize=3.6, label="one seed", **grey),
        Line2D([], [], marker="|", markersize=7, markeredgewidth=2, label="mean", **grey),
        Line2D([], [], color=QUIET, linewidth=1.2, label="min–max"),
    ]
    if (own["kind"] == "control").any():
        keys.append(Line2D([], [], color=CONTROL, linestyle=":", label="best blind control"))
    if set(quoted["method"]) & set(own["method"]):
        keys.append(Line2D([], [], marker="D", markerfacecolor="none", color="black", linestyle="",
                           markersize=5, label="published"))  # fmt: skip
    return keys


@styled
def cost(table: pd.DataFrame, runs: pd.DataFrame, colours: Mapping[str, str], title: str) -> Figure:
    """Seconds and peak memory of each run on log scales; a cross is a run that did not finish.

    table: the comparison's rows of one data set and split; runs: contract 4's table of its runs.
    Methods stand from quick to slow; controls and chosen settings are left out.
    """
    own = _with_own_settings(table)
    one = own.drop_duplicates("method").sort_values(["wall_seconds", "title"], na_position="last")
    order, titles = list(one["method"]), dict(zip(one["method"], one["title"], strict=True))
    figure = Figure((WIDTH, 1.25 + 0.21 * len(order)), layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    panels = figure.subplots(1, 2, sharey=True)
    for panel, column, label in (
        (panels[0], "wall_seconds", "Wall-clock time (seconds)"),
        (panels[1], "peak_memory_mb", "Peak memory (MB)"),
    ):
        mine = runs[runs["method"].isin(order) & runs[column].notna()]
        _cost_rows(panel, mine, column, order, colours)
        panel.set_title(label, fontsize=9.5)
        panel.grid(axis="x")
        log_axis(panel)
    panels[0].set_ylim(len(order) - 0.4, -0.6)
    panels[0].set_yticks(range(len(order)), [_short(titles[m], own, m) for m in order])
    grey = {"color": QUIET, "linestyle": ""}
    keys = [
        Line2D([], [], marker="o", markersize=4, label="one run", **grey),
        Line2D([], [], marker="|", markersize=7, markeredgewidth=2, label="mean", **grey),
    ]
    lost = set(runs[runs["method"].isin(order)]["status"])
    keys += [
        Line2D([], [], marker=marker, markersize=5, color=FAILED, markerfacecolor="none",
               linestyle="", label=comparison.failure(status))
        for status, marker in FAILURES.items() if status in lost
    ]  # fmt: skip
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), handletextpad=0.4)
    return figure


FAILURES = {"timeout": "x", "out-of-memory": "s", "error": "^", "invalid": "v"}


def _cost_rows(
    panel: Axes, runs: pd.DataFrame, column: str, order: list[str], colours: Mapping[str, str]
) -> None:
    y = runs["method"].map({m: i for i, m in enumerate(order)})
    done = runs["status"] == "ok"
    dots = runs["method"][done].map(dict(colours))
    panel.scatter(runs[column][done], y[done], s=16, c=dots, alpha=0.7, linewidths=0)
    means = runs[column][done].groupby(y[done]).mean()
    bars = [colours[order[i]] for i in means.index]
    panel.vlines(means, means.index - 0.32, means.index + 0.32, colors=bars, linewidth=2)
    for status, marker in FAILURES.items():
        lost = runs["status"] == status
        face = {"c": FAILED} if marker == "x" else {"facecolors": "none", "edgecolors": FAILED}
        panel.scatter(runs[column][lost], y[lost], s=28, marker=marker, linewidths=1.1, **face)


@styled
def quality_vs_time(
    table: pd.DataFrame, metrics: dict[str, Block], colours: Mapping[str, str], title: str
) -> Figure:
    """The first metric against wall-clock seconds, mean and range, names beside the picture.

    table: the comparison's rows of one data set and split; methods without a finished run,
    controls and chosen settings are left out. A line of steps is the Pareto front.
    """
    own = _with_own_settings(table)
    metric = own["metric"].iloc[0]
    shown = own[(own["metric"] == metric) & (own["n"] > 0) & own["wall_seconds"].notna()]
    shown = shown.sort_values("mean", ascending=False, kind="stable")
    figure = Figure((WIDTH, max(2.8, 1.1 + 0.19 * len(shown))), layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    panel = figure.subplots()
    for _, row in shown.iterrows():
        colour, x = colours[row["method"]], row["wall_seconds"]
        panel.plot([x, x], [row["min"], row["max"]], color=colour, linewidth=1.2, alpha=0.7)
        face = "none" if row["kind"] == "oracle" else colour
        panel.plot(x, row["mean"], "o", color=colour, markerfacecolor=face, markersize=6)
    front = shown[on_front(shown, metrics[metric]["better"])].sort_values("wall_seconds")
    panel.step(front["wall_seconds"], front["mean"], where="post", color=QUIET, linewidth=1,
               linestyle="--", zorder=1)  # fmt: skip
    low = min(0.0, float(shown["min"].min()))
    panel.set_ylim(low, max(1.02, float(shown["max"].max()) + 0.02))
    panel.set(xlabel="Wall-clock time (seconds, mean over seeds)", ylabel=metrics[metric]["title"])
    panel.grid()
    log_axis(panel)
    _names_at_the_side(panel, shown, colours)
    return figure


def on_front(rows: pd.DataFrame, better: str) -> np.ndarray:
    """Which rows of one metric are on the Pareto front of quality and time: True for those that no
    other beats in both. Oracles and methods that use prior knowledge do not compete.

    rows: of the comparison, one for each method; better: "higher" | "lower".
    """
    competes = (rows["kind"] == "method") & ~rows["uses_prior"]
    seconds = rows["wall_seconds"].where(competes)
    return pareto_front(seconds.to_numpy(float), rows["mean"].to_numpy(float), better)


def _names_at_the_side(panel: Axes, shown: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """Names in a column right of the axes, as high as their points as far as they fit."""
    bottom, top = panel.get_ylim()
    wanted = ((shown["mean"] - bottom) / (top - bottom)).to_numpy()  # descending
    gap = 0.95 / max(len(wanted), 15)
    places = wanted.copy()
    for i in range(1, len(places)):
        places[i] = min(places[i], places[i - 1] - gap)
    for i in range(len(places) - 1, -1, -1):
        floor = 0.01 if i == len(places) - 1 else places[i + 1] + gap
        places[i] = max(places[i], floor)
    for (_, row), place in zip(shown.iterrows(), places, strict=True):
        panel.annotate(
            row["title"] + (" (oracle)" if row["kind"] == "oracle" else "") + _prior(row),
            (row["wall_seconds"], row["mean"]),
            (1.04, place),
            xycoords="data",
            textcoords="axes fraction",
            va="center",
            color=colours[row["method"]],
            fontsize=8.5,
            arrowprops={
                "arrowstyle": "-",
                "color": colours[row["method"]],
                "alpha": 0.45,
                "linewidth": 0.7,
                "shrinkB": 4,
            },
        )


def _with_own_settings(table: pd.DataFrame) -> pd.DataFrame:
    own = table[(table["source"] == "run") & (table["kind"] != "control")]
    return comparison.own_settings(own)


def _prior(row: pd.Series) -> str:
    return " ‡" if row["uses_prior"] else ""


def _order(own: pd.DataFrame, metric: str, metrics: dict[str, Block]) -> list[str]:
    kinds = [own[own["kind"] == kind] for kind in ("method", "oracle", "control")]
    return [m for rows in kinds for m in sections.best_first(rows, metric, metrics)]


def _band(panel: Axes, own: pd.DataFrame, order: list[str]) -> None:
    """Oracles and controls stand on grey: they are not in the contest."""
    kinds = own.drop_duplicates("method").set_index("method")["kind"]
    apart = [y for y, method in enumerate(order) if kinds[method] != "method"]
    if apart:
        panel.axhspan(min(apart) - 0.5, max(apart) + 0.5, color="#F2F2F2", zorder=-1)


def _short(title: str, own: pd.DataFrame, method: str) -> str:
    row = own[own["method"] == method].iloc[0]
    if row["choice"]:
        title = title.replace(comparison.CHOICES[row["choice"]], row["choice"])
    kind = " (oracle)" if row["kind"] == "oracle" and "oracle" not in title.lower() else ""
    seeds = f" ({row['n']} of {row['n_planned']})" if 0 < row["n"] < row["n_planned"] else ""
    if row["n"] == 0:
        seeds = f" ({comparison.failure(row['status']).partition(':')[0]})"
    title = title if len(title) <= 28 else f"{title[:27].rstrip()}…"
    return f"{title}{kind}{_prior(row)}{seeds}"


def _with_arrow(metric: Block) -> str:
    return metric["title"] + {"higher": " →", "lower": " ←"}.get(metric["better"], "")
