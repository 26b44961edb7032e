"""Every picture of an experiment, with its caption and its words for those who cannot see it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moesimvae import files
from moesimvae.evaluation import comparison
from moesimvae.report import IN_DETAIL, figures, scaling, spread, words
from moesimvae.report import showcase as shown
from moesimvae.report.figure3 import Figure3, figure3_picture
from moesimvae.report.latent import View, latent
from moesimvae.report.showcase import Showcase
from moesimvae.report.style import Picture, method_colours

Block = dict[str, Any]


def read_histories(runs: Iterable[str | Path]) -> dict[tuple[str, str], dict[str, Any]]:
    """(data set, method) → "seed 0" → loss term → values, of the run folders that hold them."""
    histories: dict[tuple[str, str], dict[str, Any]] = {}
    for run in map(Path, runs):
        dataset, method, seed = run.parts[-3:]
        history = files.read_json(run / "history.json") if (run / "history.json").exists() else {}
        if any(values for term, values in history.items() if term != "step"):
            name = f"seed {seed.removeprefix('seed')}"
            histories.setdefault((dataset, method), {})[name] = history
    return histories


def pictures(
    table: pd.DataFrame,
    runs: pd.DataFrame,
    metrics: dict[str, Block],
    methods: dict[str, Block],
    datasets: Mapping[str, Block],
    views: Iterable[View],
    histories: Mapping[tuple[str, str], Mapping[str, Mapping[str, Sequence[float]]]],
    populations: pd.DataFrame | None = None,
    showcases: Iterable[Showcase] = (),
    figures3: Iterable[Figure3] = (),
) -> Iterable[Picture]:
    """Every picture of an experiment: across data sets, then for each of the first IN_DETAIL.

    table: from `comparison.compare`; views: latent spaces to draw; histories:
    (data set, method) → name of the run → loss term → values; populations: the score rule's
    tables of populations; showcases: runs whose clusters are drawn; figures3: data sets that have
    a Figure 3. What a data set gets follows
    from what it is: groups of data sets have violins, panels of markers a heat map and the
    reconstruction by expert, populations of unlike sizes their F1 by size.
    """
    views, showcases, figures3 = list(views), list(showcases), list(figures3)
    told = {*table["method"], *table["base"]}  # the registry has more than there are colours
    colours = method_colours({name: block for name, block in methods.items() if name in told})
    colours |= {r.method: colours[r.base] for r in table[table["choice"] != ""].itertuples()}
    run_here = [d for d in datasets if d in set(table["dataset"][table["source"] == "run"])]
    if 1 < len(run_here) <= IN_DETAIL:
        yield spread.spread_picture(table, metrics, datasets, colours)
        if scaling.grows({d: datasets[d] for d in run_here}):
            yield scaling.scaling_picture(table, datasets, colours)
    if spread.grouped(datasets):
        for metric in spread.shown_metrics(table):
            yield spread.violins_picture(table, metric, metrics, datasets, colours)
    for (dataset, split), rows in table.groupby(["dataset", "split"], sort=False):
        if dataset not in run_here[:IN_DETAIL]:
            continue
        if datasets[dataset]["simulated"] or datasets[dataset]["partial"]:
            rows = rows[rows["source"] == "run"]  # noqa: PLW2901  published ones: of whole data sets
        title = words.title_of(dataset, split, datasets[dataset])
        whole = words.title_of(dataset, "all", datasets[dataset])
        name = re.sub(r"[^A-Za-z0-9]+", "_", dataset if split == "all" else f"{dataset}_{split}")
        own = rows[rows["source"] == "run"]
        failed = own[(own["n"] == 0) & (own["status"] != comparison.NOT_SCORED)]
        failed = failed.drop_duplicates("method")
        dnf = "; ".join(f"{r.title} ({comparison.short(r.status)})" for r in failed.itertuples())
        dnf = f" Did not finish: {dnf}." if dnf else ""
        yield _scores_picture(rows, metrics, colours, dataset, title, name, dnf)
        if split != "all" and split != table[table["dataset"] == dataset]["split"].iloc[0]:
            continue  # cost and latent space do not depend on the split: once is enough
        mine = runs[runs["dataset"] == dataset]
        contestants = own[own["kind"] != "control"]
        if contestants["wall_seconds"].notna().any():
            yield _cost_picture(rows, mine, colours, dataset, whole, name)
        if (contestants["n"] > 0).any():
            yield _time_picture(rows, metrics, colours, dataset, title, name, dnf)
        if populations is not None:
            first = [s.method for s in showcases if s.dataset == dataset][:1]
            picture = shown.population_picture(
                populations, table, dataset, first[0] if first else "", colours, whole
            )
            yield from [picture] if picture else []
        for paper in figures3:
            if paper.dataset == dataset:
                yield figure3_picture(paper, methods, datasets[dataset])
        for view in views:
            if view.dataset == dataset:
                yield _latent_picture(view, methods[view.method]["title"], whole)
        for run in showcases:
            if run.dataset == dataset:
                yield from shown.pictures(run, methods[run.method]["title"], whole)
        for (where, method), history in histories.items():
            if where == dataset:
                heading = f"Training of {methods[method]['title']} on {whole}"
                yield _losses_picture(history, dataset, heading, f"{name}_{method}")


def _scores_picture(
    rows: pd.DataFrame, metrics: dict, colours: dict, dataset: str, title: str, name: str, dnf: str
) -> Picture:
    first = rows[(rows["source"] == "run") & (rows["metric"] == rows["metric"].iloc[0])]
    ranked = first[first["kind"] == "method"].sort_values("mean", ascending=False)
    said = ", ".join(f"{r.title} {r.mean:.3f}" for r in ranked.itertuples() if not np.isnan(r.mean))
    published = " Diamonds: published values, not run here." if (
        set(rows[rows["source"] == "published"]["method"]) & set(first["method"])
    ) else ""  # fmt: skip
    what = metrics[first["metric"].iloc[0]]["title"]
    return Picture(
        f"scores_{name}",
        dataset,
        f"Scores on {title}",
        f"Scores on {title}. Each dot is one seed, the bar their mean, the line their range; "
        "arrows point to better. Controls and oracles stand on grey; the dotted line is the best "
        f"control that knows nothing of the cells.{_explained(rows)}{published}{dnf}",
        f"Dot plots of the scores of {len(first)} methods on {title}. Mean {what}: {said}.{dnf}",
        figures.scores(rows, metrics, colours, f"Scores on {title}"),
    )


def _explained(rows: pd.DataFrame, choices: bool = True) -> str:
    """The signs behind methods' names, as far as they are there."""
    own = rows[rows["source"] == "run"]
    said = ""
    if own["uses_prior"].any():
        said += " ‡ uses prior knowledge about the cells."
    if (own["choice"] != "").any():
        said += (
            " Oracle and label-free: the same method with settings chosen by looking at the true "
            "labels, and without them."
            if choices
            else " Methods have the settings of config.yaml; nothing was chosen by scores."
        )
    return said


def _cost_picture(
    rows: pd.DataFrame, runs: pd.DataFrame, colours: dict, dataset: str, title: str, name: str
) -> Picture:
    own = rows[(rows["source"] == "run") & (rows["kind"] != "control") & (rows["choice"] == "")]
    own = own.drop_duplicates("method")
    said = ", ".join(
        f"{r.title} {r.wall_seconds:.3g} s, {r.peak_memory_mb:.0f} MB"
        for r in own.sort_values("wall_seconds").itertuples()
    )
    return Picture(
        f"cost_{name}",
        dataset,
        f"Cost on {title}",
        f"Cost on {title}. Wall-clock time and peak memory of each run, on logarithmic scales. "
        "Red signs are runs that did not finish, at what they had used when they ended. Times are "
        f"comparable only between runs on the same device.{_explained(rows, choices=False)}",
        f"Dot plots of time and peak memory on {title}: {said}.",
        figures.cost(rows, runs, colours, f"Cost on {title}"),
    )


def _time_picture(
    rows: pd.DataFrame, metrics: dict, colours: dict, dataset: str, title: str, name: str, dnf: str
) -> Picture:
    name_of_metric = rows[rows["source"] == "run"]["metric"].iloc[0]
    metric = metrics[name_of_metric]["title"]
    shown = rows[(rows["source"] == "run") & (rows["metric"] == name_of_metric)]
    shown = shown[(shown["kind"] != "control") & (shown["choice"] == "") & (shown["n"] > 0)]
    front = shown[figures.on_front(shown, metrics[name_of_metric]["better"])]
    best = ", ".join(front.sort_values("wall_seconds")["title"])
    return Picture(
        f"quality_vs_time_{name}",
        dataset,
        f"Quality and time on {title}",
        f"{metric} against time on {title}: mean over the finished seeds, with the range of "
        f"{metric}. Up and left is better. Dashed: the Pareto front, of methods that no other "
        f"beats in both ({best}); oracles and methods that use prior knowledge do not compete."
        f"{_explained(rows, choices=False)}{dnf}",
        f"Scatter plot of {metric} against wall-clock seconds on {title}, one point a method; on "
        f"the Pareto front, from quick to slow: {best}. The numbers are in the table.",
        figures.quality_vs_time(rows, metrics, colours, f"{metric} and time on {title}"),
    )


def _latent_picture(view: View, method: str, title: str) -> Picture:
    heading = f"Latent space of {method} on {title} (seed {view.seed})"
    name = f"latent_{view.dataset}_{view.method}_seed{view.seed}"
    if view.missing:
        said = f"{heading} cannot be shown. {view.missing.rstrip('.')}."
        figure = figures.unavailable(heading, view.missing)
        return Picture(name, view.dataset, heading, said, said, figure)
    shown = f"{len(view.points):,} of {view.n_cells:,} cells, drawn at random" if (
        len(view.points) < view.n_cells
    ) else f"all {view.n_cells:,} cells"  # fmt: skip
    populations, found = len(set(view.truth) - {""}), len(set(view.clusters) - {-1})
    return Picture(
        name,
        view.dataset,
        heading,
        f"{heading}: {shown}. "
        + (
            "Left by true label, right by cluster. A cluster has the colour of the population it "
            "is matched to (one to one, most cells in agreement); a further cluster of mostly the "
            "same population has that colour, lighter."
            if populations
            else "Each cluster has a colour of its own; no cell has a true label."
        )
        + (" Distances between groups in a UMAP mean little." if view.axes == "UMAP" else ""),
        f"Two scatter plots of the same cells: {populations} true populations on the left, {found} "
        "clusters on the right."
        if populations
        else f"Scatter plot of the cells in {found} clusters.",
        latent(view.points, view.truth, view.clusters, heading, view.axes),
    )


def _losses_picture(
    histories: Mapping[str, Mapping[str, Sequence[float]]], dataset: str, heading: str, name: str
) -> Picture:
    end = ", ".join(
        f"{term} {np.mean([h[term][-1] for h in histories.values() if term in h]):.3g}"
        for term in next(iter(histories.values()))
        if term != "step"
    )
    return Picture(
        f"losses_{name}",
        dataset,
        heading,
        f"{heading}: loss terms of {', '.join(histories)}, each on its own scale; recorded values "
        "(pale) and, of long records, their running mean. The number above a panel is the mean "
        "over the runs of the line's end.",
        f"Line plots of the loss terms; last values: {end}.",
        figures.losses(histories, heading),
    )
