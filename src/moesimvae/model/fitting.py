"""The phases of one fit of MoE-Sim-VAE: similarity, training, and again; and its checkpoints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from moesimvae.model import cells, similarity, storage
from moesimvae.model.images import deskew, random_affine
from moesimvae.model.module import paper_terms, released_terms
from moesimvae.model.training import (
    Training,
    encode_in_batches,
    multiplies_bfloat16_fast,
)

if TYPE_CHECKING:
    from moesimvae.model.estimator import MoESimVAE

SECONDS_BETWEEN_CHECKPOINTS = 60
# steps after which the released program falls back to the best weights so far
BACK_TO_THE_BEST = 1000


class Fit:
    """The phases of one fit, and what must be kept of them to go on after a stop."""

    def __init__(
        self,
        model: MoESimVAE,
        matrix: cells.Matrix,
        rows: Callable[[Tensor], Tensor],
        generator: torch.Generator,
        prior: np.ndarray | None,
        given: sparse.spmatrix | None,
    ):
        self.model, self.matrix, self.rows, self.generator = model, matrix, rows, generator
        self.prior, self.given = prior, given
        self.n_cells = matrix.shape[0]
        self.n_phases = 1 + self._refinements()
        self.folder = None if model.checkpoint is None else Path(model.checkpoint)
        self.half = model.precision == "bfloat16" or (
            model.precision == "auto" and multiplies_bfloat16_fast(model._device())
        )
        self.phase = 0
        self.seconds = {"similarity": 0.0, "training": 0.0}
        self.similarity_facts: list[dict[str, Any]] = []

    def all_phases(self) -> None:
        if self.folder is None:
            stopped = None
        else:
            self.fingerprint = self._fingerprint()
            stopped = storage.read_checkpoint(self.folder, self.fingerprint)
        if stopped is not None:
            self.phase = stopped[1]["phase"]
            self.model.history_ = stopped[1]["history"]
        while self.phase < self.n_phases:
            self._one_phase(stopped)
            stopped = None
            self.phase += 1
        if self.folder is not None:
            storage.remove_checkpoint(self.folder)

    def _one_phase(self, stopped: tuple[storage.Tensors, dict[str, Any]] | None) -> None:
        model = self.model
        started = monotonic()
        if stopped is not None:
            model.module_.load_state_dict(_part(stopped[0], "start"))
        self.at_start = {name: t.clone() for name, t in model.module_.state_dict().items()}
        among = self._trained_on(model._device())
        similar = self._similarity() if among is None else None
        self.seconds["similarity"] += monotonic() - started

        started = monotonic()
        model.module_.experts.settle()
        training = Training(
            [p for n, p in model.module_.named_parameters() if not n.startswith("experts.")],
            self.n_cells if among is None else len(among),
            self._steps(),
            batch_size=model.batch_size,
            learning_rate=model.learning_rate,
            at_another_rate=[(model.module_.experts.parameters(), model.module_.experts.rate)],
            generator=self.generator,
            schedule=model.schedule,
            betas=(float(model.adam_betas[0]), float(model.adam_betas[1])),
            sampling=None if similar is None else similar.sampling,
            best_every=BACK_TO_THE_BEST if model.objective == "released" else None,
        )
        if stopped is not None:
            model.module_.load_state_dict(_part(stopped[0], "module"))
            training.resume(_part(stopped[0], "training"), stopped[1]["training"])
            _set_random_state(stopped[0])
        name = f"phase {self.phase + 1} of {self.n_phases}" if model.progress else ""
        model.module_.encoder.half = self.half
        history = training.run(
            self._loss_terms(similar, among), name, self._checkpointing(training)
        )
        model.module_.encoder.half = False
        done = model.history_.get("step", [0])[-1]
        for term, values in history.items():
            before = done if term == "step" else 0
            model.history_.setdefault(term, []).extend(before + value for value in values)
        self.seconds["training"] += monotonic() - started

    def _similarity(self) -> similarity.Similarity:
        """S of this phase, on the device: of the cells first, then of the gate's features.

        Those hold what tells clusters apart; the encoder's own also hold what the experts need.
        """
        model = self.model
        if self.phase == 0:
            source = cells.with_bearable_squares(self._upright())
            spec, cache = self._kind(), model.cache
            if self.given is not None:
                spec = self.given
        else:
            module = model.module_
            source = encode_in_batches(
                lambda index: module.gate.features(module.encoder(self.rows(index)).mean),
                self.n_cells,
            )
            spec, cache = _of_features(self._kind()), None
        built = similarity.build(
            spec,
            source,
            seed=model.seed_,
            n_clusters=model.n_clusters,
            batch_size=min(model.batch_size, self.n_cells),
            prior=self.prior,
            cache=cache,
        )
        self.similarity_facts.append(built.facts)
        return built.to(model._device())

    def _refinements(self) -> int:
        if self.given is not None:  # a similarity that the user brings is not replaced by ours
            return 0
        if self.model.refinements is not None:
            return self.model.refinements
        kind = self._kind()
        name = kind if isinstance(kind, str) else kind.get("kind")
        # with fewer steps than phases there would be a phase without any
        return 0 if name == "communities" else min(2, self.model.steps - 1)

    def _kind(self) -> str | dict[str, Any]:
        """The similarity asked for, or what "auto" stands for."""
        if self.model.similarity != "auto":
            return self.model.similarity
        return "umap_knn" if self.model.images_ else "communities"

    def _upright(self) -> cells.Matrix:
        """What the first similarity is computed from: the cells, or as images deskewed."""
        model, shape = self.model, self.model.image_shape_
        if shape is None or not model.deskew:
            return self.matrix
        return encode_in_batches(lambda index: deskew(self.rows(index), shape), self.n_cells)

    def _trained_on(self, device: torch.device) -> Tensor | None:
        """The cells to train on, None for all: the released program leaves out unknown ones."""
        if self.model.objective != "released" or self.prior is None:
            return None
        return torch.from_numpy(np.flatnonzero(self.prior >= 0)).to(device)

    def _loss_terms(
        self, similar: similarity.Similarity | None, among: Tensor | None
    ) -> Callable[[Tensor, int], dict[str, Tensor]]:
        """(index, step) → the weighted terms, as `Training` takes them."""
        model, module = self.model, self.model.module_
        warm_up = model.warm_up * self._steps() if self.phase == 0 else 0
        augment = None
        if model.image_shape_ is not None and model.augmentation > 0:
            shape, strength = model.image_shape_, model.augmentation
            augment = lambda x: random_affine(x, shape, strength)  # noqa: E731
        prior = None
        if among is not None and self.prior is not None:
            prior = torch.from_numpy(self.prior).to(among.device)

        def terms(index: Tensor, step: int) -> dict[str, Tensor]:
            if among is not None and prior is not None:
                index = among[index]
                parts = released_terms(module, self.rows(index), None, prior[index])
            else:
                assert similar is not None  # made for every fit that has no cells of its own
                if model.objective == "released":
                    parts = released_terms(module, self.rows(index), similar(index), None)
                else:
                    parts = paper_terms(module, self.rows(index), similar(index), augment)
            ramp = min(1.0, step / warm_up) if warm_up else 1.0
            weights = {
                "reconstruction": model.reconstruction_weight * ramp,
                "kl": model.kl_weight * ramp,
                "similarity": model.similarity_weight,
                "depict": model.depict_weight * ramp,
            }
            return {name: weights[name] * part for name, part in parts.items()}

        return terms

    def _steps(self) -> int:
        """The steps in even parts; the first phase takes what does not divide."""
        part, rest = divmod(self.model.steps, self.n_phases)
        return part + (rest if self.phase == 0 else 0)

    # ------------------------------------------------------------------ checkpoints

    def _fingerprint(self) -> str:
        """Hash of the cells, of what is known of them, and of every parameter that matters."""
        total = hashlib.sha256(json.dumps(self.model._plain_parameters()).encode())
        parts: list[Any] = [self.matrix, self.prior, self.given]
        for part in parts:
            if sparse.issparse(part):
                rows = part.tocsr()
                for array in (rows.data, rows.indices, rows.indptr):
                    total.update(np.ascontiguousarray(array).data)
            elif part is not None:
                total.update(part)
        return total.hexdigest()

    def _checkpointing(self, training: Training) -> Callable[[], None] | None:
        """What saves the state of the fit, when the last time is long enough ago."""
        folder = self.folder
        if folder is None:
            return None
        saved_at = monotonic()

        def save() -> None:
            nonlocal saved_at
            if monotonic() - saved_at < SECONDS_BETWEEN_CHECKPOINTS:
                return
            tensors, values = training.state()
            parts = {
                "training": tensors,
                "module": self.model.module_.state_dict(),
                "start": self.at_start,
                "random": _random_state(self.model._device()),
            }
            storage.write_checkpoint(
                folder,
                {f"{part}/{name}": t for part, named in parts.items() for name, t in named.items()},
                {
                    "fingerprint": self.fingerprint,
                    "phase": self.phase,
                    "training": values,
                    "history": self.model.history_,
                },
            )
            saved_at = monotonic()

        return save


def _part(tensors: storage.Tensors, part: str) -> storage.Tensors:
    return {
        name.removeprefix(f"{part}/"): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{part}/")
    }


def _random_state(device: torch.device) -> storage.Tensors:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_state(tensors: storage.Tensors) -> None:
    states = _part(tensors, "random")
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])


def _of_features(spec: str | dict[str, Any]) -> dict[str, Any]:
    """The same similarity for the encoder's features: a metric is one between cells, not these."""
    spec = {"kind": spec} if isinstance(spec, str) else spec
    return {key: value for key, value in spec.items() if key not in ("metric", "n_pca")}
