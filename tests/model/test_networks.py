import copy

import pytest
import torch

from moesimvae.model.networks import ACTIVATIONS, ConvEncoder, Encoder, Gate, mlp
from moesimvae.model.training import seeded


def test_encoder_gives_its_last_hidden_layer_and_a_bounded_variance():
    encoded = Encoder(7, [6, 4], 2)(torch.full((3, 7), 1e6))
    assert (encoded.features.shape, encoded.mean.shape) == ((3, 4), (3, 2))
    assert torch.isfinite(encoded.log_variance.exp()).all()


def test_encoder_without_hidden_layers_gives_the_features_themselves():
    x = torch.rand(3, 7)
    torch.testing.assert_close(Encoder(7, [], 2)(x).features, x)


def test_convolutions_end_in_the_same_three_parts():
    seeded(0)
    encoder = ConvEncoder((17, 20), (2, 3, 4), [6], 2)
    encoded = encoder(torch.rand(5, 340))
    assert [part.shape for part in encoded] == [(5, 6), (5, 2), (5, 2)]
    # 17 × 20 halved three times, rounded up: 3 × 3
    assert encoder.trunk[-2].in_features == 4 * 3 * 3


def test_convolutions_see_an_image_and_not_a_row_of_pixels():
    """A small spot is the same to the first layer wherever it lies, but for its place."""
    seeded(0)
    first = ConvEncoder((16, 16), (3,), [4], 2).trunk[:2]
    x = torch.zeros(2, 16, 16)
    x[0, 6, 6] = x[1, 8, 10] = 1
    here, there = first(x.view(2, 256))
    assert here.shape == (3, 8, 8)
    torch.testing.assert_close(here[:, 2:5, 2:5], there[:, 3:6, 4:7])
    assert not torch.allclose(here, there)


def test_a_convolution_encoder_works_without_dense_layers_after_it():
    assert ConvEncoder((16, 16), (2,), [], 3)(torch.rand(4, 256)).mean.shape == (4, 3)


def test_only_the_noisy_branch_of_the_gate_has_dropout():
    seeded(0)
    gate = Gate(3, [16], 4, dropout=0.5)
    z = torch.randn(9, 3)
    torch.testing.assert_close(gate(z), gate(z), rtol=0, atol=0)
    assert not torch.equal(gate(z, noisy=True), gate(z, noisy=True))


def test_a_gate_without_hidden_layers_has_nowhere_to_put_noise():
    gate, z = Gate(3, [], 4, dropout=0.5), torch.randn(9, 3)
    assert torch.equal(gate(z, noisy=True), gate(z))


def test_the_features_of_the_gate_are_its_last_hidden_layer():
    seeded(0)
    gate = Gate(3, [16, 5], 4)
    z = torch.randn(9, 3)
    assert gate.features(z).shape == (9, 5)
    assert torch.equal(gate.layers[-1](gate.features(z)), gate(z))
    assert torch.equal(Gate(3, [], 4).features(z), z)


def test_mlp_ends_as_asked():
    assert (mlp([4, 3, 2], activate_last=True)(torch.randn(50, 4)) >= 0).all()
    assert (mlp([4, 3, 2])(torch.randn(50, 4)) < 0).any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_used_by_every_network(activation):
    kind = ACTIVATIONS[activation]
    networks = [
        Encoder(4, [3], 2, activation),
        ConvEncoder((16, 16), (2,), [3], 2, activation),
        Gate(2, [3], 4, activation=activation),
    ]
    for network in networks:
        used = {type(layer) for layer in network.modules()} & set(ACTIVATIONS.values())
        assert used == {kind}


def test_weights_start_as_xavier_s_and_biases_at_zero():
    seeded(0)
    for network in (
        Encoder(300, [200], 20),
        Gate(20, [128], 10),
        ConvEncoder((16, 16), (8,), [], 2),
    ):
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                assert (parameter == 0).all()
            else:
                area = parameter[0, 0].numel() if parameter.dim() == 4 else 1
                bound = (6 / (area * (parameter.shape[0] + parameter.shape[1]))) ** 0.5
                assert 0.8 * bound < parameter.abs().max() <= bound * (1 + 1e-6)


@pytest.mark.parametrize("hidden", [[6, 5], []])
def test_a_standardised_encoder_sees_centred_features_of_unit_mean_spread(hidden):
    seeded(0)
    plain = Encoder(4, hidden, 3)
    standardised = copy.deepcopy(plain)
    x = torch.rand(20, 4) * torch.tensor([1.0, 2, 3, 4]) + 5
    standardised.standardise(x)
    spread = x.numpy().var(0).mean() ** 0.5
    expected = plain((x - x.mean(0)) / spread).mean
    torch.testing.assert_close(standardised(x).mean, expected, rtol=1e-4, atol=1e-4)
    # it is kept with the weights
    assert {"centre", "spread"} <= set(standardised.state_dict())


def test_constant_features_are_not_blown_up():
    encoder = Encoder(4, [5], 3)
    encoder.standardise(torch.full((20, 4), 0.7))
    assert encoder(torch.full((2, 4), 0.8)).mean.abs().max() < 1e4
