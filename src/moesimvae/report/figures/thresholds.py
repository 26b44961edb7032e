"""S4 Figure: accuracy and cost of generated digits by posterior threshold."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from moesimvae.report import style
from moesimvae.report.style import Picture, key
from moesimvae.report.words import GAUSSIANS
from moesimvae.studies.summaries import RUN, Generation, summary


def pictures(study: Generation) -> Iterator[Picture]:
    table = summary(study.accuracy)
    strict = table["threshold"].max()
    said = []
    for (_, method, seed, gaussian), rows in table.groupby(RUN, sort=False):
        at = rows.loc[rows["threshold"].idxmax()]
        said.append(
            f"{study.titles[method]}, seed {seed}, {GAUSSIANS[gaussian]}: "
            f"own {rows['own'].mean():.3f}, judge {rows['judge'].mean():.3f}, "
            f"{at['draws']:,.0f} draws"
        )
    title = "Accuracy and cost of generated digits by posterior threshold"
    yield Picture(
        f"s4_accuracy_{study.dataset}",
        study.dataset,
        title,
        f"{title} (S4 Fig). Left: share of images that show the digit asked for (mean over "
        "clusters), by the model's own clustering as in the paper and by an independent classifier "
        f"({study.judge}). Middle and right: draws of a latent code, one unit for all methods, and "
        "seconds of drawing and decoding, over all clusters. VaDE accepts only draws whose "
        "posterior exceeds the threshold; MoE-Sim-VAE has no threshold, hence a horizontal line. "
        f"Means over thresholds, and draws at the strictest, {strict:g}: "
        f"{'; '.join(said)}."
        + "".join(
            f" The paper reports {values['own']:.3f} for {who}."
            for who, values in study.published.items()
        ),
        f"Three line plots over the threshold: accuracy, draws, seconds. {'; '.join(said)}.",
        draw(table, study),
    )


@style.styled
def draw(table: pd.DataFrame, study: Generation) -> Figure:
    figure = style.sheet(3.9)
    accuracy, draws, seconds = figure.subplots(1, 3, width_ratios=[1.5, 1, 1])
    thresholds = sorted(table["threshold"].unique())
    at = {t: i for i, t in enumerate(thresholds)}
    kinds = list(dict.fromkeys(zip(table["method"], table["gaussian"], strict=True)))
    colour = style.colours_of(kinds, style.DARK)
    for (_, method, _, gaussian), rows in table.groupby(RUN, sort=False):
        shade = colour[method, gaussian]
        for axes, column, line in (
            (accuracy, "judge", "-"),
            (accuracy, "own", ":"),
            (draws, "draws", "-"),
            (seconds, "seconds", "-"),
        ):
            if len(rows) == 1:
                axes.axhline(rows[column].iloc[0], color=shade, linestyle=line, linewidth=1.3)
            else:
                x = [at[t] for t in rows["threshold"]]
                axes.plot(x, rows[column], line, color=shade, marker="o", markersize=2.6,
                          linewidth=1.3)  # fmt: skip
    for values in study.published.values():
        accuracy.axhline(values["own"], color="#B0B0B0", linewidth=3, zorder=0, alpha=0.5)
    accuracy.set_title("share of the digit asked for")
    draws.set_title("draws of a latent code")
    seconds.set_title("seconds")
    style.log_axis(draws, "y")
    style.log_axis(seconds, "y")
    for axes in (accuracy, draws, seconds):
        axes.set_xticks(range(len(thresholds)), [f"{t:g}" for t in thresholds], rotation=90)
        axes.set_xlabel("posterior threshold φ")
        axes.grid(axis="y")
    solid: dict = {"marker": "", "linestyle": "-"}
    keys = [key(f"{study.titles[m]}, {GAUSSIANS[g]}", c, **solid) for (m, g), c in colour.items()]
    keys.append(key("independent classifier", **solid))
    keys.append(key("the model's own clustering", marker="", linestyle=":"))
    if study.published:
        said = ", ".join(f"{v['own']:.3f} {who}" for who, v in study.published.items())
        keys.append(key(f"the paper: {said}", "#D5D5D5", linewidth=3, **solid))
    style.legend_below(figure, keys, 2)
    return figure
