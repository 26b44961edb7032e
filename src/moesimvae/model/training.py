"""The training loop of every network in the project, and what it needs around it."""

import inspect
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial, reduce
from operator import add
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from moesimvae.errors import UserError
from moesimvae.model.progress import Progress
from moesimvae.model.replay import Replay

SCHEDULES = ("settled", "cosine", "constant")
FALLING = 0.25  # share of the steps over which the schedule "settled" lowers the rate
RECORD_EVERY = 50
LossTerms = Callable[[Tensor, Any], dict[str, Tensor]]  # of cell indices and the step


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


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether a precision is "bfloat16", or "auto" on a chip that has units for it.

    These are AMX in a CPU, tensor cores from Ampere on in a GPU.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch lacks it
    return device.type == "cpu" and bool(told.get("amx_bf16"))


def seeded(seed: int) -> torch.Generator:
    """Seed Python, NumPy and torch (weights, dropout, noise); return a generator for shuffles."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (for libraries that use the global state)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


class Batches:
    """Endless batches of cell indices, all of size min(batch_size, n_cells), on the device.

    Each epoch is a new permutation of the cells. Those that do not fill a batch at its end are
    skipped, so that all batches have the same size; after the next shuffle they have their turn.
    With `sampling`, probabilities (n_cells,), an epoch is n_cells draws with replacement instead.
    """

    def __init__(
        self,
        n_cells: int,
        batch_size: int,
        generator: torch.Generator,
        device: torch.device,
        sampling: np.ndarray | None = None,
    ):
        self.n_cells = n_cells
        self.batch_size = min(batch_size, n_cells)
        self.generator = generator
        self.device = device
        self.cumulative = None
        if sampling is not None:
            self.cumulative = torch.from_numpy(np.cumsum(sampling, dtype=np.float64))
        self._new_epoch()

    def _new_epoch(self) -> None:
        self.epoch_began_at = self.generator.get_state()
        self.position = 0
        if self.cumulative is None:
            order = torch.randperm(self.n_cells, generator=self.generator)
        else:
            # by hand, since torch.multinomial is limited to 2²⁴ cells
            draws = torch.rand(self.n_cells, generator=self.generator, dtype=torch.float64)
            order = torch.searchsorted(self.cumulative, draws * self.cumulative[-1], right=True)
            order.clamp_(max=self.n_cells - 1)
        if self.device.type == "cuda":
            order = order.pin_memory()  # from there it is copied without waiting
        self.order = order.to(self.device, non_blocking=True)

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Tensor:
        if self.position + self.batch_size > self.n_cells:
            self._new_epoch()
        batch = self.order[self.position : self.position + self.batch_size]
        self.position += self.batch_size
        return batch

    def go_to(self, epoch_began_at: Tensor, position: int) -> None:
        """Continue from where another stream of batches of the same cells stood."""
        self.generator.set_state(epoch_began_at)
        self._new_epoch()
        self.position = position


class Accumulated(NamedTuple):
    """Weights that change once in `every` batches, by the sum of the gradients of all of these.

    rate: a factor on the learning rate. For Adam the rule is √every, since the gradient comes
    from `every` times as many cells.
    """

    parameters: Iterable[Tensor]
    every: int
    rate: float = 1.0


class Adam(torch.optim.Adam):
    """torch's Adam without loading its compiler, which takes as long as 100 steps of a small fit.

    The decorators that load it only serve a compiled optimiser.
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


def adam(
    groups: list[dict[str, Any]], lr: float, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015) in one pass over the weights, a third of a step's time on a CPU."""
    device = groups[0]["params"][0].device
    if device.type != "cuda":
        return Adam(groups, lr=lr, betas=betas, fused=True)
    # on CUDA the rates are tensors, which a recorded step reads anew
    rates = [{"lr": torch.tensor(lr, device=device)} for _ in groups]
    own = [group | rate for group, rate in zip(groups, rates, strict=True)]
    return Adam(own, lr=torch.tensor(lr), betas=betas, fused=True, capturable=True)


class Training:
    """Minimises the sum of named loss terms; between two records it can be saved and resumed."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        n_cells: int,
        steps: int,
        *,
        batch_size: int,
        learning_rate: float,
        generator: torch.Generator,
        optimiser: Callable[[list[dict[str, Any]], float], torch.optim.Optimizer] = adam,
        schedule: str = "cosine",
        accumulated: Sequence[Accumulated] = (),
        sampling: np.ndarray | None = None,
        record_every: int = RECORD_EVERY,
        best_every: int | None = None,
        settled: Callable[[dict[str, float]], bool] | None = None,
        max_seconds: float | None = None,
        replay: bool = False,
    ):
        """parameters: the weights that change with every batch.

        n_cells, batch_size, generator, sampling: of the `Batches`.
        optimiser: (groups of parameters, learning rate) → any of torch's that leave weights
            without a gradient alone, as all but LBFGS do.
        schedule: "cosine" lowers the learning rate to zero, "constant" keeps it. "settled" keeps
            it until `settled` says so, and then lowers it to zero over a third as many further
            steps as were taken; `steps` is then the most that are taken.
        accumulated: further weights; each `every` must divide `record_every`.
        best_every: go back to the `Best` so far whenever that many steps are done, and at the end.
        settled: the means of a record → whether nothing changes any more; for that schedule.
        max_seconds: time limit of the training: "settled" lowers the rate in time, the others
            plan as many steps as there is time for at the pace so far.
        replay: whether steps are recorded as CUDA graphs (see `Replay` for what that requires of
            the loss terms, which then get the step as a tensor); not together with best_every.

        Raises UserError for another schedule.
        """
        if schedule not in SCHEDULES:
            raise UserError(
                f"unknown learning rate schedule '{schedule}'; use one of {', '.join(SCHEDULES)}."
            )
        groups: list[dict[str, Any]] = [
            {"params": list(p), "every": every, "rate": rate}
            for p, every, rate in [Accumulated(parameters, 1), *accumulated]
        ]
        self.steps = self.most_steps = steps
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.record_every = record_every
        self.optimiser = optimiser(groups, learning_rate)
        self.optimiser.zero_grad(set_to_none=True)
        device = groups[0]["params"][0].device
        self.batches = Batches(n_cells, batch_size, generator, device, sampling)
        self.step = 0
        self.history: dict[str, list[float]] = {}
        self.best = None if best_every is None else Best(self.optimiser, best_every)
        self.settled = settled
        self.max_seconds = max_seconds
        self.seconds = 0.0
        self.falls_from: int | None = None
        self.ended = "all steps taken"
        self.replays = replay and best_every is None
        self.replay: Replay | None = None

    def run(
        self,
        loss_terms: LossTerms,
        progress: str = "training",
        after_record: Callable[[], None] | None = None,
    ) -> dict[str, list[float]]:
        """Take the steps that are left.

        loss_terms: (index, step) → named, weighted scalar losses of the cells `index` (a
            LongTensor on the parameters' device), which are summed; step counts from 0.
        progress: what the bar is called; "" for silence. A terminal gets a bar with every term
            and the time left, a log file a line now and then.
        after_record: is called between two records, where the training can be saved.

        Returns term → mean over each `record_every` steps, with the sum as "total" and the number
        of steps done so far as "step". Values stay on the device between the records.
        Raises UserError when the loss is no longer finite.
        """
        report = Progress(progress, self.steps, self.step)
        started = monotonic() - self.seconds
        sums: dict[str, Tensor] = {}
        pending = 0
        while self.step < self.steps:
            for name, value in self._take_step(loss_terms).items():
                sums[name] = sums[name] + value if name in sums else value
            pending += 1
            if pending == self.record_every or self.step == self.steps:
                values = (torch.stack([sums[name].float() for name in sums]) / pending).tolist()
                means = dict(zip(sums, values, strict=True))
                _require_finite(means, self.step, progress)
                self._record(means)
                self.seconds = monotonic() - started
                self._end_soon(means)
                report.show(self.step, means, self.steps)
                sums, pending = {}, 0
                if after_record is not None and self.step < self.steps:
                    after_record()
        report.close()
        return self.history

    def _take_step(self, loss_terms: LossTerms) -> dict[str, Tensor]:
        """One batch: its loss, the gradients, new weights. Returns the terms and their "total"."""
        self._set_learning_rate()
        index, work = next(self.batches), partial(self._work, loss_terms)
        due = tuple((self.step + 1) % g["every"] == 0 for g in self.optimiser.param_groups)
        if self.replays:
            if self.replay is None:
                self.replay = Replay(work, index.device)
            terms = self.replay(index, self.step, due)
        else:
            terms = work(index, self.step, due)
        self.step += 1
        if self.best is not None and self.best.is_due(self.step, self.steps):
            self.best.go_back()
        return terms

    def _work(
        self, loss_terms: LossTerms, index: Tensor, step: int | Tensor, due: Sequence[bool]
    ) -> dict[str, Tensor]:
        terms = loss_terms(index, step)
        terms = terms | {"total": reduce(add, terms.values())}
        terms["total"].backward()
        if self.best is not None:
            self.best.look(terms["total"].item())
        self._update_weights(due)
        return {name: value.detach() for name, value in terms.items()}

    def _end_soon(self, means: dict[str, float]) -> None:
        """Plan the steps that are left; with "settled", start lowering the rate when it is time."""
        if self.schedule != "settled" and self.max_seconds is not None:
            affordable = int(self.step * self.max_seconds / max(self.seconds, 1e-9))
            self.steps = min(self.most_steps, max(self.step, affordable))
            self.ended = "all steps taken" if self.steps == self.most_steps else "out of time"
        if self.schedule != "settled" or self.falls_from is not None:
            return
        if self.settled is not None and self.settled(means):
            reason = "settled"
        elif self.max_seconds is not None and self.seconds >= (1 - FALLING) * self.max_seconds:
            reason = "out of time"
        elif self.step >= (1 - FALLING) * self.steps:
            reason = self.ended
        else:
            return
        falling = math.ceil(self.step * FALLING / (1 - FALLING) / self.record_every)
        self.falls_from, self.ended = self.step, reason
        self.steps = min(self.steps, self.step + falling * self.record_every)

    def _set_learning_rate(self) -> None:
        share = 1.0
        if self.falls_from is not None:
            passed = (self.step - self.falls_from) / max(self.steps - self.falls_from, 1)
            share = 0.5 * (1 + math.cos(math.pi * passed))
        if self.schedule == "cosine":
            share = 0.5 * (1 + math.cos(math.pi * self.step / self.steps))
        for group in self.optimiser.param_groups:
            rate = self.learning_rate * share * group["rate"]
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def _update_weights(self, due: Sequence[bool]) -> None:
        """Update the weights that are due; the others' gradients are kept, to be added to."""
        groups = list(zip(self.optimiser.param_groups, due, strict=True))
        kept = [(p, p.grad) for group, now in groups if not now for p in group["params"]]
        for parameter, _ in kept:
            parameter.grad = None
        self.optimiser.step()
        added_up = [
            p for group, now in groups if now and group["every"] > 1 for p in group["params"]
        ]
        # in place, since a recorded step adds to where the gradient was when it was recorded
        cleared = [(p, p.grad.zero_()) for p in added_up if p.grad is not None]
        self.optimiser.zero_grad(set_to_none=True)
        for parameter, gradient in [*kept, *cleared]:
            parameter.grad = gradient

    def _record(self, means: dict[str, float]) -> None:
        for name, mean in means.items():
            self.history.setdefault(name, []).append(mean)
        self.history.setdefault("step", []).append(self.step)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What `resume` needs to end at the same result: tensors, and plain values for JSON.

        The weights themselves and the random number generators are left to the caller.
        """
        tensors = {
            f"optimiser.{index}.{name}": value
            for index, moments in self.optimiser.state_dict()["state"].items()
            for name, value in moments.items()
        }
        tensors["epoch_began_at"] = self.batches.epoch_began_at
        values = {
            "step": self.step,
            "position": self.batches.position,
            "history": self.history,
            "seconds": self.seconds,
            "steps": self.steps,
            "falls_from": self.falls_from,
            "ended": self.ended,
        }
        if self.best is not None:
            tensors |= {f"best.{name}": value for name, value in self.best.kept.items()}
            values["best_loss"] = self.best.loss
        return tensors, values

    def resume(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Continue from what `state` of a training of the same parameters and cells gave."""
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimiser."):
                _, index, name = key.split(".")
                weight = parameters[int(index)]
                if value.shape == weight.shape:
                    # fused Adam goes through memory, where convolution weights lie in another order
                    value = torch.empty_like(weight).copy_(value)  # noqa: PLW2901
                moments.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": moments})
        self.batches.go_to(tensors["epoch_began_at"], values["position"])
        self.step = values["step"]
        for name in ("seconds", "steps", "falls_from", "ended"):
            setattr(self, name, values[name])
        self.history = {name: list(course) for name, course in values["history"].items()}
        if self.best is not None:
            kept = {n.removeprefix("best."): t for n, t in tensors.items() if n.startswith("best.")}
            self.best.kept, self.best.loss = kept, values["best_loss"]


class Best:
    """Weights and the optimiser's moments at the smallest loss of a single batch so far.

    The released program keeps these, falls back to them whenever it plots, which it does by
    default, and ends with them. Without that, its loss can diverge for good.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, every: int):
        self.optimiser, self.every = optimiser, every
        self.loss = math.inf
        self.kept: dict[str, Tensor] = {}

    def is_due(self, step: int, steps: int) -> bool:
        return step % self.every == 0 or step == steps

    def look(self, loss: float) -> None:
        """Keep the present state if its loss, of one batch, is the smallest so far."""
        if loss < self.loss:
            self.loss = loss
            self.kept = {name: tensor.detach().clone() for name, tensor in self._now()}

    @torch.no_grad()
    def go_back(self) -> None:
        """Put the weights and moments back to what was kept."""
        for name, tensor in self._now():
            if name in self.kept:
                tensor.copy_(self.kept[name])
            else:  # the best was before the first step
                tensor.zero_()

    def _now(self) -> Iterator[tuple[str, Tensor]]:
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        for i, parameter in enumerate(parameters):
            yield f"{i}.weight", parameter
            for name, moment in self.optimiser.state.get(parameter, {}).items():
                yield f"{i}.{name}", moment


def train(
    loss_terms: LossTerms,
    parameters: Iterable[Tensor],
    n_cells: int,
    steps: int,
    *,
    progress: str = "training",
    **settings: Any,
) -> dict[str, list[float]]:
    """Minimise the sum of the loss terms: a `Training` with these settings, from start to end."""
    return Training(parameters, n_cells, steps, **settings).run(loss_terms, progress)


def _require_finite(means: dict[str, float], step: int, progress: str) -> None:
    broken = [name for name, mean in means.items() if not np.isfinite(mean)]
    if broken:
        raise UserError(
            f"the loss '{broken[0]}' became NaN or infinite before step {step} of "
            f"{progress or 'training'}; lower the learning rate or scale the features."
        )


def encode_in_batches(
    encode: Callable[[Tensor], Tensor], n_cells: int, batch_size: int = 4096
) -> np.ndarray:
    """`encode(index)` for all cells in order, without gradients, as one NumPy array.

    encode: a LongTensor of cell indices (on the CPU) → (len(index), …).
    """
    encoded: np.ndarray | None = None
    with torch.no_grad():
        for start in range(0, max(n_cells, 1), batch_size):
            part = encode(torch.arange(start, min(start + batch_size, n_cells))).cpu().numpy()
            if encoded is None:
                # filled in place: joining the parts at the end would take twice the memory
                encoded = np.empty((n_cells, *part.shape[1:]), part.dtype)
            encoded[start : start + len(part)] = part
    assert encoded is not None  # there is at least one batch, if an empty one
    return encoded
