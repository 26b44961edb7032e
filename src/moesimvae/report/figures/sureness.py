"""How many clusters there are, and how certain they are, according to resampling."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from moesimvae.report import style
from moesimvae.report.figures import merges
from moesimvae.report.figures.inputs import Part
from moesimvae.report.style import DARK, QUIET, Picture
from moesimvae.studies.views import unstable

Bin = Mapping[str, float]
PREFIX = "sure_"  # of the figures' files, by which a page finds them


def pictures(part: Part) -> Iterator[Picture]:
    """On the number of clusters, if it was estimated, and on the showcase run's clusters."""
    runs = part.showcases
    told = [part.facts.n_clusters_evidence, *(run.facts.get("evidence") for run in runs)]
    for evidence in [one for one in told if one and one["curve"]][:1]:
        yield _how_many(f"{PREFIX}number_{part.name}", part, evidence)
    for run in runs:
        if stability := run.facts.get("stability"):
            name = f"{part.name}_{run.run.method}_seed{run.run.seed}"
            yield _merges(f"{PREFIX}merges_{name}", part, part.of_run(run), stability)
            yield _reliability(f"{PREFIX}reliability_{name}", part, part.of_run(run), stability)


def _how_many(name: str, part: Part, evidence: Mapping[str, Any]) -> Picture:
    title = f"How many clusters: {part.whole}"
    chosen, (low, high) = evidence["n_clusters"], evidence["interval"]
    return Picture(
        name,
        part.dataset,
        title,
        f"{title}. Top: stability by number of groups, i.e. how well groups are recovered from "
        "half of the cells (Jaccard index, mean over resamples and groups; dotted: 0.6, below "
        "which a group is hardly one). Bottom: the sum over groups of stability minus 0.6, which "
        f"is largest at the number chosen, {chosen}. Grey: {low} to {high}, the range of this "
        "number in 95 % of bootstraps of the resamples. No labels are used.",
        f"Two line plots over the number of groups; {chosen} is chosen, {low} to {high} likely.",
        draw_curve(evidence, title),
    )


def _merges(name: str, part: Part, of: str, stability: Mapping[str, Any]) -> Picture:
    title = f"What the clusters would merge into: {of}"
    return Picture(
        name,
        part.dataset,
        title,
        f"{title}. Clusters that often form one group when half of the cells are grouped again are "
        "joined near the left; those joined at the right are always separate.",
        f"Tree of {len(stability['clusters'])} clusters by how often they are found in one group.",
        merges.draw(
            np.array(stability["merges"]), np.array(stability["cells"]), title, unstable(stability)
        ),
    )


def _reliability(name: str, part: Part, of: str, stability: Mapping[str, Any]) -> Picture:
    title = f"Calibration of probabilities: {of}"
    return Picture(
        name,
        part.dataset,
        title,
        f"{title}. Share of cells found in their cluster when half of the cells are grouped again, "
        "by the probability of that cluster: as given by the network, and calibrated (temperature "
        f"{stability['temperature']:.2f}), as written to file. On the dotted line, probabilities "
        "equal the shares. Larger dots: more cells.",
        "Share of cells found in their cluster against its probability, before and after "
        "calibration.",
        draw_reliability(stability["reliability_before"], stability["reliability"], title),
    )


@style.styled
def draw_curve(evidence: Mapping[str, Any], title: str) -> Figure:
    """evidence: from `model.stability.Evidence.facts`, with a curve."""
    curve = evidence["curve"]
    numbers = [point["n_clusters"] for point in curve]
    figure = style.sheet(3.4, title)
    panels = figure.subplots(2, 1, sharex=True)
    low, high = evidence["interval"]
    for panel, key, label in zip(
        panels, ("stability", "score"), ("Stability", "Σ (stability − 0.6)"), strict=True
    ):
        panel.axvspan(low - 0.5, high + 0.5, color="#E3E3E3", linewidth=0)
        panel.axvline(evidence["n_clusters"], color=QUIET, linewidth=1)
        values = [point[key] for point in curve]
        panel.plot(numbers, values, color=DARK[0], marker="o", markersize=3, linewidth=1.2)
        panel.axhline(0.6 if key == "stability" else 0, color=QUIET, linewidth=0.8, linestyle=":")
        panel.set_ylabel(label)
        panel.grid(axis="y")
    panels[0].set_ylim(0, 1.05)
    panels[1].set_xlabel(f"Number of groups (chosen: {evidence['n_clusters']})")
    panels[1].xaxis.set_major_locator(MaxNLocator(10, integer=True))
    figure.align_ylabels(panels)
    return figure


@style.styled
def draw_reliability(before: Sequence[Bin], after: Sequence[Bin], title: str) -> Figure:
    """before, after: bins of `model.calibration.reliability`."""
    figure = style.sheet(3.2, title)
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle=":")
    keys = []
    for bins, colour, label in ((before, QUIET, "as given"), (after, DARK[0], "calibrated")):
        x, y, n = (np.array([b[key] for b in bins]) for key in ("probability", "found", "cells"))
        panel.plot(x, y, color=colour, linewidth=1)
        panel.scatter(x, y, s=8 + 60 * n / n.sum(), color=colour, zorder=3, clip_on=False)
        keys.append(style.key(label, colour))
    panel.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="Probability of the cluster",
              ylabel="Share of cells found in it")  # fmt: skip
    panel.set_aspect("equal")
    panel.grid()
    style.legend_below(figure, keys, 2)
    return figure
