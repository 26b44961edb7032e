"""Several data sets in one picture: every run (S7 Fig), and wells by inhibitor (Fig 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moesimvae.evaluation import comparison
from moesimvae.report import words
from moesimvae.report.style import FAILED, QUIET, WIDTH, Picture, cut, styled, wrapped
from moesimvae.report.words import BOUND

Block = dict[str, Any]

F_MEASURES = ("f_flowcap", "f1_mean_hungarian")
BOX, VIOLIN = 5, 5  # values from which a box or a violin says more than the points alone
BESIDE = 4  # data sets side by side
IN_ROW = 9  # groups side by side
LETTERS = 24  # of a method's name below its column


def shown_metrics(table: pd.DataFrame) -> list[str]:
    """Both F-measures where an experiment has both (papers mix them), else its first metric."""
    own = list(dict.fromkeys(table["metric"][table["source"] == "run"]))
    both = [m for m in F_MEASURES if m in own]
    return both if len(both) == 2 else own[:1]


def spread_picture(
    table: pd.DataFrame,
    metrics: dict[str, Block],
    datasets: Mapping[str, Block],
    colours: Mapping[str, str],
) -> Picture:
    """Every run on every data set, with caption; controls are left out."""
    names = shown_metrics(table)
    own = _contestants(table)
    runs = int(own[own["metric"] == names[0]]["n"].sum())
    what = " and ".join(metrics[m]["title"] for m in names)
    # Published numbers are of real, whole data sets.
    whole = [d for d, facts in datasets.items() if not (facts["simulated"] or facts["partial"])]
    quoted = _quoted(table[table["dataset"].isin(whole)], names, own)
    published = (
        " Diamonds: published values of the same method and metric, with their sd where one is "
        "reported; triangles: a lower bound of the published method's value. None was run here."
        if len(quoted)
        else ""
    )
    title = "Spread over runs"
    return Picture(
        "spread",
        "",
        title,
        f"{title}: {what} of every run ({runs} runs): one dot each, the bar their mean; the box, "
        f"from {BOX} runs on, is their quartiles. Red crosses: no run finished.{published}"
        f"{_about(own, datasets)}",
        f"Dot plots of {what}, one panel for each data set, one column for each method; the "
        "numbers are in the tables.",
        spread(own, quoted, names, metrics, datasets, colours, title),
    )


def _titles(own: pd.DataFrame, most: int = LETTERS) -> dict[str, str]:
    """Method → its title, ‡ behind those that use prior knowledge."""
    rows = own.drop_duplicates("method")
    return {r.method: cut(r.title, most) + (" ‡" if r.uses_prior else "")
            for r in rows.itertuples()}  # fmt: skip


def _about(own: pd.DataFrame, datasets: Mapping[str, Block]) -> str:
    held_out = " Scores are of test cells." if (own["split"] == "test").all() else ""
    prior = " ‡ uses prior knowledge about the cells." if own["uses_prior"].any() else ""
    return held_out + prior + words.caveats(datasets[d] for d in dict.fromkeys(own["dataset"]))


def _contestants(table: pd.DataFrame) -> pd.DataFrame:
    own = table[(table["source"] == "run") & (table["kind"] != "control")]
    return comparison.own_settings(comparison.of_first_split(own))


def _quoted(table: pd.DataFrame, names: Sequence[str], own: pd.DataFrame) -> pd.DataFrame:
    """Published values and lower bounds of methods that were run here, on the same data sets."""
    quoted = table[(table["source"] == "published") & table["mean"].notna()]
    quoted = quoted.assign(
        bound=quoted["metric"].str.endswith(BOUND),
        metric=quoted["metric"].str.removesuffix(BOUND),
    )
    same = quoted["dataset"].isin(own["dataset"]) & quoted["method"].isin(own["method"])
    return quoted[same & quoted["metric"].isin(names)]


@styled
def spread(
    own: pd.DataFrame,
    quoted: pd.DataFrame,
    names: Sequence[str],
    metrics: dict[str, Block],
    datasets: Mapping[str, Block],
    colours: Mapping[str, str],
    title: str,
) -> Figure:
    """One panel for each metric and data set, one column of dots for each method."""
    order = list(dict.fromkeys(own["method"]))
    titles = _titles(own)
    where = list(dict.fromkeys(own["dataset"]))
    columns = min(BESIDE, len(where))
    blocks = -(-len(where) // columns)
    longest = max(map(len, titles.values()))
    height = 0.7 + blocks * (len(names) * 1.75 + 0.06 * longest + 0.35)
    figure = Figure((WIDTH, height), layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    panels = figure.subplots(blocks * len(names), columns, squeeze=False)
    half = min(0.36, 0.09 * len(order) * columns / (WIDTH - 1))  # of a bar: at most 0.09 inches
    limits = {m: _limits(own[own["metric"] == m], quoted[quoted["metric"] == m]) for m in names}
    for panel in panels.ravel():
        panel.set_visible(False)
    for i, dataset in enumerate(where):
        for j, metric in enumerate(names):
            panel = panels[(i // columns) * len(names) + j, i % columns]
            panel.set_visible(True)
            rows = own[(own["dataset"] == dataset) & (own["metric"] == metric)]
            _runs(panel, rows.set_index("method"), order, colours, half)
            beside = quoted[(quoted["dataset"] == dataset) & (quoted["metric"] == metric)]
            _published(panel, beside, order)
            panel.set_xlim(-0.7, len(order) - 0.3)
            panel.set_ylim(*limits[metric])
            panel.grid(axis="y")
            panel.yaxis.set_major_locator(mpl.ticker.MaxNLocator(6))
            panel.set_xticks(range(len(order)), [titles[m] for m in order] if (
                j == len(names) - 1) else [""] * len(order), rotation=90)  # fmt: skip
            if i % columns:
                panel.set_yticklabels([])
            else:
                panel.set_ylabel(metrics[metric]["title"])
            if j == 0:
                panel.set_title(
                    wrapped(words.title_of(dataset, "all", datasets[dataset]), 23), fontsize=8.5
                )
    figure.legend(handles=_keys(quoted), loc="outside lower center", ncols=4, handletextpad=0.4)
    return figure


def _runs(
    panel: Axes, rows: pd.DataFrame, order: Sequence[str], colours: Mapping[str, str], half: float
) -> None:
    rng = np.random.default_rng(0)  # the same points each time
    for x, method in enumerate(order):
        values = np.array(list(comparison.values(rows.loc[method]).values()))
        if not len(values):
            panel.plot(x, 0.04, "x", color=FAILED, markersize=6, clip_on=False,
                       transform=panel.get_xaxis_transform())  # fmt: skip
            continue
        if len(values) >= BOX:
            low, middle, high = np.percentile(values, (25, 50, 75))
            panel.add_patch(mpl.patches.Rectangle((x - half, low), 2 * half, high - low,
                            facecolor=colours[method], alpha=0.22, linewidth=0))  # fmt: skip
            panel.hlines(middle, x - half, x + half, color=colours[method], linewidth=0.7)
        jitter = half * rng.uniform(-0.6, 0.6, len(values)) if len(values) > 1 else 0
        panel.scatter(x + jitter, values, s=9, color=colours[method], alpha=0.75, linewidths=0)
        panel.hlines(values.mean(), x - half, x + half, color=colours[method], linewidth=2)


def _published(panel: Axes, quoted: pd.DataFrame, order: Sequence[str]) -> None:
    for row in quoted.itertuples():
        x = order.index(row.method)
        sd = 0.0 if np.isnan(row.sd) else row.sd
        panel.errorbar(x, row.mean, yerr=sd or None, marker="^" if row.bound else "D",
                       markersize=4.5, markerfacecolor="none", color="black", linewidth=0.8,
                       markeredgewidth=0.9, zorder=3)  # fmt: skip


def _limits(own: pd.DataFrame, quoted: pd.DataFrame) -> tuple[float, float]:
    values = [*own["min"].dropna(), *own["max"].dropna(), *quoted["mean"]]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = max(0.04, 0.06 * (high - low))
    return low - margin, min(high + margin, max(1.02, high))


def _keys(quoted: pd.DataFrame) -> list[Line2D]:
    grey = {"color": QUIET, "linestyle": ""}
    hollow = {"color": "black", "linestyle": "", "markerfacecolor": "none", "markersize": 4.5}
    keys = [
        Line2D([], [], marker="o", markersize=3.6, label="one run", **grey),
        Line2D([], [], marker="_", markersize=8, markeredgewidth=2, label="mean", **grey),
    ]
    bounds = quoted["bound"].astype(bool)
    if not bounds.all():
        keys.append(Line2D([], [], marker="D", label="published", **hollow))
    if bounds.any():
        keys.append(Line2D([], [], marker="^", label="published, lower bound", **hollow))
    return keys


def grouped(datasets: Mapping[str, Block]) -> dict[str, list[str]]:
    """Group → its data sets, from the key `group` of their facts; {} unless some group has two."""
    groups: dict[str, list[str]] = {}
    for name, facts in datasets.items():
        if facts.get("group"):
            groups.setdefault(str(facts["group"]), []).append(name)
    return groups if any(len(members) > 1 for members in groups.values()) else {}


def violins_picture(
    table: pd.DataFrame,
    metric: str,
    metrics: dict[str, Block],
    datasets: Mapping[str, Block],
    colours: Mapping[str, str],
) -> Picture:
    """Fig 4: a metric's means over seeds, one point for each data set, by group and method."""
    groups = grouped(datasets)
    own = _contestants(table)
    members = [name for group in groups.values() for name in group]
    own = own[(own["metric"] == metric) & own["dataset"].isin(members)]
    what = metrics[metric]["title"]
    title = f"{what} by group of data sets"
    lost = int((own["n"] == 0).sum())
    dnf = (
        f" {lost} of {len(own)} pairs of data set and method have no finished run." if lost else ""
    )
    counts = [len(group) for group in groups.values()]
    sizes = f"{min(counts)} to {max(counts)} in each of {len(groups)} groups"
    if len(groups) <= IN_ROW:
        sizes = ", ".join(f"{name} {n}" for name, n in zip(groups, counts, strict=True))
    return Picture(
        f"violins_{metric}",
        "",
        title,
        f"{title}: one dot for each data set (mean over its runs), by group and method; the bar is "
        f"the mean over the group's data sets, and lines join these means. From {VIOLIN} data sets "
        f"on a violin shows their density. Data sets: {sizes}.{dnf}{_about(own, datasets)}",
        f"Violin plots of {what} for {len(groups)} groups of data sets and "
        f"{own['method'].nunique()} methods; the numbers are in by_dataset.csv.",
        violins(own, groups, what, colours, title),
    )


@styled
def violins(
    own: pd.DataFrame,
    groups: Mapping[str, Sequence[str]],
    what: str,
    colours: Mapping[str, str],
    title: str,
) -> Figure:
    """Groups on the x axis, methods beside each other in each, IN_ROW groups in a row.

    own: the comparison's rows of one metric.
    """
    order = list(dict.fromkeys(own["method"]))
    titles = _titles(own, 34)
    names = list(groups)
    rows = -(-len(names) // IN_ROW)
    per_row = -(-len(names) // rows)
    columns = min(5, int(WIDTH / (0.5 + 0.066 * max(map(len, titles.values())))))
    keys = -(-len(order) // columns)
    figure = Figure((WIDTH, 0.55 + 2.3 * rows + 0.19 * keys), layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    panels = figure.subplots(rows, 1, squeeze=False, sharey=True).ravel()
    means = own.set_index(["method", "dataset"])["mean"]
    low, high = own["mean"].min(), own["mean"].max()
    for start, panel in zip(range(0, len(names), per_row), panels, strict=True):
        some = names[start : start + per_row]
        slot = min(0.8 / len(order), 0.16)
        for k, method in enumerate(order):
            at = np.arange(len(some)) + (k - (len(order) - 1) / 2) * slot
            by_group = [means.loc[method].reindex(groups[g]).dropna().to_numpy() for g in some]
            for x, values in zip(at, by_group, strict=True):
                _violin(panel, x, values, slot, colours[method])
            centres = [v.mean() if len(v) else np.nan for v in by_group]
            panel.plot(at, centres, color=colours[method], linewidth=1.1, alpha=0.85, zorder=3)
        for edge in range(len(some) - 1):
            panel.axvline(edge + 0.5, color="#E3E3E3", linewidth=0.6)
        panel.set_xlim(-0.5, per_row - 0.5 if rows > 1 else len(some) - 0.5)
        panel.set_xticks(range(len(some)), [wrapped(g, 14) for g in some])
        panel.tick_params(axis="x", length=0)
        panel.set_ylabel(what)
        panel.grid(axis="y")
    margin = max(0.03, 0.06 * (high - low)) if low <= high else 0.03
    panels[0].set_ylim((low - margin, min(high + margin, max(1.02, high))) if low <= high else None)
    handles = [Line2D([], [], color=colours[m], linewidth=3, label=titles[m]) for m in order]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    return figure


def _violin(panel: Axes, x: float, values: np.ndarray, slot: float, colour: str) -> None:
    if len(values) >= VIOLIN and np.ptp(values) > 0:
        body = panel.violinplot(values, [x], widths=slot * 0.95, showextrema=False)["bodies"][0]
        body.set(facecolor=colour, alpha=0.28, linewidth=0)
    rng = np.random.default_rng(0)
    jitter = rng.uniform(-0.2, 0.2, len(values)) * slot if len(values) > 1 else 0
    size = 10 if len(values) < 20 else 4
    panel.scatter(x + jitter, values, s=size, color=colour, alpha=0.6, linewidths=0)
    if len(values):
        panel.hlines(values.mean(), x - 0.42 * slot, x + 0.42 * slot, color=colour, linewidth=2.2,
                     zorder=4)  # fmt: skip
