"""Clusters against populations: who was found, and what each cluster is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moesimvae.evaluation.metrics import per_population_f1
from moesimvae.report.style import QUIET, UNSCORED, WIDTH, cut, styled

Block = dict[str, Any]

RARE = 3.0  # largest over smallest population from which sizes are worth a picture
MOST = 60  # clusters in a picture


def named_clusters(truth: np.ndarray, clusters: np.ndarray) -> dict[int, tuple[str, bool]]:
    """Cluster → (population, matched?), matched as in f1_mean_hungarian.

    A cluster left over gets the population of most of its scored cells, and ("", False) when it
    has none. truth: (n,) labels, "" = unscored; clusters: (n,) integers, -1 = noise (left out).
    """
    kept = truth != ""
    if not kept.any():
        return {int(c): ("", False) for c in np.unique(clusters) if c >= 0}
    found = per_population_f1(truth[kept], clusters[kept])
    best = found.dropna(subset="cluster")
    matched = {int(c): (str(p), True) for c, p in zip(best["cluster"], best["population"],
                                                      strict=True)}  # fmt: skip
    counts = pd.crosstab(clusters[kept], truth[kept])
    most = {int(c): (str(row.idxmax()), False) for c, row in counts.iterrows()}
    every = {int(c): ("", False) for c in np.unique(clusters)}
    return {c: name for c, name in (every | most | matched).items() if c >= 0}


def compared(table: pd.DataFrame, showcase: str, dataset: str, others: int = 2) -> list[str]:
    """The showcase method, then those with the best mean F1 on a data set among the others."""
    rows = table[
        (table["source"] == "run") & (table["kind"] == "method") & (table["dataset"] == dataset)
        & (table["metric"] == "f1_mean_hungarian") & (table["n"] > 0) & (table["choice"] == "")
    ].drop_duplicates("method").sort_values("mean", ascending=False)  # fmt: skip
    ours = [m for m in rows["method"] if m == showcase]
    return ours + [m for m in rows["method"] if m != showcase][:others]


@styled
def by_population(
    populations: pd.DataFrame,
    methods: Sequence[str],
    titles: Mapping[str, str],
    colours: Mapping[str, str],
    title: str,
) -> Figure:
    """Sizes on a log axis, F1 of some methods beside them: mean over seeds, and range.

    populations: the score rule's table of populations, of one data set and split.
    """
    sizes = populations.groupby("population")["n_cells"].first().sort_values(ascending=False)
    figure = Figure((WIDTH, 1.1 + 0.2 * len(sizes)), layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 2.2))
    y = np.arange(len(sizes))
    left.barh(y, sizes, color="#B9B9B9", height=0.7, log=True)
    left.set_xlim(max(0.5, sizes.min() / 3), sizes.max() * 6)
    for at, n in zip(y, sizes, strict=True):
        left.text(n * 1.15, at, f"{n:,}", va="center", fontsize=8, color=QUIET)
    left.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    left.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:,.0f}"))
    left.set_title("Scored cells (log scale)", fontsize=9.5)
    left.set_yticks(y, [cut(str(name), 32) for name in sizes.index])
    left.set_ylim(len(sizes) - 0.4, -0.6)
    by_method = {m: rows for m, rows in populations.groupby("method") if m in methods}
    offset = 0.24 if len(methods) > 2 else 0.17
    ends = np.full((len(sizes), 2), np.nan)
    for k, method in enumerate(methods):
        f1 = by_method[method].groupby("population")["f1"].agg(["mean", "min", "max"])
        f1 = f1.loc[sizes.index]
        at = y + (k - (len(methods) - 1) / 2) * offset
        right.hlines(at, f1["min"], f1["max"], color=colours[method], linewidth=1.1, alpha=0.6)
        right.scatter(f1["mean"], at, s=17, color=colours[method], zorder=3)
        ends = np.column_stack([np.fmin(ends[:, 0], f1["mean"]), np.fmax(ends[:, 1], f1["mean"])])
    for at in y[::2]:
        right.axhspan(at - 0.5, at + 0.5, color="#F5F5F5", zorder=-1, linewidth=0)
    right.set_xlim(-0.03, 1.03)
    right.grid(axis="x")
    right.tick_params(axis="y", length=0)
    right.set_title("F1 of the matched cluster →", fontsize=9.5)
    handles = [
        Line2D([], [], marker="o", markersize=4.5, color=colours[m], linewidth=1.1, label=titles[m])
        for m in methods
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


@styled
def confusion(truth: np.ndarray, clusters: np.ndarray, title: str) -> Figure:
    """Share of each cluster's scored cells that belongs to each population; the match is framed.

    truth: (n,) labels, "" = unscored; clusters: (n,) integers, -1 = noise (last row).
    """
    counts, names = confusion_counts(truth, clusters)
    share = counts.to_numpy() / np.maximum(counts.sum(axis=1).to_numpy(), 1)[:, None]
    rows, columns = counts.shape
    longest = max(len(cut(str(c), 30)) for c in counts.columns)
    cell = min(0.3, 4.6 / columns)
    row = np.clip(4.2 / rows, 0.15, 0.26)
    height = 1.0 + row * rows + max(0.3, 0.06 * longest)
    figure = Figure((WIDTH, height), layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    bars_width = 1.5
    panel, bars = figure.subplots(
        1, 2, sharey=True, width_ratios=(max(2.2, cell * columns), bars_width)
    )
    image = panel.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y, (cluster, (population, first)) in enumerate(names.items()):
        if first and population in counts.columns:
            x = counts.columns.get_loc(population)
            panel.add_patch(mpl.patches.Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False,
                            edgecolor="#D55E00", linewidth=1.4, zorder=3))  # fmt: skip
        if counts.loc[cluster].sum() == 0:
            panel.axhspan(y - 0.5, y + 0.5, color=UNSCORED, zorder=2)
    panel.set_xticks(range(columns), [cut(str(c), 30) for c in counts.columns], rotation=90)
    panel.set_yticks(range(rows), ["noise" if c == -1 else str(c) for c in counts.index])
    panel.set(xlabel="Population, largest first", ylabel="Cluster")
    panel.tick_params(length=0)
    panel.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    panel.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    panel.grid(which="minor", color="#EDEDED", linewidth=0.5)
    panel.tick_params(which="minor", length=0)
    panel.spines[:].set_visible(False)
    _cluster_sizes(bars, truth, clusters, list(counts.index))
    figure.colorbar(image, ax=bars, label="Share of the cluster's scored cells", shrink=0.8,
                    aspect=28, pad=0.05)  # fmt: skip
    return figure


def confusion_counts(
    truth: np.ndarray, clusters: np.ndarray
) -> tuple[pd.DataFrame, dict[int, tuple[str, bool]]]:
    """Scored cells by cluster and population in the order of the picture, and the matching.

    Populations from large to small; clusters by the population they are matched to, then by the
    one most of their cells are of; those without a scored cell after them, noise last. Of more
    than MOST clusters only the largest.
    """
    kept = truth != ""
    names = named_clusters(truth, clusters)
    sizes = pd.Series(truth[kept]).value_counts()
    columns = list(sizes.index)
    largest = pd.Series(clusters[clusters >= 0]).value_counts().index[:MOST]
    place = {name: i for i, name in enumerate(columns)}
    counts = pd.crosstab(clusters[kept], truth[kept])
    order = sorted(
        (int(c) for c in largest),
        key=lambda c: (place.get(names[c][0], len(place)), not names[c][1],
                       -counts.loc[c].max() if c in counts.index else 0, c),
    )  # fmt: skip
    rows = [*order, *([-1] if (clusters == -1).any() else [])]
    named = {c: names.get(c, ("", False)) for c in rows}
    return counts.reindex(index=rows, columns=columns, fill_value=0), named


def _cluster_sizes(
    panel: mpl.axes.Axes, truth: np.ndarray, clusters: np.ndarray, rows: list[int]
) -> None:
    """Cells of each cluster, scored and not."""
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
