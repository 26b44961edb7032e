"""Time and memory against number of cells, where an experiment's data sets differ in size."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moesimvae.evaluation import comparison
from moesimvae.evaluation.statistics import growth
from moesimvae.report import IN_DETAIL, style
from moesimvae.report.figures.inputs import Experiment
from moesimvae.report.style import Picture

SIZES, TIMES = 3, 10  # minimum number of sizes, and minimum ratio of largest to smallest
PANELS = {"wall_seconds": "wall-clock seconds", "peak_memory_mb": "peak memory, MB"}


def pictures(experiment: Experiment) -> Iterator[Picture]:
    """If the data sets have enough sizes, far enough apart, to draw a curve."""
    cells = {d: experiment.datasets[d].n_cells for d in experiment.run_here}
    sizes = sorted(set(cells.values()))
    if len(cells) > IN_DETAIL or len(sizes) < SIZES or sizes[-1] < TIMES * sizes[0]:
        return
    own = comparison.of_first_split(experiment.own)
    own = own[(own["kind"] == "method") & (own["metric"] == own["metric"].iloc[0])]
    own = own.assign(n_cells=own["dataset"].map(cells))
    slopes = growth(own, SIZES).items()
    said = "; ".join(f"{title}: {slope:.2f}" for title, slope in slopes if np.isfinite(slope))
    title = "Time and memory by number of cells"
    yield Picture(
        "scaling",
        "",
        title,
        f"{title}, {sizes[0]:,} to {sizes[-1]:,}: means over the finished runs, both axes "
        "logarithmic; red crosses: usage of runs that did not finish. The dotted line is "
        f"proportional to the number of cells. Exponent of time in the number of cells: {said}."
        f"{experiment.caveats(own['dataset'])}",
        "Two panels, wall-clock time and peak memory against the number of cells, one line per "
        "method; the numbers are in the tables.",
        draw(own, experiment.colours, title),
    )


@style.styled
def draw(own: pd.DataFrame, colours: Mapping[str, str], title: str) -> Figure:
    """One panel for each of PANELS, one line per method."""
    figure = style.sheet(3.4, title)
    panels: list[Axes] = list(figure.subplots(1, len(PANELS)))
    for panel, (column, label) in zip(panels, PANELS.items(), strict=True):
        for method, rows in own.groupby("method", sort=False):
            _line(panel, rows.sort_values("n_cells"), column, colours[method])
        style.log_axis(panel, "x")
        style.log_axis(panel, "y")
        panel.set(xlabel="cells", title=label)
        panel.title.set_fontsize(9)
        panel.grid(axis="y")
        _guide(panel)
    handles, labels = panels[0].get_legend_handles_labels()
    style.legend_below(figure, handles, min(4, len(labels)))
    return figure


def _line(panel: Axes, rows: pd.DataFrame, column: str, colour: str) -> None:
    done, lost = rows[rows["n"] > 0], rows[rows["n"] == 0]
    name = rows["title"].iloc[0]
    panel.plot(done["n_cells"], done[column], "o-", color=colour, label=name, markersize=3.5)
    panel.plot(lost["n_cells"], lost[column], "x", color=style.FAILED)


def _guide(panel: Axes) -> None:
    """A dotted line of slope 1 through the lower left corner of the data."""
    (x0, x1), (y0, y1) = panel.get_xlim(), panel.get_ylim()
    panel.plot([x0, x1], [y0, y0 * x1 / x0], ":", color=style.QUIET, linewidth=1)
    panel.set(xlim=(x0, x1), ylim=(y0, y1))
