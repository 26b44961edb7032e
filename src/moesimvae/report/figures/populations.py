"""F1 of every population beside its size."""

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from moesimvae.evaluation import comparison
from moesimvae.report import style, words
from moesimvae.report.figures.inputs import Part
from moesimvae.report.style import Picture, cut, key

RARE = 3.0  # ratio of largest to smallest population from which the figure is drawn


def pictures(part: Part) -> Iterator[Picture]:
    """Yield nothing if all populations are of similar size."""
    experiment, frame = part.experiment, part.experiment.populations
    if frame is None:
        return
    ours = [s.run.method for s in experiment.showcases if s.run.dataset == part.dataset]
    methods = comparison.with_the_best(experiment.table, (*ours, "")[0], part.dataset)
    frame = frame[(frame["dataset"] == part.dataset) & frame["method"].isin(methods)]
    split = "test" if "test" in set(frame["split"]) else "all"
    frame = frame[frame["split"] == split]
    sizes = frame.groupby("population")["n_cells"].first()
    if len(sizes) < 2 or sizes.max() < RARE * sizes.min():
        return
    own = experiment.own[experiment.own["method"].isin(methods)]
    titles = {r.method: r.title + (" ‡" if r.uses_prior else "") for r in own.itertuples()}
    title = f"Populations by size on {part.whole}"
    mean = frame.groupby(["method", "population"])["f1"].mean()
    smallest = sizes.idxmin()
    said = ", ".join(f"{titles[m]} {mean[m, smallest]:.2f}" for m in methods)
    yield Picture(
        f"populations_{part.dataset}",
        part.dataset,
        title,
        f"{title}: F1 of the cluster matched to each population (one-to-one, as for mean F1 "
        "(Hungarian); 0 if unmatched), mean and range over seeds. Shown are "
        f"{', '.join(titles[m] for m in methods)}: the showcase method and the best others by "
        f"mean F1.{words.prior_sign(own)} Scores are computed on "
        f"{'test cells' if split == 'test' else 'cells'} with a true label.",
        f"Dot plot of F1 for {len(sizes)} populations; the smallest is {smallest} with "
        f"{sizes.min():,} cells and F1 {said}.",
        draw(frame, {m: titles[m] for m in methods}, experiment.colours, title),
    )


@style.styled
def draw(
    populations: pd.DataFrame, titles: dict[str, str], colours: dict[str, str], title: str
) -> Figure:
    """Sizes on a log axis, and beside them F1 of some methods: mean over seeds, and range.

    populations: the score rule's table of populations, for one data set and split; titles: of the
    methods shown.
    """
    sizes = populations.groupby("population")["n_cells"].first().sort_values(ascending=False)
    figure = style.sheet(1.1 + 0.2 * len(sizes), title)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 2.2))
    y = np.arange(len(sizes))
    left.barh(y, sizes, color="#B9B9B9", height=0.7, log=True)
    left.set_xlim(max(0.5, sizes.min() / 3), sizes.max() * 6)
    for at, n in zip(y, sizes, strict=True):
        left.text(n * 1.15, at, f"{n:,}", va="center", fontsize=8, color=style.QUIET)
    left.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    left.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:,.0f}"))
    left.set_title("Scored cells (log scale)", fontsize=9.5)
    left.set_yticks(y, [cut(str(name), 32) for name in sizes.index])
    left.set_ylim(len(sizes) - 0.4, -0.6)
    offset = 0.24 if len(titles) > 2 else 0.17
    for k, method in enumerate(titles):
        mine = populations[populations["method"] == method]
        f1 = mine.groupby("population")["f1"].agg(["mean", "min", "max"]).loc[sizes.index]
        beside = y + (k - (len(titles) - 1) / 2) * offset
        right.hlines(beside, f1["min"], f1["max"], color=colours[method], linewidth=1.1, alpha=0.6)
        right.scatter(f1["mean"], beside, s=17, color=colours[method], zorder=3)
    for at in y[::2]:
        right.axhspan(at - 0.5, at + 0.5, color="#F5F5F5", zorder=-1, linewidth=0)
    right.set_xlim(-0.03, 1.03)
    right.grid(axis="x")
    right.tick_params(axis="y", length=0)
    right.set_title("F1 of the matched cluster →", fontsize=9.5)
    keys = [key(text, colours[m], size=4.5, linestyle="-", linewidth=1.1)
            for m, text in titles.items()]  # fmt: skip
    style.legend_below(figure, keys, len(keys))
    return figure
