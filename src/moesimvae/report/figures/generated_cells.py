"""Generated cells against real ones: feature marginals, and how distinguishable they are."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from moesimvae.report import style
from moesimvae.report.style import Picture
from moesimvae.report.words import SOURCES
from moesimvae.studies.summaries import Generation


def pictures(study: Generation) -> Iterator[Picture]:
    """One figure per data set whose cells were studied."""
    every = study.sources
    for dataset, sources in every.groupby("dataset", sort=False) if len(every) else ():
        features = study.features[study.features["dataset"] == dataset]
        populations = study.populations[study.populations["dataset"] == dataset]
        means = sources.groupby("source", sort=False).mean(numeric_only=True)
        own = features["source"].iloc[0]
        said = "; ".join(
            f"{row.auc:.3f} for {SOURCES[source]}"
            for source, row in means.iterrows()
            if source != own
        )
        title = f"Generated cells against real ones, {dataset}"
        yield Picture(
            f"cells_{dataset}",
            dataset,
            title,
            f"{title}. Left and middle: mean and standard deviation of each feature in each "
            f"cluster (dots), in held-out real cells and in generated ones ({SOURCES[own]}). "
            "Right: two-sample AUC of gradient-boosted trees that distinguish each kind of cells "
            "from held-out real ones, over all clusters (large) and within each cluster (small); "
            f"0.5 is chance. Over all clusters: AUC {means.loc[own, 'auc']:.3f} for "
            f"{SOURCES[own]}; {said}.",
            "Two scatter plots of generated against real cells, and a dot plot of two-sample AUC. "
            f"AUC {means.loc[own, 'auc']:.3f} for {SOURCES[own]}; {said}.",
            draw(means, populations, features, title),
        )


@style.styled
def draw(
    sources: pd.DataFrame, populations: pd.DataFrame, features: pd.DataFrame, title: str
) -> Figure:
    """sources: indexed by source, with their auc."""
    figure = style.sheet(2.9, title, 10)
    mean, spread, told = figure.subplots(1, 3)
    for axes, what, words in ((mean, "mean", "mean"), (spread, "sd", "standard deviation")):
        x, y = features[f"{what}_real"], features[f"{what}_generated"]
        most = max(x.max(), y.max())
        axes.plot([0, most], [0, most], color="#BDBDBD", linewidth=0.8)
        axes.scatter(x, y, s=3, color=style.DARK[0], linewidths=0, alpha=0.5, rasterized=True)
        axes.set(xlabel=f"{words}, real", ylabel=f"{words}, generated")
    names = list(sources.index)
    told.axvline(0.5, color="#BDBDBD", linewidth=0.8)
    rows = populations["source"].map(names.index)
    told.scatter(
        populations["cluster_auc"], rows, s=5, color=style.DARK[1], alpha=0.5, linewidths=0
    )
    told.scatter(sources["auc"], range(len(names)), s=36, color=style.DARK[0], zorder=3)
    told.set(xlabel="two-sample AUC", xlim=(0.35, 1.03), ylim=(len(names) - 0.5, -0.5))
    told.set_yticks(range(len(names)), [SOURCES[name] for name in names])
    for axes in (mean, spread, told):
        axes.grid()
    return figure
