"""Differences between methods as pictures and sentences, from `evaluation.statistics`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from moesimvae.evaluation import statistics
from moesimvae.nouns import Metric
from moesimvae.report import IN_DETAIL
from moesimvae.report.style import QUIET, WIDTH, Picture, styled
from moesimvae.report.tables import markdown

Block = dict[str, Any]


def pictures(
    table: pd.DataFrame,
    methods: Mapping[str, Block],
    metrics: Mapping[str, Block],
    datasets: Mapping[str, Block],
) -> list[Picture]:
    """A critical-difference diagram for each metric that was tested, and differences per data set.

    table: from `statistics.significance`; datasets: name → dataset.json. Of the differences the
    experiment's first metric is drawn, on the first IN_DETAIL data sets.
    """
    titles = {name: block["title"] for name, block in methods.items()}
    drawn = []
    for metric, part in _of(table, statistics.ACROSS).groupby("metric", sort=False):
        if part["statistic"].notna().any():
            drawn.append(_diagram_picture(part, metric, titles, metrics))
    within = _of(table, statistics.WITHIN)
    within = within[within["metric"] == within["metric"].iloc[0]] if len(within) else within
    for (dataset, split), part in list(within.groupby(["dataset", "split"], sort=False))[
        :IN_DETAIL
    ]:
        where = datasets[dataset]["title"] + ("" if split == "all" else f", {split} cells")
        drawn.append(_differences_picture(part, dataset, where, titles, metrics))
    return [picture for picture in drawn if picture is not None]


def _of(table: pd.DataFrame, level: str) -> pd.DataFrame:
    return table[table["level"] == level]


def _diagram_picture(
    part: pd.DataFrame, metric: str, titles: Mapping[str, str], metrics: Mapping[str, Block]
) -> Picture:
    ranks = statistics.ranks_of(part)
    names = list(ranks)
    number = {name: i for i, name in enumerate(names)}
    pairs = part.iloc[1:]
    pairs = pd.DataFrame(
        {
            "a": pairs["method_a"].map(number),
            "b": pairs["method_b"].map(number),
            "different": pairs["different"] == "yes",
        }
    )
    bars = statistics.groups(list(ranks.values()), pairs)
    n, p = int(part["n"].iloc[0]), part["p"].iloc[0]
    what = metrics[metric]["title"]
    title = f"Average ranks by {what}"
    return Picture(
        f"ranks_{metric}",
        "",
        title,
        f"{title} over {n} data sets, 1 is best. A bar joins methods of which no two differ "
        f"(Wilcoxon's signed-rank test of every pair, Holm's p ≤ {statistics.ALPHA}); Friedman's "
        f"test of them all (Iman and Davenport's F): p = {p:.2g}.",
        f"Critical-difference diagram of {len(names)} methods; numbers are in significance.csv.",
        diagram([titles.get(m, m) for m in names], list(ranks.values()), bars, title),
    )


@styled
def diagram(names: list[str], ranks: list[float], bars: list[list[int]], title: str) -> Figure:
    """Critical-difference diagram (Demšar 2006): names at their average ranks, bars over groups."""
    order = np.argsort(ranks, kind="stable")
    k = len(names)
    half = (k + 1) // 2
    top = 0.55 + 0.22 * len(bars)
    height = top + 0.3 * half
    figure = Figure((WIDTH, 0.8 + 0.62 * height), layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    panel = figure.subplots()
    span = max(k - 1, 1)
    panel.set(xlim=(1 - 0.62 * span, k + 0.62 * span), ylim=(height, -0.6))
    panel.axis("off")
    panel.plot([1, k], [0, 0], color="black", linewidth=1)
    for tick in range(1, k + 1):
        panel.plot([tick, tick], [0, -0.12], color="black", linewidth=1)
        panel.text(tick, -0.2, str(tick), ha="center", va="bottom")
    for place, i in enumerate(order):
        left = place < half
        y = top + 0.3 * (place if left else k - 1 - place)
        end = 1 - 0.04 * span if left else k + 0.04 * span
        panel.plot([ranks[i], ranks[i], end], [0, y, y], color=QUIET, linewidth=0.8)
        text = f"{names[i]}  {ranks[i]:.2f}" if left else f"{ranks[i]:.2f}  {names[i]}"
        panel.text(
            end - 0.02 * span if left else end + 0.02 * span,
            y,
            text,
            ha="right" if left else "left",
            va="center",
        )
    for level, bar in enumerate(bars):
        y = 0.22 + 0.22 * level
        low, high = min(ranks[i] for i in bar), max(ranks[i] for i in bar)
        panel.plot([low - 0.03, high + 0.03], [y, y], color="black", linewidth=3.5)
    return figure


def _differences_picture(
    part: pd.DataFrame,
    dataset: str,
    where: str,
    titles: Mapping[str, str],
    metrics: Mapping[str, Block],
) -> Picture:
    metric, first = part["metric"].iloc[0], statistics.best_of(part)
    lower_first = Metric.of(metrics[metric]).sign < 0
    mine = statistics.against(part, first).sort_values("difference", ascending=lower_first)
    what = metrics[metric]["title"]
    title = f"{where}: {what}, difference to {titles.get(first, first)}"
    some = mine["low"].notna().any()
    bars = (
        f"Bars: 95 % bootstrap intervals over common seeds, from {statistics.MIN_SEEDS} seeds on. "
        if some
        else f"No intervals: they take {statistics.MIN_SEEDS} common seeds. "
    )
    return Picture(
        f"differences_{dataset}",
        dataset,
        title,
        f"{title}, the best mean: mean difference over seeds. {bars}Hollow: no interval. They "
        "speak of this data set alone; seeds are not data sets.",
        f"Differences of {len(mine)} methods; the numbers are in significance.csv.",
        differences(
            [titles.get(m, m) for m in mine["other"]],
            mine[["difference", "low", "high"]].to_numpy(float),
            mine["n"].tolist(),
            title,
            f"Difference in {what}",
        ),
    )


@styled
def differences(
    names: list[str], values: np.ndarray, counts: list[int], title: str, label: str
) -> Figure:
    """values: (methods, 3), difference, low, high; NaN where there is no interval."""
    figure = Figure((WIDTH, 1.0 + 0.24 * len(names)), layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    panel = figure.subplots()
    panel.axvline(0, color="black", linewidth=0.8)
    for y, (value, low, high) in enumerate(values):
        sure = not np.isnan(low)
        if sure:
            panel.plot([low, high], [y, y], color="#0072B2", linewidth=2)
        face = "#0072B2" if sure else "white"
        panel.plot(value, y, "o", color="#0072B2", markerfacecolor=face, markersize=5)
    panel.set_yticks(
        range(len(names)), [f"{m} (n = {n})" for m, n in zip(names, counts, strict=True)]
    )
    panel.set(ylim=(len(names) - 0.4, -0.6), xlabel=label)
    panel.grid(axis="x")
    return figure


def to_markdown(
    table: pd.DataFrame, methods: Mapping[str, Block], metrics: Mapping[str, Block], title: str
) -> str:
    """What the tests say, metric by metric, and the differences to the best on each data set."""
    titles = {name: block["title"] for name, block in methods.items()}
    lines = [f"# Significance: {title}", "", "## Across data sets", ""]
    lines += [
        "The tests take data sets as independent; wells or samples of one study are less.",
        "",
    ]
    said: dict[str, list[str]] = {}
    for metric, part in _of(table, statistics.ACROSS).groupby("metric", sort=False):
        said.setdefault(_said(part, titles), []).append(metrics[metric]["title"])
    lines += [f"- {', '.join(names)}: {text}" for text, names in said.items()]
    lines += [
        *("", "## Within one data set", ""),
        "Mean difference to the best method over common seeds, with 95 % bootstrap intervals. They "
        "speak of that data set alone: seeds are not data sets. All pairs and effect sizes, and "
        f"data sets after the first {IN_DETAIL}, stand in significance.csv.",
    ]
    within = _of(table, statistics.WITHIN)
    within = within[within["dataset"].isin(within["dataset"].unique()[:IN_DETAIL])]
    for (dataset, split, metric), part in within.groupby(
        ["dataset", "split", "metric"], sort=False
    ):
        first = statistics.best_of(part)
        cells = "" if split == "all" else f", {split} cells"
        lines += ["", f"### {dataset}{cells}: {metrics[metric]['title']}", ""]
        lines += [f"Best mean: {titles.get(first, first)}.", ""]
        rows = [
            _difference(row, titles) for row in statistics.against(part, first).to_dict("records")
        ]
        heads = ["Method", "Difference", "95 %", "n", "Differs"]
        lines += markdown.grid(heads, [False, True, True, True, False], rows)
    return "\n".join(lines) + "\n"


def _difference(row: Block, titles: Mapping[str, str]) -> tuple[str, ...]:
    ends = "" if np.isnan(row["low"]) else f"{row['low']:.3f} to {row['high']:.3f}"
    differs = row["different"] if isinstance(row["different"], str) else ""
    name = titles.get(row["other"], row["other"])
    return name, f"{row['difference']:.3f}", ends, str(row["n"]), differs or "not known"


def _said(part: pd.DataFrame, titles: Mapping[str, str]) -> str:
    first = part.iloc[0]
    if np.isnan(first["statistic"]):
        return first["note"]
    ranks = sorted(statistics.ranks_of(part).items(), key=lambda item: item[1])
    order = ", ".join(f"{titles.get(m, m)} {rank:.2f}" for m, rank in ranks)
    differ = [
        f"{titles.get(r.method_a, r.method_a)} and {titles.get(r.method_b, r.method_b)} "
        f"(p = {r.p_holm:.2g})"
        for r in part.iloc[1:].itertuples()
        if r.different == "yes"
    ]
    return (
        f"{int(first['n'])} data sets, average ranks {order}; Friedman's p = {first['p']:.2g}; "
        + (f"different: {'; '.join(differ)}." if differ else "no two methods differ.")
    )
