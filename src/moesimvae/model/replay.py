"""Steps of a training recorded once as CUDA graphs, then replayed.

A step of networks this small is some hundreds of kernels of a few microseconds each. Launching
them one by one takes the host several times as long as the device takes to run them; a graph is
launched in one go.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# steps of each kind that are launched kernel by kernel before the next is recorded: in the first,
# the optimiser creates its moments, and libraries choose their kernels
WARM_UP = 2
Work = Callable[[Tensor, int | Tensor, Hashable], dict[str, Tensor]]


class Replay:
    """The same work on batch after batch, as graphs from the third time on."""

    def __init__(self, work: Work, device: torch.device):
        """work(index, step, kind) → named scalars: must never wait for the device, change tensors
        only in place, and launch the same kernels for the same kind and size of index.
        """
        self.work, self.device = work, device
        self.seen: dict[Hashable, int] = {}
        self.graphs: dict[Hashable, Callable[[], Tensor]] = {}
        self.names: list[str] = []
        self.index = torch.empty(0, dtype=torch.long, device=device)
        self.step = torch.zeros((), device=device)

    def __call__(self, index: Tensor, step: int, kind: Hashable) -> dict[str, Tensor]:
        """What work(index, step, kind) gives; index: of the same size in every call."""
        seen = self.seen[kind] = self.seen.get(kind, 0) + 1
        if seen <= WARM_UP:
            with aside(self.device):
                return self.work(index, step, kind)
        if not len(self.index):
            self.index = index.clone()
        self.index.copy_(index)
        self.step.fill_(step)
        if kind not in self.graphs:
            self.graphs[kind] = record(lambda: self._work(kind))
        # a copy, since the next replay overwrites it
        values = self.graphs[kind]().clone()
        return dict(zip(self.names, values, strict=True))

    def _work(self, kind: Hashable) -> Tensor:
        named = self.work(self.index, self.step, kind)
        self.names = list(named)
        return torch.stack(list(named.values()))


@contextmanager
def aside(device: torch.device) -> Iterator[None]:
    """Run on a stream of its own, as work that is recorded later must."""
    own, usual = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    own.wait_stream(usual)
    with torch.cuda.stream(own):
        yield
    usual.wait_stream(own)


def record(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """A function that repeats on the device what `work` does there, and returns the same tensor.

    Recording computes nothing; the first call does.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()

    def again() -> Tensor:
        graph.replay()
        return result

    return again
