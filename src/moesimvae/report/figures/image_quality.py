"""Generated digits against real ones: Fréchet distance, precision and recall by cluster."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from moesimvae.report import style
from moesimvae.report.style import Picture
from moesimvae.report.words import GAUSSIANS
from moesimvae.studies.summaries import RUN, Generation, means_of_runs

COLUMNS = ("frechet", "frechet_real", "precision", "recall", "precision_real", "recall_real")


def pictures(study: Generation) -> Iterator[Picture]:
    means = means_of_runs(study.quality, COLUMNS)
    said = "; ".join(
        f"{study.titles[r.method]}, seed {r.seed}, {GAUSSIANS[r.gaussian]}: "
        f"Fréchet {r.frechet:.1f} "
        f"(real {r.frechet_real:.1f}), precision {r.precision:.2f} ({r.precision_real:.2f}), "
        f"recall {r.recall:.2f} ({r.recall_real:.2f})"
        for r in means.itertuples()
    )
    title = "Generated digits against real ones, cluster by cluster"
    yield Picture(
        f"quality_{study.dataset}",
        study.dataset,
        title,
        f"{title}, compared in the last hidden layer of the independent classifier; up to 1,000 "
        "images of each kind per cluster. Dots are clusters, bars their means; grey: as many other "
        "real images of the same cluster in place of the generated ones, the best attainable "
        f"result. Means: {said}.",
        f"Dot plots of Fréchet distance, precision and recall. {said}.",
        draw(study.quality, study.titles),
    )


@style.styled
def draw(quality: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    groups = list(quality.groupby(RUN, sort=False))
    figure = style.sheet(0.9 + 0.34 * len(groups))
    panels = figure.subplots(1, 3, sharey=True)
    for axes, column in zip(panels, ("frechet", "precision", "recall"), strict=True):
        for i, (_, rows) in enumerate(groups):
            for values, shade, at in (
                (rows[f"{column}_real"], "#B5B5B5", i + 0.18),
                (rows[column], style.DARK[i % len(style.DARK)], i - 0.1),
            ):
                axes.plot(values, np.full(len(values), at), "o", color=shade, markersize=3,
                          markeredgewidth=0)  # fmt: skip
                axes.vlines(values.mean(), at - 0.14, at + 0.14, color=shade, linewidth=2)
        axes.set_title("Fréchet distance" if column == "frechet" else column)
        axes.grid(axis="x")
    style.log_axis(panels[0])
    labels = [f"{titles[m]}\nseed {s}, {GAUSSIANS[g]}" for (_, m, s, g), _ in groups]
    panels[0].set_yticks(range(len(groups)), labels, fontsize=7)
    panels[0].set_ylim(len(groups) - 0.5, -0.5)
    return figure
