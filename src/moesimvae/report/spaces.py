"""Latent spaces that can be zoomed into: coordinates and labels, small enough for one page.

Bokeh draws them in the browser, when somebody opens one.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bokeh.embed import json_item
from bokeh.models import ColumnDataSource, HoverTool, Range1d, WheelZoomTool
from bokeh.plotting import figure

from moesimvae.errors import UserError
from moesimvae.evaluation.matching import match
from moesimvae.report.latent import lighter, natural
from moesimvae.report.style import NOISE, PALETTE, UNSCORED

Block = dict[str, Any]

MOST_CELLS = 5_000  # of each data set
MOST_BYTES = 2_000_000  # of all data sets of a page together
FINEST = 32_767  # 16 bits for each coordinate: finer than any screen


def spaces(
    projections: Sequence[str | Path],
    labels: Sequence[str | Path],
    clustered: Mapping[str, Sequence[Path]],
    methods: dict[str, Block],
    titles: Mapping[str, str],
) -> list[Block]:
    """For each data set its cells in each latent space, with the colours of each labelling.

    projections: parquet files …/<data set>/<method>/seed<seed>.parquet (cell, x, y), without rows
    where a run has no latent space; labels: …/<data set>/labels.parquet; clustered: data set →
    folders of runs whose clusters can be shown in any of these spaces; titles: of data sets.

    Every view of a data set shows the same cells: at most MOST_CELLS of those that all its
    projections have, the first ones of a fixed permutation, and fewer where all views of the page
    would exceed MOST_BYTES. Data sets without any latent space are left out.
    """
    found = {}
    for path in map(Path, labels):
        dataset = path.parent.name
        mine = [Path(p) for p in projections if Path(p).parts[-3] == dataset]
        frames = {p: frame for p in mine if len(frame := pd.read_parquet(p))}
        if frames:
            found[dataset] = (path, frames, [r for r in clustered[dataset] if _finished(r)])
    each = [4 * len(frames) + 2 * (len(runs) + 1) for _, frames, runs in found.values()]
    most = min(MOST_CELLS, MOST_BYTES * 3 // 4 // max(sum(each), 1))  # 3 bytes are 4 letters
    return [
        _space(dataset, *parts, methods, titles[dataset], most) for dataset, parts in found.items()
    ]


def _finished(run: Path) -> bool:
    return (run / "labels.parquet").exists()


def _space(
    dataset: str,
    labels: Path,
    frames: Mapping[Path, pd.DataFrame],
    runs: Sequence[Path],
    methods: dict[str, Block],
    title: str,
    most: int,
) -> Block:
    truth = pd.read_parquet(labels)
    every = pd.Index(truth["cell"])
    points = {}
    for path, frame in frames.items():
        at = every.get_indexer(frame["cell"])
        if (at < 0).any():
            raise UserError(
                f"{path} holds {(at < 0).sum()} cells (such as {frame['cell'][at < 0].iloc[0]}) "
                f"that are not in {labels}; delete it, so that it is made again."
            )
        points[path] = np.full((len(every), 2), np.nan)
        points[path][at] = frame[["x", "y"]]
    shared = np.all([np.isfinite(xy[:, 0]) for xy in points.values()], axis=0)
    order = np.random.default_rng(0).permutation(len(every))
    cells = order[shared[order]][:most]
    scored = truth["label"].where(truth["scored"], "").to_numpy(object)
    names = sorted(set(scored) - {""}, key=natural)
    colours = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
    return {
        "name": dataset,
        "title": title,
        "of": len(truth),
        "cells": len(cells),
        "labelled": bool(names),
        "spaces": [
            {
                "title": f"{methods[path.parent.name]['title']}, "
                f"{path.stem.replace('seed', 'seed ')}",
                "axes": frame.attrs.get("axes", "UMAP"),
                "xy": _packed(_fine(points[path][cells])),
            }
            for path, frame in frames.items()
        ],
        "colours": [
            _by_truth(scored[cells], names, colours),
            *(_by_cluster(run, every, cells, scored, colours, methods) for run in runs),
        ],
    }  # fmt: skip


def _by_truth(truth: np.ndarray, names: list[str], colours: Mapping[str, str]) -> Block:
    entries = [(name, colours[name]) for name in names]
    codes = pd.Categorical(truth, names).codes.astype(int)
    if (codes < 0).any():
        entries.append(("no true label (not scored)", UNSCORED))
        codes[codes < 0] = len(names)
    return _colouring("True label", codes, entries)


def _by_cluster(
    run: Path,
    every: pd.Index,
    cells: np.ndarray,
    truth: np.ndarray,
    colours: Mapping[str, str],
    methods: dict[str, Block],
) -> Block:
    """A cluster has the colour of the population it is matched to, a further one of mostly the
    same population that colour, lighter."""
    given = pd.read_parquet(run / "labels.parquet")
    label = np.full(len(every), -1)
    at = every.get_indexer(given["cell"])
    label[at[at >= 0]] = given["label"].to_numpy()[at >= 0]
    matched = match(truth, label)
    found = sorted(set(label) - {-1})
    entries = []
    for cluster in found:
        if not colours:  # nobody knows the populations
            entries.append((str(cluster), PALETTE[len(entries) % len(PALETTE)]))
            continue
        name, first = matched.get(cluster, ("", False))
        colour = colours[name] if name else UNSCORED
        entries.append(
            (f"{cluster}: {name}" if name else str(cluster), colour if first else lighter(colour))
        )
    codes = pd.Categorical(label[cells], found).codes.astype(int)
    if (codes < 0).any():
        entries.append(("noise", NOISE))
        codes[codes < 0] = len(found)
    seed = run.name.replace("seed", "seed ")
    method = methods[run.parent.name]["title"]
    return _colouring(f"{method} ({len(found)} clusters, {seed})", codes, entries)


def _colouring(title: str, codes: np.ndarray, entries: Iterable[tuple[str, str]]) -> Block:
    names, colours = zip(*entries, strict=True)
    width = 1 if len(names) <= 256 else 2  # bytes
    return {
        "title": title,
        "width": width,
        "codes": _packed(codes.astype(f"<u{width}")),
        "names": names,
        "colours": colours,
    }


def _fine(points: np.ndarray) -> np.ndarray:
    """(n, 2) → 2n 16-bit integers, all x before all y, the wider axis filling their range."""
    centred = points - (points.min(axis=0) + points.max(axis=0)) / 2
    return np.round(centred / max(np.abs(centred).max(), 1e-12) * FINEST).T.astype("<i2")


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def plot() -> Block:
    """The empty plot that the page's script fills: pan, zoom, and what a cell is on hover."""
    cells = ColumnDataSource({k: [] for k in ("x", "y", "colour", "alpha", "truth", "cluster")},
                             name="cells")  # fmt: skip
    made = figure(
        name="plot", sizing_mode="stretch_both", tools="pan,box_zoom,reset,save",
        active_drag="pan", toolbar_location="above", x_range=Range1d(), y_range=Range1d(),
    )  # fmt: skip
    wheel = WheelZoomTool(modifiers={"ctrl": True})
    made.add_tools(wheel, HoverTool(tooltips=[("true label", "@truth"), ("cluster", "@cluster")]))
    made.toolbar.active_scroll = wheel
    made.toolbar.logo = None
    made.scatter("x", "y", source=cells, size=4, color="colour", alpha="alpha", line_color=None)
    made.grid.visible = False
    made.axis.major_label_text_font_size = "0pt"
    made.axis.major_tick_line_color = None
    made.axis.minor_tick_line_color = None
    return json_item(made, "space")
