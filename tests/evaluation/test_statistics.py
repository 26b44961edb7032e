"""Tests and intervals against SciPy, statsmodels and published examples."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from moesimvae.errors import UserError
from moesimvae.evaluation import statistics as s
from moesimvae.nouns import Method, Metric, Plan

# Demšar J. (2006) JMLR 7: 1-30, Table 6: AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets.
# The third value of the last row but one is printed 0.975 like the fourth, with ranks 2 and 3.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_friedman_gives_demsars_ranks_and_statistics():
    found = s.friedman(DEMSAR)
    assert found.ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    # Printed without a correction for ties: 9.28, and 3.69 by Iman and Davenport.
    n, k = DEMSAR.shape
    chi2 = 12 * n / (k * (k + 1)) * ((found.ranks**2).sum() - k * (k + 1) ** 2 / 4)
    assert chi2 == pytest.approx(9.28, abs=0.005)
    assert (n - 1) * chi2 / (n * (k - 1) - chi2) == pytest.approx(3.69, abs=0.005)
    assert found.chi2 > chi2  # ties corrected
    assert found.f == pytest.approx((n - 1) * found.chi2 / (n * (k - 1) - found.chi2))
    assert found.p_f == pytest.approx(stats.f.sf(found.f, 3, 39))


def test_wilcoxon_gives_demsars_example():
    """C4.5 against C4.5+m: T = 12, z = -2.54 (section 3.1.3)."""
    pair = s.wilcoxon_holm(DEMSAR[:, :2]).iloc[0]
    assert pair["statistic"] == 12
    assert pair["p"] == pytest.approx(0.011, abs=5e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(6, 12), st.integers(3, 5), st.integers(0, 1000))
def test_friedman_is_scipys(n, k, seed):
    values = np.random.default_rng(seed).integers(0, 5, size=(n, k)).astype(float)  # with ties
    found = s.friedman(values)
    with np.errstate(all="ignore"):
        theirs = stats.friedmanchisquare(*values.T)
    if np.isfinite(theirs.statistic):
        assert found.chi2 == pytest.approx(theirs.statistic, abs=1e-9)
        assert found.p == pytest.approx(theirs.pvalue, abs=1e-9)
    assert found.ranks.sum() == pytest.approx(values.shape[1] * (values.shape[1] + 1) / 2)
    lower = s.friedman(values, better="lower")
    assert lower.ranks == pytest.approx(values.shape[1] + 1 - found.ranks)


def test_holm_rejects_what_its_steps_reject():
    """Smallest first, each against alpha / (how many are left), until one stays."""
    for seed in range(20):
        p = np.random.default_rng(seed).uniform(0, 0.2, 8)
        left = sorted(p)
        rejected = 0
        while rejected < len(left) and left[rejected] <= 0.05 / (len(left) - rejected):
            rejected += 1
        assert set(p[s.holm(p) <= 0.05]) == set(left[:rejected])


def test_holm_of_a_textbook_example():
    assert s.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_all_ties_differ_in_nothing():
    same = np.ones((7, 3))
    assert s.friedman(same).p_f == 1
    assert not s.wilcoxon_holm(same)["different"].any()


@pytest.mark.parametrize(
    ("shape", "said"), [((5, 4), "seeds are not data sets"), ((9, 2), "at least 3")]
)
def test_too_few_is_refused_in_a_sentence(shape, said):
    with pytest.raises(UserError, match=said):
        s.friedman(np.zeros(shape))


def test_the_threshold_is_where_a_pair_can_first_differ():
    better = np.arange(1, s.MIN_DATASETS + 1) / 10
    assert stats.wilcoxon(better).pvalue <= s.ALPHA
    assert stats.wilcoxon(better[:-1]).pvalue > s.ALPHA


def test_groups_are_the_longest_bars_without_a_difference():
    pairs = pd.DataFrame(
        [(0, 1, False), (0, 2, True), (0, 3, True), (1, 2, False), (1, 3, True), (2, 3, False)],
        columns=["a", "b", "different"],
    )
    assert s.groups([1.0, 2.0, 3.0, 4.0], pairs) == [[0, 1], [1, 2], [2, 3]]
    assert s.groups([1.0, 2.0, 3.0, 4.0], pairs.assign(different=False)) == [[0, 1, 2, 3]]
    assert s.groups([1.0, 2.0, 3.0, 4.0], pairs.assign(different=True)) == []


def test_bootstrap_interval_is_scipys():
    values = np.random.default_rng(1).normal(0.1, 0.05, 12)
    low, high = s.bootstrap_interval(values)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=2e-3)
    assert s.bootstrap_interval(values) == (low, high)  # always the same resamples
    with pytest.raises(UserError, match="5 seeds"):
        s.bootstrap_interval([0.1, 0.2, 0.3])


def test_effect_sizes_of_known_cases():
    assert s.cliffs_delta([3, 4], [1, 2]) == 1
    assert s.cliffs_delta([1, 2], [1, 2]) == 0
    assert s.cliffs_delta([1, 2, 3], [2]) == 0
    # mean 2, sd 1, n = 3: d = 2, correction 1 - 3/7
    assert s.hedges_g([1, 2, 3]) == pytest.approx(2 * (1 - 3 / 7))
    assert np.isnan(s.hedges_g([0.5, 0.5, 0.5]))


def test_the_front_holds_what_nothing_beats_in_both():
    costs = [1, 2, 3, 3, 4, np.nan]
    quality = [0.5, 0.9, 0.9, 0.95, 0.7, 1.0]
    front = [True, True, False, True, False, False]
    assert list(s.pareto_front(costs, quality, "higher")) == front
    assert list(s.pareto_front(costs, -np.array(quality), "lower")) == front
    assert list(s.pareto_front([1, 1], [0.5, 0.5], "higher")) == [True, True]


METHODS = {
    "good": Method("Good"),
    "fair": Method("Fair"),
    "fixed": Method("Fixed", stochastic=False),
    "one_cluster": Method("One", control=True),
}
METRICS = {"ari": Metric("higher"), "clusters_found": Metric("none")}
EXPERIMENT = Plan(
    "E", [], {"good": [0], "fair": [0], "fixed": [0]}, metrics=["ari", "clusters_found"]
)


def long(n_datasets, seeds=6, split="all"):
    rng = np.random.default_rng(3)
    level = {"good": 0.9, "fair": 0.7, "fixed": 0.5, "one_cluster": 0.0}
    return pd.DataFrame(
        {
            **{"dataset": f"d{i}", "method": m, "seed": k, "split": split, "metric": metric},
            "value": level[m] + (0 if m == "fixed" else rng.normal(0, 0.01)),
        }
        for i in range(n_datasets)
        for m in METHODS
        for k in range(1 if m == "fixed" else seeds)
        for metric in METRICS
    )


def test_an_experiment_on_many_data_sets_is_tested_across_them():
    table = s.significance(long(8), METHODS, METRICS, EXPERIMENT)
    assert list(table.columns) == s.COLUMNS
    across = table[table["level"] == s.ACROSS]
    first = across.iloc[0]
    assert (first["n"], first["different"]) == (8, "yes")
    pairs = across.iloc[1:]
    ranks = dict(zip(pairs["method_a"], pairs["rank_a"], strict=True))
    ranks |= dict(zip(pairs["method_b"], pairs["rank_b"], strict=True))
    assert ranks == {"good": 1, "fair": 2, "fixed": 3}
    assert (pairs["different"] == "yes").all()
    assert pairs["p_holm"].to_numpy() == pytest.approx(3 * 2 / 2**8)


def test_seeds_are_not_data_sets():
    table = s.significance(long(2, seeds=40), METHODS, METRICS, EXPERIMENT)
    across = table[table["level"] == s.ACROSS]
    assert len(across) == 1
    assert "seeds are not data sets" in across["note"].item()
    assert across["p"].isna().all()


def test_within_one_data_set_differences_have_intervals_and_no_p():
    table = s.significance(long(1), METHODS, METRICS, EXPERIMENT)
    within = table[table["level"] == s.WITHIN].set_index(["method_a", "method_b"])
    assert set(within.index) == {("good", "fair"), ("good", "fixed"), ("fair", "fixed")}
    pair = within.loc[("good", "fair")]
    assert pair["low"] < pair["difference"] < pair["high"]
    assert pair["different"] == "yes"
    assert pair["cliffs_delta"] == 1
    assert within["p"].isna().all()
    assert "deterministic" in within.loc[("good", "fixed"), "note"]
    assert within.loc[("good", "fixed"), "n"] == 6
    assert not set(table["metric"]) & {"clusters_found"}


def test_few_seeds_have_a_difference_and_no_interval():
    table = s.significance(long(1, seeds=3), METHODS, METRICS, EXPERIMENT)
    pair = table[(table["method_a"] == "good") & (table["method_b"] == "fair")].iloc[0]
    assert np.isfinite(pair["difference"])
    assert np.isnan(pair["low"])
    assert "too few" in pair["note"]


def test_held_out_cells_count_where_there_are_any():
    both = pd.concat([long(1), long(1, split="train"), long(1, split="test")])
    table = s.significance(both, METHODS, METRICS, EXPERIMENT)
    assert set(table[table["level"] == s.WITHIN]["split"]) == {"test"}


def test_a_metric_of_the_training_cells_alone_counts_beside_one_of_the_test_cells():
    inside = long(1, split="train").replace({"metric": {"ari": "silhouette"}})
    both = pd.concat([long(1, split="train"), long(1, split="test"), inside])
    metrics = METRICS | {"silhouette": Metric("higher")}
    asked = replace(EXPERIMENT, metrics=["ari", "silhouette"])
    table = s.significance(both, METHODS, metrics, asked)
    within = table[table["level"] == s.WITHIN].drop_duplicates(["metric", "split"])
    assert dict(zip(within["metric"], within["split"], strict=True)) == {
        "ari": "test",
        "silhouette": "train",
    }


def test_a_method_missing_on_one_data_set_is_left_out_and_named():
    scores = long(7)
    scores = scores[~((scores["dataset"] == "d0") & (scores["method"] == "fair"))]
    methods = METHODS | {"extra": Method("Extra")}
    more = scores[scores["method"] == "good"].assign(method="extra")
    table = s.significance(
        pd.concat([scores, more]),
        methods,
        METRICS,
        replace(EXPERIMENT, methods={**EXPERIMENT.methods, "extra": [0]}),
    )
    note = table[table["level"] == s.ACROSS].iloc[0]["note"]
    assert note.endswith("left out, as not scored on every data set: fair")
