"""The comparison: what was measured, what failed and what others published, in one tidy table.

Every table and figure of the report is a view of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moesimvae import files, registry
from moesimvae.errors import UserError
from moesimvae.evaluation import selection
from moesimvae.nouns import Facts, Method, Metric, Plan, Status

Row = dict[str, Any]  # a table row
DIGITS = 3
FOUND = ("clusters_found", "noise_share")  # recorded with each run, so always in a table
CRITERION = "silhouette"  # chooses settings without labels; not a column of the comparison
HELD_OUT = ("test", "train")  # the order in which a table shows them
CHOICES = {"oracle": "oracle", "label-free": "chosen without labels"}
OF_ALL_CELLS = "over all cells, scored or not"
NOT_RUN = ("missing", "no run was found in the results folder")
SHORT = {
    "timeout": "time-out",
    "out-of-memory": "out of memory",
    "error": "error",
    "invalid": "invalid labels",
    "missing": "not run",
    "mixed": "several reasons",
}
NOT_SCORED = "not scored"  # runs finished but have no value of the metric
COLUMNS = [
    "dataset", "split", "method", "title", "kind", "source", "metric", "n", "n_planned", "mean",
    "sd", "min", "max", "values", "rank", "status", "reason", "wall_seconds", "peak_memory_mb",
    "device", "deterministic", "uses_prior", "note", "definition", "citation", "quoted_from",
    "runs", "base", "choice", "settings",
]  # fmt: skip
TEXT = [
    "dataset", "split", "method", "title", "kind", "source", "metric", "values", "status",
    "reason", "device", "note", "definition", "citation", "quoted_from", "runs", "base", "choice",
    "settings",
]  # fmt: skip
WHOLE = ["n", "n_planned", "rank"]
YES_NO = ["deterministic", "uses_prior"]
REAL = [c for c in COLUMNS if c not in (*TEXT, *WHOLE, *YES_NO)]


def compare(
    scores: pd.DataFrame,
    runs: pd.DataFrame,
    methods: Mapping[str, Method],
    metrics: Mapping[str, Metric],
    experiment: Plan,
    published: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Everything an experiment's tables and figures show, one row per number.

    scores, runs: contract 4's long tables, concatenated over data sets.
    methods, metrics: from the registries. published: rows of `workflow/published/`.

    Returns one row per (dataset, split, method, metric, source) with columns COLUMNS:
    n of n_planned seeds finished, their mean, sample standard deviation (empty for n < 2), min,
    max and the values by seed (JSON); `rank` 1, 2, … among finished methods, compared at the
    digits shown (controls, oracles, partly failed methods and those that use prior knowledge are
    not ranked); status ok | partial | a failure | mixed | not scored | published | not reported. A
    failed run gives a row with n = 0 and its reason. wall_seconds and peak_memory_mb are means over
    the finished runs, or over the failed ones where none finished.

    Where cells were held out, a data set lists its test cells first, then its training cells.
    A screened method has, besides its own row, one for each way its settings were
    chosen (`choice`: oracle or label-free; `base`: the method; `settings`: what was chosen); the
    variants themselves have none.

    Raises UserError for a duplicate score, a score of a run that did not finish, or a metric or
    method that is not in the registry.
    """
    # the screening criterion is a column only where nothing is screened by it
    left_out = (*FOUND, CRITERION) if experiment.variants else FOUND
    names = [*(m for m in experiment.metrics if m not in left_out), *FOUND]
    asked = {name: registry.block(metrics, name, "metric").lacking for name in names}
    found = _runs_by_seed(runs)
    values = _values_by_seed(scores, found)
    planned = _planned(experiment, methods, found)
    splits = _splits(scores, experiment.datasets)

    rows = [
        row
        for dataset in experiment.datasets
        for split in splits[dataset]
        for method, seeds in planned.items()
        for row in _run_rows((dataset, split, method), seeds, methods[method], asked, found, values)
    ]
    if experiment.variants:
        selected = selection.select(scores, experiment.variants, metrics)
        rows += [
            row
            for dataset in experiment.datasets
            for split in splits[dataset]
            for row in _choice_rows(
                (dataset, split), selected, experiment, methods, asked, found, values
            )
        ]
    if published is not None:
        rows += _published_rows(published, experiment, methods, splits)
    table = _typed(pd.DataFrame(rows, columns=COLUMNS))
    table["rank"] = _ranks(table, metrics)
    return table


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Give the table the same types whether just computed or read from its csv."""
    table = table.astype(
        dict.fromkeys([*TEXT, *YES_NO], object)
        | dict.fromkeys(WHOLE, "Int64")
        | dict.fromkeys(REAL, "float64")
    )
    for column in TEXT:
        table[column] = table[column].where(table[column].notna(), "")
    for column in YES_NO:
        table[column] = table[column].eq(True)
    return table


def _runs_by_seed(runs: pd.DataFrame) -> dict[tuple[str, str], dict[int, Row]]:
    by_seed: dict[tuple[str, str], dict[int, Row]] = {}
    for run in runs.to_dict("records"):
        mine = by_seed.setdefault((run["dataset"], run["method"]), {})
        if run["seed"] in mine:
            raise UserError(
                f"the table of runs lists {run['method']} on {run['dataset']} with seed "
                f"{run['seed']} twice; remove one of the two."
            )
        mine[run["seed"]] = run
    return by_seed


def _values_by_seed(scores: pd.DataFrame, found: dict) -> dict[tuple, dict[int, float]]:
    """(dataset, split, method, metric) → seed → value, checked against the runs table."""
    values: dict[tuple, dict[int, float]] = {}
    for score in scores.to_dict("records"):
        what = f"{score['method']} on {score['dataset']}, seed {score['seed']}"
        run = found.get((score["dataset"], score["method"]), {}).get(score["seed"])
        if run is None or run["status"] != "ok":
            status = "is not in the table of runs" if run is None else f"ended as {run['status']}"
            raise UserError(
                f"the scores include {score['metric']} for {what}, but that run {status}; "
                "compute the scores again from the run folders."
            )
        key = (score["dataset"], score["split"], score["method"], score["metric"])
        mine = values.setdefault(key, {})
        if score["seed"] in mine:
            raise UserError(f"the scores list {score['metric']} for {what} twice; keep one.")
        if np.isfinite(score["value"]):
            mine[score["seed"]] = float(score["value"])
    return values


def _planned(experiment: Plan, methods: Mapping[str, Method], found: dict) -> dict[str, list[int]]:
    """Method → seeds: the experiment's own, then any controls that were run alongside."""
    planned = dict(experiment.methods)
    for (dataset, method), by_seed in found.items():
        control = method in methods and methods[method].control
        if control and method not in experiment.methods and dataset in experiment.datasets:
            planned[method] = sorted({*planned.get(method, []), *by_seed})
    for method in planned:
        registry.block(methods, method, "method")
    return planned


def _splits(scores: pd.DataFrame, datasets: Iterable[str]) -> dict[str, list[str]]:
    by_dataset = scores.groupby("dataset")["split"].unique() if len(scores) else {}
    return {d: shown_splits(by_dataset[d]) if d in by_dataset else ["all"] for d in datasets}


def shown_splits(names: Iterable[str]) -> list[str]:
    """Test and training splits where given, never the two pooled; else the given names, sorted."""
    given = set(names)
    return [split for split in HELD_OUT if split in given] or sorted(given)


def _choice_rows(
    key: tuple[str, str],
    selected: pd.DataFrame,
    experiment: Plan,
    methods: Mapping[str, Method],
    metrics: Mapping[str, str],
    found: dict,
    values: dict,
) -> Iterable[Row]:
    """Every screened method with each choice; where none could be made, the outcome of its first
    setting.
    """
    dataset, split = key
    variants = experiment.variants
    mine = selected[selected["dataset"] == dataset].to_dict("records")
    made = {(row["method"], row["choice"]): row["variant"] for row in mine}
    first: dict[str, str] = {}
    for name, block in variants.items():
        first.setdefault(block.screens, name)
    for (method, fallback), choice in product(first.items(), CHOICES):
        variant = made.get((method, choice), "")
        block = variants[variant or fallback]
        told = {
            "method": choice_name(method, choice),
            "title": f"{methods[method].title}, {CHOICES[choice]}",
            "base": method,
            "choice": choice,
            "settings": registry.in_words(block.settings) if variant else "",
        }
        if choice == "oracle":
            told["kind"] = "oracle"
        where = (dataset, split, variant or fallback)
        for row in _run_rows(where, [block.seed], block, metrics, found, values):
            yield row | told


def choice_name(method: str, choice: str) -> str:
    """Name in the comparison of a method with chosen settings: kmeans_oracle, kmeans_label_free."""
    return f"{method}_{choice.replace('-', '_')}"


def _run_rows(
    key: tuple[str, str, str],
    seeds: Sequence[int],
    block: Method,
    metrics: Mapping[str, str],
    found: dict,
    values: dict,
) -> Iterable[Row]:
    """One row per metric; metrics: name → why a data set may have no value of it."""
    dataset, split, method = key
    missing = dict(zip(("status", "reason"), NOT_RUN, strict=True))
    by_seed = {s: found.get((dataset, method), {}).get(s, missing) for s in seeds}
    finished = {s: run for s, run in by_seed.items() if run["status"] == "ok"}
    failed = {s: run for s, run in by_seed.items() if run["status"] != "ok"}
    costs = list((finished or failed).values())
    shared = {
        "dataset": dataset,
        "split": split,
        "method": method,
        "title": block.title,
        "kind": "control" if block.control else "oracle" if block.oracle else "method",
        "source": "run",
        "n_planned": len(seeds),
        "wall_seconds": _mean(run.get("wall_seconds") for run in costs),
        "peak_memory_mb": _mean(run.get("peak_memory_mb") for run in costs),
        "device": joined(run.get("device") for run in by_seed.values()),
        "deterministic": not block.stochastic,
        "uses_prior": block.uses_prior and not block.control,
        "citation": block.reference,
        "runs": " ".join(run["run"] for run in by_seed.values() if "run" in run),
        "base": method,
    }
    for metric, lacking in metrics.items():
        mine = values.get((dataset, split, method, metric), {})
        from_runs = metric in FOUND and not mine
        if from_runs:
            mine = {s: float(run[metric]) for s, run in finished.items() if _given(run[metric])}
        mine = {s: v for s, v in mine.items() if s in finished}
        status, reason = _status(finished, failed, mine, lacking)
        told = {"metric": metric, "status": status, "reason": reason}
        told["definition"] = OF_ALL_CELLS if from_runs else ""
        yield shared | told | _numbers(mine)


def _numbers(values: dict[int, float]) -> Row:
    """n, mean, sample standard deviation (divisor n - 1), min and max of the values by seed."""
    array = np.array(list(values.values()))
    n = len(array)
    return {
        "n": n,
        "mean": array.mean() if n else np.nan,
        "sd": array.std(ddof=1) if n > 1 else np.nan,
        "min": array.min() if n else np.nan,
        "max": array.max() if n else np.nan,
        "values": json.dumps({str(s): values[s] for s in sorted(values)}) if n else "",
    }


def _status(finished: dict, failed: dict, values: dict, lacking: str) -> tuple[str, str]:
    if not finished:
        kinds = {run["status"] for run in failed.values()}
        return (kinds.pop() if len(kinds) == 1 else "mixed"), _reasons(failed)
    unscored = sorted(set(finished) - set(values))
    if lacking and not values:
        return NOT_SCORED, lacking
    if unscored:
        reason = (
            f"seed {', '.join(map(str, unscored))}: finished, but without a value of this metric"
        )
        return ("partial" if values else NOT_SCORED), "; ".join(
            filter(None, [_reasons(failed), reason])
        )
    return ("partial" if failed else "ok"), _reasons(failed)


def short(status: str) -> str:
    """A run's status in one or two words."""
    return SHORT.get(status, status)


def failure(status: str) -> str:
    """Text in place of missing scores: that no run finished, and why."""
    return status if status == NOT_SCORED else f"DNF: {short(status)}"


def _reasons(failed: dict[int, Row]) -> str:
    """Why runs failed, with seeds grouped by reason."""
    seeds: dict[str, list[int]] = {}
    for seed, run in failed.items():
        said = run["reason"] if _given(run["reason"]) else "no reason recorded"
        text = f"{short(run['status'])}: {str(said).rstrip('.')}"
        seeds.setdefault(text, []).append(seed)
    return "; ".join(f"{text} (seed {', '.join(map(str, s))})" for text, s in seeds.items())


def _published_rows(
    published: pd.DataFrame, experiment: Plan, methods: Mapping[str, Method], splits: dict
) -> Iterable[Row]:
    """Published numbers, under our method's name where the registry maps one to the other.

    Those of a screened method used settings chosen with the true labels, as our oracle does.
    """
    screened = {block.screens for block in experiment.variants.values()}
    ours: dict[str, str] = {}
    for method in experiment.methods:
        if name := methods[method].published_as:  # tables name methods differently
            ours.setdefault(name, choice_name(method, "oracle") if method in screened else method)
    for row in published.to_dict("records"):
        given = _given(row["value"])
        split = splits.get(row["dataset"], ["all"])
        yield {
            "dataset": row["dataset"],
            # Where cells were held out, published numbers refer to the test cells.
            "split": "test" if "test" in split else split[0],
            "method": ours.get(str(row["method"]), str(row["method"])),
            "title": str(row["method"]),
            "kind": "method",
            "source": "published",
            "metric": row["metric"],
            "n": row["n"] if _given(row["n"]) else np.nan,
            "mean": float(row["value"]) if given else np.nan,
            "sd": row["sd"],
            "status": "published" if given else "not reported",
            "note": row["note"],
            "definition": row["definition"],
            "citation": row["citation"],
            "quoted_from": row["source"],
        }


def _ranks(table: pd.DataFrame, metrics: Mapping[str, Metric]) -> pd.Series:
    ranks = pd.Series(pd.NA, index=table.index, dtype="Int64")
    comparable = table[
        (table["kind"] == "method") & (table["source"] == "run") & (table["status"] == "ok")
        & ~table["uses_prior"]
    ]  # fmt: skip
    for (_, _, metric), rows in comparable.groupby(["dataset", "split", "metric"], sort=False):
        sign = metrics[metric].sign
        if sign and len(rows) > 1:
            shown = -sign * rows["mean"].round(DIGITS)  # what looks equal ties
            ranks[rows.index] = shown.rank(method="min").astype(int)
    return ranks


def to_csv(table: pd.DataFrame) -> str:
    """The tidy table as csv at full precision; an empty field means there is no such number."""
    return table.to_csv(index=False, lineterminator="\n")


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read what `to_csv` wrote."""
    text = dict.fromkeys(TEXT, str)
    table = pd.read_csv(
        path, keep_default_na=False, na_values=[""], dtype=text, float_precision="round_trip"
    )
    return _typed(table.reindex(columns=COLUMNS))


def read_remark(path: str | Path | list | None) -> str:
    """The two-sentence remark in workflow/published/ on a table's numbers; "" without a file."""
    paths = [path] if isinstance(path, str | Path) else list(path or [])
    return " ".join(Path(p).read_text(encoding="utf-8").strip() for p in paths)


def of_first_split(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the split that each data set shows first: test cells where some were held out."""
    first = table.groupby("dataset")["split"].transform("first")
    return table[table["split"] == first]


def own_settings(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of methods with their registry settings (none chosen by scores), and quoted rows."""
    return table[table["choice"] == ""]


def values(row: pd.Series) -> dict[int, float]:
    """Seed → value, from one row of the table."""
    return {int(seed): value for seed, value in json.loads(row["values"] or "{}").items()}


def best_first(table: pd.DataFrame, metric: str, metrics: Mapping[str, Metric]) -> list[str]:
    """Methods by their mean `metric` over data sets, best first, those without one last."""
    rows = table[table["metric"] == metric]
    means = rows.groupby(["method", "title"], sort=False)["mean"].mean().reset_index()
    values = means.sort_values("title").set_index("method")["mean"]
    ranked = metrics[metric].best_first(values.dropna().to_dict())
    return [*ranked, *values[values.isna()].index]


def ranked_metrics(table: pd.DataFrame, metrics: Mapping[str, Metric]) -> list[str]:
    """The table's metrics that have a better direction, in its order."""
    return [m for m in dict.fromkeys(table["metric"]) if metrics[m].sign]


def with_the_best(table: pd.DataFrame, method: str, dataset: str, others: int = 2) -> list[str]:
    """The given method, then the others with the best mean F1 on a data set."""
    rows = table[
        (table["source"] == "run") & (table["kind"] == "method") & (table["dataset"] == dataset)
        & (table["metric"] == "f1_mean_hungarian") & (table["n"] > 0) & (table["choice"] == "")
    ].drop_duplicates("method").sort_values("mean", ascending=False)  # fmt: skip
    ours = [m for m in rows["method"] if m == method]
    return ours + [m for m in rows["method"] if m != method][:others]


def lacking(own: pd.DataFrame, metrics: Mapping[str, Metric]) -> set[tuple[str, str]]:
    """(split, metric) that one data set cannot have; own: its rows that were run here."""
    return {
        (split, metric)
        for (split, metric), rows in own.groupby(["split", "metric"])
        if metrics[metric].lacking
        and (rows["n"] == 0).all()
        and (rows["status"] == NOT_SCORED).any()
    }


def contestants(table: pd.DataFrame) -> pd.DataFrame:
    """Rows that were run here with registry settings, without controls."""
    return own_settings(table[(table["source"] == "run") & (table["kind"] != "control")])


def over_datasets(own: pd.DataFrame) -> pd.DataFrame:
    """(method, metric) → count, mean, std, min and max, over data sets, of the means over seeds."""
    means = own.groupby(["method", "metric"], sort=False)["mean"]
    return means.agg(["count", "mean", "std", "min", "max"])


def over_seeds(row: pd.Series) -> tuple[float, float, float, float, float]:
    """Mean, median, minimum, maximum and standard deviation of one row of the table.

    A published number serves as each of the first four.
    """
    given = list(values(row).values()) or [row["mean"]]
    return row["mean"], float(np.median(given)), min(given), max(given), row["sd"]


def read_facts(
    paths: Iterable[str | Path],
    statuses: Iterable[Status] = (),
    methods: Mapping[str, Method] | None = None,
) -> dict[str, Facts]:
    """Name → content of dataset.json files; n_clusters is what the runs in `statuses` asked for,
    except oracles among the `methods`.
    """
    oracles = {name for name, block in (methods or {}).items() if block.oracle}
    asked = {s.dataset: s.n_clusters for s in statuses if s.n_clusters and s.method not in oracles}
    facts = [Facts.of(files.read_json(path)) for path in paths]
    return {f.name: replace(f, n_clusters=asked.get(f.name, f.n_clusters)) for f in facts}


def read_many(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Contract-4 csv files of several data sets as one table; UserError if one is empty."""
    frames = []
    for path in paths:
        try:
            frames.append(pd.read_csv(path, keep_default_na=False, na_values=[""]))
        except pd.errors.EmptyDataError:
            raise UserError(
                f"{path} is empty, without even a header; score that data set again."
            ) from None
    return pd.concat(frames, ignore_index=True)


def read_optional(path: str | Path | list | None) -> pd.DataFrame | None:
    """A csv that only some experiments have; None without a file."""
    paths = [path] if isinstance(path, str | Path) else list(path or [])
    return read_many(paths) if paths else None


def _given(value: Any) -> bool:
    return value is not None and value != "" and not (isinstance(value, float) and np.isnan(value))


def _mean(values: Iterable[Any]) -> float:
    given = [float(v) for v in values if _given(v)]
    return float(np.mean(given)) if given else np.nan


def joined(values: Iterable[Any]) -> str:
    return "; ".join(dict.fromkeys(str(v) for v in values if _given(v)))


def by_dataset(table: pd.DataFrame, datasets: Mapping[str, Facts]) -> pd.DataFrame:
    """Every data set by every method run here, one row per pair, at full precision.

    Columns: group, dataset, title, simulated, partial, split, method, method_title, kind, n,
    n_planned, status, reason, wall_seconds, peak_memory_mb, uses_prior, settings, then
    <metric>_mean, _sd, _min, _max for each metric. group comes from the data set's facts (such as
    the inhibitor), or is "".
    """
    own = table[table["source"] == "run"]
    names = list(dict.fromkeys(own["metric"]))
    rows = []
    for (dataset, split, method), mine in own.groupby(["dataset", "split", "method"], sort=False):
        facts, by_metric = datasets[dataset], mine.set_index("metric")
        found = by_metric.loc[FOUND[0]]
        row = {
            "group": facts.group, "dataset": dataset, "title": facts.title,
            "simulated": facts.simulated, "partial": facts.partial, "split": split,
            "method": method, "method_title": found["title"], "kind": found["kind"],
            "n": found["n"], "n_planned": found["n_planned"], "status": found["status"],
            "reason": found["reason"], "wall_seconds": found["wall_seconds"],
            "peak_memory_mb": found["peak_memory_mb"], "uses_prior": found["uses_prior"],
            "settings": found["settings"],
        }  # fmt: skip
        for metric in names:
            row |= {f"{metric}_{c}": by_metric.loc[metric, c] for c in ("mean", "sd", "min", "max")}
        rows.append(row)
    return pd.DataFrame(rows)
