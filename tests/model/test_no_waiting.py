"""A training step never waits for the device: it runs on one that holds no values to wait for.

On torch's "meta" device whatever asks for a value fails by itself; the mode beside it names what
only waits: copies to or from the host, and shapes that depend on values.
"""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from moesimvae.model.estimator import MoESimVAE
from moesimvae.model.images import random_affine
from moesimvae.model.module import PaperObjective, ReleasedObjective, Weights, build
from moesimvae.model.similarity import knn_in_batch, shared_groups
from moesimvae.model.training import Accumulated, Training

WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "bincount")
DEVICE = torch.device("meta")
N, BATCH, K = 64, 32, 5


class Waited(Exception):
    pass


class NeverWaits(TorchDispatchMode):
    """Raises `Waited` at an operation that would wait for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        there = any(tensor.device == DEVICE for tensor in given)
        name = func.overloadpacket.__name__
        masks = name.startswith("index") and any(tensor.dtype == torch.bool for tensor in given)
        if there and (masks or name.startswith(WAITING)):
            raise Waited(name)
        out = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        devices = {tensor.device for tensor in [*given, *made]}
        # a single number of the host may stand beside tensors of the device
        if name in ("_to_copy", "copy_") and len(devices) > 1:
            raise Waited(f"{name}: {' and '.join(sorted(map(str, devices)))}")
        return out


class NoLists(TorchFunctionMode):
    """Raises `Waited` where a list of numbers is copied to the device, which no dispatch shows."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        if func.__name__ in ("new_tensor", "tensor", "as_tensor") and out.device == DEVICE:
            raise Waited(func.__name__)
        return out


@pytest.fixture(autouse=True)
def without_autocast(monkeypatch):
    """It knows no meta device, not even when it is off, as it is here."""
    monkeypatch.setattr(torch, "autocast", lambda *_, enabled: nullcontext())


def take_steps(objective, module, batches=4):
    training = Training(
        [p for n, p in module.named_parameters() if not n.startswith("experts.")],
        N,
        batches,
        batch_size=BATCH,
        learning_rate=1e-3,
        generator=torch.Generator().manual_seed(0),
        # fused Adam knows no meta device; on CUDA it keeps all it needs there
        optimiser=partial(torch.optim.Adam, foreach=True),
        accumulated=[Accumulated(module.experts.parameters(), 2)],
    )
    with NeverWaits(), NoLists():
        for _ in range(batches):
            training.batches.position = 0  # the next epoch is shuffled on the host
            training._take_step(objective)


def networks(image_shape=None, n_features=12, **settings):
    parameters = MoESimVAE(K, **settings).get_params(deep=False)
    module = build(parameters, n_features, image_shape).to(DEVICE)
    cells = torch.rand(N, n_features, device=DEVICE)
    return module, lambda index: cells[index]


def groups():
    known = torch.zeros(N, 3, dtype=torch.int16, device=DEVICE)
    return lambda index: shared_groups(known[index], K)


def neighbours():
    points = torch.rand(N, 2, device=DEVICE)
    return lambda index: knn_in_batch(points[index], 3)


WEIGHTS = Weights(1.0, 1.0, 1.0, 1.0, warm_up=2)


def cells():
    module, rows = networks()
    return PaperObjective(module, rows, groups(), WEIGHTS), module


def images():
    module, rows = networks((16, 16), 256)
    augment = partial(random_affine, image_shape=(16, 16))
    return PaperObjective(module, rows, neighbours(), WEIGHTS, augment), module


def released():
    module, rows = networks(objective="released")
    prior = torch.zeros(N, dtype=torch.long, device=DEVICE)
    return ReleasedObjective(module, rows, None, prior, WEIGHTS), module


@pytest.mark.parametrize("case", [cells, images, released])
def test_a_step_asks_the_device_for_nothing(case):
    objective, module = case()
    take_steps(objective, module)


CULPRITS = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "condition": lambda x: bool((x > 0).all()),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "assignment by a mask": lambda x: x.__setitem__(x > 0, x.new_zeros(())),
    "to the host": lambda x: x.cpu(),
    "from the host": lambda x: x + torch.ones(3).to(x.device),
    "a list": lambda x: x.new_tensor([1.0, 2.0]),
    "another list": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "sizes of experts": lambda x: torch.bincount(x.argmax(1)),
}


@pytest.mark.parametrize("culprit", CULPRITS.values(), ids=CULPRITS)
def test_what_waits_is_found(culprit):
    found = []

    def augment(x):
        try:
            culprit(x)
        except (Waited, RuntimeError, NotImplementedError) as error:
            found.append(error)
        return x

    module, rows = networks()
    take_steps(PaperObjective(module, rows, groups(), WEIGHTS, augment), module, 1)
    assert found
