"""What each expert decodes: its cells and their reconstruction on principal components (S8 Fig)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moesimvae.errors import UserError
from moesimvae.evaluation.scores import read_clusters
from moesimvae.report.latent import shown
from moesimvae.report.markers import MARKERS
from moesimvae.report.style import PALETTE, UNSCORED, WIDTH, cut, styled

COLUMNS = ["cell", "expert", "x", "y", "decoded_x", "decoded_y"]
DATA, DECODED = "#3B78B0", "#D9480F"


def reconstruct_run(run: str | Path, features: str | Path) -> pd.DataFrame:
    """A run's cells and what its model makes of them, on the first two principal components.

    run: a run folder (contract 3); features: the features.h5ad that it clustered. Columns COLUMNS:
    expert is the cluster that decodes the cell, decoded_x and decoded_y its reconstruction on the
    same components, which are those of all cells; at most MAX_POINTS cells, drawn with the run's
    seed. attrs: "explained" (the components' two shares of the variance) and "experts" (how many
    the model has). A table without rows where the run left no model, or for images and more than
    MARKERS features, which other pictures suit better; and for a model that cannot be read, such
    as one of an older version, with attrs "reason".

    Raises UserError when run and features are not about the same cells.
    """
    run, features = Path(run), Path(features)
    empty = pd.DataFrame({c: np.empty(0, str if c == "cell" else float) for c in COLUMNS})
    if not (run / "model").exists():
        return empty
    cells = anndata.read_h5ad(features, backed="r")
    try:
        if cells.n_vars > MARKERS or "image_shape" in cells.uns:
            return empty
        cells = cells.to_memory()
    finally:
        cells.file.close()
    from moesimvae.model.estimator import MoESimVAE  # pictures alone need no torch

    clusters = read_clusters(run, cells.obs_names)
    try:
        model = MoESimVAE.load(run / "model", device="cpu")
    except UserError as error:  # the other pictures of this run need no model
        empty.attrs = {"reason": str(error).replace(f"{run}/", "")}
        return empty
    values = cells.X.toarray() if hasattr(cells.X, "toarray") else np.asarray(cells.X)
    mean, axes, explained = principal_axes(values)
    kept = shown(len(values), int(run.name.removeprefix("seed")))
    some = cells[kept].copy()
    points = (values[kept] - mean) @ axes
    decoded = (model.reconstruct(some) - mean) @ axes
    table = pd.DataFrame(
        {
            "cell": cells.obs_names[kept].astype(str),
            "expert": clusters[kept],  # as the model gave them to the run
            "x": points[:, 0],
            "y": points[:, 1],
            "decoded_x": decoded[:, 0],
            "decoded_y": decoded[:, 1],
        }
    )
    table.attrs = {"explained": [float(e) for e in explained], "experts": int(model.n_clusters)}
    return table


def principal_axes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (d,), the first two principal axes (d, 2) and their shares of the variance (2,)."""
    mean = values.mean(axis=0, dtype=np.float64)
    covariance = np.cov(values, rowvar=False)
    sizes, axes = np.linalg.eigh(np.atleast_2d(covariance))
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.where(np.abs(axes).max(axis=0) == axes.max(axis=0), 1, -1)  # one sign for all
    if axes.shape[1] < 2:
        axes = np.column_stack([axes, np.zeros(len(axes))])
    shares = np.maximum(sizes[::-1], 0) / max(sizes.sum(), 1e-12)
    return mean, axes, np.append(shares, 0.0)[:2]


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
