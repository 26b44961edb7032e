"""A run's latent space in two dimensions: by true label, and by cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moesimvae import files
from moesimvae.errors import UserError
from moesimvae.evaluation import comparison
from moesimvae.evaluation.matching import match
from moesimvae.report.style import HALO, NOISE, PALETTE, UNSCORED, WIDTH, styled

HIDES = 0.025  # of a panel's side: half of what a name covers


@dataclass
class View:
    """One run's latent space: what `latent` and `match` draw.

    points: (n, 2); truth: (n,) labels, "" = unscored; clusters: (n,) integers, -1 = noise.
    `missing` says why there are no points.
    """

    dataset: str
    method: str
    seed: int
    points: np.ndarray
    truth: np.ndarray
    clusters: np.ndarray
    n_cells: int = 0
    axes: str = "UMAP"
    missing: str = ""


def read_view(projection: str | Path, labels: str | Path, run: str | Path) -> View:
    """Put a projection (cell, x, y), the true labels and a run's clusters side by side, by cell.

    run: a run folder …/<data set>/<method>/seed<seed>. Without points, the View says why: the
    run's own reason, or that the method gives no embedding.
    """
    run = Path(run)
    dataset, method, seed = run.parts[-3:]
    points = pd.read_parquet(projection)
    if points.empty:
        empty = np.empty(0)
        status = files.read_json(run / "status.json")
        reason = "This method gives no embedding."
        if status["status"] != "ok":
            reason = f"{comparison.failure(status['status'])}: {status['reason']}"
        return View(dataset, method, int(seed[4:]), empty, empty, empty, missing=reason)
    truth = pd.read_parquet(labels).set_index("cell")
    clusters = pd.read_parquet(run / "labels.parquet").set_index("cell")
    unknown = set(points["cell"]) - (set(truth.index) & set(clusters.index))
    if unknown:
        raise UserError(
            f"{projection} holds {len(unknown)} cells (such as {sorted(unknown)[0]}) that are not "
            f"in {labels} or in {run / 'labels.parquet'}; delete it, so that it is made again."
        )
    label = truth["label"].where(truth["scored"], "")
    return View(
        dataset,
        method,
        int(seed[4:]),
        points[["x", "y"]].to_numpy(),
        label.loc[points["cell"]].to_numpy(str),
        clusters["label"].loc[points["cell"]].to_numpy(int),
        len(clusters),
        points.attrs.get("axes", "UMAP"),
    )


@styled
def latent(
    points: np.ndarray, truth: np.ndarray, clusters: np.ndarray, title: str, axes: str = "UMAP"
) -> Figure:
    """Two panels of the same cells: by true label, and by cluster in its population's colour.

    Without any true label the second panel alone, each cluster in a colour of its own.

    points: (n, 2); truth: (n,) strings, "" = unscored (grey); clusters: (n,) integers, -1 = noise.
    A cluster beyond the one matched to a population has that population's colour, lighter.
    """
    names = sorted(set(truth) - {""}, key=natural)
    colour = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
    matched = match(truth, clusters)
    order = np.random.default_rng(0).permutation(len(points))  # no population hides another
    points, truth, clusters = points[order], truth[order], clusters[order]

    by_truth = np.array([colour.get(name, UNSCORED) for name in truth])
    shade = {-1: NOISE}
    found = sorted(set(clusters) - {-1})
    if not names:
        shade |= {cluster: PALETTE[i % len(PALETTE)] for i, cluster in enumerate(found)}
    for cluster, (name, first) in matched.items():
        shade[cluster] = colour[name] if first else lighter(colour[name])
    by_cluster = np.array([shade.get(c, UNSCORED) for c in clusters])

    short = all(len(name) <= 3 for name in names)  # so that they fit on the picture
    entries = [(colour[n], n if short else f"{i}  {n}") for i, n in enumerate(names, 1)]
    if names and "" in truth:
        entries.append((UNSCORED, "no true label (not scored)"))
    if (clusters == -1).any():
        entries.append((NOISE, "noise (right)" if names else "noise"))
    if not all(first for _, first in matched.values()):
        entries.append((lighter("#0072B2"), "lighter: further cluster"))
    longest = max((len(text) for _, text in entries), default=0)
    columns = max(1, min(5, int(WIDTH / (0.32 + 0.058 * longest))))
    rows = -(-len(entries) // columns)

    height = 3.75 + 0.175 * rows
    figure = Figure((WIDTH, height), layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    marks = {name: name if short else str(i) for i, name in enumerate(names, 1)}
    shown = [
        (by_truth, [(marks[n], truth == n) for n in names], "True label"),
        (
            by_cluster,
            [(str(c), clusters == c) for c in found],
            f"Cluster ({len(found)} found)"
            + (", in the colour of its population" if names else ""),
        ),
    ][0 if names else 1 :]
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for panel, (colours, groups, heading) in zip(panels, shown, strict=True):
        size = float(np.clip(16_000 / len(points), 1.2, 14))
        grey = np.isin(colours, [UNSCORED])
        for some in (grey, ~grey):
            panel.scatter(*points[some].T, s=size, c=colours[some], linewidths=0, rasterized=True)
        panel.set(title=heading, xlabel=f"{axes} 1", ylabel=f"{axes} 2", xticks=[], yticks=[])
        _name_groups(panel, points, groups)
    handles = [
        Line2D([], [], marker="o", linestyle="", markersize=5, color=c, label=text)
        for c, text in entries
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        columnspacing=1.0,
        handletextpad=0.2,
        labelspacing=0.3,
    )
    return figure


def _name_groups(panel: Axes, points: np.ndarray, groups: list[tuple[str, np.ndarray]]) -> None:
    """Write each group's name where its cells are densest, names moved apart where they meet.

    The name of a group that it would hide stands above it.
    """
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    span[span == 0] = 1
    names, places = [], []
    for name, member in groups:
        if not member.any():
            continue
        mine = (points[member] - low) / span
        some = mine[:: max(1, len(mine) // 300)]
        distance = np.linalg.norm(some[:, None] - some[None], axis=-1)
        names.append(name)
        place = some[np.exp(-((distance / 0.04) ** 2)).sum(axis=1).argmax()]
        hidden = np.quantile(np.abs(mine - place).max(axis=1), 0.8) < HIDES
        places.append(np.add(place, (0, 1.4 * HIDES)) if hidden else place)
    for name, place in zip(names, _apart(np.array(places)), strict=True):
        panel.text(*(low + span * place), name, ha="center", va="center", fontsize=8,
                   weight="bold", path_effects=HALO)  # fmt: skip


def _apart(places: np.ndarray, width: float = 0.06, height: float = 0.045) -> np.ndarray:
    """Push apart places (n, 2) in the unit square that are closer than a name is wide and high."""
    size = np.array([width, height])
    for _ in range(60):
        gap = (places[:, None] - places[None]) / size
        distance = np.linalg.norm(gap, axis=-1) + 10.0 * np.eye(len(places))
        push = (
            np.clip(1 - distance, 0, None)[..., None] * gap / np.maximum(distance, 0.05)[..., None]
        )
        if not push.any():
            break
        places = places + 0.25 * push.sum(axis=1) * size
    return places


def lighter(colour: str) -> str:
    return mpl.colors.to_hex(0.45 * np.array(to_rgb(colour)) + 0.55)


def natural(name: str) -> list[tuple[int, str]]:
    """2 before 10, as people count."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name) if p]
