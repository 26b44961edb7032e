"""Who leads, by hand: means of scores from 0 to 1, ties, who competes, and other weights."""

import numpy as np
import pandas as pd
import pytest

from moesimvae.evaluation import comparison, ranking
from moesimvae.nouns import Metric

METRICS = {
    "f": Metric("higher", (0, 1)),
    "error": Metric("lower", (0, 1)),
    "silhouette": Metric("higher", (-1, 1), label_free=True),
    "size": Metric("none", (0, 1)),
    "rare": Metric("higher", (0, 1), lacking="Nothing is rare."),
}


def table(values, **of_methods):
    """values: method → data set → metric → mean, None where no run finished."""
    rows = [
        {"dataset": dataset, "split": "all", "method": method, "title": method, "kind": "method",
         "source": "run", "metric": metric, "mean": np.nan if mean is None else mean,
         "status": "timeout" if mean is None else "ok", "uses_prior": False}
        | of_methods.get(method, {})
        for method, sets in values.items()
        for dataset, metrics in sets.items()
        for metric, mean in metrics.items()
    ]  # fmt: skip
    return comparison._typed(pd.DataFrame(rows).reindex(columns=comparison.COLUMNS))


def ranked(values, **of_methods):
    return ranking.rank(table(values, **of_methods), METRICS)


def test_the_mean_counts_each_metric_and_data_set_alike_and_turns_what_is_better_lower():
    found = ranked(
        {
            "a": {"x": {"f": 0.8, "error": 0.3}, "y": {"f": 0.6, "error": 0.1}},
            "b": {"x": {"f": 0.9, "error": 0.9}, "y": {"f": 0.7, "error": 0.9}},
        }
    )
    assert found.metrics == ["f", "error"]
    assert found.of_methods["mean"].to_dict() == {"a": 0.75, "b": 0.45}
    assert found.of_methods["rank"].to_dict() == {"a": 1, "b": 2}
    assert found.scores.loc["a", ("y", "error")] == pytest.approx(0.9)
    assert found.leaders == ["a"]


def test_what_looks_at_labels_decides_and_the_label_free_metrics_where_there_are_no_others():
    sets = {"x": {"f": 0.5, "silhouette": 0.9, "size": 1.0}}
    assert ranked({"a": sets, "b": {"x": sets["x"] | {"f": 0.6, "silhouette": 0.1}}}).leaders == [
        "b"
    ]
    found = ranked({"a": {"x": {"silhouette": -0.4}}, "b": {"x": {"silhouette": 0.2}}})
    assert found.metrics == ["silhouette"]
    assert found.of_methods["mean"].to_dict() == {"b": 0.2, "a": 0.0}  # below 0 is no worse than 0
    assert found.of_methods["leads"].isna().all()  # of one metric there are no other weights


def test_only_methods_whose_runs_finished_and_that_are_told_nothing_compete():
    good, bad = {"x": {"f": 0.9, "error": 0.1}}, {"x": {"f": 0.2, "error": 0.5}}
    found = ranked(
        {"prior": good, "oracle": good, "lost": {"x": {"f": 0.9, "error": None}}, "plain": bad},
        prior={"uses_prior": True},
        oracle={"kind": "oracle"},
    ).of_methods
    assert found.index[0] == "plain"
    assert found["rank"].dropna().to_dict() == {"plain": 1}
    assert found.loc["lost", "mean"] == 0.9  # of what there is, to be shown and not to be ranked
    controlled = ranked({"c": good, "a": bad}, c={"kind": "control"})
    assert list(controlled.of_methods.index) == ["a"]


def test_a_metric_that_a_data_set_cannot_have_keeps_nobody_from_ranking():
    sets = {"x": {"f": 0.5, "rare": 0.4}, "y": {"f": 0.6, "rare": None}}
    found = ranked({"a": sets, "b": {"x": {"f": 0.5, "rare": 0.2}, "y": sets["y"]}})
    assert found.of_methods["rank"].isna().all()  # None: no run finished
    made = table({"a": sets, "b": {"x": {"f": 0.5, "rare": 0.2}, "y": sets["y"]}})
    made.loc[made["status"] == "timeout", "status"] = comparison.NOT_SCORED
    found = ranking.rank(made, METRICS)
    assert found.of_methods["rank"].to_dict() == {"a": 1, "b": 2}
    assert found.of_methods["mean"].to_dict() == {"a": 0.475, "b": 0.375}
    nowhere = made[(made["dataset"] == "y")]
    assert ranking.rank(nowhere, METRICS).metrics == ["f"]


def test_equal_methods_share_their_rank_and_the_weightings_that_they_lead():
    same = {"x": {"f": 0.9001, "error": 0.2}}
    found = ranked(
        {"a": same, "b": {"x": {"f": 0.9004, "error": 0.2}}, "c": {"x": {"f": 0.1, "error": 0.9}}}
    )
    assert found.of_methods["rank"].to_dict() == {"a": 1, "b": 1, "c": 3}
    assert found.of_methods["leads"].to_dict() == {"a": 0.5, "b": 0.5, "c": 0.0}


def test_the_share_of_weightings_is_the_one_that_can_be_computed():
    """a leads by f, b by error, by the same: the weight of f must be above a half for a."""
    crossed = {"a": {"x": {"f": 1.0, "error": 0.6}}, "b": {"x": {"f": 0.8, "error": 0.4}}}
    found = ranked(crossed).of_methods
    assert found["leads"].sum() == pytest.approx(1)
    assert found.loc["a", "leads"] == pytest.approx(0.5, abs=0.02)
    assert found[["low", "high"]].to_numpy().tolist() == [[1, 2], [1, 2]]
    pd.testing.assert_frame_equal(found, ranked(crossed).of_methods)


def test_a_metric_without_limit_runs_from_the_worst_to_the_best_there_is():
    values = pd.Series([10.0, 30.0, 20.0])
    endless = Metric("lower", (0, np.inf))
    assert ranking.share(values, endless).tolist() == [1, 0, 0.5]


def test_nothing_finished_is_no_ranking():
    found = ranked({"a": {"x": {"f": None, "error": None}}})
    assert found.leaders == []
    assert found.of_methods["mean"].isna().all()
