"""The first metric against wall-clock seconds, with the Pareto front."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moesimvae.evaluation.statistics import on_front
from moesimvae.nouns import Metric
from moesimvae.report import style
from moesimvae.report.figures.inputs import Part
from moesimvae.report.style import QUIET, Picture

OWN_SETTINGS = " Methods use the settings of config.yaml; none were chosen by score."


def pictures(part: Part) -> Iterator[Picture]:
    """Yield nothing if no method finished; controls and chosen settings are left out."""
    own = part.contestants
    shown = own[(own["metric"] == part.metric) & (own["n"] > 0)]
    if shown.empty:
        return
    metric = part.experiment.metrics[part.metric]
    what, lost = metric.title, part.did_not_finish
    front = on_front(shown, metric.better)
    best = ", ".join(shown[front].sort_values("wall_seconds")["title"])
    yield part.picture(
        "quality_vs_time",
        f"Quality and time on {part.title}",
        f"{what} against time on {part.title}: mean over the finished seeds, with the range of "
        f"{what}. {'Down' if metric.sign < 0 else 'Up'} and to the left is better. Dashed: the "
        f"Pareto front of methods that no other beats in both ({best}); oracles and methods that "
        f"use prior knowledge are excluded from it.{part.signs(OWN_SETTINGS)}{lost}",
        f"Scatter plot of {what} against wall-clock seconds on {part.title}, one point per method; "
        f"on the Pareto front, from fast to slow: {best}. The numbers are in the table.",
        draw(
            shown[shown["wall_seconds"].notna()],
            metric,
            part.experiment.colours,
            f"{what} and time on {part.title}",
        ),
    )


@style.styled
def draw(shown: pd.DataFrame, metric: Metric, colours: Mapping[str, str], title: str) -> Figure:
    """Mean and range, with names beside the axes; the stepped line is the Pareto front.

    shown: rows of one metric, one per method.
    """
    shown = shown.sort_values("mean", ascending=False, kind="stable")
    figure = style.sheet(max(2.8, 1.1 + 0.19 * len(shown)), title)
    panel = figure.subplots()
    for _, row in shown.iterrows():
        colour, x = colours[row["method"]], row["wall_seconds"]
        panel.plot([x, x], [row["min"], row["max"]], color=colour, linewidth=1.2, alpha=0.7)
        face = "none" if row["kind"] == "oracle" else colour
        panel.plot(x, row["mean"], "o", color=colour, markerfacecolor=face, markersize=6)
    front = shown[on_front(shown, metric.better)].sort_values("wall_seconds")
    panel.step(front["wall_seconds"], front["mean"], where="post", color=QUIET, linewidth=1,
               linestyle="--", zorder=1)  # fmt: skip
    low = min(0.0, float(shown["min"].min()))
    panel.set_ylim(low, max(1.02, float(shown["max"].max()) + 0.02))
    panel.set(xlabel="Wall-clock time (seconds, mean over seeds)", ylabel=metric.title)
    panel.grid()
    style.log_axis(panel)
    _names_at_the_side(panel, shown, colours)
    return figure


def _names_at_the_side(panel: Axes, shown: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """Names in a column right of the axes, level with their points as far as they fit."""
    bottom, top = panel.get_ylim()
    wanted = ((shown["mean"] - bottom) / (top - bottom)).to_numpy()  # descending
    gap = 0.95 / max(len(wanted), 15)
    places = np.array(wanted)
    for i in range(1, len(places)):
        places[i] = min(places[i], places[i - 1] - gap)
    for i in range(len(places) - 1, -1, -1):
        floor = 0.01 if i == len(places) - 1 else places[i + 1] + gap
        places[i] = max(places[i], floor)
    for (_, row), place in zip(shown.iterrows(), places, strict=True):
        oracle, prior = row["kind"] == "oracle", row["uses_prior"]
        colour = colours[row["method"]]
        line = {"arrowstyle": "-", "color": colour, "alpha": 0.45, "linewidth": 0.7, "shrinkB": 4}
        panel.annotate(
            row["title"] + (" (oracle)" if oracle else "") + (" ‡" if prior else ""),
            (row["wall_seconds"], row["mean"]), (1.04, place), xycoords="data",
            textcoords="axes fraction", va="center", color=colour, fontsize=8.5, arrowprops=line,
        )  # fmt: skip
