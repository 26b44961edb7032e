"""Every run on every data set in one figure (S7 Fig)."""

from collections.abc import Iterator, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moesimvae.evaluation import comparison
from moesimvae.report import IN_DETAIL, style, words
from moesimvae.report.figures.inputs import Experiment
from moesimvae.report.style import Picture, cut, key
from moesimvae.report.words import BOUND

F_MEASURES = ("f_flowcap", "f1_mean_hungarian")
BOX = 5  # runs from which on a box is drawn besides the points
BESIDE = 4  # data sets side by side
LETTERS = 24  # of a method's name below its column


def pictures(experiment: Experiment) -> Iterator[Picture]:
    """For two to IN_DETAIL data sets; controls are left out."""
    if not 1 < len(experiment.run_here) <= IN_DETAIL:
        return
    names, own = shown_metrics(experiment), experiment.contestants
    n = int(own[own["metric"] == names[0]]["n"].sum())
    what = " and ".join(experiment.metric(m) for m in names)
    quoted = _quoted(experiment, names, own)
    published = (
        " Diamonds: published values of the same method and metric, with their sd where reported; "
        "triangles: lower bounds of published values. None of these was run here."
        if len(quoted)
        else ""
    )
    title = "Spread over runs"
    yield Picture(
        "spread",
        "",
        title,
        f"{title}: {what} of every run ({n} runs). Dots are runs, bars their means and boxes "
        f"(for {BOX} or more runs) their quartiles. Red crosses: no run finished.{published}"
        f"{about(experiment, own)}",
        f"Dot plots of {what}, one panel per data set and one column per method; the "
        "numbers are in the tables.",
        draw(experiment, own, quoted, names, title),
    )


def shown_metrics(experiment: Experiment) -> list[str]:
    """Both F-measures if an experiment has both (papers mix them), else its first metric."""
    own = list(dict.fromkeys(experiment.own["metric"]))
    both = [m for m in F_MEASURES if m in own]
    return both if len(both) == 2 else own[:1]


def titles_of(own: pd.DataFrame, most: int = LETTERS) -> dict[str, str]:
    """Method → its title, with ‡ after those that use prior knowledge."""
    rows = own.drop_duplicates("method")
    return {r.method: cut(r.title, most) + (" ‡" if r.uses_prior else "")
            for r in rows.itertuples()}  # fmt: skip


def about(experiment: Experiment, own: pd.DataFrame) -> str:
    held_out = " Scores are computed on test cells." if (own["split"] == "test").all() else ""
    return held_out + words.prior_sign(own) + experiment.caveats(own["dataset"])


def _quoted(experiment: Experiment, names: Sequence[str], own: pd.DataFrame) -> pd.DataFrame:
    """Published values and lower bounds of methods that were run here, on the same data sets,
    which must be real and whole.
    """
    facts = experiment.datasets.items()
    whole = [d for d, fact in facts if not (fact.simulated or fact.partial)]
    quoted = experiment.quoted[experiment.quoted["mean"].notna()]
    quoted = quoted.assign(
        bound=quoted["metric"].str.endswith(BOUND),
        metric=quoted["metric"].str.removesuffix(BOUND),
    )
    same = quoted["dataset"].isin(own["dataset"]) & quoted["method"].isin(own["method"])
    return quoted[same & quoted["dataset"].isin(whole) & quoted["metric"].isin(names)]


@style.styled
def draw(
    experiment: Experiment, own: pd.DataFrame, quoted: pd.DataFrame, names: list[str], title: str
) -> Figure:
    """One panel per metric and data set, with one column of dots per method."""
    order = list(dict.fromkeys(own["method"]))
    titles = titles_of(own)
    where = list(dict.fromkeys(own["dataset"]))
    columns = min(BESIDE, len(where))
    blocks = -(-len(where) // columns)
    longest = max(map(len, titles.values()))
    height = 0.7 + blocks * (len(names) * 1.75 + 0.06 * longest + 0.35)
    figure = style.sheet(height, title)
    panels = figure.subplots(blocks * len(names), columns, squeeze=False)
    half = min(0.36, 0.09 * len(order) * columns / (style.WIDTH - 1))  # of a bar, ≤ 0.09 inches
    limits = {m: _limits(own[own["metric"] == m], quoted[quoted["metric"] == m]) for m in names}
    style.hide(panels.ravel())
    for i, dataset in enumerate(where):
        for j, metric in enumerate(names):
            panel = panels[(i // columns) * len(names) + j, i % columns]
            panel.set_visible(True)
            rows = own[(own["dataset"] == dataset) & (own["metric"] == metric)]
            _runs(panel, rows.set_index("method"), order, experiment.colours, half)
            beside = quoted[(quoted["dataset"] == dataset) & (quoted["metric"] == metric)]
            _published(panel, beside, order)
            panel.set_xlim(-0.7, len(order) - 0.3)
            panel.set_ylim(*limits[metric])
            panel.grid(axis="y")
            panel.yaxis.set_major_locator(mpl.ticker.MaxNLocator(6))
            panel.set_xticks(range(len(order)), [titles[m] for m in order] if (
                j == len(names) - 1) else [""] * len(order), rotation=90)  # fmt: skip
            if i % columns:
                panel.set_yticklabels([])
            else:
                panel.set_ylabel(experiment.metric(metric))
            if j == 0:
                panel.set_title(style.wrapped(experiment.dataset(dataset), 23), fontsize=8.5)
    keys = [key("one run", size=3.6), key("mean", marker="_", size=8, markeredgewidth=2)]
    bounds = quoted["bound"].astype(bool)
    if not bounds.all():
        keys.append(key("published", marker="D", size=4.5, **style.HOLLOW))
    if bounds.any():
        keys.append(key("published, lower bound", marker="^", size=4.5, **style.HOLLOW))
    style.legend_below(figure, keys, 4, handletextpad=0.4)
    return figure


def _runs(
    panel: Axes, rows: pd.DataFrame, order: Sequence[str], colours: Mapping[str, str], half: float
) -> None:
    rng = np.random.default_rng(0)  # the same points each time
    for x, method in enumerate(order):
        values = np.array(list(comparison.values(rows.loc[method]).values()))
        if not len(values):
            panel.plot(x, 0.04, "x", color=style.FAILED, markersize=6, clip_on=False,
                       transform=panel.get_xaxis_transform())  # fmt: skip
            continue
        if len(values) >= BOX:
            low, middle, high = np.percentile(values, (25, 50, 75))
            panel.add_patch(mpl.patches.Rectangle((x - half, low), 2 * half, high - low,
                            facecolor=colours[method], alpha=0.22, linewidth=0))  # fmt: skip
            panel.hlines(middle, x - half, x + half, color=colours[method], linewidth=0.7)
        jitter = half * rng.uniform(-0.6, 0.6, len(values)) if len(values) > 1 else 0
        panel.scatter(x + jitter, values, s=9, color=colours[method], alpha=0.75, linewidths=0)
        panel.hlines(values.mean(), x - half, x + half, color=colours[method], linewidth=2)


def _published(panel: Axes, quoted: pd.DataFrame, order: Sequence[str]) -> None:
    for row in quoted.itertuples():
        x = order.index(row.method)
        sd = 0.0 if np.isnan(row.sd) else row.sd
        panel.errorbar(x, row.mean, yerr=sd or None, marker="^" if row.bound else "D",
                       markersize=4.5, markerfacecolor="none", color="black", linewidth=0.8,
                       markeredgewidth=0.9, zorder=3)  # fmt: skip


def _limits(own: pd.DataFrame, quoted: pd.DataFrame) -> tuple[float, float]:
    values = [*own["min"].dropna(), *own["max"].dropna(), *quoted["mean"]]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = max(0.04, 0.06 * (high - low))
    return low - margin, min(high + margin, max(1.02, high))
