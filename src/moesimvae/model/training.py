"""The training loop that every network of the project runs in, and what it needs around it."""

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from time import monotonic

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from moesimvae.errors import UserError

LossTerms = Callable[[Tensor, int], dict[str, Tensor]]
# a log file gets about this many lines from one call of `train`
LOG_LINES = 10


def choose_device(device: str = "auto") -> torch.device:
    """'auto' takes a CUDA device where there is one, else the CPU.

    Raises UserError when the device named does not exist here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device '{device}' cannot be used here; choose 'auto' or 'cpu' instead."
        ) from error
    return chosen


def seeded(seed: int) -> torch.Generator:
    """Seed Python, NumPy and torch (weights, dropout, noise) and give a generator for shuffles."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (for libraries that use the global state)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def batches(
    n_cells: int, batch_size: int, generator: torch.Generator, device: torch.device
) -> Iterator[Tensor]:
    """Endless batches of cell indices, all of size min(batch_size, n_cells).

    Each epoch is a new permutation. Its left-over cells are skipped, so that every batch has the
    same size and none has a single cell; the next shuffle gives those cells their turn.
    """
    batch_size = min(batch_size, n_cells)
    while True:
        order = torch.randperm(n_cells, generator=generator).to(device)
        for start in range(0, n_cells - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


def train(
    loss_terms: LossTerms,
    parameters: Iterable[Tensor],
    n_cells: int,
    steps: int,
    *,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator,
    schedule: str = "cosine",
    progress: str = "training",
    record_every: int = 50,
) -> dict[str, list[float]]:
    """Minimise the sum of the loss terms with Adam.

    loss_terms(index, step): named, weighted scalar losses of the cells `index` (a LongTensor on
        the device of the parameters), which are summed; step counts from 0.
    schedule: "cosine" lets the learning rate fall to zero, "constant" leaves it.
    progress: what the bar is called; "" for silence. A terminal gets a bar with every term and
        the time left, a log file a line now and then.

    Returns term → mean over each `record_every` steps, with the sum as "total" and the number of
    steps done so far as "step". Values stay on the device between the records.
    Raises UserError when the loss is no longer finite.
    """
    parameters = list(parameters)
    # one pass over the weights instead of a dozen: a third of a step's time on a CPU
    optimiser = torch.optim.Adam(parameters, lr=learning_rate, fused=True)
    scheduler = _scheduler(optimiser, schedule, steps)
    stream = batches(n_cells, batch_size, generator, parameters[0].device)
    history: dict[str, list[float]] = {}
    report = _Progress(progress, steps)
    sums: dict[str, Tensor] = {}
    pending = 0
    for step in range(steps):
        terms = loss_terms(next(stream), step)
        total = sum(terms.values())
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        optimiser.step()
        scheduler.step()
        for name, value in (terms | {"total": total}).items():
            sums[name] = sums[name] + value.detach() if name in sums else value.detach()
        pending += 1
        if pending == record_every or step == steps - 1:
            values = (torch.stack([sums[name].float() for name in sums]) / pending).tolist()
            means = dict(zip(sums, values, strict=True))
            _require_finite(means, step, progress)
            for name, mean in means.items():
                history.setdefault(name, []).append(mean)
            history.setdefault("step", []).append(step + 1)
            report.show(step + 1, means)
            sums, pending = {}, 0
    report.close()
    return history


def _scheduler(
    optimiser: torch.optim.Optimizer, schedule: str, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=max(steps, 1))
    if schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
    raise UserError(f"unknown learning rate schedule '{schedule}'; use 'cosine' or 'constant'.")


def _require_finite(means: dict[str, float], step: int, progress: str) -> None:
    broken = [name for name, mean in means.items() if not np.isfinite(mean)]
    if broken:
        raise UserError(
            f"the loss '{broken[0]}' stopped being a finite number before step {step + 1} of "
            f"{progress or 'training'}; lower the learning rate or scale the features."
        )


class _Progress:
    """A bar on a terminal, a line now and then in a log, nothing without a name."""

    def __init__(self, name: str, steps: int):
        self.name, self.steps = name, steps
        self.terminal = sys.stderr.isatty()
        self.started = monotonic()
        self.next_line = steps / LOG_LINES
        self.bar = tqdm(total=steps, desc=name, disable=not (name and self.terminal))

    def show(self, step: int, means: dict[str, float]) -> None:
        text = " ".join(f"{name} {mean:.4g}" for name, mean in means.items())
        self.bar.update(step - self.bar.n)
        self.bar.set_postfix_str(text)
        if self.name and not self.terminal and (step >= self.next_line or step == self.steps):
            self.next_line += self.steps / LOG_LINES
            left = (monotonic() - self.started) / step * (self.steps - step)
            print(
                f"{self.name} {step}/{self.steps}: {text} ({left:.0f} s left)",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        self.bar.close()


def encode_in_batches(
    encode: Callable[[Tensor], Tensor], n_cells: int, batch_size: int = 4096
) -> np.ndarray:
    """`encode(index)` for all cells in order, without gradients, as one NumPy array.

    encode: a LongTensor of cell indices (on the CPU) → (len(index), …).
    """
    with torch.no_grad():
        parts = [
            encode(torch.arange(start, min(start + batch_size, n_cells))).cpu().numpy()
            for start in range(0, max(n_cells, 1), batch_size)
        ]
    return np.concatenate(parts)
