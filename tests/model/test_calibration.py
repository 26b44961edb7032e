"""Calibrated probabilities, and cells outside what was seen."""

import numpy as np
import pytest
import torch

from moesimvae.model import calibration


def overconfident(n=4000, n_clusters=4, seed=0):
    """Probabilities p, and clusters drawn from p^(1/3): they are three times too sure."""
    random = np.random.default_rng(seed)
    logits = 3 * random.normal(size=(n, n_clusters))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = calibration.temper(p, 3.0)
    drawn = (random.random((n, 1)) > true.cumsum(axis=1)).sum(axis=1).clip(max=n_clusters - 1)
    return p.astype(np.float32), np.arange(n), drawn


def test_the_temperature_that_was_used_is_found():
    p, cells, drawn = overconfident()
    assert calibration.find_temperature(p, cells, drawn) == pytest.approx(3, rel=0.1)


def test_tempered_probabilities_hold_as_often_as_they_say():
    p, cells, drawn = overconfident()
    off = {}
    for temperature in (1.0, 3.0):
        curve = calibration.reliability(calibration.temper(p, temperature), cells, drawn)
        assert sum(row["cells"] for row in curve) == len(cells)
        gaps = [row["cells"] * abs(row["probability"] - row["found"]) for row in curve]
        off[temperature] = sum(gaps) / len(cells)
    assert off[3.0] < 0.03
    assert off[1.0] > 0.1


def test_tempering_keeps_order_and_sums():
    p, _, _ = overconfident(n=50)
    cooler = calibration.temper(p, 0.5)
    assert cooler.dtype == np.float32
    np.testing.assert_allclose(cooler.sum(axis=1), 1, atol=1e-6)
    assert (cooler.argmax(axis=1) == p.argmax(axis=1)).all()
    assert calibration.temper(p, 1) is p


@pytest.mark.parametrize("n_features", [6, 150])
def test_new_cells_of_the_same_kind_are_not_outside_and_of_another_kind_are(n_features):
    random = np.random.default_rng(0)
    signal = random.normal(size=(3, n_features)).astype(np.float32)

    def draw(n, kind):
        return signal[kind] + 0.3 * random.normal(size=(n, n_features)).astype(np.float32)

    cells = random.permutation(np.concatenate([draw(400, 0), draw(300, 1)]))
    seen = calibration.Seen.of(cells, seed=0)
    outside = [seen.outside(torch.from_numpy(draw(500, kind))).float().mean() for kind in range(3)]
    assert max(outside[:2]) < 0.02
    assert outside[2] > 0.9
