"""Seconds and peak memory of each run."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moesimvae.evaluation import comparison
from moesimvae.report import style
from moesimvae.report.figures.inputs import Part
from moesimvae.report.style import FAILED, Picture, key

FAILURES = {"timeout": "x", "out-of-memory": "s", "error": "^", "invalid": "v"}
PANELS = {"wall_seconds": "Wall-clock time (seconds)", "peak_memory_mb": "Peak memory (MB)"}
OWN_SETTINGS = " Methods have the settings of config.yaml; nothing was chosen by scores."


def pictures(part: Part) -> Iterator[Picture]:
    own = part.contestants.drop_duplicates("method").sort_values("wall_seconds")
    if not own["wall_seconds"].notna().any():
        return
    said = ", ".join(
        f"{r.title} {r.wall_seconds:.3g} s, {r.peak_memory_mb:.0f} MB" for r in own.itertuples()
    )
    title = f"Cost on {part.whole}"
    yield part.picture(
        "cost",
        title,
        f"{title}. Wall-clock time and peak memory of each run, on logarithmic scales. Red signs "
        "are runs that did not finish, at what they had used when they ended. Times are comparable "
        f"only between runs on the same device.{part.signs(OWN_SETTINGS)}",
        f"Dot plots of time and peak memory on {part.whole}: {said}.",
        draw(part, title),
    )


@style.styled
def draw(part: Part, title: str) -> Figure:
    """Both on log scales; a cross is a run that did not finish.

    Methods stand from quick to slow; controls and chosen settings are left out.
    """
    one = part.contestants.drop_duplicates("method")
    order = list(one.sort_values(["wall_seconds", "title"], na_position="last")["method"])
    runs = part.experiment.runs
    runs = runs[(runs["dataset"] == part.dataset) & runs["method"].isin(order)]
    figure = style.sheet(1.25 + 0.21 * len(order), title)
    panels = figure.subplots(1, 2, sharey=True)
    for panel, (column, name) in zip(panels, PANELS.items(), strict=True):
        _rows(panel, runs[runs[column].notna()], column, order, part.experiment.colours)
        panel.set_title(name, fontsize=9.5)
        panel.grid(axis="x")
        style.log_axis(panel)
    panels[0].set_ylim(len(order) - 0.4, -0.6)
    panels[0].set_yticks(range(len(order)), [part.label(m) for m in order])
    keys = [key("one run", size=4), key("mean", **style.MEAN)]
    keys += [
        key(comparison.failure(status), FAILED, marker, markerfacecolor="none")
        for status, marker in FAILURES.items()
        if status in set(runs["status"])
    ]
    style.legend_below(figure, keys, len(keys), handletextpad=0.4)
    return figure


def _rows(
    panel: Axes, runs: pd.DataFrame, column: str, order: list[str], colours: dict[str, str]
) -> None:
    y = runs["method"].map({m: i for i, m in enumerate(order)})
    done = runs["status"] == "ok"
    dots = runs["method"][done].map(colours)
    panel.scatter(runs[column][done], y[done], s=16, c=dots, alpha=0.7, linewidths=0)
    means = runs[column][done].groupby(y[done]).mean()
    bars = [colours[order[i]] for i in means.index]
    panel.vlines(means, means.index - 0.32, means.index + 0.32, colors=bars, linewidth=2)
    for status, marker in FAILURES.items():
        lost = runs["status"] == status
        look: dict = {"facecolors": "none", "edgecolors": FAILED}
        look = {"c": FAILED} if marker == "x" else look
        panel.scatter(runs[column][lost], y[lost], s=28, marker=marker, linewidths=1.1, **look)
