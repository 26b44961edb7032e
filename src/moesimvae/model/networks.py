"""The encoders and the gate, which all cells share.

Weights start as Xavier's (Glorot and Bengio 2010), biases at zero.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU, "tanh": nn.Tanh}


def linear(n_in: int, n_out: int) -> nn.Linear:
    layer = nn.Linear(n_in, n_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def mlp(
    sizes: Sequence[int], activation: str = "relu", activate_last: bool = False
) -> nn.Sequential:
    """Dense layers sizes[0] → sizes[1] → … → sizes[-1], with the activation between them."""
    layers: list[nn.Module] = []
    for i in range(len(sizes) - 1):
        layers.append(linear(sizes[i], sizes[i + 1]))
        if activate_last or i < len(sizes) - 2:
            layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers)


class Encoded(NamedTuple):
    """features (n, last hidden size); mean and log_variance (n, n_latent) of q(z | x)."""

    features: Tensor
    mean: Tensor
    log_variance: Tensor


class Encoder(nn.Module):
    """q(z | x) = N(mean(x), diag exp(log_variance(x))). A plain autoencoder uses `mean` alone."""

    # e^(±10) is far beyond anything a posterior needs, and within the range of float32
    LOG_VARIANCE_LIMIT = 10.0
    centre: Tensor
    spread: Tensor
    # whether the trunk's products are in bfloat16, with float32 weights: for training, where the
    # error is small beside the noise of the batches
    in_bfloat16 = False

    def __init__(
        self, n_features: int, hidden: Sequence[int], n_latent: int, activation: str = "relu"
    ):
        super().__init__()
        self.trunk = mlp([n_features, *hidden], activation, activate_last=True)
        self._add_heads([n_features, *hidden][-1], n_features, n_latent)

    def _add_heads(self, n_hidden: int, n_features: int, n_latent: int) -> None:
        self.mean = linear(n_hidden, n_latent)
        self.log_variance = linear(n_hidden, n_latent)
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("spread", torch.ones(()))

    def standardise(self, x: Tensor) -> None:
        """See features as (x − mean) / spread from now on, both taken from these cells.

        The mean is each feature's; the spread is one number, the root of the features' mean
        variance. Features that are all positive share one large direction, compared with which
        cells differ little; networks take long to see past it. x: (n, n_features).
        """
        self.centre.copy_(x.mean(dim=0))
        self.spread.copy_(x.var(dim=0, correction=0).mean().sqrt().clamp(min=1e-3))

    def forward(self, x: Tensor) -> Encoded:
        """x: (n, n_features)."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            features = self.trunk((x - self.centre) / self.spread)
        features = features.to(x.dtype)
        log_variance = self.log_variance(features).clamp(
            -self.LOG_VARIANCE_LIMIT, self.LOG_VARIANCE_LIMIT
        )
        return Encoded(features, self.mean(features), log_variance)


class ConvEncoder(Encoder):
    """The same for images: convolutions of stride 2 (5 × 5, then 3 × 3), then dense layers."""

    def __init__(
        self,
        image_shape: tuple[int, int],
        channels: Sequence[int],
        hidden: Sequence[int],
        n_latent: int,
        activation: str = "relu",
    ):
        nn.Module.__init__(self)
        rows, columns = image_shape
        n_features = rows * columns
        layers: list[nn.Module] = [nn.Unflatten(1, (1, rows, columns))]
        for i, (n_in, n_out) in enumerate(pairwise([1, *channels])):
            width = 5 if i == 0 else 3
            convolution = nn.Conv2d(n_in, n_out, width, stride=2, padding=width // 2)
            nn.init.xavier_uniform_(convolution.weight)
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)
            layers += [convolution, ACTIVATIONS[activation]()]
            rows, columns = (rows + 1) // 2, (columns + 1) // 2
        sizes = [channels[-1] * rows * columns, *hidden]
        # this memory layout saves a quarter of the time on a CPU
        convolutions = nn.Sequential(*layers)
        convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.trunk = nn.Sequential(
            *convolutions, nn.Flatten(), *mlp(sizes, activation, activate_last=True)
        )
        self._add_heads(sizes[-1], n_features, n_latent)


class Gate(nn.Module):
    """The clustering network: latent code → K logits. Only its noisy branch uses dropout."""

    def __init__(
        self,
        n_latent: int,
        hidden: Sequence[int],
        n_clusters: int,
        dropout: float = 0.0,
        activation: str = "relu",
    ):
        super().__init__()
        sizes = [n_latent, *hidden, n_clusters]
        self.layers = nn.ModuleList(linear(a, b) for a, b in pairwise(sizes))
        self.activation = ACTIVATIONS[activation]()
        self.dropout = dropout

    def forward(self, z: Tensor, noisy: bool = False) -> Tensor:
        """z: (n, n_latent) → logits (n, n_clusters). noisy: dropout after each hidden layer."""
        return self.layers[-1](self.features(z, noisy))

    def features(self, z: Tensor, noisy: bool = False) -> Tensor:
        """The last hidden layer, (n, its size); z itself without hidden layers."""
        for layer in self.layers[:-1]:
            z = self.activation(layer(z))
            if noisy:
                z = functional.dropout(z, self.dropout)
        return z
