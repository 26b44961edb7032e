"""Differences from the best method on each data set, with their intervals."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from moesimvae.evaluation import statistics
from moesimvae.nouns import Facts, Metric
from moesimvae.report import IN_DETAIL, style
from moesimvae.report.style import Picture


def pictures(
    table: pd.DataFrame,
    titles: Mapping[str, str],
    metrics: Mapping[str, Metric],
    datasets: Mapping[str, Facts],
) -> Iterator[Picture]:
    """By the experiment's first metric, on the first IN_DETAIL data sets.

    table: from `statistics.significance`; datasets: name → dataset.json.
    """
    within = table[table["level"] == statistics.WITHIN]
    within = within[within["metric"] == within["metric"].iloc[0]] if len(within) else within
    parts = list(within.groupby(["dataset", "split"], sort=False))
    for (dataset, split), part in parts[:IN_DETAIL]:
        metric, first = metrics[part["metric"].iloc[0]], statistics.best_of(part)
        mine = statistics.against(part, first)
        mine = mine.sort_values("difference", ascending=metric.sign < 0)
        where = datasets[dataset].title + ("" if split == "all" else f", {split} cells")
        title = f"{where}: {metric.title}, difference from {titles.get(first, first)}"
        bars = f"No intervals, which require {statistics.MIN_SEEDS} common seeds. "
        if mine["low"].notna().any():
            bars = (
                "Bars: 95 % bootstrap intervals over common seeds, given at least "
                f"{statistics.MIN_SEEDS}. "
            )
        yield Picture(
            f"differences_{dataset}",
            dataset,
            title,
            f"{title}, which has the best mean: mean difference over seeds. {bars}Hollow symbols: "
            "no interval. The differences describe this data set alone; seeds are not data sets.",
            f"Differences of {len(mine)} methods; the numbers are in significance.csv.",
            draw(
                [titles.get(m, m) for m in mine["other"]],
                mine[["difference", "low", "high"]].to_numpy(float),
                mine["n"].tolist(),
                title,
                f"Difference in {metric.title}",
            ),
        )


@style.styled
def draw(names: list[str], values: np.ndarray, counts: list[int], title: str, label: str) -> Figure:
    """values: (methods, 3), difference, low, high; NaN where there is no interval."""
    figure = style.sheet(1.0 + 0.24 * len(names), title)
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
