import copy

import pytest
import torch

from moesimvae.model.networks import Encoder, Experts, Gate, mlp
from moesimvae.model.training import seeded


def expert_by_hand(experts, z, k):
    hidden = z @ experts.weights[0][k] + experts.biases[0][k]
    return hidden.relu() @ experts.weights[1][k] + experts.biases[1][k]


def test_each_sample_passes_through_its_own_expert():
    seeded(1)
    experts = Experts(4, [3, 6, 5])
    z, assignment = torch.randn(20, 3), torch.randint(0, 3, (20,))  # expert 3 stays empty
    slow = torch.stack([expert_by_hand(experts, z[i], k) for i, k in enumerate(assignment)])
    torch.testing.assert_close(experts(z, assignment), slow)


def test_an_expert_learns_from_its_own_samples_only():
    seeded(1)
    experts = Experts(3, [3, 6, 5])
    experts(torch.randn(8, 3), torch.full((8,), 2)).sum().backward()
    used = [weight.grad.abs().sum(dim=(1, 2)) > 0 for weight in experts.weights]
    assert all(layer.tolist() == [False, False, True] for layer in used)


def test_experts_take_no_sample_at_all():
    assert Experts(3, [3, 6, 5])(torch.empty(0, 3), torch.empty(0, dtype=torch.long)).shape == (
        0,
        5,
    )


def test_encoder_gives_its_last_hidden_layer_and_a_bounded_variance():
    encoded = Encoder(7, [6, 4], 2)(torch.full((3, 7), 1e6))
    assert (encoded.features.shape, encoded.mean.shape) == ((3, 4), (3, 2))
    assert torch.isfinite(encoded.log_variance.exp()).all()


def test_only_the_noisy_branch_of_the_gate_has_dropout():
    seeded(0)
    gate = Gate(3, [16], 4, dropout=0.5)
    z = torch.randn(9, 3)
    torch.testing.assert_close(gate(z), gate(z), rtol=0, atol=0)
    assert not torch.equal(gate(z, noisy=True), gate(z, noisy=True))


def test_mlp_ends_as_asked():
    assert (mlp([4, 3, 2], activate_last=True)(torch.randn(50, 4)) >= 0).all()
    assert (mlp([4, 3, 2])(torch.randn(50, 4)) < 0).any()


@pytest.mark.parametrize("hidden", [[6, 5], []])
def test_a_centred_encoder_sees_centred_features_of_unit_spread(hidden):
    torch.manual_seed(0)
    plain = Encoder(4, hidden, 3)
    centred = copy.deepcopy(plain)
    x = torch.rand(20, 4) + 5
    mean, spread = x.mean(dim=0), 0.25
    centred.centre(mean, spread)
    expected = plain((x - mean) / spread).mean
    torch.testing.assert_close(centred(x).mean, expected, rtol=1e-4, atol=1e-4)
