"""What each expert decodes: its cells and their reconstruction on principal components (S8 Fig)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moesimvae.report.style import PALETTE, UNSCORED, WIDTH, cut, styled

DATA, DECODED = "#3B78B0", "#D9480F"


def silent(table: pd.DataFrame, clusters: np.ndarray) -> list[int]:
    """Experts that decode no cell of the data set."""
    return sorted(set(range(table.attrs["experts"])) - set(map(int, np.unique(clusters))))


def listed(numbers: list[int]) -> str:
    """Numbers as people write them: 0, 2–9, 12."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{r[0]}–{r[-1]}" if len(r) > 2 else ", ".join(map(str, r)) for r in runs)


@styled
def experts(
    table: pd.DataFrame, truth: np.ndarray, names: Mapping[int, tuple[str, bool]], title: str
) -> Figure:
    """One panel for each expert in use, then all of them, then the true labels if there are any.

    table: from `reconstruct_run`; truth: (n_rows of table,) labels, "" = unscored; names: from
    `populations.named_clusters`.
    """
    used = sorted(map(int, table["expert"].unique()))
    known = bool((truth != "").any())
    n = len(used) + 1 + known
    columns = 6 if n > 20 else 5 if n > 12 else 4
    rows = -(-n // columns)
    side = WIDTH / columns
    legend = -(-len(set(truth) - {""}) // 3)
    figure = Figure(
        (WIDTH, 0.75 + rows * (side + 0.1) + 0.155 * (legend + 1)), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    across, up = (f"PC {i + 1} ({100 * e:.0f} %)" for i, e in enumerate(table.attrs["explained"]))
    figure.suptitle(f"{title}\nacross: {across}, up: {up}", fontsize=10)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    behind = table.sample(min(len(table), 3000), random_state=0)
    for panel, expert in zip(panels, used, strict=False):
        mine = table[table["expert"] == expert]
        panel.scatter(behind["x"], behind["y"], s=1, color="#E4E4E4", linewidths=0, rasterized=True)
        _overlaid(panel, mine)
        panel.set_title(_heading(expert, names, 11 + 36 // columns), fontsize=8, pad=2)
    _overlaid(panels[len(used)], table)
    panels[len(used)].set_title("all experts", fontsize=8, pad=2, weight="bold")
    groups = sorted(set(truth) - {""}, key=lambda g: -(truth == g).sum())
    colour = {g: PALETTE[i % len(PALETTE)] for i, g in enumerate(groups)}
    order = np.random.default_rng(0).permutation(len(table))
    shade = np.array([colour.get(t, UNSCORED) for t in truth])
    some = table.iloc[order]
    if known:
        labels = panels[len(used) + 1]
        labels.scatter(some["x"], some["y"], s=_dot(len(some)), c=shade[order], linewidths=0,
                       rasterized=True)  # fmt: skip
        labels.set_title("true labels", fontsize=8, pad=2, weight="bold")
    for i, panel in enumerate(panels):
        panel.set(xticks=[], yticks=[])
        panel.set_visible(i < n)
        for spine in panel.spines.values():
            spine.set(visible=True, color="#CFCFCF", linewidth=0.6)
    keys = [
        Line2D([], [], marker="o", linestyle="", markersize=4.5, color=c, label=text)
        for c, text in (("#C4C4C4", "other cells" if not known or "" not in truth else
                         "other cells, or no true label"), (DATA, "its cells"),
                        (DECODED, "their reconstruction"))
    ]  # fmt: skip
    keys += [
        Line2D([], [], marker="s", linestyle="", markersize=4.5, color=colour[g], label=cut(g, 30))
        for g in groups
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, columnspacing=1.0,
                  handletextpad=0.2, labelspacing=0.25)  # fmt: skip
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
