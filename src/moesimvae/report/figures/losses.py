"""The loss terms of the showcase method's training."""

from collections.abc import Iterator, Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from moesimvae.report import style
from moesimvae.report.figures.inputs import Part
from moesimvae.report.style import DARK, Picture
from moesimvae.studies.views import History


def pictures(part: Part) -> Iterator[Picture]:
    """One figure per method, of all of its runs."""
    by_method: dict[str, dict[str, History]] = {}
    for run, history in part.experiment.histories.items():
        if run.dataset == part.dataset:
            by_method.setdefault(run.method, {})[f"seed {run.seed}"] = history
    for method, histories in by_method.items():
        title = f"Training of {part.experiment.methods[method].title} on {part.whole}"
        end = ", ".join(
            f"{term} {np.mean([h[term][-1] for h in histories.values() if term in h]):.3g}"
            for term in next(iter(histories.values()))
            if term != "step"
        )
        yield Picture(
            f"losses_{part.name}_{method}",
            part.dataset,
            title,
            f"{title}: loss terms of {', '.join(histories)}, each on its own scale; recorded "
            "values or, for long records, their running mean with recorded values behind it "
            "(pale). The number above each panel is the final value, averaged over runs.",
            f"Line plots of the loss terms; last values: {end}.",
            draw(histories, title),
        )


@style.styled
def draw(histories: Mapping[str, History], title: str) -> Figure:
    """Small multiples: one panel per loss term, on its own scale, with one line per run.

    histories: name of the run → its losses. A term "step" gives the x axis; without it records
    are counted from 1.
    """
    terms = list(dict.fromkeys(t for h in histories.values() for t in h if t != "step"))
    columns = min(3, len(terms))
    rows = -(-len(terms) // columns)
    figure = style.sheet(0.65 + 1.65 * rows, title)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    counted = all("step" in history for history in histories.values())
    for panel, term in zip(panels, terms, strict=False):
        last = []
        for (name, history), colour in zip(histories.items(), DARK, strict=False):
            if term not in history:
                continue
            y = np.asarray(history[term], float)
            x = np.asarray(history.get("step", np.arange(1, len(y) + 1)), float)
            if len(y) >= 100:  # noisy batch values behind, their running mean in front
                panel.plot(x, y, color=colour, alpha=0.25, linewidth=0.6)
                window = len(y) // 25
                y = np.convolve(y, np.ones(window) / window, "valid")
                x = x[(window - 1) // 2 :][: len(y)]
            panel.plot(x, y, color=colour, linewidth=1.3, label=name)
            last.append(y[-1])
        panel.set_title(f"{term.replace('_', ' ')}  (end: {np.mean(last):.3g})", fontsize=9)
        panel.grid(axis="y")
        panel.margins(x=0.02)
        panel.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4, integer=True))
        panel.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    style.hide(panels[len(terms) :])
    for panel in panels[max(0, len(terms) - columns) : len(terms)]:
        panel.set_xlabel("training step" if counted else "record")
        panel.tick_params(labelbottom=True)
    handles, labels = panels[0].get_legend_handles_labels()
    if len(labels) > 1:
        style.legend_below(figure, handles, min(5, len(labels)))
    return figure
