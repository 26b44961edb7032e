"""S2 and S3 Figures: distances between clusters in latent space, beside that space itself."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moesimvae.nouns import Run
from moesimvae.report import style
from moesimvae.report.style import Picture
from moesimvae.report.words import GAUSSIANS
from moesimvae.studies.summaries import Generation, between_clusters


@dataclass
class Distances:
    """One run's MMD between its clusters (rows of one space), and its latent space in 2D.

    table: columns of `mmd.pairs` with first_name and second_name; points: cell, x, y; names: for
    each point, what its cluster stands for.
    """

    title: str
    table: pd.DataFrame
    points: pd.DataFrame
    names: np.ndarray


def pictures(study: Generation) -> Iterator[Picture]:
    """S2: real cells, with and without similarity, if asked for; S3: codes that each method draws.

    S3 shows a method's first run.
    """
    compared = _panels(study, study.similarity, ["encoded"])
    if compared:
        yield picture(
            compared,
            f"s2_mmd_{study.dataset}",
            study.dataset,
            "S2 Figure: latent space with and without similarity",
            "Codes of real cells by cluster. The paper reports 221.66 with and 49.29 without "
            "similarity, and about 0 within one cluster.",
        )
    first = study.accuracy.groupby("method", sort=False)["seed"].min()
    generating = [
        panel
        for panel in _panels(study, first.index, ["fitted", "standard", "component"])
        if panel.table["seed"].iloc[0] == first[panel.table["method"].iloc[0]]
    ]
    yield picture(
        generating,
        f"s3_mmd_{study.dataset}",
        study.dataset,
        "S3 Figure: codes drawn in latent space",
        "Codes drawn from each cluster's Gaussian (VaDE: posterior above 0.8). The paper reports "
        "256.31 for MoE-Sim-VAE and 355.14 for VaDE with its authors' weights.",
    )


def _panels(study: Generation, methods: Iterable[str], spaces: Sequence[str]) -> list[Distances]:
    made, methods = [], set(methods)
    keys = ["dataset", "method", "seed", "space"]
    for (dataset, method, seed, space), rows in study.distances.groupby(keys, sort=False):
        if space in spaces and method in methods:
            title = f"{study.titles[method]}, seed {seed}"
            title += "" if space == "encoded" else f"\n{GAUSSIANS[space]}"
            made.append(Distances(title, rows, *study.views[Run(dataset, method, seed)]))
    return made


def picture(panels: Sequence[Distances], name: str, dataset: str, title: str, note: str) -> Picture:
    """MMD between clusters as heat maps, with the latent spaces beside them."""
    said = []
    for panel in panels:
        far, near, close, pairs = between_clusters(panel.table)
        said.append(
            f"{panel.title}: {far:.1f} between different clusters ({close} of {pairs} pairs with "
            f"p > 0.05), {near:.2f} within one"
        )
    return Picture(
        name,
        dataset,
        title,
        f"{title}. Left: n m / (n + m) times the unbiased MMD² of up to 1,000 codes per cluster, "
        "with a Gaussian kernel scaled by the median squared distance; the diagonal compares two "
        f"samples of one cluster. Averages: {'; '.join(said)}. {note} Right: UMAP of the codes of "
        "real cells, by the majority label of their cluster.",
        f"Heat maps of MMD between clusters. {'; '.join(said)}.",
        draw(panels, title),
    )


@style.styled
def draw(panels: Sequence[Distances], title: str) -> Figure:
    figure = style.sheet(0.4 + 3.3 * len(panels), title, 10)
    most = max(panel.table["statistic"].max() for panel in panels)
    shown = None  # one run's latent space is drawn once
    for (left, right), panel in zip(
        figure.subplots(len(panels), 2, squeeze=False, width_ratios=[1.15, 1]), panels, strict=True
    ):
        image = _heat_map(left, panel.table, most)
        left.set_title(panel.title, fontsize=8.5)
        figure.colorbar(image, ax=left, shrink=0.8, label="MMD statistic")
        if panel.points is shown:
            right.set_visible(False)
            continue
        shown = panel.points
        for label, colour in style.colours_of(sorted(set(panel.names) - {""})).items():
            mine = panel.points[panel.names == label]
            right.scatter(mine["x"], mine["y"], s=0.6, color=colour, linewidths=0, rasterized=True)
            if len(mine):
                right.text(mine["x"].median(), mine["y"].median(), label, fontsize=9, weight="bold",
                           ha="center", va="center")  # fmt: skip
        right.set(xticks=[], yticks=[])
    return figure


def _heat_map(axes: Axes, table: pd.DataFrame, most: float) -> Any:
    order = table[["first", "first_name"]].drop_duplicates().sort_values(["first_name", "first"])
    place = {k: i for i, k in enumerate(order["first"])}
    values = np.full((len(place), len(place)), np.nan)
    for row in table.itertuples():
        values[place[row.first], place[row.second]] = row.statistic
        values[place[row.second], place[row.first]] = row.statistic
    image = axes.imshow(values, cmap="viridis", vmin=0, vmax=most)
    for i, j in np.ndindex(values.shape):
        bright = values[i, j] > 0.6 * most
        axes.text(j, i, f"{values[i, j]:.0f}".replace("-0", "0"), ha="center", va="center",
                  fontsize=5.5, color="black" if bright else "white")  # fmt: skip
    axes.set_xticks(range(len(place)), order["first_name"])
    axes.set_yticks(range(len(place)), order["first_name"])
    axes.tick_params(length=0)
    return image
