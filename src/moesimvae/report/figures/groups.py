"""Groups of data sets side by side, such as wells by inhibitor (Fig 4)."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moesimvae.nouns import Facts
from moesimvae.report import style
from moesimvae.report.figures.inputs import Experiment
from moesimvae.report.figures.runs import about, shown_metrics, titles_of
from moesimvae.report.style import Picture, key

VIOLIN = 5  # data sets from which on a violin is drawn besides the points
IN_ROW = 9  # groups side by side


def pictures(experiment: Experiment) -> Iterator[Picture]:
    """A metric's means over seeds, one point per data set, by group and method."""
    groups = grouped(experiment.datasets)
    members = [name for group in groups.values() for name in group]
    every = experiment.contestants
    for metric in shown_metrics(experiment) if groups else ():
        own = every[(every["metric"] == metric) & every["dataset"].isin(members)]
        what = experiment.metric(metric)
        title = f"{what} by group of data sets"
        lost = int((own["n"] == 0).sum())
        dnf = f" No run finished for {lost} of {len(own)} pairs of data set and method."
        counts = [len(group) for group in groups.values()]
        sizes = f"{min(counts)} to {max(counts)} in each of {len(groups)} groups"
        if len(groups) <= IN_ROW:
            sizes = ", ".join(f"{name} {n}" for name, n in zip(groups, counts, strict=True))
        yield Picture(
            f"violins_{metric}",
            "",
            title,
            f"{title}: each dot is a data set (mean over its runs), by group and method; bars mark "
            "means over a group's data sets, and lines join these means. Violins show "
            f"the density of {VIOLIN} or more data sets. Data sets: {sizes}."
            f"{dnf if lost else ''}{about(experiment, own)}",
            f"Violin plots of {what} for {len(groups)} groups of data sets and "
            f"{own['method'].nunique()} methods; the numbers are in by_dataset.csv.",
            draw(own, groups, what, experiment.colours, title),
        )


def grouped(datasets: Mapping[str, Facts]) -> dict[str, list[str]]:
    """Group → its data sets, from the key `group` of their facts; {} unless a group has two."""
    groups: dict[str, list[str]] = {}
    for name, facts in datasets.items():
        if facts.group:
            groups.setdefault(facts.group, []).append(name)
    return groups if any(len(members) > 1 for members in groups.values()) else {}


@style.styled
def draw(
    own: pd.DataFrame,
    groups: Mapping[str, Sequence[str]],
    what: str,
    colours: Mapping[str, str],
    title: str,
) -> Figure:
    """Groups on the x axis, with methods side by side in each; IN_ROW groups in a row.

    own: the comparison's rows of one metric.
    """
    order = list(dict.fromkeys(own["method"]))
    titles = titles_of(own, 34)
    names = list(groups)
    rows = -(-len(names) // IN_ROW)
    per_row = -(-len(names) // rows)
    columns = min(5, int(style.WIDTH / (0.5 + 0.066 * max(map(len, titles.values())))))
    figure = style.sheet(0.55 + 2.3 * rows + 0.19 * -(-len(order) // columns), title)
    panels = figure.subplots(rows, 1, squeeze=False, sharey=True).ravel()
    means = own.set_index(["method", "dataset"])["mean"]
    low, high = own["mean"].min(), own["mean"].max()
    for start, panel in zip(range(0, len(names), per_row), panels, strict=True):
        some = names[start : start + per_row]
        slot = min(0.8 / len(order), 0.16)
        for k, method in enumerate(order):
            at = np.arange(len(some)) + (k - (len(order) - 1) / 2) * slot
            by_group = [means.loc[method].reindex(groups[g]).dropna().to_numpy() for g in some]
            for x, values in zip(at, by_group, strict=True):
                _violin(panel, x, values, slot, colours[method])
            centres = [v.mean() if len(v) else np.nan for v in by_group]
            panel.plot(at, centres, color=colours[method], linewidth=1.1, alpha=0.85, zorder=3)
        for edge in range(len(some) - 1):
            panel.axvline(edge + 0.5, color="#E3E3E3", linewidth=0.6)
        panel.set_xlim(-0.5, per_row - 0.5 if rows > 1 else len(some) - 0.5)
        panel.set_xticks(range(len(some)), [style.wrapped(g, 14) for g in some])
        panel.tick_params(axis="x", length=0)
        panel.set_ylabel(what)
        panel.grid(axis="y")
    margin = max(0.03, 0.06 * (high - low)) if low <= high else 0.03
    panels[0].set_ylim((low - margin, min(high + margin, max(1.02, high))) if low <= high else None)
    keys = [key(titles[m], colours[m], "", linestyle="-", linewidth=3) for m in order]
    style.legend_below(figure, keys, columns)
    return figure


def _violin(panel: Axes, x: float, values: np.ndarray, slot: float, colour: str) -> None:
    if len(values) >= VIOLIN and np.ptp(values) > 0:
        drawn: dict = panel.violinplot(values, [x], widths=slot * 0.95, showextrema=False)
        drawn["bodies"][0].set(facecolor=colour, alpha=0.28, linewidth=0)
    rng = np.random.default_rng(0)
    jitter = rng.uniform(-0.2, 0.2, len(values)) * slot if len(values) > 1 else 0
    size = 10 if len(values) < 20 else 4
    panel.scatter(x + jitter, values, s=size, color=colour, alpha=0.6, linewidths=0)
    if len(values):
        panel.hlines(values.mean(), x - 0.42 * slot, x + 0.42 * slot, color=colour, linewidth=2.2,
                     zorder=4)  # fmt: skip
