"""Which method leads over all data sets and metrics, and how far that depends on weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from moesimvae.evaluation import comparison
from moesimvae.nouns import Metric

WEIGHTINGS = 10_000  # of the metrics, drawn uniformly from all possible ones
WITHIN = 0.9  # share of the weightings that a range of ranks covers


@dataclass(frozen=True)
class Ranking:
    """metrics: those averaged in the mean, in the table's order.

    scores: methods × (data set, metric), from 0 to 1, best methods first, for every metric with
    a better direction. of_methods: for each method `mean`, `rank` and, where there are several
    metrics, `leads` (share of the weightings in which it is first), `low` and `high` (range of
    ranks in WITHIN of them); only methods that compete have a rank.
    """

    metrics: list[str]
    scores: pd.DataFrame
    of_methods: pd.DataFrame

    @property
    def leaders(self) -> list[str]:
        return list(self.of_methods.index[self.of_methods["rank"] == 1])


def rank(table: pd.DataFrame, metrics: Mapping[str, Metric]) -> Ranking:
    """Rank methods by the equally weighted mean of their metrics.

    table: from `comparison.compare`; only the first split of each data set is used, without
    controls. A metric's value is its mean over seeds, then over data sets, scaled from 0
    (no better than chance, or than nothing) to 1. The mean is over the metrics that use true
    labels, or over the label-free ones where there are no others. A method competes if all of its
    runs finished and it was given no knowledge of the truth. Values equal at the digits shown are
    ties. The same table gives the same ranking.
    """
    own = comparison.of_first_split(table[table["source"] == "run"])
    own = own[own["kind"] != "control"]
    # no method is missing a metric that a data set cannot have
    may_lack = own["metric"].map(lambda metric: bool(metrics[metric].lacking))
    own = own[~(may_lack & (own["status"] == comparison.NOT_SCORED))]
    shown = comparison.ranked_metrics(own, metrics)
    own = own[own["metric"].isin(shown)]
    told = [m for m in shown if not metrics[m].label_free]
    counted = told or shown
    parts = [
        rows.assign(score=share(rows["mean"], metrics[str(metric)]))
        for (_, metric), rows in own.groupby(["dataset", "metric"], sort=False)
    ]
    every = pd.concat(parts) if parts else own.assign(score=np.nan)
    order = pd.MultiIndex.from_frame(own[["dataset", "metric"]].drop_duplicates())
    scores = every.pivot_table(
        index="method", columns=["dataset", "metric"], values="score", dropna=False, sort=False
    ).reindex(columns=order)
    by_metric = scores.T.groupby(level="metric", sort=False).mean().T[counted]
    mean = by_metric.mean(axis=1).round(comparison.DIGITS)
    mine = own[own["metric"].isin(counted)]
    may = (mine["kind"] == "method") & (mine["status"] == "ok") & ~mine["uses_prior"]
    competes = may.groupby(mine["method"]).all().reindex(scores.index, fill_value=False)
    ranks = mean[competes].rank(ascending=False, method="min")
    made = pd.DataFrame({"mean": mean, "rank": ranks.reindex(mean.index).astype("Int64")})
    if len(counted) > 1 and competes.any():
        made = made.join(_under_other_weights(by_metric[competes]))
    made = made.reindex(columns=["mean", "rank", "leads", "low", "high"])
    made = made.sort_values(["rank", "mean"], ascending=[True, False], kind="stable")
    return Ranking(counted, scores.loc[made.index], made)


def share(values: pd.Series, metric: Metric) -> pd.Series:
    """Scale the values of one metric to 0 (its worst value) to 1 (its best).

    Where higher is better, values below 0 count as 0; for an unbounded metric, the worst and best
    values present are the limits.
    """
    worst, best = metric.worst, metric.best
    if metric.sign > 0 and worst < 0 < best:
        worst = 0
    if not np.isfinite([worst, best]).all():
        worst, best = sorted((values.min(), values.max()), reverse=metric.sign < 0)
    return ((values - worst) / (best - worst if best != worst else 1)).clip(0, 1)


def _under_other_weights(by_metric: pd.DataFrame) -> pd.DataFrame:
    weights = np.random.default_rng(0).dirichlet(np.ones(by_metric.shape[1]), WEIGHTINGS)
    totals = (by_metric.round(comparison.DIGITS).to_numpy() @ weights.T).round(comparison.DIGITS)
    first = totals == totals.max(axis=0)
    ranks = rankdata(-totals, method="min", axis=0)
    low, high = np.quantile(
        ranks, [(1 - WITHIN) / 2, (1 + WITHIN) / 2], axis=1, method="inverted_cdf"
    )
    leads = (first / first.sum(axis=0)).mean(axis=1)
    made = pd.DataFrame({"leads": leads, "low": low, "high": high}, index=by_metric.index)
    return made.astype({"low": "Int64", "high": "Int64"})
