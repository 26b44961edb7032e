"""The networks: one encoder for all cells, K experts that decode, one gate that assigns cells.

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
    sizes: Sequence[int],
    activation: str = "relu",
    dropout: float = 0.0,
    activate_last: bool = False,
) -> nn.Sequential:
    """Dense layers sizes[0] → sizes[1] → … → sizes[-1]; dropout follows each activation."""
    layers: list[nn.Module] = []
    for i in range(len(sizes) - 1):
        layers.append(linear(sizes[i], sizes[i + 1]))
        if activate_last or i < len(sizes) - 2:
            layers.append(ACTIVATIONS[activation]())
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


class Encoded(NamedTuple):
    """features (n, last hidden size); mean and log_variance (n, n_latent) of q(z | x)."""

    features: Tensor
    mean: Tensor
    log_variance: Tensor


class Encoder(nn.Module):
    """q(z | x) = N(mean(x), diag exp(log_variance(x))). A plain autoencoder uses `mean` alone."""

    # e^(±10) is far outside anything a posterior needs, and inside what float32 bears
    LOG_VARIANCE_LIMIT = 10.0

    def __init__(
        self, n_features: int, hidden: Sequence[int], n_latent: int, activation: str = "relu"
    ):
        super().__init__()
        self.trunk = mlp([n_features, *hidden], activation, activate_last=True)
        last = [n_features, *hidden][-1]
        self.mean = linear(last, n_latent)
        self.log_variance = linear(last, n_latent)

    @torch.no_grad()
    def centre(self, mean: Tensor, spread: float) -> None:
        """Start as if the features came as (x − mean) / spread. mean: (n_features,).

        Features that are all positive share one large direction, next to which the differences
        between cells are small at first; taking it out of the first layer's start is enough.
        """
        first = next(layer for layer in [*self.trunk, self.mean] if isinstance(layer, nn.Linear))
        first.weight /= spread
        first.bias -= first.weight @ mean

    def forward(self, x: Tensor) -> Encoded:
        """x: (n, n_features)."""
        features = self.trunk(x)
        log_variance = self.log_variance(features).clamp(
            -self.LOG_VARIANCE_LIMIT, self.LOG_VARIANCE_LIMIT
        )
        return Encoded(features, self.mean(features), log_variance)


class Experts(nn.Module):
    """K decoders of equal layer sizes; each sample passes through exactly one of them.

    The weights of a layer are stacked to (K, n_in, n_out). Samples are sorted by expert, so that
    a layer costs one product for each expert over its own samples, and none without samples.
    With K = 1 this is a plain decoder.
    """

    def __init__(self, n_experts: int, sizes: Sequence[int], activation: str = "relu"):
        """sizes: [n_latent, *hidden, n_features], the same for all experts."""
        super().__init__()
        self.n_experts = n_experts
        self.activation = ACTIVATIONS[activation]()
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for n_in, n_out in pairwise(sizes):
            weight = torch.empty(n_experts, n_in, n_out)
            for expert in weight:
                nn.init.xavier_uniform_(expert)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(n_experts, n_out)))

    def forward(self, z: Tensor, assignment: Tensor) -> Tensor:
        """Logits (n, n_features) for z (n, n_latent), sample i from expert assignment[i]."""
        order = torch.argsort(assignment, stable=True)
        sizes = torch.bincount(assignment, minlength=self.n_experts).tolist()
        hidden = z[order]
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if i > 0:
                hidden = self.activation(hidden)
            hidden = _product_by_segment(hidden, sizes, weight, bias)
        # the inverse permutation: a gather, whose gradient is the same on every device
        return hidden[torch.argsort(order)]


def _product_by_segment(x: Tensor, sizes: list[int], weight: Tensor, bias: Tensor) -> Tensor:
    """Rows of x (n, n_in), in segments of the given sizes, segment k times weight[k]."""
    # unbind and split each have one backward step, where weight[k] would have K large ones
    parts = zip(x.split(sizes), weight.unbind(), bias.unbind(), strict=True)
    return torch.cat([torch.addmm(b, segment, w) for segment, w, b in parts])


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
        *hidden_layers, last = self.layers
        for layer in hidden_layers:
            z = self.activation(layer(z))
            if noisy:
                z = functional.dropout(z, self.dropout)
        return last(z)
