"""Time and memory against the number of cells, where an experiment's data sets differ in size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moesimvae.evaluation import comparison
from moesimvae.report import words
from moesimvae.report.style import FAILED, QUIET, WIDTH, Picture, log_axis, styled

Block = dict[str, Any]

SIZES, TIMES = 3, 10  # so many sizes, and so many times as many cells in the largest set
PANELS = {"wall_seconds": "wall-clock seconds", "peak_memory_mb": "peak memory, MB"}


def grows(datasets: Mapping[str, Block]) -> bool:
    """Whether the data sets are of enough sizes, far enough apart, to draw a curve through."""
    sizes = {facts["n_cells"] for facts in datasets.values()}
    return len(sizes) >= SIZES and max(sizes) >= TIMES * min(sizes)


def scaling_picture(
    table: pd.DataFrame, datasets: Mapping[str, Block], colours: Mapping[str, str]
) -> Picture:
    """The picture with its caption. table: from `comparison.compare`."""
    own = table[(table["source"] == "run") & (table["kind"] == "method")]
    own = comparison.of_first_split(own)
    own = own[own["metric"] == own["metric"].iloc[0]]
    own = own.assign(n_cells=[datasets[d]["n_cells"] for d in own["dataset"]])
    slopes = "; ".join(
        f"{title}: {slope:.2f}" for title, slope in _slopes(own).items() if np.isfinite(slope)
    )
    title = "Time and memory by number of cells"
    sizes = sorted(set(own["n_cells"]))
    return Picture(
        "scaling",
        "",
        title,
        f"{title}, {sizes[0]:,} to {sizes[-1]:,}: means over the finished runs, both axes "
        "logarithmic; red crosses: what a run had used that did not finish. The dotted line grows "
        f"with the number of cells. Power of the number of cells that time grows with: {slopes}."
        f"{words.caveats(datasets[d] for d in dict.fromkeys(own['dataset']))}",
        "Two panels, wall-clock time and peak memory against the number of cells, one line for "
        "each method; the numbers are in the tables.",
        scaling(own, colours, title),
    )


def _slopes(own: pd.DataFrame) -> dict[str, float]:
    """Title → slope of log time on log cells, of the methods that finished on enough sizes."""
    slopes = {}
    for title, rows in own[own["n"] > 0].groupby("title", sort=False):
        if rows["n_cells"].nunique() >= SIZES:
            x, y = np.log(rows["n_cells"]), np.log(rows["wall_seconds"])
            slopes[title] = float(np.polyfit(x, y, 1)[0])
    return slopes


@styled
def scaling(own: pd.DataFrame, colours: Mapping[str, str], title: str) -> Figure:
    """One panel for each of PANELS, one line for each method."""
    figure = Figure((WIDTH, 3.4), layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    panels: list[Axes] = list(figure.subplots(1, len(PANELS)))
    for panel, (column, label) in zip(panels, PANELS.items(), strict=True):
        for method, rows in own.groupby("method", sort=False):
            _line(panel, rows.sort_values("n_cells"), column, colours[method])
        log_axis(panel, "x")
        log_axis(panel, "y")
        panel.set(xlabel="cells", title=label)
        panel.title.set_fontsize(9)
        panel.grid(axis="y")
        _guide(panel)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    return figure


def _line(panel: Axes, rows: pd.DataFrame, column: str, colour: str) -> None:
    done, lost = rows[rows["n"] > 0], rows[rows["n"] == 0]
    name = rows["title"].iloc[0]
    panel.plot(done["n_cells"], done[column], "o-", color=colour, label=name, markersize=3.5)
    panel.plot(lost["n_cells"], lost[column], "x", color=FAILED)


def _guide(panel: Axes) -> None:
    """A dotted line of slope 1 through the lower left corner of the data."""
    (x0, x1), (y0, y1) = panel.get_xlim(), panel.get_ylim()
    panel.plot([x0, x1], [y0, y0 * x1 / x0], ":", color=QUIET, linewidth=1)
    panel.set(xlim=(x0, x1), ylim=(y0, y1))
