"""The experts: K decoders of equal layer sizes, each sample through exactly one of them.

Samples are sorted by expert, so that a layer is one grouped product over stacked weights. How the
product is done depends on the device, its result does not:

- CPU (`Segments`): expert after expert over its own samples, written in place into the layer's
  output, and the gradients of the weights straight into one stacked array.
- elsewhere (`Tiles`): one batched product over tiles of about n / K rows, each of one expert. No
  more than 2K tiles can come up, however uneven the experts, so that every shape is known without
  asking the device how many samples an expert got: a step never waits for the device. The padding
  at most doubles the work. (torch's own grouped_mm takes only bfloat16 and rows of whole 16 bytes
  on a GPU.)

With many experts the products are small, and what takes the time is memory: with K = 40 of the
default sizes, writing the gradients of 8 million weights and Adam's pass over them make a step
half as long again, for the sake of a dozen cells for each expert. From K = 16 on the experts
therefore learn from several batches at once (see `updates_every`).
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from moesimvae.model.networks import ACTIVATIONS

# rows of a tile come in multiples of what tensor cores take at once
ROUND = 8


def updates_every(n_experts: int) -> int:
    """After how many batches the weights of the experts change: 1, 2, 5, 10 or 25, about K / 8.

    With K < 16 that is every batch, as for all other weights. Above, the gradient is the sum over
    that many batches, in which an expert sees as many cells as one of 7 to 20 experts sees in one
    batch. All of these numbers divide 50.
    """
    return max(every for every in (1, 2, 5, 10, 25) if every * 8 <= max(n_experts, 8))


class Experts(nn.Module):
    """K decoders whose layers' weights are stacked to (K, n_in, n_out), biases to (K, n_out).

    An expert without samples costs nothing in the products and has a zero gradient. With K = 1
    this is a plain decoder. Weights start as Xavier's, biases at zero.

    Between two updates (`updates_every`) the parameters' `grad` stays None, at which torch's
    optimisers leave them alone; the gradient of z is always that of its batch.
    """

    def __init__(
        self,
        n_experts: int,
        sizes: Sequence[int],
        activation: str = "relu",
        every: int | None = None,
    ):
        """sizes: [n_latent, *hidden, n_features], the same for all experts.

        every: after how many batches the weights change, None takes `updates_every`; 1 is what
        the equations say, whatever K.
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
        self.settle()

    @property
    def rate(self) -> float:
        """Factor on Adam's learning rate: √every, the rule for gradients of as many more cells."""
        return math.sqrt(self.every)

    def settle(self) -> None:
        """Forget the batches that wait for the next update, as before a new phase of training."""
        self._waiting = [_Waiting(self.every) for _ in self.weights]

    def forward(self, z: Tensor, assignment: Tensor) -> Tensor:
        """Logits (n, n_features) for z (n, n_latent), sample i from expert assignment[i].

        assignment: (n,) in 0..K−1. On a GPU under autocast the products are in its precision.
        """
        kind = Segments if z.device.type == "cpu" else Tiles
        return self._decode(z, kind(assignment, self.n_experts))

    def _decode(self, z: Tensor, layout: "Segments | Tiles") -> Tensor:
        hidden = layout.arrange(z.to(self.weights[0].dtype))
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if i > 0:
                hidden = self.activation(hidden)
            hidden = _GroupedProduct.apply(hidden, weight, bias, layout, self._waiting[i])
        return layout.restore(hidden)


class Segments:
    """Samples sorted by expert, one segment of rows for each expert.

    Always in the precision of the weights: a CPU's bfloat16 product is prepared anew for each
    size of segment, which takes longer than it saves.
    """

    def __init__(self, assignment: Tensor, n_experts: int):
        """assignment: (n,) in 0..K−1."""
        self.order = torch.argsort(assignment, stable=True)
        self.inverse = torch.argsort(self.order)
        ends = torch.bincount(assignment, minlength=n_experts).cumsum(0).tolist()
        self.rows = [slice(start, end) for start, end in pairwise([0, *ends])]

    def arrange(self, x: Tensor) -> Tensor:
        return _Permuted.apply(x, self.order, self.inverse)

    def restore(self, x: Tensor) -> Tensor:
        return _Permuted.apply(x, self.inverse, self.order)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out = weight.new_empty(len(x), weight.shape[2])
        for k, rows in self._used():
            torch.addmm(bias[k], x[rows], weight[k], out=out[rows])
        return out

    def input_gradient(self, gradient: Tensor, weight: Tensor) -> Tensor:
        out = gradient.new_empty(len(gradient), weight.shape[1])
        for k, rows in self._used():
            torch.mm(gradient[rows], weight[k].T, out=out[rows])
        return out

    def _used(self) -> Iterator[tuple[int, slice]]:
        """Each expert that has samples, and their rows."""
        return ((k, rows) for k, rows in enumerate(self.rows) if rows.stop > rows.start)

    @staticmethod
    def weight_gradient(
        batches: "list[tuple[Segments, Tensor, Tensor]]", weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients of weights and biases, summed over (layout, x, gradient of the product)."""
        out, of_bias = torch.empty_like(weight), weight.new_empty(len(weight), weight.shape[2])
        for k in range(len(weight)):
            # put together first, so that an expert's gradient is written only once
            x = _together([x[layout.rows[k]] for layout, x, _ in batches])
            gradient = _together([gradient[layout.rows[k]] for layout, _, gradient in batches])
            torch.mm(x.T, gradient, out=out[k])
            torch.sum(gradient, 0, out=of_bias[k])
        return out, of_bias


def _together(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class _Permuted(torch.autograd.Function):
    """Rows of x in another order; the gradient is a gather as well, where autograd would add."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(order, inverse)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        order, inverse = ctx.saved_tensors
        return _Permuted.apply(gradient, inverse, order), None, None


class Tiles:
    """Samples in tiles of equal size, each with samples of one expert only; the rest zeros."""

    def __init__(self, assignment: Tensor, n_experts: int):
        """assignment: (n,) in 0..K−1.

        rows: of a tile; expert: of each tile, at most (2K,), of which the last ones may be empty;
        place: row of each sample, (n,), when the tiles lie one after another. All of it comes
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
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        # a place takes one sample at most, so that nothing is added up in random order
        empty = x.new_zeros(len(self.expert) * self.rows, x.shape[1])
        return empty.index_copy(0, self.place, x).unflatten(0, (-1, self.rows))

    def restore(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).index_select(0, self.place)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        return torch.baddbmm(bias[self.expert][:, None], x, weight[self.expert])

    def input_gradient(self, gradient: Tensor, weight: Tensor) -> Tensor:
        return torch.bmm(gradient, weight.to(gradient.dtype)[self.expert].mT)

    @staticmethod
    def weight_gradient(
        batches: "list[tuple[Tiles, Tensor, Tensor]]", weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients of weights and biases, summed over (layout, x, gradient of the product)."""
        out, of_bias = torch.zeros_like(weight), weight.new_zeros(len(weight), weight.shape[2])
        for layout, x, gradient in batches:
            index = (layout.expert,)
            # index_put adds in the same order each time on every device, index_add does not
            out.index_put_(index, torch.bmm(x.mT, gradient).to(out.dtype), accumulate=True)
            of_bias.index_put_(index, gradient.sum(1, dtype=out.dtype), accumulate=True)
        return out, of_bias


class _Waiting:
    """Batches of one layer, (layout, x, gradient of the product), until `every` are together."""

    def __init__(self, every: int):
        self.every = every
        self.batches: list[tuple[Segments | Tiles, Tensor, Tensor]] = []


class _GroupedProduct(torch.autograd.Function):
    """A layer: x, as the layout arranged it, times the weights of each sample's expert, plus bias.

    By hand, since autograd would make a gradient of all K weights for each expert's product, or
    stack K parts, and has no way to wait.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        layout: Segments | Tiles,
        waiting: _Waiting,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.layout, ctx.waiting = layout, waiting
        return layout.product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        layout, waiting = ctx.layout, ctx.waiting
        of_x = layout.input_gradient(gradient, weight) if ctx.needs_input_grad[0] else None
        # without its graph, which would hold the whole step in memory
        waiting.batches.append((layout, x.detach(), gradient))
        of_weight = of_bias = None
        if len(waiting.batches) == waiting.every:
            of_weight, of_bias = layout.weight_gradient(waiting.batches, weight)
            waiting.batches.clear()
        return of_x, of_weight, of_bias, None, None
