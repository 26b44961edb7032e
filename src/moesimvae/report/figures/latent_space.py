"""A run's latent space in two dimensions: by true label, and by cluster."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moesimvae.evaluation.matching import match
from moesimvae.report import style, words
from moesimvae.report.figures.inputs import Part
from moesimvae.report.style import HALO, NOISE, UNSCORED, WIDTH, Picture, key, lighter
from moesimvae.report.tables.sureness import HARDLY, mark

HIDES = 0.025  # of a panel's side: half of the extent that a name covers


def pictures(part: Part) -> Iterator[Picture]:
    """One figure per run; for one without a latent space, a figure that says why."""
    for view in part.experiment.views:
        if view.run.dataset != part.dataset:
            continue
        method = part.experiment.methods[view.run.method].title
        title = f"Latent space of {method} on {part.whole} (seed {view.run.seed})"
        name = f"latent_{words.slug(view.run.name, '_')}"
        if view.missing:
            yield Picture.missing(name, part.dataset, title, view.missing)
            continue
        some = f"{len(view.points):,} of {view.n_cells:,} cells, drawn at random"
        if len(view.points) == view.n_cells:
            some = f"all {view.n_cells:,} cells"
        populations, clusters = len(set(view.truth) - {""}), len(set(view.clusters) - {-1})
        how = "Each cluster has its own colour; no cell has a true label."
        alt = f"Scatter plot of the cells in {clusters} clusters."
        if populations:
            how = (
                "Left: by true label; right: by cluster. Each cluster has the colour of its "
                "matched population (one-to-one matching with most cells in agreement); further "
                "clusters of mostly the same population have a lighter shade of it."
            )
            alt = (
                f"Two scatter plots of the same cells: {populations} true populations on the left, "
                f"{clusters} clusters on the right."
            )
        if view.axes == "UMAP":
            how += " Distances between groups in a UMAP mean little."
        if view.unstable:
            how += f" {HARDLY}: hardly a cluster (low stability under resampling)."
        figure = draw(view.points, view.truth, view.clusters, title, view.axes, view.unstable)
        yield Picture(name, part.dataset, title, f"{title}: {some}. {how}", alt, figure)


@style.styled
def draw(
    points: np.ndarray,
    truth: np.ndarray,
    clusters: np.ndarray,
    title: str,
    axes: str = "UMAP",
    unstable: frozenset[int] = frozenset(),
) -> Figure:
    """Two panels of the same cells: by true label, and by cluster in its population's colour.

    Without any true label, the second panel alone, each cluster in a colour of its own.

    points: (n, 2); truth: (n,) strings, "" = unscored (grey); clusters: (n,) integers, -1 = noise.
    An unmatched cluster has a lighter tint of its majority population's colour.
    unstable: clusters to be marked as hardly clusters.
    """
    names = style.populations_of(truth)
    colour = style.colours_of(names)
    matched = match(truth, clusters)
    order = np.random.default_rng(0).permutation(len(points))  # no population hides another
    points, truth, clusters = points[order], truth[order], clusters[order]

    by_truth = np.array([colour.get(name, UNSCORED) for name in truth])
    shade: dict[int, str] = {-1: NOISE}
    numbers = sorted(set(clusters) - {-1})
    if not names:
        shade |= style.colours_of(numbers)
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
    if unstable.intersection(numbers):
        entries.append(("none", f"{HARDLY}  hardly a cluster (not stable)"))
    longest = max((len(text) for _, text in entries), default=0)
    columns = max(1, min(5, int(WIDTH / (0.32 + 0.058 * longest))))
    rows = -(-len(entries) // columns)

    figure = style.sheet(3.75 + 0.175 * rows, title)
    marks = {name: name if short else str(i) for i, name in enumerate(names, 1)}
    shown = [
        (by_truth, [(marks[n], truth == n) for n in names], "True label"),
        (
            by_cluster,
            [(mark(c, unstable), clusters == c) for c in numbers],
            f"Cluster ({len(numbers)} found)"
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
    keys = [key(text, c) for c, text in entries]
    style.legend_below(figure, keys, columns, columnspacing=1.0, handletextpad=0.2,
                       labelspacing=0.3)  # fmt: skip
    return figure


def _name_groups(panel: Axes, points: np.ndarray, groups: list[tuple[str, np.ndarray]]) -> None:
    """Write each group's name where its cells are densest, moving overlapping names apart.

    A name that would hide its group is placed above it.
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
        x, y = low + span * place
        panel.text(x, y, name, ha="center", va="center", fontsize=8, weight="bold",
                   path_effects=HALO)  # fmt: skip


def _apart(places: np.ndarray, width: float = 0.06, height: float = 0.045) -> np.ndarray:
    """Push apart places (n, 2) in the unit square closer than a name's width and height."""
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
