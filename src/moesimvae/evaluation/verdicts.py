"""Verdicts: for every number of the paper, what was obtained here and whether it agrees.

The rules, in this order; the first that applies decides. p is the published value, m the mean of
our n seeds, t the tolerance that `workflow/published/comparison.yaml` declares with its reason.

1. not comparable: the quantity differs (a setting, another definition).
2. not run here: the method is not implemented here, its runs are missing, or all of them failed.
3. not comparable: the runs are of other data, a subset or simulated cells.
4. reproduced: |m - p| ≤ t.
5. within noise: further apart, but our interval and that of the published value overlap.
   This confirms nothing: these runs cannot tell the two apart.
6. not reproduced: everything else.

Intervals. Ours needs MIN_SEEDS seeds: m ± t(0.975, n - 1) · sd · √(1/n), Student's 95 % confidence
interval of the mean. Where the published value is known to be a single run (its n is 1), it is
compared with what one further run of ours would give, the prediction interval with √(1 + 1/n). The
published interval is p ± t(0.975, n - 1) · sd / √n where sd and n are printed, else the point p.

`direction` says better or worse than published where the metric has a direction and the difference
exceeds the tolerance, also when the verdict is "not reproduced": a number far above the printed
one does not reproduce it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from moesimvae.errors import UserError
from moesimvae.nouns import Experiment, Facts, Method, Metric, Variant

Row = dict[str, Any]  # a table row
MIN_SEEDS = 3  # fewer give an interval so wide that everything lies within it
CONFIDENCE = 0.95
ROUNDING = 1e-9

REPRODUCED, NOISE, DIFFERENT = "reproduced", "within noise", "not reproduced"
NOT_COMPARABLE, NOT_RUN = "not comparable", "not run here"
VERDICTS = (REPRODUCED, NOISE, DIFFERENT, NOT_COMPARABLE, NOT_RUN)
PAPER, BEYOND, SETTING = "the paper's", "beyond the paper", "a setting of the paper's"

NOBODY = "no experiment in this configuration"  # starts the reason where nothing can be run

COLUMNS = [
    *("table", "published_method", "dataset", "metric", "definition", "published"),
    *("published_sd", "published_n", "source", "role", "method", "title", "ran_on", "split"),
    *("ours", "mean", "sd", "low", "high", "n", "n_planned", "difference", "tolerance"),
    *("tolerance_reason", "verdict", "direction", "reason", "runs"),
]


@dataclass(frozen=True)
class Judgement:
    """verdict: one of VERDICTS; direction: better | worse | above | below | same | "";
    low, high: our interval (NaN if none); reason: a clause on what decided."""

    verdict: str
    direction: str
    low: float
    high: float
    reason: str


def judge(
    published: float,
    values: Iterable[float],
    tolerance: float,
    better: str = "none",
    published_sd: float = np.nan,
    published_n: float = np.nan,
) -> Judgement:
    """Apply rules 4 to 6 to one number.

    values: ours, one per finished seed, at least one. better: higher | lower | none.
    Raises UserError if there is no value.
    """
    ours = np.asarray(list(values), dtype=float)
    if not len(ours):
        raise UserError("a verdict needs at least one value of our own; run a seed first.")
    mean = ours.mean()
    low, high = interval(ours, one_more=published_n == 1)
    difference = mean - published
    if abs(difference) <= tolerance + ROUNDING:
        return Judgement(REPRODUCED, "same", low, high, "the difference is within the tolerance")
    direction = _direction(difference, better)
    if np.isnan(low):
        runs = "1 run gives" if len(ours) == 1 else f"{len(ours)} runs give"
        reason = f"beyond the tolerance; {runs} no interval, so noise cannot be ruled out"
        return Judgement(DIFFERENT, direction, low, high, reason)
    their_low, their_high = _published_interval(published, published_sd, published_n)
    if low <= their_high + ROUNDING and their_low <= high + ROUNDING:
        what = "the interval of one further run" if published_n == 1 else "our interval"
        reason = f"beyond the tolerance, but {what} overlaps the published value or its interval"
        return Judgement(NOISE, direction, low, high, reason)
    reason = "beyond the tolerance, and the intervals do not overlap"
    return Judgement(DIFFERENT, direction, low, high, reason)


def interval(values: np.ndarray, one_more: bool = False) -> tuple[float, float]:
    """Student's interval of the mean or, with `one_more`, of a further value; NaN for too few."""
    n = len(values)
    if n < MIN_SEEDS:
        return float("nan"), float("nan")
    width = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * values.std(ddof=1)
    half = width * np.sqrt(1 / n + one_more)
    return float(values.mean() - half), float(values.mean() + half)


def _published_interval(value: float, sd: float, n: float) -> tuple[float, float]:
    if not (sd > 0 and n > 1):  # NaN is neither
        return value, value
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * sd / np.sqrt(n)
    return value - half, value + half


def _direction(difference: float, better: str) -> str:
    sign = Metric(better).sign
    if not sign:
        return "above" if difference > 0 else "below"
    return "better" if sign * difference > 0 else "worse"


# --- all numbers -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Results:
    """What was run: contract 4's long tables from any number of experiments, with their context.

    scores, runs: a run that appears in several experiments counts once. experiments: to say which
    one would produce a missing number. variants: for printed settings.
    """

    scores: pd.DataFrame
    runs: pd.DataFrame
    datasets: Mapping[str, Facts]
    experiments: Mapping[str, Experiment]
    variants: Mapping[str, Variant]

    @cached_property
    def _scores(self) -> dict[tuple, pd.DataFrame]:
        finite = self.scores[np.isfinite(self.scores["value"].astype(float))]
        return dict(list(finite.groupby(["dataset", "method", "metric"])))

    @cached_property
    def _runs(self) -> dict[tuple, pd.DataFrame]:
        return dict(list(self.runs.groupby(["dataset", "method"])))

    def values(self, dataset: str, method: str, metric: str) -> tuple[str, pd.DataFrame]:
        """Split and its rows (seed, value, run): the test cells where there are any.

        Values recorded with each run are taken from there where the experiment does not score them.
        """
        found = self._scores.get((dataset, method, metric))
        if found is None and metric in self.runs:
            runs = self.planned(dataset, method)
            runs = runs[runs["status"] == "ok"].dropna(subset=metric)
            found = runs.assign(value=runs[metric].astype(float), split="all")
        if found is None or not len(found):
            return "", self.scores.iloc[:0]
        splits = set(found["split"])
        split = next((s for s in ("test", "all") if s in splits), min(splits))
        mine = found[found["split"] == split].drop_duplicates("seed", keep="last")
        return split, mine.sort_values("seed")

    def planned(self, dataset: str, method: str) -> pd.DataFrame:
        """The runs of one method on one data set, each once."""
        found = self._runs.get((dataset, method), self.runs.iloc[:0])
        return found.drop_duplicates("seed", keep="last").sort_values("seed")


@dataclass(frozen=True)
class Rule:
    """How one published metric is compared; comments in comparison.yaml explain the keys."""

    ours: str = ""
    better: str = ""
    tolerance: float = np.nan
    relative: float | None = None
    reason: str = ""
    out_of: float | None = None
    derive: str = ""
    table: str = ""
    of: str = ""
    setting: bool = False
    not_comparable: str = ""
    other_unit: Mapping[str, str] = field(default_factory=dict)
    skip: str = ""
    target: str = ""

    def within(self, value: float) -> float:
        """The absolute tolerance at a published value."""
        return self.tolerance if self.relative is None else self.relative * abs(value)


@dataclass(frozen=True)
class Rules:
    """comparison.yaml. methods, beyond: table → published name → ours, optionally with settings."""

    metrics: Mapping[str, Rule]
    methods: Mapping[str, Mapping[str, Any]]
    beyond: Mapping[str, Mapping[str, list[str]]]
    stand_ins: Mapping[str, list[str]]
    notes: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(
        cls, blocks: Mapping[str, Any], published: pd.DataFrame, methods: Mapping[str, Method]
    ) -> Rules:
        """Raise UserError for a published metric without a rule, an unknown key or method."""
        allowed = [f.name for f in fields(Rule)]
        for metric in published["metric"].unique():
            if metric not in blocks["metrics"]:
                raise UserError(
                    f"comparison.yaml does not cover the published metric '{metric}'; add it "
                    "under metrics, with a tolerance and its reason."
                )
        for metric, rule in blocks["metrics"].items():
            if unknown := sorted(set(rule) - set(allowed)):
                raise UserError(
                    f"comparison.yaml, metrics.{metric}: unknown key '{unknown[0]}'; allowed are "
                    f"{', '.join(allowed)}."
                )
            whole = {"setting", "not_comparable", "skip"} & set(rule)
            if not whole and not ({"tolerance", "relative"} & set(rule) and rule.get("reason")):
                raise UserError(
                    f"comparison.yaml, metrics.{metric} needs a tolerance (or relative) and a "
                    "reason."
                )
        for part in ("methods", "beyond"):
            for table, by_name in blocks[part].items():
                for name, ours in by_name.items():
                    if unknown := [m for m in ours if m not in methods and m != name]:
                        raise UserError(
                            f"comparison.yaml, {part}.{table}.{name}: there is no method "
                            f"'{unknown[0]}' in the registry."
                        )
        return cls(**{**blocks, "metrics": {m: Rule(**r) for m, r in blocks["metrics"].items()}})


def verdicts(
    published: pd.DataFrame,
    results: Results,
    rules: Rules,
    methods: Mapping[str, Method],
    metrics: Mapping[str, Metric],
) -> pd.DataFrame:
    """One row per published number and method here that stands for it, columns COLUMNS.

    published: the csv files of workflow/published/ as one table; a number that the paper does not
    report has no row. `role` is "the paper's", or "a setting of the paper's", or, for a method
    beyond the paper that is included for comparison, "beyond the paper". `difference` is ours minus
    published, `tolerance` absolute.
    """
    rows: list[Row] = []
    derived: list[tuple[Row, Rule]] = []
    for number in published.to_dict("records"):
        rule = rules.metrics[number["metric"]]
        if pd.isna(number["value"]) or rule.skip:
            continue
        row = _quoted(number, rule)
        if rule.derive:
            derived.append((row, rule))
            rows.append(row)
        else:
            rows += _of_number(row, rule, results, rules, methods, metrics)
    for row, rule in derived:
        row.update(_derived(row, rule, rows, _metric(rule.of, rules, metrics)))
    for row in rows:
        notes = [n["note"] for n in rules.notes.values() if _about(n, row)]
        row["reason"] = " ".join(_sentence(part) for part in [row["reason"], *notes])
    table = pd.DataFrame(rows, columns=COLUMNS)
    whole = dict.fromkeys(["published_n", "n", "n_planned"], "Int64")
    return table.astype(whole)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Number of results by table of the paper and verdict, without settings and what goes beyond.

    A published number represented by several methods here counts once, with the best verdict.
    """
    own = table[table["role"] == PAPER]
    order = {verdict: i for i, verdict in enumerate(VERDICTS)}
    best = own.assign(order=own["verdict"].map(order)).sort_values("order", kind="stable")
    best = best.drop_duplicates(["table", "published_method", "dataset", "metric"])
    counts = pd.crosstab(best["table"], best["verdict"]).reindex(columns=list(VERDICTS))
    counts = counts.fillna(0).astype(int).reindex(list(dict.fromkeys(own["table"])))
    counts["results"] = counts.sum(axis=1)
    return counts


def _quoted(number: Row, rule: Rule) -> Row:
    value = float(number["value"])
    return {
        **{"table": number["table"], "published_method": number["method"]},
        **{"dataset": number["dataset"], "metric": number["metric"]},
        **{"definition": number["definition"], "published": value},
        **{"published_sd": number["sd"], "published_n": number["n"], "source": number["source"]},
        **{"role": PAPER, "method": "", "title": "", "ran_on": "", "split": "", "n": 0, "runs": ""},
        **{"direction": "", "reason": ""},
        **{"tolerance": float(rule.within(value)), "tolerance_reason": rule.reason},
    }


def _about(note: Mapping[str, str], row: Row) -> bool:
    keys = {"table": "table", "method": "published_method", "metric": "metric"}
    return row["role"] == PAPER and all(
        row[column] == note[key] for key, column in keys.items() if key in note
    )


def _of_number(
    row: Row,
    rule: Rule,
    results: Results,
    rules: Rules,
    methods: Mapping[str, Method],
    metrics: Mapping[str, Metric],
) -> list[Row]:
    if rule.setting:
        told = {"verdict": NOT_COMPARABLE, "reason": "the paper's choice, not a result"}
        return [row | told | {"role": SETTING}]
    if why := rule.not_comparable or rule.other_unit.get(row["published_method"]):
        return [row | {"verdict": NOT_COMPARABLE, "reason": why}]
    better = _metric(row["metric"], rules, metrics).better
    row = row | {"ours": rule.ours or row["metric"]}
    candidates = _methods_of(row, rules, methods, results)
    if not candidates:
        return [row | {"verdict": NOT_RUN, "reason": "no implementation of this method here"}]
    found = []
    for method, title, role in candidates:
        mine = row | {"method": method, "title": title, "role": role}
        found.append(_of_method(mine, rule, better, results, rules))
    # Of several possible methods, keep those that ran; if none did, one row says so.
    ran = [r for r in found if r["verdict"] != NOT_RUN]
    if any(r["role"] == PAPER for r in ran):
        return ran
    missing = [r for r in found if r["role"] == PAPER]
    known = [r for r in missing if not r["reason"].startswith(NOBODY)]
    return [(known or missing)[0], *ran]


def _metric(name: str, rules: Rules, metrics: Mapping[str, Metric]) -> Metric:
    """A published metric, its direction from comparison.yaml or else from our own metric."""
    rule = rules.metrics[name]
    ours = metrics.get(rule.ours or name, Metric())
    return Metric(rule.better or ours.better)


def _methods_of(
    row: Row, rules: Rules, methods: Mapping[str, Method], results: Results
) -> list[tuple[str, str, str]]:
    """(method, title, role) of the methods for a published name: the paper's, then ours."""
    name, table = row["published_method"], row["table"]
    said = rules.methods.get(table, {}).get(name)
    if said is None:
        said = [m for m, block in methods.items() if block.published_as == name]
    settings = said if isinstance(said, Mapping) else dict.fromkeys(said)
    found = []
    for method, wanted in settings.items():
        runs = [method] if wanted is None else _with_settings(method, wanted, results.variants)
        found += [(m, _title(m, methods, results), PAPER) for m in runs or [method]]
    beyond = rules.beyond.get(table, {}).get(name, [])
    return found + [(m, _title(m, methods, results), BEYOND) for m in beyond]


def _with_settings(method: str, wanted: Row, variants: Mapping[str, Variant]) -> list[str]:
    return [
        name
        for name, block in variants.items()
        if block.screens == method and block.settings == wanted
    ][:1]


def _title(method: str, methods: Mapping[str, Method], results: Results) -> str:
    known = {**methods, **results.variants}
    return known[method].title if method in known else method


def _of_method(row: Row, rule: Rule, better: str, results: Results, rules: Rules) -> Row:
    dataset, method = row["dataset"], row["method"]
    places = [dataset, *rules.stand_ins.get(dataset, [])]
    for place in places:
        split, found = results.values(place, method, row["ours"])
        if len(found):
            break
    else:
        return row | {"verdict": NOT_RUN, "reason": _why_not(row, rule, places, results)}
    values = found["value"].to_numpy()
    if rule.out_of is not None:
        values = rule.out_of - values
    # A number with a target of its own is measured on some of the finished runs only.
    planned = 0 if rule.target else len(results.planned(place, method))
    runs = list(dict.fromkeys(r for r in found["run"] if isinstance(r, str) and r))
    row = row | {
        **{"ran_on": place, "split": split, "n": len(values), "mean": float(values.mean())},
        **{"sd": float(values.std(ddof=1)) if len(values) > 1 else np.nan},
        **{"n_planned": max(planned, len(values)), "runs": " ".join(runs)},
        "difference": float(values.mean() - row["published"]),
    }
    low, high = interval(values)
    other = _other_data(place, dataset, results.datasets)
    if other:
        return row | {"low": low, "high": high, "verdict": NOT_COMPARABLE, "reason": other}
    judged = judge(
        row["published"],
        values,
        row["tolerance"],
        better,
        row["published_sd"],
        row["published_n"],
    )
    lost = row["n_planned"] - row["n"]
    reason = judged.reason + (f"; {lost} of {row['n_planned']} runs failed" if lost else "")
    return row | {
        **{"low": judged.low, "high": judged.high, "verdict": judged.verdict},
        **{"direction": judged.direction, "reason": reason},
    }


def _other_data(place: str, dataset: str, datasets: Mapping[str, Facts]) -> str:
    """Why our runs did not use the published data; "" if they did."""
    facts = datasets.get(place, Facts(title=place))
    if facts.simulated:
        return f"run on simulated cells: {facts.title}"
    if facts.partial or place != dataset:
        return f"run on other cells: {facts.title}"
    return ""


def _why_not(row: Row, rule: Rule, places: list[str], results: Results) -> str:
    for place in () if rule.target else places:
        runs = results.planned(place, row["method"])
        if len(runs) and (runs["status"] != "ok").all():
            first = runs.iloc[0]
            return f"all {len(runs)} runs on {place} failed ({first['status']}: {first['reason']})"
    targets = [
        name
        for name, experiment in results.experiments.items()
        if row["dataset"] in experiment.datasets and row["method"] in experiment.methods
    ]
    targets = [rule.target] if rule.target else targets
    if targets:
        return f"not run yet: snakemake --cores 2 {targets[0]}"
    return f"{NOBODY} runs {row['title']} on {row['dataset']}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _derived(row: Row, rule: Rule, rows: list[Row], metric: Metric) -> Row:
    """A number derived from the others in a table: a lead over the second, a rank.

    metric: that of the others.
    """
    of = [r for r in rows if r["table"] == rule.table and r["metric"] == rule.of]
    judged = [r for r in of if r["role"] == PAPER and r.get("verdict") in VERDICTS[:3]]
    name = row["published_method"]
    signed = metric.sign or 1  # a value times this is better the larger it is
    mine = [signed * r["mean"] for r in judged if r["published_method"] == name]
    others = {
        "margin": [signed * r["mean"] for r in judged if r["published_method"] != name],
        "rank": [signed * r["published"] for r in of if r["published_method"] != name],
    }[rule.derive]
    if not mine or not others:
        return {
            "verdict": NOT_RUN,
            "reason": f"derived from {rule.table}, which was not run here",
        }
    best, ranked = max(mine), rule.derive == "rank"
    value = 1 + sum(other > best for other in others) if ranked else best - max(others)
    judged_here = judge(row["published"], [value], row["tolerance"], rule.better)
    place = "the published values" if ranked else "the methods run here"
    return {
        **{"ours": rule.of, "mean": float(value), "n": 1, "n_planned": 1},
        **{"difference": float(value - row["published"]), "verdict": judged_here.verdict},
        **{"direction": judged_here.direction, "title": f"{rule.derive} among {place}"},
        "reason": f"derived from {rule.table}, compared with {place}",
    }
