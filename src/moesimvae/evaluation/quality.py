"""Quality control of the benchmark itself: can its tables be relied on?

Every check has a rule that is green, amber or red; `check` gives one row for each rule that passed
and each place where one fired.

check               green                       amber                     red
runs that failed    none                        some                      more than 10 %
seeds missing       none                        some of a method          all of a method
one seed alone      no random method            some                      -
controls            true labels best, others    -                         anything else, or no
                    about 0 where corrected                               controls at all
control range       between the controls        no better than one        better than the truth
                                                cluster or random labels
same data           every run used the          -                         different
                    current data set                                      features_sha256
same code           one version for all seeds   several versions          -
                    of a method
code as it is now   every run and control made  made by other code        -
                    by the current code
same seed           repeats give the same       different labels, same    different outcome or
                    labels, cell by cell        number of clusters        number of clusters
the data            whole, real, 100 or more    partial, simulated, or    -
                    scored cells                fewer scored cells

A check that cannot be made (no repeat was run) is "not checked" and does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moesimvae.errors import UserError
from moesimvae.evaluation.scores import CONTROLS, ENOUGH_CELLS, EXACT_TOLERANCE, check_controls
from moesimvae.nouns import Facts, Method, Metric, Plan, Run, Status

Row = dict[str, Any]  # a table row
GREEN, AMBER, RED, UNCHECKED = "green", "amber", "red", "not checked"
LEVELS = (RED, AMBER, GREEN, UNCHECKED)  # worst first
MANY_FAILED = 0.1
COLUMNS = ["check", "level", "dataset", "method", "rule", "found"]
KNOW_NOTHING = ("random_labels", "one_cluster")

RULES = {
    "runs that failed": f"no run failed; red if more than {MANY_FAILED:.0%} of the runs did",
    "seeds missing": "every planned seed was run; red if a method has none",
    "one seed alone": "every stochastic method has at least two seeds",
    "controls": "true labels reach the best value; one cluster and random labels score about 0 on "
    "chance-corrected metrics",
    "control range": "every method's mean is better than those of one cluster and random labels, "
    "and not better than that of the true labels (red)",
    "same data": "every run used the features that are in data/ now",
    "same code": "all seeds of a method were run with the same version of the code",
    "code as it is now": "every run was made with the current code of its method",
    "same seed": "a repeat with the same seed gives the same labels; red if the number of clusters "
    "or the outcome differs",
    "the data": f"complete, real, and with at least {ENOUGH_CELLS} scored cells",
}


def check(
    scores: pd.DataFrame,
    populations: pd.DataFrame,
    runs: pd.DataFrame,
    experiment: Plan,
    datasets: Mapping[str, Facts],
    methods: Mapping[str, Method],
    metrics: Mapping[str, Metric],
    statuses: Iterable[Status] = (),
    codes: Mapping[str, str] | None = None,
    repeats: Iterable[tuple[Path, Path]] = (),
) -> pd.DataFrame:
    """The checks of one experiment, columns COLUMNS, worst first.

    scores, populations, runs: contract 4's long tables, concatenated over data sets; statuses:
    those of its runs and controls; codes: method → hash of its current code (if omitted, not
    checked); repeats: pairs of run folders made with the same seed.
    """
    controls = {name for name, block in methods.items() if block.control}
    own = runs[~runs["method"].isin(controls)]
    found = [
        *_failed(own),
        *_seeds(own, experiment, methods),
        *_controls(scores, populations, experiment.datasets, metrics),
        *_range(scores, [*experiment.methods, *controls], metrics),
        *_provenance(list(statuses), datasets),
        *_current(list(statuses), codes, experiment),
        *_repeated(repeats),
        *_data(experiment.datasets, datasets),
    ]
    done = {row["check"] for row in found}
    found += [_row(name, GREEN) for name in RULES if name not in done]
    table = pd.DataFrame(found, columns=COLUMNS)
    order = {level: i for i, level in enumerate(LEVELS)}
    return table.sort_values("level", key=lambda c: c.map(order), kind="stable", ignore_index=True)


def overall(table: pd.DataFrame) -> str:
    """The worst level in a table of checks; checks that were not made do not count."""
    levels = set(table["level"])
    return next((level for level in LEVELS[:3] if level in levels), GREEN)


def _row(name: str, level: str, found: str = "", dataset: str = "", method: str = "") -> Row:
    if name not in RULES:
        raise KeyError(name)
    return {
        **{"check": name, "level": level, "dataset": dataset, "method": method},
        **{"rule": RULES[name], "found": found or ("as expected" if level == GREEN else "")},
    }


def _failed(runs: pd.DataFrame) -> list[Row]:
    failed = runs[runs["status"] != "ok"]
    if not len(failed):
        return [_row("runs that failed", GREEN, f"0 of {len(runs)}")]
    level = RED if len(failed) > MANY_FAILED * len(runs) else AMBER
    share = f"{len(failed)} of {len(runs)} ({len(failed) / len(runs):.0%})"
    rows = [_row("runs that failed", level, share)]
    for (dataset, method, status), part in failed.groupby(["dataset", "method", "status"]):
        seeds = ", ".join(map(str, sorted(part["seed"])))
        reasons = "; ".join(dict.fromkeys(map(str, part["reason"].dropna())))
        told = f"{status}, seed {seeds}: {reasons or 'no reason recorded'}"
        rows.append(_row("runs that failed", level, told, dataset, method))
    return rows


def _seeds(runs: pd.DataFrame, experiment: Plan, methods: Mapping[str, Method]) -> list[Row]:
    there = set(runs[["dataset", "method", "seed"]].itertuples(index=False, name=None))
    rows = []
    for dataset in experiment.datasets:
        for method, seeds in experiment.methods.items():
            missing = [s for s in seeds if (dataset, method, s) not in there]
            if missing:
                level = RED if len(missing) == len(seeds) else AMBER
                found = f"no run with seed {', '.join(map(str, missing))}"
                rows.append(_row("seeds missing", level, found, dataset, method))
    alone = [
        method
        for method, seeds in experiment.methods.items()
        if methods[method].stochastic and len(seeds) == 1
    ]
    if alone:
        found = f"only one seed, so the variation between seeds is unknown: {', '.join(alone)}"
        rows.append(_row("one seed alone", AMBER, found))
    return rows


def _controls(
    scores: pd.DataFrame,
    populations: pd.DataFrame,
    datasets: Iterable[str],
    metrics: Mapping[str, Metric],
) -> list[Row]:
    rows = []
    for dataset in datasets:
        try:
            check_controls(scores[scores["dataset"] == dataset], metrics, populations)
        except UserError as error:
            rows.append(_row("controls", RED, str(error), dataset))
    return rows


def _range(scores: pd.DataFrame, names: Iterable[str], metrics: Mapping[str, Metric]) -> list[Row]:
    """Methods above the truth or no better than a blind control; metrics of agreement only."""
    fired: dict[tuple[str, str, str], list[str]] = {}
    scores = scores[scores["method"].isin(list(names))]
    means = scores.groupby(["dataset", "split", "metric", "method"])["value"].mean()
    for (dataset, split, metric), part in means.groupby(level=[0, 1, 2], sort=False):
        noun = metrics.get(metric)
        if noun is None or not noun.sign or noun.label_free:
            continue
        by_method = part.droplevel([0, 1, 2])
        blind = noun.best_first({c: by_method[c] for c in KNOW_NOTHING if c in by_method})[:1]
        truth = by_method.get(CONTROLS[0], noun.sign * np.inf)
        beyond = "above" if noun.sign > 0 else "below"
        what = metric if split == "all" else f"{metric} on {split} cells"
        for method, mean in by_method.items():
            if method in CONTROLS:
                continue
            if noun.sign * (mean - truth) > EXACT_TOLERANCE:
                found = f"{what} {mean:.3f} is {beyond} the true labels' {truth:.3f}"
                fired.setdefault((dataset, method, RED), []).append(found)
            elif blind and noun.sign * (mean - by_method[blind[0]]) <= 0:
                best = by_method[blind[0]]
                found = f"{what} {mean:.3f} is no better than a blind control's {best:.3f}"
                fired.setdefault((dataset, method, AMBER), []).append(found)
    return [
        _row("control range", level, "; ".join(found), dataset, method)
        for (dataset, method, level), found in fired.items()
    ]


def _provenance(statuses: list[Status], datasets: Mapping[str, Facts]) -> list[Row]:
    if not statuses:
        return [_row("same data", UNCHECKED), _row("same code", UNCHECKED)]
    rows = []
    codes: dict[tuple[str, str], set[str | None]] = {}
    other: dict[tuple[str, str], list[int]] = {}
    for status in statuses:
        key = (status.dataset, status.method)
        codes.setdefault(key, set()).add(status.code_sha256)
        expected = datasets[key[0]].features_sha256 if key[0] in datasets else None
        seen = status.features_sha256  # None for controls
        if None not in (expected, seen) and seen != expected:
            other.setdefault(key, []).append(status.seed)
    for (dataset, method), seeds in other.items():
        found = (
            f"seed {', '.join(map(str, sorted(seeds)))} used features other than the current ones"
        )
        rows.append(_row("same data", RED, found, dataset, method))
    for (dataset, method), versions in codes.items():
        if len(versions) > 1:
            found = f"{len(versions)} versions of the code"
            rows.append(_row("same code", AMBER, found, dataset, method))
    return rows


def _current(
    statuses: list[Status], codes: Mapping[str, str] | None, experiment: Plan
) -> list[Row]:
    """Runs not made by the current code, with the command that reruns them."""
    if codes is None or not statuses:
        return [_row("code as it is now", UNCHECKED)]
    stale: dict[tuple[str, str], list[int]] = {}
    for status in statuses:
        if status.code_sha256 != codes.get(status.method, status.code_sha256):
            stale.setdefault((status.dataset, status.method), []).append(status.seed)
    mend = f"snakemake --cores all {experiment.name} --config rerun_stale=true"
    return [
        _row(
            "code as it is now",
            AMBER,
            f"seed {', '.join(map(str, sorted(seeds)))} made with other code than the current one; "
            f"rerun with `{mend}`",
            dataset,
            method,
        )
        for (dataset, method), seeds in stale.items()
    ]


def _repeated(repeats: Iterable[tuple[Path, Path]]) -> list[Row]:
    compared = [(Run.of(one), *_repeat(one, other)) for one, other in repeats]
    if not compared:
        return [_row("same seed", UNCHECKED, "no run was repeated")]
    wrong = [
        _row("same seed", level, found, run.dataset, run.method)
        for run, level, found in compared
        if level != GREEN
    ]
    return wrong or [_row("same seed", GREEN, f"{len(compared)} repeated, all identical")]


def _repeat(one: Path, other: Path) -> tuple[str, str]:
    """Level of two runs with the same seed, and the finding."""
    name = f"seed{Run.of(one).seed}"
    ended = [Status.read(run).status for run in (one, other)]
    if ended[0] != ended[1]:
        return RED, f"{name}: {ended[0]} at first, {ended[1]} when repeated"
    if ended[0] != "ok":
        return GREEN, ""
    first, second = (pd.read_parquet(Path(run, "labels.parquet"))["label"] for run in (one, other))
    if first.equals(second):
        return GREEN, ""
    if len(first) != len(second) or first.nunique() != second.nunique():
        return RED, f"{name}: {first.nunique()} clusters, {second.nunique()} when repeated"
    share = float((first.to_numpy() != second.to_numpy()).mean())
    return AMBER, f"{name}: {share:.2%} of the labels differ when repeated"


def _data(names: Iterable[str], datasets: Mapping[str, Facts]) -> list[Row]:
    rows = []
    for name in names:
        fact = datasets[name]
        what = [kind for kind in ("simulated", "partial") if getattr(fact, kind)]
        if what:
            rows.append(_row("the data", AMBER, f"{' and '.join(what)}: {fact.title}", name))
        if 0 < (fact.n_scored or 0) < ENOUGH_CELLS:
            few = f"{fact.n_scored} scored cells: large differences can arise by chance alone"
            rows.append(_row("the data", AMBER, few, name))
    return rows
