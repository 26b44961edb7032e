"""Scores without a truth: agreement of runs with each other."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from moesimvae.evaluation import concordance
from moesimvae.evaluation.scores import concordance_rows

rng = np.random.default_rng(0)
A, B, C = (rng.integers(-1, 4, 60) for _ in range(3))
RUNS = {("x", 0): A, ("x", 1): B, ("x", 2): A, ("y", 0): C, ("z", 0): B, ("z", 1): B}


def test_pairs_are_scikit_learns_rand_index_with_noise_as_a_cluster():
    pairs = concordance.pairwise(RUNS)
    for one, labels in RUNS.items():
        for other, others in RUNS.items():
            assert pairs.loc[one, [other]].item() == pytest.approx(
                adjusted_rand_score(labels, others)
            )


def test_stability_is_the_mean_over_pairs_of_seeds_and_one_run_has_none():
    found = concordance.stability(concordance.pairwise(RUNS))
    ab = adjusted_rand_score(A, B)
    assert set(found) == {("x", 0), ("x", 1), ("x", 2), ("z", 0), ("z", 1)}
    assert found["x", 0] == pytest.approx((ab + 1) / 2)
    assert np.mean([found["x", seed] for seed in range(3)]) == pytest.approx((2 * ab + 1) / 3)
    assert found["z", 0] == found["z", 1] == 1


def test_agreement_counts_each_other_method_once_and_controls_not_at_all():
    found = concordance.agreement(concordance.pairwise(RUNS), apart=["y"])
    ab = adjusted_rand_score(A, B)
    assert found["x", 0] == pytest.approx(ab)
    assert found["z", 0] == pytest.approx((2 * ab + 1) / 3)
    to_x = np.mean([adjusted_rand_score(C, labels) for labels in (A, B, A)])
    assert found["y", 0] == pytest.approx((to_x + adjusted_rand_score(C, B)) / 2)
    assert concordance.agreement(concordance.pairwise({("x", 0): A})) == {}


def test_rows_have_one_value_for_each_run_and_only_the_metrics_asked_for():
    labels = pd.DataFrame({"split": ["all"] * len(A)})
    table = pd.DataFrame(concordance_rows(RUNS, labels, ["nmi_arithmetic", "agreement"]))
    assert set(table["metric"]) == {"agreement"}
    assert set(table["split"]) == {"all"}
    assert len(table) == len(RUNS)
    assert concordance_rows({}, labels, ["stability"]) == []


labellings = st.lists(st.integers(-1, 3), min_size=6, max_size=30).map(np.array)


@settings(max_examples=50, deadline=None)
@given(labellings, st.permutations(range(4)))
def test_names_of_clusters_do_not_matter(labels, names):
    renamed = np.where(labels < 0, -1, np.array(names)[labels])
    pairs = concordance.pairwise({("x", 0): labels, ("x", 1): renamed})
    assert pairs.to_numpy() == pytest.approx(1)
