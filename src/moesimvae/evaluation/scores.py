"""From runs to the one long table of scores, and back to one row per method.

A run folder lies where `nouns.Run` says in the results folder. It holds `status.json` and, when
the status is ok, `labels.parquet` (cell, label). The true labels of a data set are a table with the
columns cell, label, scored and split. Cells are matched by id, in order.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moesimvae.errors import UserError
from moesimvae.evaluation import concordance
from moesimvae.evaluation import metrics as agreement
from moesimvae.evaluation.silhouette import Space, read_space, silhouette
from moesimvae.files import atomic, read_json
from moesimvae.nouns import Metric, Run

SCORE_COLUMNS = ["dataset", "method", "seed", "split", "metric", "value", "run"]
POPULATION_COLUMNS = [
    *("dataset", "method", "seed", "split", "population", "n_cells"),
    *("f1", "precision", "recall", "cluster", "run"),
]
COST_COLUMNS = [
    *("wall_seconds", "cpu_seconds", "peak_memory_mb", "peak_gpu_memory_mb", "energy_j"),
]
RUN_COLUMNS = [
    *("dataset", "method", "seed", "status", "reason"),
    *COST_COLUMNS,
    *("device", "threads", "clusters_found", "noise_share", "run"),
]
ALL_SPLITS = "all"

# Chance-corrected metrics of random labels scatter around 0: sd 0.02 with 100 cells, 0.003 with
# 1,000 (5 to 10 populations), so roughly as 1 / cells. With ENOUGH_CELLS scored cells or more, a
# blind control beyond this tolerance must have seen labels; with fewer it may lie further off.
RANDOM_TOLERANCE, ENOUGH_CELLS = 0.1, 100
EXACT_TOLERANCE = 1e-9
CONTROLS = ("true_labels", "random_labels", "one_cluster")


def read_labels(path: str | Path, needed: bool = True) -> pd.DataFrame:
    """The true labels of a data set, checked.

    Columns: cell (str), label (str, "" when unscored), scored (bool), split (str). Raises UserError
    for a missing column, a duplicate cell, a scored cell without a label, no scored cells
    where they are `needed`, or a split named "all" beside others.
    """
    path = Path(path)
    try:
        labels = pd.read_parquet(path, columns=["cell", "label", "scored", "split"])
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is not a table with the columns cell, label, scored, split ({error}); "
            "prepare the data set again."
        ) from error
    scored = labels["scored"]
    without = int((scored & labels["label"].fillna("").eq("")).sum())
    problems = {
        f"{labels['cell'].duplicated().sum()} cells are duplicated": labels["cell"]
        .duplicated()
        .any(),
        f"{without} scored cells have no label": without,
        "no cell is scored": needed and not scored.any(),
        "a split is named 'all', which is reserved for all splits together": (
            labels["split"].nunique() > 1 and (labels["split"] == ALL_SPLITS).any()
        ),
    }
    for problem, found in problems.items():
        if found:
            raise UserError(f"{path}: {problem}; fix the reader of this data set.")
    return labels


def score_run(
    clusters: np.ndarray, labels: pd.DataFrame, metrics: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows (split, metric, value) of one successful run.

    clusters: of every cell, as from `read_clusters`; labels: as from `read_labels`. Each split has
    its own rows, and "all" stands for all of them when there is more than one; a split without
    scored cells has no rows, and a metric undefined on a split has none there. Raises UserError
    if the clusters are not integers ≥ -1.
    """
    return [
        {"split": split, "metric": metric, "value": value}
        for split, truth, found in _by_split(clusters, labels)
        for metric, value in agreement.evaluate(truth, found, metrics).items()
        if not np.isnan(value)
    ]


def separation_run(clusters: np.ndarray, space: Space) -> list[dict[str, Any]]:
    """One row (split, metric, value) of one successful run: how well separated its clusters are."""
    value = silhouette(space.distances, clusters[space.cells])
    return [{"split": space.split, "metric": "silhouette", "value": value}]


def concordance_rows(
    clusters: Mapping[tuple[str, int], np.ndarray], labels: pd.DataFrame, metrics: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows (run, split, metric, value) of the metrics that compare runs, on all cells.

    clusters: (method, seed) → one integer ≥ -1 per cell; labels: only its splits are used.
    """
    wanted = [metric for metric in metrics if metric in agreement.CONCORDANCE]
    rows = []
    for split, mask in _masks(labels["split"]).items() if clusters and wanted else ():
        pairs = concordance.pairwise({run: found[mask] for run, found in clusters.items()})
        values = {
            "stability": concordance.stability(pairs),
            "agreement": concordance.agreement(pairs, apart=CONTROLS),
        }
        rows += [
            {"run": run, "split": split, "metric": metric, "value": value}
            for metric in wanted
            for run, value in values[metric].items()
        ]
    return rows


def populations_run(clusters: np.ndarray, labels: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows (split, population, n_cells, f1, precision, recall, cluster) of one successful run.

    From `metrics.per_population_f1` on each split; the mean of a split's f1 is its
    f1_mean_hungarian. Arguments and errors are those of `score_run`.
    """
    return [
        {"split": split} | row
        for split, truth, found in _by_split(clusters, labels)
        for row in agreement.per_population_f1(truth, found).to_dict("records")
    ]


def _by_split(
    clusters: np.ndarray, labels: pd.DataFrame
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each split with the truth and clusters of its scored cells; all splits together last."""
    scored = labels["scored"].to_numpy(dtype=bool)
    truth = labels["label"].to_numpy(dtype=object)
    for name, mask in _masks(labels["split"]).items():
        if (scored & mask).any():
            yield name, truth[scored & mask], clusters[scored & mask]


def _masks(split: pd.Series) -> dict[str, np.ndarray]:
    """Split → which cells are in it; all splits together last, where there are several."""
    masks = {name: (split == name).to_numpy(dtype=bool) for name in sorted(set(split))}
    if len(masks) > 1:
        masks[ALL_SPLITS] = np.ones(len(split), dtype=bool)
    return masks


def read_clusters(run_dir: str | Path, cells: Sequence[str]) -> np.ndarray:
    """Read the cluster of every cell of a data set, (n_cells,), from a run folder.

    cells: (n_cells,) their names in order. Raises UserError if the run has other cells, or
    has them in a different order.
    """
    path = Path(run_dir) / "labels.parquet"
    try:
        found = pd.read_parquet(path, columns=["cell", "label"])
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as a table of cell and label ({error}); repeat this run."
        ) from error
    if len(found) != len(cells):
        raise UserError(f"{path} has {len(found)} cells, expected {len(cells)}; repeat this run.")
    wrong = np.flatnonzero(found["cell"].to_numpy() != np.asarray(cells))
    if wrong.size:
        row = wrong[0]
        raise UserError(
            f"{path} lists other cells than the data set, or in another order: {wrong.size} rows "
            f"differ, the first is row {row} with cell '{found['cell'].iloc[row]}' where "
            f"'{cells[row]}' is expected; repeat this run."
        )
    return found["label"].to_numpy()


def score_dataset(
    run_dirs: Iterable[str | Path],
    labels_path: str | Path,
    metrics: Sequence[str],
    results_root: str | Path,
    features: str | Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Score all runs on one data set: long tables of scores and of populations, table of runs.

    scores has SCORE_COLUMNS, populations POPULATION_COLUMNS (`cluster` is empty where a population
    has no match), both only successful runs; runs has RUN_COLUMNS and every run. `run` is the
    run's folder relative to `results_root`. A run that says ok but cannot be scored (other
    cells, clusters that are not integers ≥ -1, no readable status.json) is not scored: its status
    in the table of runs is "invalid", with the reason. Rows are sorted by method, seed, split
    and the order of `metrics`, or population. Raises UserError for bad true labels or an unknown
    metric.

    features: the data set's features.h5ad, which only the silhouette needs; its rows come last in
    a run and cover only the training cells where there is a split. Last of all come the
    rows of the metrics that compare runs with each other, on all cells (split "all"). If only
    label-free metrics are asked for, no cell needs to be scored.
    """
    labelled = [name for name in metrics if name not in agreement.LABEL_FREE]
    agreement.check_names(labelled)
    labels = read_labels(labels_path, needed=bool(labelled))
    space = None
    if "silhouette" in metrics:
        if features is None:
            raise UserError("the silhouette needs the features of the data set; give their path.")
        space = read_space(features, labels)
    compared: dict[tuple[str, int], np.ndarray] = {}
    scores: list[dict[str, Any]] = []
    populations: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    results = Path(results_root)
    identified = [(_identity(Path(run_dir), results), Path(run_dir)) for run_dir in run_dirs]
    for identity, run_dir in sorted(identified, key=lambda run: tuple(run[0].values())):
        status, rows, found = {}, [], []
        try:
            status = _read_status(run_dir, identity)
            if status["status"] == "ok":
                clusters = read_clusters(run_dir, labels["cell"])
                rows = score_run(clusters, labels, labelled)
                if space is not None:
                    rows += separation_run(clusters, space)
                found = populations_run(clusters, labels)
                if not {*agreement.CONCORDANCE}.isdisjoint(metrics):
                    compared[identity["method"], identity["seed"]] = clusters
        except UserError as error:
            status = status | {"status": "invalid", "reason": str(error)}
        scores += [identity | row for row in rows]
        populations += [identity | row for row in found]
        runs.append(status | identity)
    identities = {(one["method"], one["seed"]): one for one, _ in identified}
    for row in concordance_rows(compared, labels, metrics):
        scores.append(identities[row.pop("run")] | row)
    return _scores_table(scores), _populations_table(populations), _runs_table(runs)


def _identity(run_dir: Path, results: Path) -> dict[str, Any]:
    """Data set, method and seed according to the folder's name, and the name itself."""
    name = run_dir.relative_to(results) if run_dir.is_relative_to(results) else run_dir
    run = Run.of(name)
    if name != Path(run.path):
        raise UserError(f"{run_dir} is not a run folder of {results}; expected {run.path} there.")
    return {"dataset": run.dataset, "method": run.method, "seed": run.seed, "run": run.path}


def _read_status(run_dir: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Read a run's status.json, which must describe the run that its folder is named after."""
    try:
        status = read_json(run_dir / "status.json")
    except (OSError, ValueError) as error:
        raise UserError(f"status.json cannot be read ({error}).") from error
    if not isinstance(status, dict) or "status" not in status:
        raise UserError("status.json does not say how the run ended.")
    for key in ("dataset", "method", "seed"):
        if status.get(key) != identity[key]:
            raise UserError(
                f"status.json belongs to another run: {key} is {status.get(key)!r}, "
                f"expected {identity[key]!r}."
            )
    return status


def _scores_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=SCORE_COLUMNS).astype({"seed": "int64", "value": "float64"})


def _populations_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    shares = dict.fromkeys(("f1", "precision", "recall"), "float64")
    table = pd.DataFrame(rows, columns=POPULATION_COLUMNS)
    return table.astype({"seed": "int64", "n_cells": "int64", "cluster": "Int64"} | shares)


def _runs_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    runs = pd.DataFrame(rows, columns=RUN_COLUMNS)
    numbers = [*COST_COLUMNS, "threads", "clusters_found", "noise_share"]
    return runs.astype({"seed": "int64"} | dict.fromkeys(numbers, "float64"))


def check_controls(
    scores: pd.DataFrame, metrics: Mapping[str, Metric], populations: pd.DataFrame
) -> None:
    """Refuse scores in which the controls misbehave.

    scores, populations: long tables, as from `score_dataset`; metrics: the registry's. For
    each data set and split: the true labels must reach the best value of every agreement metric
    that has one; on every chance-corrected metric one cluster for all cells must score 0 (or the
    best value on all, where there is one true group) and random labels within RANDOM_TOLERANCE of
    0, or ENOUGH_CELLS / n times that with n < ENOUGH_CELLS scored cells. A label-free metric does
    not measure agreement with the truth: there one cluster for all cells must score the worst
    value, or, if it is chance-corrected, random labels about 0. Raises UserError naming control,
    data set, metric and value, also when a control has no scores; true labels are not required
    where only label-free metrics are scored.
    """
    if scores.empty:
        raise UserError("there are no scores, not even for the controls; run the controls first.")
    expected: dict[str, dict[str, tuple[float, float]]] = {control: {} for control in CONTROLS}
    for metric in scores["metric"].unique():
        if metric not in metrics:
            raise UserError(f"metric '{metric}' has no block in the registry of metrics; add one.")
        noun = metrics[metric]
        if noun.label_free:
            if noun.chance_corrected:
                expected["random_labels"][metric] = (0, RANDOM_TOLERANCE)
            else:
                expected["one_cluster"][metric] = (noun.worst, EXACT_TOLERANCE)
            continue
        if noun.sign:
            expected["true_labels"][metric] = (noun.best, EXACT_TOLERANCE)
        if noun.chance_corrected:
            expected["one_cluster"][metric] = (0, EXACT_TOLERANCE)
            expected["random_labels"][metric] = (0, RANDOM_TOLERANCE)
    of = populations.drop_duplicates(["dataset", "split", "population"])
    cells = of.groupby(["dataset", "split"])["n_cells"].sum().to_dict()
    for (dataset, split), group in scores.groupby(["dataset", "split"], sort=False):
        few = max(1.0, ENOUGH_CELLS / cells.get((dataset, split), ENOUGH_CELLS))
        blind = all(metrics[metric].label_free for metric in group["metric"].unique())
        one = group[group["method"] == "one_cluster"]
        one_group = _reaches(one, expected["true_labels"])
        for control, values in expected.items():
            runs = group[group["method"] == control]
            if runs.empty and blind and control == "true_labels":
                continue
            if runs.empty:
                raise UserError(
                    f"control '{control}' has no scores on {dataset} (split {split}); run it "
                    "with the methods, since scores without controls are rejected."
                )
            if one_group and _reaches(runs, expected["true_labels"]):
                values = values | expected["true_labels"]  # noqa: PLW2901  it is the truth
            for run in runs[runs["metric"].isin(list(values))].itertuples():
                value, tolerance = values[run.metric]
                tolerance *= few if control == "random_labels" else 1
                if not abs(run.value - value) <= tolerance:  # so that NaN is refused too
                    raise UserError(
                        f"control '{control}' misbehaves on {dataset} (split {split}): "
                        f"{run.metric} is {run.value:.6g}, expected {value} within {tolerance:g}; "
                        f"the scores are rejected, check {run.run} and the data set's labels."
                    )


def _reaches(runs: pd.DataFrame, values: Mapping[str, tuple[float, float]]) -> bool:
    """Whether rows (metric, value) match these values, within tolerance, wherever one is given."""
    rows = runs[runs["metric"].isin(list(values))]
    wanted = rows["metric"].map(values)
    return bool(len(rows)) and all(
        abs(value - best) <= tolerance
        for value, (best, tolerance) in zip(rows["value"], wanted, strict=True)
    )


def write_csv(table: pd.DataFrame, path: str | Path) -> None:
    """Write csv reproducibly, byte for byte: fixed number format and line ends, no index."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")
