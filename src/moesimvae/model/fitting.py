"""A fit of MoE-Sim-VAE, phase by phase (a similarity, then a training), and its checkpoints."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from moesimvae.model import cells, cutting, similarity, storage
from moesimvae.model.images import deskew, random_affine
from moesimvae.model.module import Module, PaperObjective, ReleasedObjective, Weights
from moesimvae.model.training import (
    RECORD_EVERY,
    Accumulated,
    Training,
    adam,
    encode_in_batches,
)

SECONDS_BETWEEN_CHECKPOINTS = 60
CHECKPOINT_VERSION = 4  # raise it with every change of what a checkpoint holds
# steps after which the released program falls back to the best weights so far
BACK_TO_THE_BEST = 1000
# of the schedule "settled": steps that the warm-up is a share of; cells whose clusters are
# watched; ratio below which the similarity's loss is still falling; share of cells that stay
EXPECTED_STEPS = 500
WATCHED_CELLS, NO_LONGER_FALLS, KEPT = 2000, 0.95, 0.95
# of a gate that is set to groups: images that it learns them from, penalty on its weights
GATE_LEARNS_FROM, SMALL_WEIGHTS = 10_000, 1e-3
# cells from which the encoder learns how features are centred and spread
STANDARDISED_BY = 4096


@dataclass(frozen=True)
class Settings:
    """How to fit. Fields named like a parameter of `MoESimVAE` mean what it means there.

    similarity: never "auto". image_shape: (rows, columns), None for cells that go through dense
    layers. bfloat16: whether the encoder's products in training are. seed: a whole number.
    identity: text that differs whenever a parameter that changes the result does.
    """

    n_clusters: int
    similarity: str | dict[str, Any]
    refinements: int | None
    image_shape: tuple[int, int] | None
    augmentation: float
    deskew: bool
    objective: str
    reconstruction_weight: float
    kl_weight: float
    similarity_weight: float
    depict_weight: float
    warm_up: float
    steps: int
    batch_size: int
    learning_rate: float
    schedule: str
    max_seconds: float | None
    adam_betas: Sequence[float]
    bfloat16: bool
    standardise: bool
    seed: int
    cache: str | Path | None
    checkpoint: str | Path | None
    progress: bool
    identity: str

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """The settings among the values."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Data:
    """The cells of a fit, and what is known of them beforehand.

    matrix: (n_cells, n_features) in the units given; rows: index → the same cells in [0, 1], on
    the networks' device; prior: (n_cells,) groups, −1 = unknown; given: S, (n_cells, n_cells).
    """

    matrix: cells.Matrix
    rows: Callable[[Tensor], Tensor]
    prior: np.ndarray | None = None
    given: sparse.spmatrix | None = None


@dataclass
class Fitted:
    """What a fit leaves besides the networks' weights.

    history: term → its weighted mean in each record, and "step"; similarity_facts: of each
    phase's similarity; ended: why each phase's training ended; seconds: spent on "similarity" and
    on "training"; similar: S of the last phase, with which the same cells can be fitted again;
    restarted: what was wrong with the first fit, where a second was made and the better kept.
    """

    history: dict[str, list[float]] = field(default_factory=dict)
    similarity_facts: list[dict[str, Any]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"similarity": 0.0, "training": 0.0})
    similar: similarity.Similarity | None = None
    restarted: str | None = None

    @property
    def groups(self) -> int:
        """Number of groups in S, each of which should get a cluster; 0 where S has no groups."""
        return self.similarity_facts[-1].get("groups", 0) if self.similarity_facts else 0

    def facts(self) -> dict[str, Any]:
        """What is reported of a fit's course, JSON-able; seconds to hundredths."""
        seconds = {f"seconds_{part}": round(value, 2) for part, value in self.seconds.items()}
        steps = int(self.history["step"][-1])
        facts = {"similarity": self.similarity_facts, "steps": steps, "ended": self.ended}
        if self.restarted is not None:
            facts["restarted"] = self.restarted
        return facts | seconds


class Fit:
    """The phases of one fit, and what must be kept of them to resume it after a stop."""

    def __init__(
        self,
        module: Module,
        settings: Settings,
        data: Data,
        generator: torch.Generator,
        similar: similarity.Similarity | None = None,
    ):
        """module: whose weights are fitted, in place; generator: of the batches; similar: S of the
        first phase where it is already known.
        """
        self.similar = similar
        self.module, self.settings, self.data = module, settings, data
        self.generator = generator
        self.device = next(module.parameters()).device
        self.n_cells = data.matrix.shape[0]
        self.n_phases = 1 + self._count_refinements()
        self.phase = 0
        self.folder = None if settings.checkpoint is None else Path(settings.checkpoint)
        self.fingerprint = "" if self.folder is None else _take_fingerprint(settings, data)
        self.fitted = Fitted()

    def run(self) -> Fitted:
        """Run all phases, or those that a stopped fit of the same cells and settings left."""
        stopped = None
        if self.folder is not None:
            stopped = storage.read_checkpoint(self.folder, self.fingerprint)
        if stopped is not None:
            self.phase = stopped[1]["phase"]
            for name in ("history", "similarity_facts", "ended", "seconds"):
                setattr(self.fitted, name, stopped[1][name])
        if self.settings.standardise:
            self._standardise()
        while self.phase < self.n_phases:
            self._run_phase(stopped)
            stopped = None
            self.phase += 1
        if self.folder is not None:
            storage.remove_checkpoint(self.folder)
        return self.fitted

    def _standardise(self) -> None:
        some = np.arange(self.n_cells)
        if self.n_cells > STANDARDISED_BY:
            random = np.random.default_rng(self.settings.seed)
            some = np.sort(random.choice(self.n_cells, STANDARDISED_BY, replace=False))
        self.module.encoder.standardise(self.data.rows(torch.from_numpy(some).to(self.device)))

    def _run_phase(self, stopped: tuple[storage.Tensors, dict[str, Any]] | None) -> None:
        module = self.module
        with self._time("similarity"):
            if stopped is not None:
                module.load_state_dict(_select(stopped[0], "start"))
            self.at_start = {name: t.clone() for name, t in module.state_dict().items()}
            threads = torch.get_num_threads()
            similar = None if self._has_known_experts() else self._build_similarity()
            torch.set_num_threads(threads)  # numba's searches change them
            self.fitted.similar = similar
        with self._time("training"):
            training = self._make_training(None if similar is None else similar.sampling)
            if stopped is not None:
                module.load_state_dict(_select(stopped[0], "module"))
                training.resume(_select(stopped[0], "training"), stopped[1]["training"])
                _set_random_state(stopped[0])
            module.encoder.in_bfloat16 = self.settings.bfloat16
            history = training.run(
                self._make_objective(similar), self._name_phase(), self._make_saver(training)
            )
            module.encoder.in_bfloat16 = False
            self.fitted.ended.append(training.ended)
        self._add_to_history(history)

    @contextmanager
    def _time(self, part: str) -> Iterator[None]:
        started = monotonic()
        yield
        self.fitted.seconds[part] += monotonic() - started

    def _name_phase(self) -> str:
        return f"phase {self.phase + 1} of {self.n_phases}" if self.settings.progress else ""

    def _add_to_history(self, history: dict[str, list[float]]) -> None:
        """Append a phase's records to those of earlier phases, and continue the count of steps."""
        done = self.fitted.history.get("step", [0])[-1]
        for term, values in history.items():
            before = done if term == "step" else 0
            self.fitted.history.setdefault(term, []).extend(before + value for value in values)

    # ------------------------------------------------------------------ the similarity

    def _build_similarity(self) -> similarity.Similarity:
        """S of this phase, on the device: of the cells first, then of the gate's features.

        The gate's features hold what distinguishes clusters; the encoder's also hold what the
        experts need.
        """
        settings, module = self.settings, self.module
        if self.phase == 0 and self.similar is not None:
            self.fitted.similarity_facts.append(self.similar.facts)
            return self.similar
        if self.phase == 0:
            source, clusters = cells.with_bearable_squares(self._deskew_images()), None
            spec = settings.similarity if self.data.given is None else self.data.given
            cache = settings.cache
        else:
            source = encode_in_batches(
                lambda index: module.gate.features(module.encoder(self.data.rows(index)).mean),
                self.n_cells,
            )
            clusters = self._cluster_features(source)
            spec, cache = _adapt_to_features(settings.similarity), None
        built = similarity.build(
            spec,
            source,
            seed=settings.seed,
            n_clusters=settings.n_clusters,
            batch_size=min(settings.batch_size, self.n_cells),
            prior=self.data.prior,
            clusters=clusters,
            cache=cache,
        )
        if clusters is not None and built.groups is not None:
            built.facts["gate_from_groups"] = built.groups is not clusters
            if built.groups is not clusters:
                self._set_gate(source, clusters, built.groups)
        self.fitted.similarity_facts.append(built.facts)
        return built.to(self.device)

    def _set_gate(self, features: np.ndarray, clusters: np.ndarray, groups: np.ndarray) -> None:
        """Let the gate start from these groups (n_cells,) of its features (n_cells, width).

        A training can end with one group cut in two and two groups in one cluster, a state that no
        gradient leads out of, although the features separate all of them. Groups take the numbers
        of those of the gate's clusters (n_cells,) that they share most cells with, and so their
        experts.
        """
        layer = self._last_layer()
        random = np.random.default_rng(self.settings.seed)
        some = torch.from_numpy(random.permutation(self.n_cells)[:GATE_LEARNS_FROM])
        values = torch.from_numpy(features)[some]
        of_groups = cutting.align(groups, clusters, self.settings.n_clusters)
        targets = torch.from_numpy(of_groups)[some]
        parameters = [p.detach().cpu().clone().requires_grad_() for p in layer.parameters()]
        optimiser = torch.optim.LBFGS(parameters, max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            logits = functional.linear(values, *parameters)
            value = functional.cross_entropy(logits, targets)
            value = value + SMALL_WEIGHTS * parameters[0].square().sum()
            value.backward()
            return value

        optimiser.step(loss)
        with torch.no_grad():
            layer.weight.copy_(parameters[0])
            layer.bias.copy_(parameters[1])

    def _cluster_features(self, features: np.ndarray) -> np.ndarray:
        """The clusters (n_cells,) to which the gate's last layer assigns features (n, width)."""
        layer = self._last_layer()
        weight, bias = layer.weight.detach().cpu(), layer.bias.detach().cpu()
        return functional.linear(torch.from_numpy(features), weight, bias).argmax(1).numpy()

    def _last_layer(self) -> torch.nn.Linear:
        layer = self.module.gate.layers[-1]
        assert isinstance(layer, torch.nn.Linear)
        return layer

    def _count_refinements(self) -> int:
        settings = self.settings
        if self.data.given is not None:  # the user's S is not replaced by ours
            return 0
        if settings.refinements is not None:
            return settings.refinements
        kind = settings.similarity
        name = kind if isinstance(kind, str) else kind.get("kind")
        # cells, and small images, are trained on unaltered: their features add nothing to S
        if name == "communities" or settings.image_shape is None:
            return 0
        return min(2, settings.steps - 1)  # no phase without a step

    def _deskew_images(self) -> cells.Matrix:
        """The cells that the first similarity is computed from: images upright, others as given."""
        shape = self.settings.image_shape
        if shape is None or not self.settings.deskew:
            return self.data.matrix
        return encode_in_batches(lambda index: deskew(self.data.rows(index), shape), self.n_cells)

    # ------------------------------------------------------------------ the training

    def _has_known_experts(self) -> bool:
        """Whether the prior takes the similarity's place, as in the released program."""
        return self.settings.objective == "released" and self.data.prior is not None

    def _find_known(self) -> np.ndarray:
        """The cells of known groups, the only ones that the released program trains on."""
        prior = np.empty(0) if self.data.prior is None else self.data.prior
        return np.flatnonzero(prior >= 0)

    def _make_training(self, sampling: np.ndarray | None) -> Training:
        settings, experts = self.settings, self.module.experts
        first, second = settings.adam_betas
        seconds = settings.max_seconds
        return Training(
            [p for n, p in self.module.named_parameters() if not n.startswith("experts.")],
            len(self._find_known()) if self._has_known_experts() else self.n_cells,
            self._count_steps(),
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            generator=self.generator,
            optimiser=partial(adam, betas=(float(first), float(second))),
            schedule=settings.schedule,
            accumulated=[Accumulated(experts.parameters(), experts.every, experts.rate)],
            sampling=sampling,
            best_every=BACK_TO_THE_BEST if settings.objective == "released" else None,
            settled=self._make_settled(),
            max_seconds=None if seconds is None else seconds / self.n_phases,
            replay=self.device.type == "cuda" and not self._needs_host(),
        )

    def _needs_host(self) -> bool:
        """Whether a step needs the host, where sparse cells and a user's own S are held."""
        return sparse.issparse(self.data.matrix) or self.data.given is not None

    def _make_settled(self) -> Callable[[dict[str, float]], bool]:
        """A function of a record's means: whether nothing changes any more, judged without labels.

        That is, the similarity's loss has not fallen by more than a twentieth from the records
        before to the last ones, and nearly all of a fixed sample of cells keep their clusters.
        """
        random = np.random.default_rng(self.settings.seed)
        some = np.arange(self.n_cells)
        if self.n_cells > WATCHED_CELLS:
            some = np.sort(random.choice(self.n_cells, WATCHED_CELLS, replace=False))
        index = torch.from_numpy(some).to(self.device)
        losses: list[float] = []
        before = torch.full((len(some),), -1, device=self.device)
        warm_up = self._make_weights().warm_up

        def settled(means: dict[str, float]) -> bool:
            nonlocal before
            losses.append(means["similarity"])
            clusters = self._watch(index)
            kept = float((clusters == before).float().mean())
            before = clusters
            if len(losses) < max(4, math.ceil(warm_up / RECORD_EVERY) + 2):
                return False
            last, earlier = sum(losses[-2:]), sum(losses[-4:-2])
            return last >= NO_LONGER_FALLS * earlier and kept >= KEPT

        return settled

    @torch.no_grad()
    def _watch(self, index: Tensor) -> Tensor:
        return self.module.gate(self.module.encoder(self.data.rows(index)).mean).argmax(1)

    def _make_objective(
        self, similar: similarity.Similarity | None
    ) -> PaperObjective | ReleasedObjective:
        module, rows, weights = self.module, self.data.rows, self._make_weights()
        if self._has_known_experts():
            known = torch.from_numpy(self._find_known()).to(self.device)
            groups = torch.from_numpy(self.data.prior).to(self.device)[known]
            return ReleasedObjective(
                module, lambda index: rows(known[index]), None, groups, weights
            )
        if self.settings.objective == "released":
            return ReleasedObjective(module, rows, similar, None, weights)
        assert similar is not None  # only known experts do without
        return PaperObjective(module, rows, similar, weights, self._make_augmentation())

    def _make_weights(self) -> Weights:
        settings = self.settings
        return Weights(
            reconstruction=settings.reconstruction_weight,
            kl=settings.kl_weight,
            similarity=settings.similarity_weight,
            depict=settings.depict_weight,
            warm_up=settings.warm_up * self._count_expected() if self.phase == 0 else 0,
        )

    def _make_augmentation(self) -> Callable[[Tensor], Tensor] | None:
        shape, strength = self.settings.image_shape, self.settings.augmentation
        if shape is None or not strength > 0:
            return None
        return lambda x: random_affine(x, shape, strength)

    def _count_steps(self) -> int:
        """Steps of this phase, an even share; the first phase also takes the remainder."""
        part, rest = divmod(self.settings.steps, self.n_phases)
        return part + (rest if self.phase == 0 else 0)

    def _count_expected(self) -> int:
        """Steps that the phase is expected to take."""
        steps = self._count_steps()
        return min(steps, EXPECTED_STEPS) if self.settings.schedule == "settled" else steps

    # ------------------------------------------------------------------ checkpoints

    def _make_saver(self, training: Training) -> Callable[[], None] | None:
        """A function that saves the state of the fit if the last save is long enough ago."""
        folder, saved_at = self.folder, monotonic()
        if folder is None:
            return None

        def save() -> None:
            nonlocal saved_at
            if monotonic() - saved_at >= SECONDS_BETWEEN_CHECKPOINTS:
                self._save(folder, training)
                saved_at = monotonic()

        return save

    def _save(self, folder: Path, training: Training) -> None:
        tensors, values = training.state()
        parts = {
            "training": tensors,
            "module": self.module.state_dict(),
            "start": self.at_start,
            "random": _get_random_state(self.device),
        }
        storage.write_checkpoint(
            folder,
            {f"{part}/{name}": t for part, named in parts.items() for name, t in named.items()},
            {
                "fingerprint": self.fingerprint,
                "phase": self.phase,
                "training": values,
                "history": self.fitted.history,
                "similarity_facts": self.fitted.similarity_facts[: self.phase],
                "ended": self.fitted.ended,
                "seconds": self.fitted.seconds,
            },
        )


def _take_fingerprint(settings: Settings, data: Data) -> str:
    """Hash of the cells, of what is known of them, and of every parameter that matters."""
    total = hashlib.sha256(f"{CHECKPOINT_VERSION} {settings.identity}".encode())
    parts: list[Any] = [data.matrix, data.prior, data.given]
    for part in parts:
        if sparse.issparse(part):
            rows = part.tocsr()
            for array in (rows.data, rows.indices, rows.indptr):
                total.update(np.ascontiguousarray(array).data)
        elif part is not None:
            total.update(part)
    return total.hexdigest()


def _select(tensors: storage.Tensors, part: str) -> storage.Tensors:
    return {
        name.removeprefix(f"{part}/"): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{part}/")
    }


def _get_random_state(device: torch.device) -> storage.Tensors:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_state(tensors: storage.Tensors) -> None:
    states = _select(tensors, "random")
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])


def _adapt_to_features(spec: str | dict[str, Any]) -> dict[str, Any]:
    """The same kind for the gate's features, without parameters chosen for the cells' own."""
    spec = {"kind": spec} if isinstance(spec, str) else spec
    return {key: value for key, value in spec.items() if key not in ("metric", "n_pca")}
