"""Average ranks of the methods across data sets: critical-difference diagrams."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from moesimvae.evaluation import statistics
from moesimvae.nouns import Metric
from moesimvae.report import style
from moesimvae.report.style import Picture


def pictures(
    table: pd.DataFrame, titles: Mapping[str, str], metrics: Mapping[str, Metric]
) -> Iterator[Picture]:
    """One figure per metric that was tested. table: from `statistics.significance`."""
    across = table[table["level"] == statistics.ACROSS]
    for metric, part in across.groupby("metric", sort=False):
        if not part["statistic"].notna().any():
            continue
        ranks = statistics.ranks_of(part)
        number = {name: i for i, name in enumerate(ranks)}
        pairs = part.iloc[1:]
        pairs = pd.DataFrame(
            {
                "a": pairs["method_a"].map(number),
                "b": pairs["method_b"].map(number),
                "different": pairs["different"] == "yes",
            }
        )
        bars = statistics.groups(list(ranks.values()), pairs)
        title = f"Average ranks by {metrics[str(metric)].title}"
        yield Picture(
            f"ranks_{metric}",
            "",
            title,
            f"{title} over {int(part['n'].iloc[0])} data sets; 1 is best. Bars join methods of "
            "which no two differ (pairwise Wilcoxon signed-rank tests, Holm-adjusted p ≤ "
            f"{statistics.ALPHA}); Friedman test of all methods (Iman–Davenport F): "
            f"p = {part['p'].iloc[0]:.2g}.",
            f"Critical-difference diagram of {len(ranks)} methods; the numbers are in "
            "significance.csv.",
            draw([titles.get(m, m) for m in ranks], list(ranks.values()), bars, title),
        )


@style.styled
def draw(names: list[str], ranks: list[float], bars: list[list[int]], title: str) -> Figure:
    """Critical-difference diagram (Demšar 2006): names at their average ranks, bars over groups."""
    order = np.argsort(ranks, kind="stable")
    k = len(names)
    half = (k + 1) // 2
    top = 0.55 + 0.22 * len(bars)
    height = top + 0.3 * half
    figure = style.sheet(0.8 + 0.62 * height, title)
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
        panel.plot([ranks[i], ranks[i], end], [0, y, y], color=style.QUIET, linewidth=0.8)
        text = f"{names[i]}  {ranks[i]:.2f}" if left else f"{ranks[i]:.2f}  {names[i]}"
        at = end - 0.02 * span if left else end + 0.02 * span
        panel.text(at, y, text, ha="right" if left else "left", va="center")
    for level, bar in enumerate(bars):
        y = 0.22 + 0.22 * level
        low, high = min(ranks[i] for i in bar), max(ranks[i] for i in bar)
        panel.plot([low - 0.03, high + 0.03], [y, y], color="black", linewidth=3.5)
    return figure
