"""What each expert decodes: its cells and their reconstruction on principal components (S8 Fig)."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moesimvae.evaluation.matching import named_clusters
from moesimvae.report import style, words
from moesimvae.report.figures.clusters import matched, unscored
from moesimvae.report.figures.inputs import Part
from moesimvae.report.style import UNSCORED, Picture, cut, key

DATA, DECODED = "#3B78B0", "#D9480F"


def pictures(part: Part) -> Iterator[Picture]:
    """For runs that left a model of a panel; if it cannot be read, a figure says why."""
    for shown in part.showcases:
        title = f"Reconstruction by expert: {part.of_run(shown)}"
        name, table = f"experts_{words.slug(shown.run.name, '_')}", shown.decoded
        if table.empty:
            if reason := table.attrs.get("reason"):
                yield Picture.missing(name, part.dataset, title, reason, ": ")
            continue
        quiet = silent(table, shown.clusters)
        said = f"silent (no cells assigned): {listed(quiet)}" if quiet else "none is silent"
        n, every = len(table), len(shown.cells)
        some = f"{n:,} of {every:,} cells, drawn at random" if n < every else f"all {n:,} cells"
        truth = pd.Series(shown.truth, shown.cells).loc[table["cell"]].to_numpy(str)
        experts = table.attrs["experts"]
        used = experts - len(quiet)
        yield Picture(
            name,
            part.dataset,
            title,
            f"{title}: first two principal components of the model's input ({some}). Each panel "
            f"is an expert{matched(shown, ', labelled with')}: its cells in blue, their "
            "reconstruction in red, the other cells in "
            f"grey. Of {experts} experts, {used} decode cells; {said}.{unscored(shown)}",
            f"Scatter plots of cells and their reconstruction for {used} experts; {said}.",
            draw(table, truth, named_clusters(shown.truth, shown.clusters), title),
        )


def silent(table: pd.DataFrame, clusters: np.ndarray) -> list[int]:
    """Experts that decode no cell of the data set."""
    return sorted(set(range(table.attrs["experts"])) - set(map(int, np.unique(clusters))))


def listed(numbers: list[int]) -> str:
    """Numbers in readable form: 0, 2–9, 12."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{r[0]}–{r[-1]}" if len(r) > 2 else ", ".join(map(str, r)) for r in runs)


@style.styled
def draw(
    table: pd.DataFrame, truth: np.ndarray, names: Mapping[int, tuple[str, bool]], title: str
) -> Figure:
    """One panel per expert in use, then all of them, then the true labels if there are any.

    table: from `reconstruct_run`; truth: (n_rows of table,) labels, "" = unscored; names: from
    `matching.named_clusters`.
    """
    used = sorted(map(int, table["expert"].unique()))
    known = bool((truth != "").any())
    n = len(used) + 1 + known
    columns = 6 if n > 20 else 5 if n > 12 else 4
    rows = -(-n // columns)
    side = style.WIDTH / columns
    legend = -(-len(set(truth) - {""}) // 3)
    across, up = (f"PC {i + 1} ({100 * e:.0f} %)" for i, e in enumerate(table.attrs["explained"]))
    height = 0.75 + rows * (side + 0.1) + 0.155 * (legend + 1)
    pads = {"w_pad": 0.03, "h_pad": 0.03, "wspace": 0.02, "hspace": 0.02}
    figure = style.sheet(height, f"{title}\nacross: {across}, up: {up}", 10, **pads)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    behind = table.sample(min(len(table), 3000), random_state=0)
    for panel, expert in zip(panels, used, strict=False):
        mine = table[table["expert"] == expert]
        panel.scatter(behind["x"], behind["y"], s=1, color="#E4E4E4", linewidths=0, rasterized=True)
        _overlaid(panel, mine)
        panel.set_title(_heading(expert, names, 11 + 36 // columns), fontsize=8, pad=2)
    _overlaid(panels[len(used)], table)
    panels[len(used)].set_title("all experts", fontsize=8, pad=2, weight="bold")
    groups = sorted(style.populations_of(truth), key=lambda g: -(truth == g).sum())
    colour = style.colours_of(groups)
    order = np.random.default_rng(0).permutation(len(table))
    shade = np.array([colour.get(t, UNSCORED) for t in truth])
    mixed = table.iloc[order]
    if known:
        labels = panels[len(used) + 1]
        labels.scatter(mixed["x"], mixed["y"], s=_dot(len(mixed)), c=shade[order], linewidths=0,
                       rasterized=True)  # fmt: skip
        labels.set_title("true labels", fontsize=8, pad=2, weight="bold")
    for i, panel in enumerate(panels):
        panel.set(xticks=[], yticks=[])
        panel.set_visible(i < n)
        for spine in panel.spines.values():
            spine.set(visible=True, color="#CFCFCF", linewidth=0.6)
    some = "" in truth and known
    keys = [
        key(f"other cells{', or no true label' if some else ''}", "#C4C4C4", size=4.5),
        key("its cells", DATA, size=4.5),
        key("their reconstruction", DECODED, size=4.5),
        *(key(cut(g, 30), colour[g], "s", 4.5) for g in groups),
    ]
    style.legend_below(figure, keys, 3, columnspacing=1.0, handletextpad=0.2, labelspacing=0.25)
    return figure


def _overlaid(panel: Axes, cells: pd.DataFrame) -> None:
    size = _dot(len(cells))
    panel.scatter(cells["x"], cells["y"], s=size, color=DATA, linewidths=0, rasterized=True)
    panel.scatter(cells["decoded_x"], cells["decoded_y"], s=size, color=DECODED, alpha=0.55,
                  linewidths=0, rasterized=True)  # fmt: skip


def _dot(n: int) -> float:
    return float(np.clip(2500 / max(n, 1), 0.8, 6))


def _heading(expert: int, names: Mapping[int, tuple[str, bool]], width: int) -> str:
    population, matched = names.get(expert, ("", False))
    if not population:
        return str(expert)
    return cut(f"{expert}: {population}" if matched else f"{expert}: ({population})", width)
