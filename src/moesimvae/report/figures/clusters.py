"""Clusters of the showcase run against populations: the composition of each cluster."""

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from moesimvae.evaluation.matching import confusion_counts
from moesimvae.report import style
from moesimvae.report.figures.inputs import Part
from moesimvae.report.style import UNSCORED, Picture, cut
from moesimvae.studies.views import Showcase

MOST = 60  # clusters in a figure


def pictures(part: Part) -> Iterator[Picture]:
    for shown in part.showcases:
        if not 1 < len(set(shown.truth) - {""}) <= MOST:
            continue
        counts, names = confusion_counts(shown.truth, shown.clusters, MOST)
        purest = [
            f"{c} {p} {counts.loc[c, p] / counts.loc[c].sum():.0%}"
            for c, (p, first) in names.items()
            if first and p in counts.columns
        ]
        title = f"Clusters and populations: {part.of_run(shown)}"
        yield part.picture(
            "confusion",
            title,
            f"{title}. Rows are clusters and sum to 1 over the populations (columns, largest "
            "first). Frames mark the cluster matched one-to-one to each population, as for mean "
            "F1 (Hungarian); further clusters of that population follow below."
            f"{unscored(shown)}{beyond(shown)}",
            f"Heat map of {len(counts)} clusters by {counts.shape[1]} populations. Matched "
            f"cluster, population and its share of the cluster: {', '.join(purest)}.",
            draw(shown.truth, shown.clusters, title),
            shown.run,
        )


def matched(shown: Showcase, start: str) -> str:
    """Caption text on how clusters are named after populations, if any cell has a true label."""
    if not (shown.truth != "").any():
        return ""
    return f"{start} its matched population, or its majority population in brackets if unmatched"


def unscored(shown: Showcase) -> str:
    n = int((shown.truth == "").sum())
    if n == len(shown.truth):
        return " No cell has a true label."
    return f" {n:,} of {len(shown.truth):,} cells have no true label (grey)." if n else ""


def beyond(shown: Showcase) -> str:
    n = len(set(shown.clusters) - {-1})
    return f" The {MOST} largest of {n} clusters are shown." if n > MOST else ""


@style.styled
def draw(truth: np.ndarray, clusters: np.ndarray, title: str) -> Figure:
    """Share of each cluster's scored cells that belongs to each population; matches are framed.

    Populations from large to small; clusters in the order of the populations they are matched to.
    truth: (n,) labels, "" = unscored; clusters: (n,) integers, -1 = noise (last row).
    """
    counts, names = confusion_counts(truth, clusters, MOST)
    share = counts.to_numpy() / np.maximum(counts.sum(axis=1).to_numpy(), 1)[:, None]
    rows, columns = counts.shape
    texts = [cut(str(c), 30) for c in counts.columns]
    row = np.clip(4.2 / rows, 0.15, 0.26)
    figure = style.sheet(1.0 + row * rows + max(0.3, 0.06 * max(map(len, texts))), title)
    cell = min(0.3, 4.6 / columns)
    panel, bars = figure.subplots(1, 2, sharey=True, width_ratios=(max(2.2, cell * columns), 1.5))
    image = panel.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y, (cluster, (population, first)) in enumerate(names.items()):
        if first and population in counts.columns:
            x = counts.columns.get_loc(population)
            panel.add_patch(mpl.patches.Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False,
                            edgecolor="#D55E00", linewidth=1.4, zorder=3))  # fmt: skip
        if counts.loc[cluster].sum() == 0:
            panel.axhspan(y - 0.5, y + 0.5, color=UNSCORED, zorder=2)
    panel.set_xticks(range(columns), texts, rotation=90)
    panel.set_yticks(range(rows), ["noise" if c == -1 else str(c) for c in counts.index])
    panel.set(xlabel="Population, largest first", ylabel="Cluster")
    panel.tick_params(length=0)
    panel.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    panel.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    panel.grid(which="minor", color="#EDEDED", linewidth=0.5)
    panel.tick_params(which="minor", length=0)
    panel.spines[:].set_visible(False)
    _sizes(bars, truth, clusters, list(counts.index))
    figure.colorbar(image, ax=bars, label="Share of the cluster's scored cells", shrink=0.8,
                    aspect=28, pad=0.05)  # fmt: skip
    return figure


def _sizes(panel: mpl.axes.Axes, truth: np.ndarray, clusters: np.ndarray, rows: list[int]) -> None:
    """Number of cells of each cluster, scored and not."""
    scored = pd.Series(clusters[truth != ""]).value_counts().reindex(rows, fill_value=0)
    every = pd.Series(clusters).value_counts().reindex(rows, fill_value=0)
    y = np.arange(len(rows))
    panel.barh(y, scored, color="#6B8FB3", height=0.75)
    handles = [mpl.patches.Patch(color="#6B8FB3", label="scored")]
    if (every > scored).any():
        panel.barh(y, every - scored, left=scored, color=UNSCORED, height=0.75)
        handles.append(mpl.patches.Patch(color=UNSCORED, label="not scored"))
    panel.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), fontsize=8,
                 borderaxespad=2.4, handlelength=1)  # fmt: skip
    panel.set_title("Cells", fontsize=9.5)
    panel.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3, integer=True))
    panel.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:,.0f}"))
    panel.tick_params(axis="y", length=0)
