"""The maximum mean discrepancy on distributions whose answer is known."""

import numpy as np
import pytest

from moesimvae.errors import UserError
from moesimvae.evaluation import mmd


def normal(seed, n, d=3, shift=0.0, scale=1.0):
    return shift + scale * np.random.default_rng(seed).standard_normal((n, d))


def by_hand(x, y):
    """The definition, in loops."""
    points = np.concatenate([x, y])
    squared = [((points[i] - points[j]) ** 2).sum() for i in range(len(points)) for j in range(i)]
    width = np.median(squared)

    def mean(a, b, same):
        values = [
            np.exp(-((a[i] - b[j]) ** 2).sum() / width)
            for i in range(len(a))
            for j in range(len(b))
            if not (same and i == j)
        ]
        return np.mean(values)

    value = mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)
    return len(x) * len(y) / (len(x) + len(y)) * value


def test_statistic_is_its_definition():
    x, y = normal(0, 7), normal(1, 11, shift=0.5)
    assert mmd.statistic(x, y) == pytest.approx(by_hand(x, y), rel=1e-9)
    assert mmd.two_sample_test(x, y).statistic == pytest.approx(by_hand(x, y), rel=1e-9)


def test_statistic_against_the_closed_form_for_gaussians():
    """MMD² of N(0, I) and N(μ, I) with kernel exp(−d²/w): 2 (w/(w+4))^{d/2} (1 − e^{−μ²/(w+4)})."""
    n, d, shift = 1500, 2, 2.0
    x, y = normal(0, n, d), normal(1, n, d)
    y[:, 0] += shift
    both = np.concatenate([x, y])
    squared = ((both[:, None] - both) ** 2).sum(axis=2)
    width = np.median(squared[np.triu_indices(2 * n, 1)])
    factor = (width / (width + 4)) ** (d / 2)
    expected = 2 * factor * (1 - np.exp(-(shift**2) / (width + 4)))
    assert mmd.statistic(x, y) == pytest.approx(n / 2 * expected, rel=0.1)


def test_statistic_of_two_points_far_apart_is_the_most_there_can_be():
    """Two clusters without any spread: within 1, across exp(−1), the median being the distance."""
    x, y = np.zeros((10, 2)), np.tile([3.0, 4.0], (12, 1))
    expected = 10 * 12 / 22 * (2 - 2 * np.exp(-1))
    assert mmd.statistic(x, y) == pytest.approx(expected)


def test_statistic_does_not_change_when_space_is_moved_turned_or_stretched():
    x, y = normal(0, 40), normal(1, 30, shift=1.0)
    turn = np.linalg.qr(normal(2, 3))[0]
    assert mmd.statistic(5 * x @ turn + 9, 5 * y @ turn + 9) == pytest.approx(mmd.statistic(x, y))
    assert mmd.statistic(y, x) == pytest.approx(mmd.statistic(x, y))


def test_same_distribution_is_around_zero_on_average_and_its_p_values_are_uniform():
    tests = [
        mmd.two_sample_test(normal(s, 30), normal(1000 + s, 40), n_permutations=60, seed=s)
        for s in range(120)
    ]
    values = np.array([t.statistic for t in tests])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
    assert (values < 0).any()  # unbiased, so that it is below 0 as often as needs be
    p = np.array([t.p_value for t in tests])
    assert p.min() > 0
    assert p.max() <= 1
    assert abs(p.mean() - 0.5) < 0.12
    assert (p <= 0.1).mean() < 0.22


@pytest.mark.parametrize("other", [{"shift": 1.0}, {"scale": 2.5}])
def test_other_mean_or_other_spread_is_found(other):
    x, y = normal(0, 100), normal(1, 100, **other)
    tested = mmd.two_sample_test(x, y, n_permutations=99)
    assert tested.p_value == pytest.approx(0.01)
    assert tested.statistic > 3


def test_pairs_of_three_distributions():
    samples = [normal(0, 80), normal(1, 80, shift=3.0), normal(2, 30, shift=6.0)]
    table = mmd.pairs(samples, n=50, n_permutations=30)
    assert list(table.columns) == mmd.COLUMNS
    assert len(table) == 6
    same = table["first"] == table["second"]
    assert table.loc[same, "n"].tolist() == [40, 40, 15]
    assert table.loc[~same, ["n", "m"]].to_numpy().tolist() == [[50, 50], [50, 30], [50, 30]]
    assert (table.loc[~same, "p_value"] < 0.05).all()
    assert (table.loc[same, "p_value"] > 0.05).all()
    assert table.loc[~same, "statistic"].mean() > 10
    assert abs(table.loc[same, "statistic"].mean()) < 1
    assert table.equals(mmd.pairs(samples, n=50, n_permutations=30))


def test_a_distribution_of_too_few_points_gets_no_value():
    table = mmd.pairs([normal(0, 20), normal(1, 1)], n_permutations=5)
    assert table["statistic"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (normal(0, 1), normal(1, 5), r"\(1, 3\) and \(5, 3\)"),
        (normal(0, 5, 2), normal(1, 5, 3), r"\(5, 2\) and \(5, 3\)"),
        (np.full((3, 2), np.nan), normal(1, 5, 2), "NaN"),
    ],
)
def test_what_cannot_be_compared_is_said(x, y, said):
    with pytest.raises(UserError, match=said):
        mmd.statistic(x, y)
