"""Differences between methods, in sentences and small tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from moesimvae.evaluation import statistics
from moesimvae.nouns import Metric
from moesimvae.report import IN_DETAIL
from moesimvae.report.tables import markdown, plain


def to_markdown(
    table: pd.DataFrame, titles: Mapping[str, str], metrics: Mapping[str, Metric], title: str
) -> str:
    """Test results by metric, and the differences from the best method on each data set."""
    lines = [f"# Significance: {title}", "", "## Across data sets", ""]
    lines += [
        "The tests treat data sets as independent; wells or samples of one study are less so.",
        "",
    ]
    said: dict[str, list[str]] = {}
    for metric, part in table[table["level"] == statistics.ACROSS].groupby("metric", sort=False):
        said.setdefault(_said(part, titles), []).append(metrics[metric].title)
    lines += [f"- {', '.join(names)}: {text}" for text, names in said.items()]
    lines += [
        *("", "## Within one data set", ""),
        "Mean difference from the best method over common seeds, with 95 % bootstrap intervals. "
        "These apply to that data set alone: seeds are not data sets. All pairs and effect sizes, "
        f"and data sets after the first {IN_DETAIL}, are in significance.csv.",
    ]
    within = table[table["level"] == statistics.WITHIN]
    within = within[within["dataset"].isin(within["dataset"].unique()[:IN_DETAIL])]
    for (dataset, split, metric), part in within.groupby(
        ["dataset", "split", "metric"], sort=False
    ):
        first = statistics.best_of(part)
        cells = "" if split == "all" else f", {split} cells"
        lines += ["", f"### {dataset}{cells}: {metrics[metric].title}", ""]
        lines += [f"Best mean: {titles.get(first, first)}.", ""]
        rows = [
            _difference(row, titles) for row in statistics.against(part, first).to_dict("records")
        ]
        heads = ("Method", "Difference", "95 %", "n", "Differs")
        lines += markdown.lines(plain("", heads, rows, (1, 2, 3)))
    return "\n".join(lines) + "\n"


def _difference(row: dict[str, Any], titles: Mapping[str, str]) -> tuple[str, ...]:
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
