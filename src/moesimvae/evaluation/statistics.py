"""How certain differences between methods are: tests across data sets, intervals within one.

Across data sets, the data sets are the sample. A seed is not a data set: ten seeds on MNIST say how
much a method varies on MNIST and nothing about other data, so no test here counts seeds. Within one
data set, paired differences over seeds get a bootstrap interval and effect sizes, but no p-value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from moesimvae.errors import UserError
from moesimvae.nouns import Method, Metric, Plan

ALPHA = 0.05
# The smallest p of a two-sided signed-rank test on n data sets is 2^(1-n): 0.0625 for 5, 0.031
# for 6. With fewer than six, no two methods can differ, whatever the scores.
MIN_DATASETS = 6
MIN_METHODS = 3  # Friedman's test compares at least three
# A bootstrap of three values has only ten distinct samples; its interval is far too short.
MIN_SEEDS = 5
RESAMPLES = 10_000
CONFIDENCE = 0.95

ACROSS, WITHIN = "across data sets", "within one data set"
COUNTED = ("test", "all", "train")  # the first one that a metric has is compared

COLUMNS = [
    *("level", "dataset", "split", "metric", "better", "method_a", "method_b", "n"),
    *("rank_a", "rank_b"),
    *("difference", "low", "high", "hedges_g", "cliffs_delta", "statistic", "p", "p_holm"),
    *("different", "note"),
]


@dataclass(frozen=True)
class Friedman:
    """Friedman's test over n data sets and k methods.

    ranks: (k,) average ranks, 1 is best. chi2, p: Friedman's statistic, corrected for ties, and its
    p from the chi-squared distribution with k - 1 degrees of freedom. f, p_f: Iman and Davenport's
    statistic and its p from F(k - 1, (k - 1)(n - 1)), the less conservative of the two.
    """

    ranks: np.ndarray
    chi2: float
    p: float
    f: float
    p_f: float


def friedman(values: np.ndarray, better: str = "higher") -> Friedman:
    """Do the methods differ at all? Demšar J. (2006) JMLR 7: 1-30, section 3.2.2.

    values: (data sets, methods), one score each; better: "higher" | "lower".
    Raises UserError for fewer than MIN_DATASETS data sets or MIN_METHODS methods.
    """
    values = np.asarray(values, dtype=float)
    refusal = too_few(*values.shape)
    if refusal:
        raise UserError(refusal)
    n, k = values.shape
    ranks = stats.rankdata(-Metric(better).sign * values, axis=1)
    mean = ranks.mean(axis=0)
    # The sum of squared ranks over data sets and methods is smaller where ranks are tied.
    spread = (ranks**2).sum() / n - k * (k + 1) ** 2 / 4
    if spread <= 0:  # every method ties with every other, everywhere
        return Friedman(mean, 0.0, 1.0, 0.0, 1.0)
    chi2 = float(n * (k - 1) * ((mean**2).sum() - k * (k + 1) ** 2 / 4) / spread)
    rest = n * (k - 1) - chi2
    f = float((n - 1) * chi2 / rest) if rest > 1e-9 else np.inf
    return Friedman(
        ranks=mean,
        chi2=chi2,
        p=float(stats.chi2.sf(chi2, k - 1)),
        f=f,
        p_f=float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))),
    )


def too_few(n_datasets: int, n_methods: int) -> str:
    """Why no test across data sets is possible, in a sentence; "" when one is."""
    if n_methods < MIN_METHODS:
        return (
            f"no test across data sets: {n_methods} methods finished on all of them, but "
            f"Friedman's test needs at least {MIN_METHODS}."
        )
    if n_datasets < MIN_DATASETS:
        return (
            f"no test across data sets: there are {n_datasets} of the {MIN_DATASETS} needed; with "
            f"{n_datasets}, the smallest possible p of a two-sided signed-rank test is "
            f"{2.0 ** (1 - n_datasets):.3g}, so no two methods could differ at {ALPHA}; more seeds "
            "do not help, since seeds are not data sets."
        )
    return ""


def wilcoxon_holm(values: np.ndarray, alpha: float = ALPHA) -> pd.DataFrame:
    """Which methods differ? Wilcoxon's signed-rank test of every pair, with Holm's correction.

    values: (data sets, methods). Data sets without a difference count half for each side (as in
    Demšar, `zsplit`). Returns one row per pair a < b of column numbers: a, b, statistic (the
    smaller rank sum), p, p_holm, different (p_holm ≤ alpha).
    """
    values = np.asarray(values, dtype=float)
    rows = [
        {"a": a, "b": b, **_signed_ranks(values[:, a] - values[:, b])}
        for a, b in combinations(range(values.shape[1]), 2)
    ]
    table = pd.DataFrame(rows, columns=["a", "b", "statistic", "p"])
    table["p_holm"] = holm(table["p"].to_numpy())
    table["different"] = table["p_holm"] <= alpha
    return table


def _signed_ranks(differences: np.ndarray) -> dict[str, float]:
    differences = np.round(differences, 12)  # 0.3 - 0.2 and 0.2 - 0.1 are the same difference
    if not differences.any():
        n = len(differences)
        return {"statistic": n * (n + 1) / 4, "p": 1.0}
    result = stats.wilcoxon(differences, zero_method="zsplit")
    return {"statistic": float(result.statistic), "p": float(result.pvalue)}


def holm(p: Sequence[float]) -> np.ndarray:
    """Step-down adjusted p-values (Holm S. (1979) Scand. J. Stat. 6: 65-70), capped at 1."""
    raw = np.asarray(p, dtype=float)
    order = np.argsort(raw, kind="stable")
    adjusted = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    result = np.empty_like(raw)
    result[order] = np.minimum(adjusted, 1)
    return result


def groups(ranks: Sequence[float], pairs: pd.DataFrame) -> list[list[int]]:
    """The bars of a critical-difference diagram: groups of methods no two of which differ.

    ranks: average rank of each method; pairs: from `wilcoxon_holm`. A bar is a maximal sequence
    of at least two neighbours in order of rank; bars inside others are left out.
    """
    order = [int(i) for i in np.argsort(ranks, kind="stable")]
    differ = {frozenset((int(r.a), int(r.b))) for r in pairs[pairs["different"]].itertuples()}
    bars: list[list[int]] = []
    end = 0
    for start in range(len(order)):
        stop = start + 1
        while stop < len(order) and not any(
            frozenset((order[stop], other)) in differ for other in order[start:stop]
        ):
            stop += 1
        if stop > end and stop - start > 1:
            bars.append(order[start:stop])
            end = stop
    return bars


def bootstrap_interval(
    differences: Sequence[float], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Percentile interval of the mean difference from RESAMPLES fixed resamples.

    Raises UserError for fewer than MIN_SEEDS values.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < MIN_SEEDS:
        raise UserError(
            f"a bootstrap interval needs {MIN_SEEDS} seeds that both methods finished, but there "
            f"are {len(values)}; run more seeds."
        )
    means = values[_resamples(len(values))].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


@cache
def _resamples(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(n, size=(RESAMPLES, n))


def hedges_g(differences: Sequence[float]) -> float:
    """Mean paired difference in units of its standard deviation, corrected for small samples.

    Hedges L. V. (1981) J. Educ. Stat. 6: 107-128, correction 1 - 3/(4(n - 1) - 1). NaN for fewer
    than three values or if all are equal.
    """
    values = np.asarray(differences, dtype=float)
    n = len(values)
    if n < 3 or np.ptp(values) < 1e-12:
        return float("nan")
    return float(values.mean() / values.std(ddof=1) * (1 - 3 / (4 * (n - 1) - 1)))


def cliffs_delta(a: Sequence[float], b: Sequence[float]) -> float:
    """Share of pairs of runs in which a is above b, minus the share in which it is below; -1 to 1.

    Cliff N. (1993) Psychol. Bull. 114: 494-509.
    """
    return float(np.sign(np.subtract.outer(np.asarray(a, float), np.asarray(b, float))).mean())


def pareto_front(costs: Sequence[float], qualities: Sequence[float], better: str) -> np.ndarray:
    """Which methods are Pareto-optimal: no other is as cheap and as good and better in one.

    costs: lower is better; qualities: by `better`, "higher" | "lower"; both (methods,). A method
    with a missing number is not on the front.
    """
    cost = np.asarray(costs, dtype=float)
    loss = np.asarray(qualities, dtype=float) * -Metric(better).sign
    known = np.isfinite(cost) & np.isfinite(loss)
    no_worse = (cost[:, None] <= cost) & (loss[:, None] <= loss)
    one_better = (cost[:, None] < cost) | (loss[:, None] < loss)
    beaten = (no_worse & one_better & known[:, None]).any(axis=0)
    return known & ~beaten


def on_front(rows: pd.DataFrame, better: str) -> np.ndarray:
    """Which rows of one metric are on the Pareto front of quality and time. Oracles and methods
    that use prior knowledge do not compete.

    rows: of the comparison, one per method; better: "higher" | "lower".
    """
    competes = (rows["kind"] == "method") & ~rows["uses_prior"]
    seconds = rows["wall_seconds"].where(competes)
    return pareto_front(seconds.to_numpy(float), rows["mean"].to_numpy(float), better)


def growth(rows: pd.DataFrame, sizes: int) -> dict[str, float]:
    """Title → exponent of time in the number of cells: the slope of log time on log
    cells, for methods that finished on at least `sizes` sizes.

    rows: of the comparison, one per method and data set, with n_cells.
    """
    slopes = {}
    for title, mine in rows[rows["n"] > 0].groupby("title", sort=False):
        if mine["n_cells"].nunique() >= sizes:
            x, y = np.log(mine["n_cells"]), np.log(mine["wall_seconds"])
            slopes[str(title)] = float(np.polyfit(x, y, 1)[0])
    return slopes


# --- an experiment -----------------------------------------------------------------------------


def significance(
    scores: pd.DataFrame,
    methods: Mapping[str, Method],
    metrics: Mapping[str, Metric],
    experiment: Plan,
) -> pd.DataFrame:
    """All comparisons of an experiment, one row each, columns COLUMNS.

    scores: contract 4's long table, concatenated over data sets. Only the experiment's methods and
    metrics are used, without oracles, controls and metrics that have no direction. For a data set
    with a split, the test cells are used.

    Level "across data sets": first a row for Friedman's test (method_a and method_b empty, n data
    sets, statistic F of Iman and Davenport), or the reason for its refusal in `note`; then, where
    it was made, a row per pair with Wilcoxon's p, Holm's p, and `different` yes or no. The score of
    a method on a data set is its mean over seeds.
    Level "within one data set": a row per pair: n common seeds, mean of a - b, its bootstrap
    interval where there are MIN_SEEDS, effect sizes, `different` "yes" where the interval excludes
    0. A deterministic method has the same value for every seed. Equal seeds of two methods share
    only their number, so pairing removes no variance here.
    """
    scores = _counted(scores)
    names = [
        m
        for m in experiment.methods
        if m in methods and not methods[m].control and not methods[m].oracle
    ]
    compared = [m for m in experiment.metrics if metrics[m].sign]
    rows: list[dict[str, Any]] = []
    for metric in compared:
        of_metric = scores[(scores["metric"] == metric) & scores["method"].isin(names)]
        better = metrics[metric].better
        common = {"metric": metric, "better": better}
        rows += [common | row for row in _across(of_metric, names, better)]
        for (dataset, split), part in of_metric.groupby(["dataset", "split"], sort=False):
            where = common | {"level": WITHIN, "dataset": dataset, "split": split}
            rows += [where | row for row in _within(part, names, methods, better)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _counted(scores: pd.DataFrame) -> pd.DataFrame:
    """The finite rows to compare: of the test cells, else of all, else of the training cells.

    This is decided per metric: the silhouette is of the training cells where there is a split.
    """
    scores = scores[np.isfinite(scores["value"]) & scores["split"].isin(COUNTED)]
    place = scores["split"].map({split: i for i, split in enumerate(COUNTED)})
    first = place.groupby([scores["dataset"], scores["metric"]]).transform("min")
    return scores[place == first]


def means(scores: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Data sets × methods that were scored on all of them: means over seeds of one metric."""
    table = scores.pivot_table(index="dataset", columns="method", values="value", aggfunc="mean")
    return table[[m for m in names if m in table and table[m].notna().all()]]


def _across(scores: pd.DataFrame, names: Sequence[str], better: str) -> list[dict[str, Any]]:
    """Friedman's test and, where it is made, one row per pair of methods."""
    table = means(scores, names)
    n, k = table.shape
    here = {"level": ACROSS, "dataset": "", "split": "", "n": n}
    refusal = too_few(n, k)
    if refusal:
        return [here | {"method_a": "", "method_b": "", "note": refusal}]
    test = friedman(table.to_numpy(), better)
    missing = ", ".join(m for m in names if m not in table)
    of_all = {
        "method_a": "",
        "method_b": "",
        "statistic": test.f,
        "p": test.p_f,
        "different": "yes" if test.p_f <= ALPHA else "no",
        "note": f"left out, as not scored on every data set: {missing}" if missing else "",
    }
    return [here | row for row in [of_all, *_of_pairs(table, test)]]


def _of_pairs(table: pd.DataFrame, test: Friedman) -> list[dict[str, Any]]:
    """Wilcoxon's test for each pair of the methods in Friedman's test.

    table: data sets × methods, from `means`.
    """
    values, names = table.to_numpy(), list(table.columns)
    pairs = wilcoxon_holm(values)
    note = _hopeless(len(values), len(pairs))
    rows = []
    for pair in pairs.to_dict("records"):
        a, b = pair["a"], pair["b"]
        row = {
            "method_a": names[a],
            "method_b": names[b],
            "rank_a": float(test.ranks[a]),
            "rank_b": float(test.ranks[b]),
            "difference": float((values[:, a] - values[:, b]).mean()),
            "statistic": pair["statistic"],
            "p": pair["p"],
            "p_holm": pair["p_holm"],
            # If Friedman's test finds no difference, no pair counts as different.
            "different": "yes" if pair["different"] and test.p_f <= ALPHA else "no",
            "note": note,
        }
        rows.append(row)
    return rows


def _hopeless(n_datasets: int, n_pairs: int) -> str:
    """Why no pair can differ, in a sentence; "" when one can."""
    smallest = min(1.0, n_pairs * 2.0 ** (1 - n_datasets))
    if smallest <= ALPHA:
        return ""
    return (
        f"with {n_datasets} data sets and {n_pairs} pairs, Holm's p cannot be below {smallest:.3g}"
    )


def _within(
    scores: pd.DataFrame, names: Sequence[str], methods: Mapping[str, Method], better: str
) -> list[dict[str, Any]]:
    """One row per pair of methods, the one with the better mean first."""
    values = {m: g.set_index("seed")["value"] for m, g in scores.groupby("method", sort=False)}
    order = Metric(better).best_first({m: values[m].mean() for m in names if m in values})
    return [
        {"method_a": a, "method_b": b} | _pair(values[a], values[b], methods[a], methods[b])
        for a, b in combinations(order, 2)
    ]


def _pair(a: pd.Series, b: pd.Series, method_a: Method, method_b: Method) -> dict[str, Any]:
    fixed_a, fixed_b = not method_a.stochastic, not method_b.stochastic
    if fixed_a and fixed_b:
        one, other = a.iloc[:1].to_numpy(), b.iloc[:1].to_numpy()
        note = "both are deterministic, so the difference does not vary"
    elif fixed_a or fixed_b:
        seeds = (b if fixed_a else a).index
        one = np.full(len(seeds), a.iloc[0]) if fixed_a else a.to_numpy()
        other = np.full(len(seeds), b.iloc[0]) if fixed_b else b.to_numpy()
        note = "one of the two is deterministic; its value is used for every seed"
    else:
        seeds = a.index.intersection(b.index)
        one, other, note = a.loc[seeds].to_numpy(), b.loc[seeds].to_numpy(), ""
    found: dict[str, Any] = {"n": len(one), "note": note}
    if not len(one):
        return found | {"note": "no seeds in common"}
    differences = one - other
    found |= {"difference": float(differences.mean())}
    if fixed_a and fixed_b:
        return found
    if len(one) < MIN_SEEDS:
        few = f"{len(one)} common seeds are too few for an interval, which needs {MIN_SEEDS}"
        return found | {"note": "; ".join(filter(None, [note, few]))}
    low, high = bootstrap_interval(differences)
    return found | {
        "low": low,
        "high": high,
        "hedges_g": hedges_g(differences),
        "cliffs_delta": cliffs_delta(one, other),
        "different": "yes" if low > 0 or high < 0 else "no",
    }


def ranks_of(part: pd.DataFrame) -> dict[str, float]:
    """Average ranks by method, taken from the pair rows."""
    pairs = part.iloc[1:]
    return dict(zip(pairs["method_a"], pairs["rank_a"], strict=True)) | dict(
        zip(pairs["method_b"], pairs["rank_b"], strict=True)
    )


def best_of(part: pd.DataFrame) -> str:
    """The method with the best mean, which comes first in the pairs within one data set."""
    return str(part["method_a"].iloc[0])


def against(part: pd.DataFrame, first: str) -> pd.DataFrame:
    """Every other method's difference from `first`: other, n, difference, low, high, different."""
    rows = []
    for row in part.to_dict("records"):
        if first not in (row["method_a"], row["method_b"]):
            continue
        turned = row["method_a"] == first
        sign = -1 if turned else 1
        ends = sorted(sign * row[end] for end in ("low", "high"))
        rows.append(
            {
                "other": row["method_b"] if turned else row["method_a"],
                "n": row["n"],
                "difference": sign * row["difference"],
                **{"low": ends[0], "high": ends[1], "different": row["different"]},
            }
        )
    return pd.DataFrame(rows, columns=["other", "n", "difference", "low", "high", "different"])
