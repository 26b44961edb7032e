"""A metric of which lower values are better goes through all that compares: `Metric` knows it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from moesimvae.evaluation import comparison, statistics, verdicts
from moesimvae.evaluation.comparison import best_first
from moesimvae.evaluation.selection import select
from moesimvae.nouns import Facts, Method, Metric, Plan, Variant
from moesimvae.report.figures.differences import pictures

ERROR = {"error": Metric("lower", (0, 1), title="Error")}
MEANS = {"worst": 0.7, "best": 0.1, "middle": 0.4}


def scores(n_datasets=1, metric="error", split="all"):
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {"dataset": f"d{i}", "method": method, "seed": seed, "split": split, "metric": metric}
        | {"value": mean + 0.01 * random.random(), "run": ""}
        for i in range(n_datasets)
        for method, mean in MEANS.items()
        for seed in range(6)
    )


def test_the_setting_with_the_lowest_value_is_selected():
    criteria = ("f_flowcap", "silhouette")
    table = pd.concat([scores(metric=criterion) for criterion in criteria])
    variants = {name: Variant(name, screens="kmeans", settings={"n_pca": 2}) for name in MEANS}
    for better, chosen in {"lower": "best", "higher": "worst"}.items():
        metrics = {criterion: Metric(better) for criterion in criteria}
        assert set(select(table, variants, metrics)["variant"]) == {chosen}


def test_pairs_within_a_data_set_begin_with_the_lowest_mean():
    methods = {name: Method(name) for name in MEANS}
    experiment = Plan("E", [], {name: [0] for name in MEANS}, metrics=["error"])
    table = statistics.significance(scores(8), methods, ERROR, experiment)
    assert statistics.ranks_of(table[table["level"] == statistics.ACROSS]) == {
        **{"best": 1, "middle": 2, "worst": 3}
    }
    within = table[(table["level"] == statistics.WITHIN) & (table["dataset"] == "d0")]
    assert list(zip(within["method_a"], within["method_b"], strict=True)) == [
        *[("best", "middle"), ("best", "worst"), ("middle", "worst")]
    ]
    assert (within["difference"] < 0).all()
    assert (within["different"] == "yes").all()
    assert statistics.best_of(within) == "best"
    facts = {f"d{i}": Facts(title=f"d{i}") for i in range(8)}
    drawn = pictures(table, {name: name for name in MEANS}, ERROR, facts)
    assert any("difference from best" in picture.title for picture in drawn)


@pytest.mark.parametrize(("better", "rank", "lead"), [("higher", 3, -0.3), ("lower", 2, 0.3)])
def test_ranks_and_leads_that_follow_from_others_know_it(better, rank, lead):
    follows = verdicts.Rule(tolerance=0.01, table="t", of="error")
    rules = {
        "error": verdicts.Rule(tolerance=0.01),
        "rank": replace(follows, derive="rank", better="lower"),
        "lead": replace(follows, derive="margin", better="higher"),
    }
    numbers = {"mine": 0.4, "first": 0.3, "second": 0.7, "third": 0.5}
    rows = [("error", name, value) for name, value in numbers.items()]
    published = pd.DataFrame(
        [*rows, ("rank", "mine", 1.0), ("lead", "mine", 0.2)],
        columns=["metric", "method", "value"],
    ).assign(table="t", dataset="d", sd=np.nan, n=np.nan, source="", definition="")
    of = verdicts.Rules(rules, {}, {}, {}, {})
    methods = {name: Method(name, published_as=name) for name in numbers}
    ours = pd.DataFrame(
        {"dataset": "d", "method": name, "metric": "error", "split": "all", "seed": 0}
        | {"value": value, "run": ""}
        for name, value in {"mine": 0.4, "second": 0.7}.items()
    )
    results = verdicts.Results(ours, ours.assign(status="ok", reason=""), {}, {}, {})
    metrics = {"error": Metric(better)}
    table = verdicts.verdicts(published, results, of, methods, metrics).set_index("metric")
    assert table.loc["rank", "mean"] == rank
    assert table.loc["lead", "mean"] == pytest.approx(lead)


def test_tables_rank_and_order_by_the_lowest():
    row = {"dataset": "d", "split": "all", "metric": "error", "kind": "method", "source": "run"}
    table = pd.DataFrame(
        row | {"status": "ok", "uses_prior": False, "method": name, "title": name, "mean": mean}
        for name, mean in {**MEANS, "failed": np.nan}.items()
    )
    shown = table.dropna(subset="mean")
    assert list(comparison._ranks(shown, ERROR)) == [3, 1, 2]
    assert best_first(table, "error", ERROR) == ["best", "middle", "worst", "failed"]
    higher = {"error": replace(ERROR["error"], better="higher")}
    assert list(comparison._ranks(shown, higher)) == [1, 3, 2]
    assert best_first(table, "error", higher) == ["worst", "middle", "best", "failed"]
