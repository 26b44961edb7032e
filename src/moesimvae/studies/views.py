"""What finished runs left, aligned cell by cell: what their pictures are drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moesimvae import files
from moesimvae.errors import UserError
from moesimvae.evaluation import comparison
from moesimvae.evaluation.metrics import f_flowcap
from moesimvae.evaluation.scores import read_clusters
from moesimvae.handover import Clustered
from moesimvae.nouns import Run, Status
from moesimvae.studies.panels import Panel, read_panel

History = Mapping[str, Sequence[float]]  # loss term → one value for each recorded step

MOST_CELLS = 5_000  # of each data set's spaces
MOST_BYTES = 2_000_000  # of all data sets' spaces together


def labels_of(path: str | Path) -> pd.DataFrame:
    """A data set's labels.parquet by cell, with label "" for cells that are not scored."""
    labels = pd.read_parquet(path).set_index("cell")
    return labels.assign(label=labels["label"].where(labels["scored"], ""))


def clusters_of(run: str | Path) -> pd.Series:
    """Cell → cluster of a run folder, -1 = noise."""
    return pd.read_parquet(Path(run, "labels.parquet")).set_index("cell")["label"]


def unstable(stability: Mapping[str, Any]) -> frozenset[int]:
    """The unstable clusters of a run, according to its facts of stability."""
    values = enumerate(stability["clusters"])
    return frozenset(k for k, v in values if v is not None and v < stability["stable_from"])


def unstable_of(run: str | Path) -> frozenset[int]:
    """The same for a run folder; none where the run does not report stability."""
    told = Status.read(run).facts.get("stability")
    return frozenset() if told is None else unstable(told)


def read_clusterings(runs: Iterable[str | Path], cells: Sequence[str]) -> dict[str, Clustered]:
    """Method → what its run found of the cells; runs without labels are left out."""
    found = {}
    for run in map(Path, runs):
        if Status.read(run).status == "ok":
            extras = [run / f"{name}.npy" for name in ("probabilities", "embedding")]
            probabilities, embedding = (np.load(p) if p.exists() else None for p in extras)
            sure = None if probabilities is None else probabilities.max(axis=1)
            found[Run.of(run).method] = Clustered(read_clusters(run, cells), sure, embedding)
    return found


def read_histories(runs: Iterable[str | Path]) -> dict[Run, History]:
    """Run → its losses, of the run folders that hold any."""
    histories = {}
    for path in (Path(run, "history.json") for run in runs):
        history = files.read_json(path) if path.exists() else {}
        if any(values for term, values in history.items() if term != "step"):
            histories[Run.of(path.parent)] = history
    return histories


# --- one run ------------------------------------------------------------------------------------


@dataclass
class View:
    """One run's latent space.

    points: (n, 2); truth: (n,) labels, "" = unscored; clusters: (n,) integers, -1 = noise;
    n_cells: of the run, of which some are drawn. unstable: its unstable clusters. `missing` says
    why there are no points.
    """

    run: Run
    points: np.ndarray
    truth: np.ndarray
    clusters: np.ndarray
    n_cells: int = 0
    axes: str = "UMAP"
    missing: str = ""
    unstable: frozenset[int] = frozenset()


def read_view(projection: str | Path, labels: str | Path, folder: str | Path) -> View:
    """Align a projection (cell, x, y), the true labels and a run's clusters by cell.

    folder: the run's. Without points, the View says why: the run's own reason, or that the method
    gives no embedding.
    """
    run, points = Run.of(folder), pd.read_parquet(projection)
    if points.empty:
        empty = np.empty(0)
        status = Status.read(folder)
        reason = "This method produces no embedding."
        if status.status != "ok":
            reason = f"{comparison.failure(status.status)}: {status.reason}"
        return View(run, empty, empty, empty, missing=reason)
    truth, clusters, cells = labels_of(labels)["label"], clusters_of(folder), points["cell"]
    unknown = set(cells) - (set(truth.index) & set(clusters.index))
    if unknown:
        raise UserError(
            f"{projection} contains {len(unknown)} cells (such as {sorted(unknown)[0]}) that are "
            f"missing from {labels} or {Path(folder, 'labels.parquet')}; delete it to have it "
            "made again."
        )
    return View(
        run,
        points[["x", "y"]].to_numpy(),
        truth.loc[cells].to_numpy(str),
        clusters.loc[cells].to_numpy(int),
        len(clusters),
        points.attrs.get("axes", "UMAP"),
        unstable=unstable_of(folder),
    )


@dataclass
class Showcase:
    """A run that gave labels, with its cells in the data set's order.

    truth: (n,) labels, "" = unscored; clusters: (n,) integers, -1 = noise; panel: None for data
    other than cytometry; decoded: from `reconstruct_run`, without rows where there is no model;
    facts: the run's own.
    """

    run: Run
    cells: np.ndarray
    truth: np.ndarray
    clusters: np.ndarray
    panel: Panel | None
    decoded: pd.DataFrame
    facts: dict[str, Any]


def read_showcase(
    folder: str | Path, labels: str | Path, features: str | Path, decoded: str | Path
) -> Showcase | None:
    """What is drawn from a run folder; None where the run gave no labels.

    decoded: parquet file of `reconstruction.reconstruct_run`.
    """
    if not Path(folder, "labels.parquet").exists():
        return None
    truth = labels_of(labels)["label"]
    return Showcase(
        Run.of(folder),
        truth.index.to_numpy(),
        truth.to_numpy(str),
        clusters_of(folder).loc[truth.index].to_numpy(int),
        read_panel(features),
        pd.read_parquet(decoded),
        Status.read(folder).facts,
    )


# --- several runs on one data set -----------------------------------------------------------------


@dataclass
class Labelling:
    """One method's run: (n,) clusters of all cells, -1 = noise, and their F; or why there are none.

    f: F (FlowCAP) of the scored cells in `Figure3.test`.
    """

    method: str
    seed: int = 0
    clusters: np.ndarray | None = None
    f: float = np.nan
    missing: str = ""


@dataclass
class Figure3:
    """What Figure 3 shows of one data set; points are (n, 2), NaN where not drawn.

    truth: (n,) labels, "" = unscored; test: (n,) the cells that F is computed on; own: the last
    method's own latent space; labellings: the showcase method's, then the others'.
    """

    dataset: str
    truth: np.ndarray
    test: np.ndarray
    data: np.ndarray
    explained: list[float]
    values: str
    latent: np.ndarray
    axes: str
    own: np.ndarray
    labellings: list[Labelling]


def read_figure3(
    labels: str | Path,
    components: str | Path,
    runs: Iterable[str | Path],
    projections: Iterable[str | Path],
    methods: Sequence[str],
) -> Figure3:
    """Align one data set's runs, projections and true labels by cell.

    labels: labels.parquet; components: <data set>/<file> of `projections.components`; runs:
    folders, and projections: files of `projection`, of which those of other data sets and methods
    are ignored; methods: the showcase method first, the one with a space of its own last.
    """
    dataset, data = Path(components).parent.name, pd.read_parquet(components)
    truth = labels_of(labels)
    views = {Run.of(path).method: pd.read_parquet(path) for path in projections
             if Run.of(path).dataset == dataset}  # fmt: skip
    mine = {Run.of(run).method: Path(run) for run in runs if Run.of(run).dataset == dataset}
    held_out = (truth["split"] == "test").to_numpy()
    test = held_out if held_out.any() else np.ones(len(truth), bool)
    nothing = pd.DataFrame()
    latent = views.get(methods[0], nothing)
    return Figure3(
        dataset,
        truth["label"].to_numpy(str),
        test,
        _points(data, truth.index),
        data.attrs["explained"],
        data.attrs["values"],
        _points(latent, truth.index),
        latent.attrs.get("axes", "UMAP"),
        _points(views.get(methods[-1], nothing), truth.index),
        [_labelling(method, mine.get(method), truth["label"], test) for method in methods],
    )


def _points(view: pd.DataFrame, cells: pd.Index) -> np.ndarray:
    if view.empty:
        return np.full((len(cells), 2), np.nan)
    return view.set_index("cell")[["x", "y"]].reindex(cells).to_numpy(float)


def _labelling(method: str, folder: Path | None, truth: pd.Series, test: np.ndarray) -> Labelling:
    if folder is None:
        return Labelling(method, missing="not run here")
    seed, status = int(Run.of(folder).seed), Status.read(folder).status
    if status != "ok":
        return Labelling(method, seed, missing=comparison.failure(status))
    clusters = clusters_of(folder).loc[truth.index].to_numpy(int)
    names = truth.to_numpy(str)
    scored = test & (names != "")
    return Labelling(method, seed, clusters, f_flowcap(names[scored], clusters[scored]))


@dataclass
class Spaces:
    """One data set's latent spaces, with the same cells in each.

    shown: which of the data set's n cells; truth: (n,) labels, "" = unscored; points: run → the
    shown cells' (len(shown), 2) and what the axes are; clusters: run → (n,), -1 = noise; unstable:
    run → unstable clusters.
    """

    dataset: str
    shown: np.ndarray
    truth: np.ndarray
    points: dict[Run, tuple[np.ndarray, str]]
    clusters: dict[Run, np.ndarray]
    unstable: dict[Run, frozenset[int]]


def read_spaces(
    projections: Sequence[str | Path],
    labels: Sequence[str | Path],
    clustered: Mapping[str, Sequence[Path]],
) -> list[Spaces]:
    """The latent spaces of each data set that has any.

    projections: parquet files named after runs (cell, x, y), without rows where a run has no latent
    space; labels: <data set>/labels.parquet; clustered: data set → folders of runs whose clusters
    can be shown in any of these spaces.

    At most MOST_CELLS of the cells that all projections of a data set have are shown, the first
    ones of a fixed permutation, and fewer where all spaces together would exceed MOST_BYTES.
    """
    found = {}
    for path in map(Path, labels):
        mine = [Path(p) for p in projections if Run.of(p).dataset == path.parent.name]
        frames = {p: frame for p in mine if len(frame := pd.read_parquet(p))}
        if frames:
            runs = [r for r in clustered[path.parent.name] if (r / "labels.parquet").exists()]
            found[path] = frames, runs
    each = [4 * len(frames) + 2 * (len(runs) + 1) for frames, runs in found.values()]
    most = min(MOST_CELLS, MOST_BYTES * 3 // 4 // max(sum(each), 1))  # base64: 3 bytes, 4 letters
    return [_spaces(path, *parts, most) for path, parts in found.items()]


def _spaces(
    labels: Path, frames: Mapping[Path, pd.DataFrame], runs: Sequence[Path], most: int
) -> Spaces:
    truth = labels_of(labels)["label"]
    points = {}
    for path, frame in frames.items():
        strange = frame["cell"][~frame["cell"].isin(truth.index)]
        if len(strange):
            raise UserError(
                f"{path} contains {len(strange)} cells (such as {strange.iloc[0]}) that are "
                f"missing from {labels}; delete it to have it made again."
            )
        points[path] = _points(frame, truth.index)
    shared = np.all([np.isfinite(xy[:, 0]) for xy in points.values()], axis=0)
    order = np.random.default_rng(0).permutation(len(truth))
    shown = order[shared[order]][:most]
    return Spaces(
        labels.parent.name,
        shown,
        truth.to_numpy(object),
        {Run.of(p): (points[p][shown], f.attrs.get("axes", "UMAP")) for p, f in frames.items()},
        {
            Run.of(run): clusters_of(run).reindex(truth.index, fill_value=-1).to_numpy(int)
            for run in runs
        },
        {Run.of(run): unstable_of(run) for run in runs},
    )
