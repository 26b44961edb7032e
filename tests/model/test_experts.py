import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moesimvae.model import experts as module
from moesimvae.model.experts import (
    Experts,
    Segments,
    Tiles,
    choose_layout,
    hidden_units,
    updates_every,
)
from moesimvae.model.training import seeded

SIZES = [3, 6, 5]
LAYOUTS = [Segments, Tiles]


def make(n_experts, sizes=SIZES, activation="relu", seed=1):
    """Experts in double precision, with biases that are not all zero."""
    seeded(seed)
    experts = Experts(n_experts, sizes, activation).double()
    for bias in experts.biases:
        torch.nn.init.normal_(bias)
    return experts


def samples(n, n_experts, seed=2):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, SIZES[0], generator=generator, dtype=torch.double)
    return z, torch.randint(0, n_experts, (n,), generator=generator)


def one_by_one(experts, z, assignment):
    """The obvious way: each sample by itself through the plain layers of its expert."""
    out = []
    for sample, k in zip(z, assignment.tolist(), strict=True):
        hidden = sample
        for i, (weight, bias) in enumerate(zip(experts.weights, experts.biases, strict=True)):
            hidden = experts.activation(hidden) if i > 0 else hidden
            hidden = hidden @ weight[k] + bias[k]
        out.append(hidden)
    return torch.stack(out) if out else z.new_zeros(0, experts.biases[-1].shape[1])


def gradients(experts, decode, z, assignment):
    """Of a loss that weighs every output differently: with respect to z, weights, biases."""
    z = z.clone().requires_grad_()
    out = decode(z, assignment)
    factor = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).reshape(out.shape)
    experts.zero_grad()
    (out * factor).sum().backward()
    return [
        z.grad,
        *(torch.zeros_like(p) if p.grad is None else p.grad for p in experts.parameters()),
    ]


def through(experts, layout):
    def decode(z, assignment):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "choose_layout", lambda device: layout)
            return experts(z, assignment)

    return decode


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", ["relu", "elu", "tanh"])
@settings(max_examples=25, deadline=None)
@given(
    n_experts=st.integers(1, 7),
    assignment=st.lists(st.integers(0, 6), max_size=40),
    hidden=st.lists(st.integers(1, 6), max_size=2),
)
def test_equal_to_sample_by_sample(layout, activation, n_experts, assignment, hidden):
    """With empty experts, no sample, one sample, one expert, all samples to one, any depth."""
    experts = make(n_experts, [3, *hidden, 5], activation)
    assignment = torch.tensor(assignment, dtype=torch.long) % n_experts
    z = samples(len(assignment), n_experts)[0]
    fast = through(experts, layout)
    torch.testing.assert_close(fast(z, assignment), one_by_one(experts, z, assignment))
    if len(z):
        expected = gradients(experts, lambda *a: one_by_one(experts, *a), z, assignment)
        torch.testing.assert_close(gradients(experts, fast, z, assignment), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_are_those_of_finite_differences(layout):
    experts = make(3, activation="tanh")
    z, assignment = samples(5, 3)

    def decode(z, *parameters):
        named = dict(zip(dict(experts.named_parameters()), parameters, strict=True))
        call = _Call(experts, layout, assignment)
        return torch.func.functional_call(call, {f"experts.{n}": p for n, p in named.items()}, z)

    inputs = [z.requires_grad_(), *(p.detach().requires_grad_() for p in experts.parameters())]
    assert torch.autograd.gradcheck(decode, inputs)


class _Call(torch.nn.Module):
    def __init__(self, experts, layout, assignment):
        super().__init__()
        self.experts, self.layout, self.assignment = experts, layout, assignment

    def forward(self, z):
        return through(self.experts, self.layout)(z, self.assignment)


def test_the_cpu_takes_segments_and_all_else_tiles():
    assert choose_layout(torch.device("cpu")) is Segments
    assert choose_layout(torch.device("cuda")) is Tiles


def test_an_expert_learns_from_its_own_samples_only():
    experts = make(3)
    gradient = gradients(experts, experts, samples(8, 3)[0], torch.full((8,), 2))[1:]
    used = [of_layer.flatten(1).abs().sum(1) > 0 for of_layer in gradient]
    assert all(layer.tolist() == [False, False, True] for layer in used)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_order_of_the_samples_does_not_matter(layout):
    experts = make(4)
    z, assignment = samples(30, 4)
    order = torch.randperm(30)
    decode = through(experts, layout)
    torch.testing.assert_close(decode(z[order], assignment[order]), decode(z, assignment)[order])


def test_the_same_again_to_the_last_bit():
    experts = make(6).float()
    z, assignment = samples(200, 6)
    first = gradients(experts, experts, z.float(), assignment)
    for a, b in zip(first, gradients(experts, experts, z.float(), assignment), strict=True):
        assert torch.equal(a, b)


def test_experts_take_no_sample_at_all():
    empty = torch.empty(0, 3), torch.empty(0, dtype=torch.long)
    assert Experts(3, SIZES)(*empty).shape == (0, 5)


def test_tiles_in_bfloat16_are_near_and_leave_gradients_in_float32():
    experts = make(4).float()
    z, assignment = samples(50, 4)
    z = z.float()
    exact = gradients(experts, experts, z, assignment)

    def decode(z, assignment):
        with torch.autocast("cpu", torch.bfloat16):
            out = through(experts, Tiles)(z, assignment)
        assert out.dtype == torch.bfloat16
        return out.float()

    near = gradients(experts, decode, z, assignment)
    for a, b in zip(near, exact, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.03 * b.norm()


@given(n=st.integers(0, 70), n_experts=st.integers(1, 12), seed=st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_tiles_hold_one_expert_each_and_every_sample_once(n, n_experts, seed):
    # two experts of three stay empty at times
    assignment = samples(n, max(1, n_experts // (1 + seed % 3)), seed)[1]
    tiles = Tiles(assignment, n_experts)
    assert len(tiles.expert) <= 2 * n_experts
    assert len(tiles.place.unique()) == n
    assert (tiles.place < len(tiles.expert) * tiles.rows).all()
    assert torch.equal(tiles.expert[tiles.place // tiles.rows], assignment)


def test_a_few_experts_are_updated_with_every_batch_and_many_with_several():
    assert [updates_every(k) for k in (1, 2, 5, 10, 15)] == [1] * 5
    assert [updates_every(k) for k in (16, 40, 80, 1000)] == [2, 5, 10, 25]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_of_several_batches_add_up(layout):
    experts, reference = make(16), make(16)
    decode = through(experts, layout)
    for n in (40, 30, 20):
        z, assignment = samples(n, 16, seed=n)
        decode(z, assignment).square().sum().backward()
        one_by_one(reference, z, assignment).square().sum().backward()
    for fast, slow in zip(experts.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(fast.grad, slow.grad)


def test_waiting_can_be_switched_off_and_the_rate_follows():
    assert Experts(16, SIZES, every=1).every == 1
    assert (Experts(16, SIZES).every, Experts(40, SIZES).rate) == (2, 5**0.5)


def test_many_experts_share_their_hidden_units():
    assert [hidden_units(k) for k in (1, 10, 16, 40, 100, 1000)] == [256, 256, 256, 96, 40, 16]


def test_weights_start_as_xaviers_expert_by_expert():
    weight = Experts(50, [30, 70]).weights[0].detach().numpy()
    limit = np.sqrt(6 / 100)
    assert np.abs(weight).max() <= limit
    np.testing.assert_allclose(weight.std(axis=(1, 2)), limit / np.sqrt(3), rtol=0.05)
