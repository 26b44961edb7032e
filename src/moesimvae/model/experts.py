"""The experts: K decoders of equal layer sizes; each sample goes through exactly one of them.

Samples are sorted by expert, so that a layer is one product for each expert, over stacked weights.
How the samples are laid out depends on the device; the result does not:

- CPU (`Segments`): expert after expert over its own samples.
- elsewhere (`Tiles`): one batched product over tiles of about n / K rows, each of one expert. No
  more than 2K tiles can arise, however uneven the experts, so that every shape is known without
  asking the device how many samples an expert got: a step never waits for the device. Padding at
  most doubles the work, but for the rounding to ROUND rows. (torch's own grouped_mm takes only rows
  of whole 16 bytes.)

With many experts the products are small, and Adam's pass over the weights takes long. From K = 16
on, their gradients are therefore accumulated over several batches (see `updates_every`).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from moesimvae.model.networks import ACTIVATIONS

# rows of a tile come in multiples of what tensor cores take at once
ROUND = 8


def updates_every(n_experts: int) -> int:
    """After how many batches the weights of the experts change: 1, 2, 5, 10 or 25, about K / 8.

    With K < 16 that is every batch, as for all other weights. Above, the gradient is the sum over
    that many batches, in which an expert sees as many cells as one of 8 to 20 experts sees in one
    batch (fewer from K = 500 on). All of these numbers divide 50.
    """
    return max(every for every in (1, 2, 5, 10, 25) if every * 8 <= max(n_experts, 8))


def hidden_units(n_experts: int) -> int:
    """Size of an expert's hidden layer: 256 for up to 16 experts; more of them share 4,096 units.

    One of many experts has fewer cells to decode, and a step takes equally long whatever K.
    """
    return max(16, min(256, 4096 // n_experts // ROUND * ROUND))


class Experts(nn.Module):
    """K decoders whose layers' weights are stacked to (K, n_in, n_out), biases to (K, n_out).

    An expert without samples costs nothing in the products and has a zero gradient. With K = 1
    this is a plain decoder. Weights start as Xavier's, biases at zero.
    """

    def __init__(
        self,
        n_experts: int,
        sizes: Sequence[int],
        activation: str = "relu",
        every: int | None = None,
    ):
        """sizes: [n_latent, *hidden, n_features], the same for all experts.

        every: after how many batches the weights change; None takes `updates_every`; 1 follows the
        equations, whatever K.
        """
        super().__init__()
        self.n_experts = n_experts
        self.every = updates_every(n_experts) if every is None else every
        self.activation = ACTIVATIONS[activation]()
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for n_in, n_out in pairwise(sizes):
            weight = torch.empty(n_experts, n_in, n_out)
            for expert in weight:
                nn.init.xavier_uniform_(expert)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(n_experts, n_out)))

    @property
    def rate(self) -> float:
        """Factor on Adam's learning rate: √every, the rule for `every` times as many cells."""
        return math.sqrt(self.every)

    def forward(self, z: Tensor, assignment: Tensor) -> Tensor:
        """Logits (n, n_features) for z (n, n_latent), sample i from expert assignment[i].

        assignment: (n,) in 0..K−1.
        """
        layout = choose_layout(z.device)(assignment, self.n_experts)
        hidden = layout.arrange(z)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if i > 0:
                hidden = self.activation(hidden)
            hidden = layout.product(hidden, weight, bias)
        return layout.restore(hidden)


class Segments:
    """Samples sorted by expert, one segment of rows for each expert."""

    def __init__(self, assignment: Tensor, n_experts: int):
        """assignment: (n,) in 0..K−1."""
        self.order = torch.argsort(assignment, stable=True)
        self.sizes = torch.bincount(assignment, minlength=n_experts).tolist()

    def arrange(self, x: Tensor) -> Tensor:
        return x.index_select(0, self.order)

    def restore(self, x: Tensor) -> Tensor:
        # not by the inverse order, whose gradient accumulates row by row
        return x.new_empty(x.shape).index_copy(0, self.order, x)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        parts = zip(x.split(self.sizes), weight.unbind(), bias.unbind(), strict=True)
        return torch.cat([torch.addmm(b, rows, w) for rows, w, b in parts])


class Tiles:
    """Samples in tiles of equal size, each of one expert only and padded with zeros."""

    def __init__(self, assignment: Tensor, n_experts: int):
        """assignment: (n,) in 0..K−1.

        rows: per tile; expert: of each tile, at most (2K,), where the last tiles may be empty;
        place: row of each sample, (n,), with the tiles one after another. All of this follows
        from n and K alone, or stays on the device.
        """
        n, device = len(assignment), assignment.device
        self.rows = -(-max(n, 1) // (n_experts * ROUND)) * ROUND
        n_tiles = n // self.rows + n_experts
        order = torch.argsort(assignment, stable=True)
        of_sorted = assignment[order]
        first = torch.searchsorted(of_sorted, torch.arange(n_experts + 1, device=device))
        ends = ((first.diff() + self.rows - 1) // self.rows).cumsum(0)
        expert = torch.searchsorted(ends, torch.arange(n_tiles, device=device), right=True)
        self.expert = expert.clamp(max=n_experts - 1)
        # an expert's first tile comes after the last one of the expert before
        start = torch.cat([ends.new_zeros(1), ends[:-1]]) * self.rows
        within = torch.arange(n, device=device) - first[of_sorted]
        self.place = (start[of_sorted] + within)[torch.argsort(order)]

    def arrange(self, x: Tensor) -> Tensor:
        # a place takes at most one sample, so that nothing is added up in random order
        empty = x.new_zeros(len(self.expert) * self.rows, x.shape[1])
        return empty.index_copy(0, self.place, x).unflatten(0, (-1, self.rows))

    def restore(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).index_select(0, self.place)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        # by brackets: their gradient adds up in the same order each time; index_select's does not
        return torch.baddbmm(bias[self.expert][:, None], x, weight[self.expert])


def choose_layout(device: torch.device) -> type[Segments | Tiles]:
    return Segments if device.type == "cpu" else Tiles
