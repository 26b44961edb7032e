"""Distances between real and generated cells, on samples whose answer is known."""

import numpy as np
import pytest

from moesimvae.errors import UserError
from moesimvae.evaluation import generation

RNG = np.random.default_rng(0)


def normal(seed, n, d=3, shift=0.0, scale=1.0):
    return shift + scale * np.random.default_rng(seed).standard_normal((n, d))


def test_frechet_distance_of_gaussians_with_known_means_and_spreads():
    """Along each axis (μ1 − μ2)² + (σ1 − σ2)², here 4 + (2 − 1)², three times."""
    x, y = normal(0, 20_000), normal(1, 20_000, shift=2.0, scale=2.0)
    assert generation.frechet_distance(x, y) == pytest.approx(15, rel=0.03)
    assert generation.frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    turned = x @ np.linalg.qr(normal(2, 3))[0]
    assert generation.frechet_distance(x, turned) == pytest.approx(0, abs=0.01)


def test_frechet_distance_sees_a_covariance_turned_over():
    """diag(9, 1) and diag(1, 9): 2 (3 − 1)² = 8, with equal means and equal total variance."""
    x = normal(0, 20_000, d=2)
    assert generation.frechet_distance(x * [3, 1], x * [1, 3]) == pytest.approx(8, rel=0.03)


def test_precision_and_recall():
    real = normal(0, 500, d=2)
    same = generation.precision_recall(real, normal(1, 500, d=2))
    assert min(same) > 0.85
    narrow = generation.precision_recall(real, normal(1, 500, d=2, scale=0.1))
    assert narrow[0] > 0.95
    assert narrow[1] < 0.1
    wide = generation.precision_recall(real, normal(1, 500, d=2, scale=10))
    assert wide[0] < 0.2 < wide[1]
    assert generation.precision_recall(real, real + 100) == (0, 0)


def test_a_classifier_tells_only_what_differs():
    alike = generation.two_sample_classifier(normal(0, 300), normal(1, 400))
    assert 0.4 < alike["accuracy"] < 0.6
    assert alike["p_value"] > 0.001
    # equal means and spreads, but another dependence: no marginal shows it
    a = normal(2, 300, d=1)
    b = np.column_stack([a, a + 0.3 * normal(3, 300, d=1)])
    apart = np.column_stack([normal(4, 300, d=1), 1.04 * normal(5, 300, d=1)])
    found = generation.two_sample_classifier(b, apart)
    assert found["auc"] > 0.75
    assert found["accuracy"] > 0.65
    assert found["p_value"] < 1e-6


def test_marginals():
    real, made = np.zeros((50, 2)), np.ones((40, 2))
    real[:, 1] = made[:, 1] = 0.5
    table = generation.marginals(real, made, ["CD3", "CD4"]).set_index("feature")
    assert table.loc["CD3", ["ks", "wasserstein", "mean_real", "mean_generated"]].tolist() == [
        1, 1, 0, 1,
    ]  # fmt: skip
    assert table.loc["CD4", ["ks", "wasserstein", "sd_generated"]].tolist() == [0, 0, 0]


def test_correlations():
    a, noise = normal(0, 2000, d=1), normal(1, 2000, d=1)
    real = np.column_stack([a, a, noise, np.ones(2000)])
    opposite = np.column_stack([a, -a, noise, np.ones(2000)])
    difference, alike = generation.correlation_agreement(real, real)
    assert (difference, alike) == (0, pytest.approx(1))
    # of three pairs one goes from 1 to −1; the constant feature is left out
    assert generation.correlation_agreement(real, opposite)[0] == pytest.approx(2 / 3, abs=0.05)
    assert np.isnan(generation.correlation_agreement(real[:, 3:], real[:, 3:])[0])


@pytest.mark.parametrize(
    "compare",
    [
        generation.frechet_distance,
        generation.precision_recall,
        generation.two_sample_classifier,
        generation.correlation_agreement,
    ],
)
def test_too_few_cells_are_said(compare):
    with pytest.raises(UserError, match=r"\(1, 3\) and \(9, 3\)"):
        compare(normal(0, 1), normal(1, 9))
