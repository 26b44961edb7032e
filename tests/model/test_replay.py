"""Steps recorded as CUDA graphs end where steps launched one by one do; here without a GPU.

What stands in for a graph runs the same Python again on the same tensors, as a graph runs the
same kernels: results that are rebound instead of written in place, or read too late, differ.
"""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

from moesimvae.model import fitting, replay
from moesimvae.model.estimator import MoESimVAE
from moesimvae.model.module import Weights
from moesimvae.model.training import Training

recorded = []


def record(work):
    """In the place of `replay.record`; like a graph, it leaves its results in one place."""
    recorded.append(work)
    place = []

    def again():
        value = work()
        if place:
            place[0].copy_(value)
        else:
            place.append(value)
        return place[0]

    return again


@pytest.fixture
def without_gpu(monkeypatch):
    recorded.clear()
    monkeypatch.setattr(replay, "record", record)
    monkeypatch.setattr(replay, "aside", lambda device: nullcontext())


def fit(replayed, every, monkeypatch):
    if replayed:
        monkeypatch.setattr(
            fitting, "Training", lambda *a, **k: Training(*a, **k | {"replay": True})
        )
    cells, _ = make_blobs(400, 6, centers=20, random_state=0)
    model = MoESimVAE(
        20,
        steps=150,
        encoder_layers=(32,),
        expert_layers=(8,),
        experts_every=every,
        batch_size=64,
        warm_up=0,
        random_state=0,
        progress=False,
    )
    return model.fit(cells.astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2])  # with 2, there are two kinds of steps to record
def test_replayed_steps_end_where_launched_ones_do(every, without_gpu, monkeypatch):
    launched, replayed = (fit(replayed, every, monkeypatch) for replayed in (False, True))
    assert recorded
    np.testing.assert_array_equal(launched.labels_, replayed.labels_)
    assert launched.history_ == replayed.history_


@pytest.mark.parametrize("step", [0, 3, 10, 25])
def test_a_step_on_the_device_weighs_as_a_number_does(step):
    weights, terms = Weights(0.2, 0.1, 1.0, 0.5, warm_up=10), {"kl": torch.ones(())}
    one, other = (weights.weigh(terms, at)["kl"] for at in (step, torch.tensor(float(step))))
    assert float(other) == pytest.approx(float(one))
