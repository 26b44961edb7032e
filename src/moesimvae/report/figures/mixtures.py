"""S1 Figure: Gaussian mixtures by their number of components."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from moesimvae.report import style
from moesimvae.report.style import Picture

METRICS = {"f_flowcap": "FlowCAP F-measure", "clusters_found": "clusters found"}


def picture(
    scores: pd.DataFrame, datasets: Mapping[str, tuple[int, str]], titles: Mapping[str, str]
) -> Picture:
    """F-measure and clusters found by the true number of components.

    scores: long table of scores; datasets: name → (its number of components, the number of
    clusters asked for, in words); titles: of the methods shown.
    """
    table = scores[scores["metric"].isin(METRICS) & scores["method"].isin(list(titles))].copy()
    table["components"] = [datasets[name][0] for name in table["dataset"]]
    table["asked"] = [datasets[name][1] for name in table["dataset"]]
    heading = "Gaussian mixtures in 100 dimensions"
    lines = [
        f"{titles[method]}, {words}: F {rows[rows['metric'] == 'f_flowcap']['value'].mean():.3f}"
        for (method, words), rows in table.groupby(["method", "asked"], sort=False)
    ]
    return Picture(
        "s1_synthetic",
        "",
        f"S1 Figure: {heading}",
        f"S1 Figure: {heading}, simulated. FlowCAP F-measure and number of clusters found, by "
        "true number of components; dots are seeds, lines their means; grey: the true number. "
        f"Means over the grid: {'; '.join(lines)}.",
        f"Line plots over the number of components, one row per number of clusters asked for. "
        f"{'; '.join(lines)}.",
        draw(table, titles),
    )


@style.styled
def draw(table: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """One row of panels per number of clusters asked for, one column per metric."""
    asked = list(dict.fromkeys(table["asked"]))
    shown = [method for method in titles if method in set(table["method"])]
    figure = style.sheet(0.6 + 2.3 * len(asked))
    panels = figure.subplots(len(asked), len(METRICS), squeeze=False)
    for row, words in zip(panels, asked, strict=True):
        for axes, (metric, label) in zip(row, METRICS.items(), strict=True):
            mine = table[(table["asked"] == words) & (table["metric"] == metric)]
            if metric == "clusters_found":
                most = mine["components"].max()
                axes.plot([1, most], [1, most], color="#CDCDCD", linewidth=5, zorder=0)
            for i, method in enumerate(shown):
                rows = mine[mine["method"] == method]
                mean = rows.groupby("components")["value"].mean()
                # the first method on top and thinnest, so that all are visible
                look = {"color": style.DARK[i], "zorder": 3 + len(shown) - i}
                axes.plot(mean.index, mean, linewidth=1 + i, label=titles[method], **look)
                axes.plot(rows["components"], rows["value"], "o", markersize=2.5 + i, **look)
            axes.set(ylabel=label, title=words, ylim=(0, 1.03 if metric == "f_flowcap" else None))
            axes.title.set_fontsize(9)
            axes.grid()
    for axes in panels[-1]:
        axes.set_xlabel("components")
    handles, _ = panels[0, 0].get_legend_handles_labels()
    style.legend_below(figure, handles, len(shown))
    return figure
