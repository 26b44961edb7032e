"""Generated cells against real ones: marginals of the features, and tests by cluster."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from moesimvae.report import style
from moesimvae.report.style import Picture
from moesimvae.studies.summaries import Generation


def pictures(study: Generation) -> Iterator[Picture]:
    """One for each data set whose cells were studied."""
    every = study.populations
    for dataset, rows in every.groupby("dataset", sort=False) if len(every) else ():
        drawn = rows[rows["gaussian"] == "fitted"]
        means = drawn[["mmd", "mmd_real", "classifier_accuracy", "correlation_difference"]].mean()
        said = (
            f"MMD statistic {means['mmd']:.1f} (two halves of the real cells: "
            f"{means['mmd_real']:.2f}), classifier right in "
            f"{100 * means['classifier_accuracy']:.0f} % (50 is chance), "
            f"correlations off by {means['correlation_difference']:.2f}"
        )
        title = f"Generated cells against real ones, {dataset}"
        yield Picture(
            f"cells_{dataset}",
            dataset,
            title,
            f"{title}. Left and middle: each dot is a feature in a cluster, its mean and its "
            "standard deviation in real and in generated cells. Right: how often a classifier of "
            "gradient-boosted trees tells generated from real cells of one cluster, by its size. "
            f"Means over clusters: {said}.",
            f"Three scatter plots of generated against real cells. {said}.",
            draw(drawn, study.features[study.features["dataset"] == dataset], title),
        )


@style.styled
def draw(populations: pd.DataFrame, features: pd.DataFrame, title: str) -> Figure:
    figure = style.sheet(2.9, title, 10)
    mean, spread, classifier = figure.subplots(1, 3)
    for axes, what, words in ((mean, "mean", "mean"), (spread, "sd", "standard deviation")):
        x, y = features[f"{what}_real"], features[f"{what}_generated"]
        most = max(x.max(), y.max())
        axes.plot([0, most], [0, most], color="#BDBDBD", linewidth=0.8)
        axes.scatter(x, y, s=3, color=style.DARK[0], linewidths=0, alpha=0.5, rasterized=True)
        axes.set(xlabel=f"{words}, real", ylabel=f"{words}, generated")
    classifier.axhline(0.5, color="#BDBDBD", linewidth=0.8)
    classifier.scatter(
        populations["n"], populations["classifier_accuracy"], s=10, color=style.DARK[1]
    )
    classifier.set(xlabel="cells compared", ylabel="classifier's accuracy", ylim=(0.45, 1.02))
    style.log_axis(classifier)
    for axes in (mean, spread, classifier):
        axes.grid()
    return figure
