"""Median marker expression of each cluster, both axes in hierarchical order."""

from collections.abc import Iterator, Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from moesimvae.evaluation.matching import named_clusters
from moesimvae.report import style
from moesimvae.report.figures.clusters import MOST, beyond, matched
from moesimvae.report.figures.inputs import Part
from moesimvae.report.style import QUIET, Picture, cut
from moesimvae.studies.panels import medians, tree


def pictures(part: Part) -> Iterator[Picture]:
    """For cytometry panels."""
    for shown in part.showcases:
        if shown.panel is None:
            continue
        title = f"Markers by cluster: {part.of_run(shown)}"
        table = medians(shown.panel, shown.clusters, MOST)
        sizes = pd.Series(shown.clusters).value_counts()
        noise = " Noise cells are left out." if (shown.clusters == -1).any() else ""
        highest = ", ".join(f"{c} {row.idxmax()}" for c, row in table.iterrows())
        yield part.picture(
            "markers",
            title,
            f"{title}. Median arcsinh expression over all cells of each cluster, including cells "
            "without a true label; clusters and markers are ordered by average linkage. Right: "
            f"number of cells by cluster{matched(shown, ', with')}.{noise}{beyond(shown)}",
            f"Heat map of {len(table)} clusters by {table.shape[1]} markers. Highest marker of "
            f"each cluster: {highest}.",
            draw(table, sizes, named_clusters(shown.truth, shown.clusters), title),
            shown.run,
        )


@style.styled
def draw(
    table: pd.DataFrame,
    sizes: pd.Series,
    names: Mapping[int, tuple[str, bool]],
    title: str,
    values_are: str = "Median expression (arcsinh)",
) -> Figure:
    """table: from `medians`; sizes: cluster → cells; names: from `matching.named_clusters`."""
    rows, columns = tree(table.to_numpy()), tree(table.to_numpy().T)
    table = table.iloc[rows["leaves"], columns["leaves"]]
    n_rows, n_columns = table.shape
    longest = max(len(str(m)) for m in table.columns)
    height = 1.25 + np.clip(4 / n_rows, 0.15, 0.24) * n_rows + 0.065 * min(longest, 24)
    figure = style.sheet(height, title, w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    grid = figure.add_gridspec(
        2, 3, width_ratios=(0.4, max(2.0, min(4.6, 0.19 * n_columns)), 0.75),
        height_ratios=(0.35, height - 1.9),
    )  # fmt: skip
    top, side = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 0])
    heat = figure.add_subplot(grid[1, 1])
    bars = figure.add_subplot(grid[1, 2])
    values = table.to_numpy()
    high = float(np.percentile(values, 99.5))
    image = heat.imshow(values, cmap="magma_r", vmin=min(0.0, float(values.min())),
                        vmax=max(high, 1e-6), aspect="auto")  # fmt: skip
    size = 8 if n_columns <= 34 else 7.2
    heat.set_xticks(range(n_columns), [cut(str(m), 24) for m in table.columns], rotation=90,
                    fontsize=size)  # fmt: skip
    heat.set_yticks([])
    heat.spines[:].set_visible(False)
    heat.tick_params(length=0)
    _draw_tree(top, columns, "top", n_columns)
    _draw_tree(side, rows, "left", n_rows)
    _sizes(bars, [int(sizes[c]) for c in table.index], [_label(c, names) for c in table.index])
    bars.set_ylim(heat.get_ylim())
    bar = figure.colorbar(image, ax=[top, side, heat, bars], location="bottom", shrink=0.4,
                          aspect=30, pad=0.01, extend="max" if values.max() > high else "neither",
                          label=values_are)  # fmt: skip
    bar.outline.set_visible(False)
    return figure


def _draw_tree(panel: Axes, tree: dict, where: str, n: int) -> None:
    lines = []
    for at, height in zip(tree["icoord"], tree["dcoord"], strict=True):
        along = np.asarray(at) / 10 - 0.5  # leaf i of scipy lies at 10 i + 5
        lines.append(np.column_stack([along, height] if where == "top" else [height, along]))
    panel.add_collection(LineCollection(lines, colors=QUIET, linewidths=0.8))
    most = max((max(height) for height in tree["dcoord"]), default=1.0) * 1.02
    if where == "top":
        panel.set(xlim=(-0.5, n - 0.5), ylim=(0, most))
    else:
        panel.set(ylim=(n - 0.5, -0.5), xlim=(most, 0))
    panel.axis("off")


def _sizes(panel: Axes, sizes: list[int], labels: list[str]) -> None:
    """Cells of each cluster on a log axis, the number beside the bar, its name at the right."""
    panel.barh(range(len(sizes)), sizes, color="#B9B9B9", height=0.75, log=True)
    left = max(0.5, min(sizes) / 4)
    panel.set_xlim(left, left * (max(sizes) / left) ** 2.1)  # half of the width for the numbers
    for y, n in enumerate(sizes):
        panel.text(n * 1.25, y, f"{n:,}", va="center", fontsize=8, color=QUIET)
    panel.set_xticks([])
    panel.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    panel.set_title("Cells (log)", fontsize=8.5)
    panel.yaxis.tick_right()
    panel.set_yticks(range(len(labels)), labels, fontsize=8)
    panel.tick_params(length=0)
    panel.spines[["left", "bottom"]].set_visible(False)


def _label(cluster: int, names: Mapping[int, tuple[str, bool]]) -> str:
    population, matched = names.get(cluster, ("", False))
    if not population:
        return str(cluster)
    population = cut(population, 22)
    return f"{cluster}  {population}" if matched else f"{cluster}  ({population})"
