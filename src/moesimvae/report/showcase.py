"""What one run found on one data set, as pictures with captions: the showcase method's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moesimvae.report import experts, markers, populations
from moesimvae.report.figures import unavailable
from moesimvae.report.style import Picture
from moesimvae.studies import panels

Block = dict[str, Any]


@dataclass
class Showcase:
    """A run that gave labels, its cells in the data set's order.

    truth: (n,) labels, "" = unscored; clusters: (n,) integers, -1 = noise; panel: None for data
    that is no cytometry; decoded: from `reconstruct_run`, without rows where there is no
    model.
    """

    dataset: str
    method: str
    seed: int
    cells: np.ndarray
    truth: np.ndarray
    clusters: np.ndarray
    panel: panels.Panel | None
    decoded: pd.DataFrame


def read_showcase(
    run: str | Path, labels: str | Path, features: str | Path, decoded: str | Path
) -> Showcase | None:
    """Put together what `pictures` draws of a run folder; None where the run gave no labels.

    decoded: parquet file of `reconstruction.reconstruct_run`.
    """
    run = Path(run)
    if not (run / "labels.parquet").exists():
        return None
    dataset, method, seed = run.parts[-3:]
    truth = pd.read_parquet(labels).set_index("cell")
    clusters = pd.read_parquet(run / "labels.parquet").set_index("cell")["label"]
    return Showcase(
        dataset,
        method,
        int(seed.removeprefix("seed")),
        truth.index.to_numpy(),
        truth["label"].where(truth["scored"], "").to_numpy(str),
        clusters.loc[truth.index].to_numpy(int),
        panels.read_panel(features),
        pd.read_parquet(decoded),
    )


def pictures(shown: Showcase, method: str, title: str) -> Iterable[Picture]:
    """Confusion plot, marker heat map and PCA per expert, as far as the data have them.

    method, title: how method and data set are called, the latter with what must be said of it.
    """
    name = f"{shown.dataset}_{shown.method}_seed{shown.seed}"
    where = f"{method} on {title}, seed {shown.seed}"
    if 1 < len(set(shown.truth) - {""}) <= populations.MOST:
        yield _confusion(shown, where, name)
    if shown.panel is not None:
        yield _markers(shown, where, name)
    if len(shown.decoded):
        yield _experts(shown, where, name)
    elif shown.decoded.attrs.get("reason"):
        heading, reason = f"Reconstruction by expert: {where}", shown.decoded.attrs["reason"]
        said = f"{heading} cannot be shown: {reason}"
        figure = unavailable(heading, reason)
        yield Picture(f"experts_{name}", shown.dataset, heading, said, said, figure)


def _confusion(shown: Showcase, where: str, name: str) -> Picture:
    heading = f"Clusters and populations: {where}"
    counts, names = populations.confusion_counts(shown.truth, shown.clusters)
    purest = [
        f"{c} {p} {counts.loc[c, p] / counts.loc[c].sum():.0%}"
        for c, (p, first) in names.items()
        if first and p in counts.columns
    ]
    return Picture(
        f"confusion_{name}",
        shown.dataset,
        heading,
        f"{heading}. Each row is a cluster and sums to 1 over the populations (columns, the "
        "largest first). A frame marks the cluster matched to a population, one to one, as mean F1 "
        f"(Hungarian) counts it; further clusters stand below it.{_unscored(shown)}"
        f"{_beyond(shown.clusters)}",
        f"Heat map of {len(counts)} clusters by {counts.shape[1]} populations. Matched cluster, "
        f"population and its share of the cluster: {', '.join(purest)}.",
        populations.confusion(shown.truth, shown.clusters, heading),
    )


def _markers(shown: Showcase, where: str, name: str) -> Picture:
    heading = f"Markers by cluster: {where}"
    table = markers.medians(shown.panel, shown.clusters)
    names = populations.named_clusters(shown.truth, shown.clusters)
    sizes = pd.Series(shown.clusters).value_counts()
    noise = " Noise cells are left out." if (shown.clusters == -1).any() else ""
    highest = ", ".join(f"{c} {row.idxmax()}" for c, row in table.iterrows())
    return Picture(
        f"markers_{name}",
        shown.dataset,
        heading,
        f"{heading}. Median arcsinh expression over all cells of each cluster, cells without a "
        "true label among them; clusters and markers in the order of average linkage. Right: "
        f"cells of each cluster, the cluster{_matched(shown)}.{noise}{_beyond(shown.clusters)}",
        f"Heat map of {len(table)} clusters by {table.shape[1]} markers. Highest marker of each "
        f"cluster: {highest}.",
        markers.heat_map(table, sizes, names, heading),
    )


def _experts(shown: Showcase, where: str, name: str) -> Picture:
    heading = f"Reconstruction by expert: {where}"
    table = shown.decoded
    quiet = experts.silent(table, shown.clusters)
    said = (
        f"silent, since no cell is theirs: {experts.listed(quiet)}" if quiet else "none is silent"
    )
    n, every = len(table), len(shown.cells)
    some = f"{n:,} of {every:,} cells, drawn at random" if n < every else f"all {n:,} cells"
    truth = pd.Series(shown.truth, shown.cells).loc[table["cell"]].to_numpy(str)
    used = table.attrs["experts"] - len(quiet)
    return Picture(
        f"experts_{name}",
        shown.dataset,
        heading,
        f"{heading}: principal components of the cells as the model was given them ({some}). Each "
        f"panel is an expert{_matched(shown, ' with')}: its cells in blue, their reconstruction in "
        "red, the other cells "
        f"grey. Of {table.attrs['experts']} experts {used} decode cells; {said}.{_unscored(shown)}",
        f"Scatter plots of cells and their reconstruction for {used} experts; {said}.",
        experts.experts(
            table, truth, populations.named_clusters(shown.truth, shown.clusters), heading
        ),
    )


def population_picture(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    dataset: str,
    showcase: str,
    colours: Mapping[str, str],
    title: str,
) -> Picture | None:
    """F1 of every population beside its size; None where all are of like size.

    frame: the score rule's table of populations; table: the comparison.
    """
    methods = populations.compared(table, showcase, dataset)
    frame = frame[(frame["dataset"] == dataset) & frame["method"].isin(methods)]
    frame = frame[frame["split"] == ("test" if "test" in set(frame["split"]) else "all")]
    sizes = frame.groupby("population")["n_cells"].first()
    if len(sizes) < 2 or sizes.max() < populations.RARE * sizes.min():
        return None
    own = table[(table["source"] == "run") & table["method"].isin(methods)]
    titles = {r.method: r.title + (" ‡" if r.uses_prior else "") for r in own.itertuples()}
    prior = " ‡ uses prior knowledge about the cells." if own["uses_prior"].any() else ""
    cells = "test cells" if (frame["split"] == "test").all() else "cells"
    heading = f"Populations by size on {title}"
    mean = frame.groupby(["method", "population"])["f1"].mean()
    smallest = sizes.idxmin()
    said = ", ".join(f"{titles[m]} {mean[m, smallest]:.2f}" for m in methods)
    return Picture(
        f"populations_{dataset}",
        dataset,
        heading,
        f"{heading}: F1 of the cluster matched to each population (one to one, as in mean F1 "
        "(Hungarian); 0 where none is), mean and range over seeds. Shown are "
        f"{', '.join(titles[m] for m in methods)}: the showcase method and the best others by "
        f"mean F1.{prior} Scores are of {cells} that have a true label.",
        f"Dot plot of F1 for {len(sizes)} populations; the smallest is {smallest} with "
        f"{sizes.min():,} cells, F1 {said}.",
        populations.by_population(frame, methods, titles, colours, heading),
    )


def _matched(shown: Showcase, start: str = " and") -> str:
    """How a cluster is named after a population, where any cell has a true label."""
    if not (shown.truth != "").any():
        return ""
    return f"{start} the population it is matched to, or in brackets the one of most of its cells"


def _unscored(shown: Showcase) -> str:
    n = int((shown.truth == "").sum())
    if n == len(shown.truth):
        return " No cell has a true label."
    return f" {n:,} of {len(shown.truth):,} cells have no true label: grey." if n else ""


def _beyond(clusters: np.ndarray) -> str:
    n = len(set(clusters) - {-1})
    most = populations.MOST
    return f" Of {n} clusters, the {most} largest are shown." if n > most else ""
