"""Which values each parameter of `MoESimVAE` may take, as data, and the message for any other."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_random_state

from moesimvae.errors import UserError
from moesimvae.model.generation import COMPONENTS
from moesimvae.model.networks import ACTIVATIONS
from moesimvae.model.similarity import parse
from moesimvae.model.training import SCHEDULES


class Allowed(NamedTuple):
    """words: what follows "use …" in the message. holds: whether a value is allowed."""

    words: str
    holds: Callable[[Any], bool]


def whole(least: int, most: float = math.inf) -> Allowed:
    words = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
    return Allowed(f"a whole number {words}", lambda v: _is(v, Integral) and least <= v <= most)


def number(low: float, high: float = math.inf) -> Allowed:
    words = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
    return Allowed(f"a number {words}", lambda v: _is_finite(v) and low <= v <= high)


def one_of(*names: str) -> Allowed:
    *first, last = (f"'{name}'" for name in names)
    return Allowed(f"{', '.join(first)} or {last}", lambda v: isinstance(v, str) and v in names)


def several(words: str, each: Allowed, least: int = 0, most: float = math.inf) -> Allowed:
    def holds(value: Any) -> bool:
        listed = isinstance(value, list | tuple | np.ndarray)
        return listed and least <= len(value) <= most and all(each.holds(v) for v in value)

    return Allowed(words, holds)


def or_none(allowed: Allowed) -> Allowed:
    return Allowed(f"{allowed.words}, or None", lambda v: v is None or allowed.holds(v))


def of_type(words: str, *types: type) -> Allowed:
    return Allowed(words, lambda v: isinstance(v, types))


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool | np.bool_)


def _is_finite(value: Any) -> bool:
    return _is(value, Real) and math.isfinite(value)


SHARE = Allowed("a number from 0 to less than 1", lambda v: _is_finite(v) and 0 <= v < 1)
SIZES = several("a list of layer sizes, whole numbers of at least 1", whole(1))
FLAG = of_type("True or False", bool, np.bool_)
WEIGHT = number(0)
FOLDER = or_none(of_type("the path of a folder", str, Path))
EVERY = (1, 2, 5, 10, 25, 50)
RANDOM_STATE = Allowed(
    "a whole number from 0 to 2**32 - 1, a numpy RandomState, or None",
    lambda v: v is None or isinstance(v, np.random.RandomState) or whole(0, 2**32 - 1).holds(v),
)

ALLOWED: dict[str, Allowed] = {
    "n_clusters": whole(2)._replace(words="a whole number of clusters, at least 2"),
    "similarity": of_type("the name of a kind, or a mapping with the key 'kind'", str, Mapping),
    "refinements": or_none(whole(0)),
    "n_latent": whole(1),
    "encoder": one_of("auto", "dense", "conv"),
    "image_shape": or_none(several("(rows, columns), whole numbers of at least 1", whole(1), 2, 2)),
    "channels": several("a list of one or more whole numbers of at least 1", whole(1), 1),
    "encoder_layers": or_none(SIZES),
    "expert_layers": or_none(SIZES),
    "shared_decoder": FLAG,
    "experts_every": Allowed(
        "a divisor of 50 (training is recorded, and can be resumed, every 50 batches), or None",
        lambda v: v is None or (_is(v, Integral) and v in EVERY),
    ),
    "gate_layers": SIZES,
    "activation": one_of(*ACTIVATIONS),
    "augmentation": number(0),
    "deskew": FLAG,
    "objective": one_of("paper", "released"),
    "reconstruction_weight": or_none(WEIGHT),
    "kl_weight": WEIGHT,
    "similarity_weight": WEIGHT,
    "depict_weight": WEIGHT,
    "warm_up": number(0, 1),
    "gate_dropout": SHARE,
    "steps": whole(1),
    "batch_size": or_none(whole(2)),
    "learning_rate": Allowed("a number above 0", lambda v: _is_finite(v) and v > 0),
    "schedule": one_of("auto", *SCHEDULES),
    "max_seconds": or_none(Allowed("a number above 0", lambda v: _is_finite(v) and v > 0)),
    "adam_betas": several("two numbers from 0 to less than 1", SHARE, 2, 2),
    "precision": one_of("auto", "float32", "bfloat16"),
    "observation": one_of("auto", "none"),
    "code_components": whole(1, max(COMPONENTS)),
    "standardise": FLAG,
    "scale": one_of("auto", "minmax", "none"),
    "random_state": RANDOM_STATE,
    "device": of_type("'auto', 'cpu', 'cuda' or another device of torch", str, torch.device),
    "cache": FOLDER,
    "checkpoint": FOLDER,
    "progress": FLAG,
}

OF_THE_MACHINE = ("cache", "checkpoint", "progress", "device")


def check(values: Mapping[str, Any], allowed: Mapping[str, Allowed] = ALLOWED) -> None:
    """Raise UserError for the first value that is not allowed, saying what is."""
    for name, value in values.items():
        if not allowed[name].holds(value):
            raise UserError(f"{name} is {repr(value)[:60]}; use {allowed[name].words}.")


def check_together(values: Mapping[str, Any], n_cells: int) -> None:
    """`check` each value, and that they fit each other and the number of cells."""
    if n_cells < 3:
        raise UserError(f"the data have {n_cells} sample(s); give at least 3 cells.")
    check(values)
    if values["similarity"] != "auto":
        parse(values["similarity"])
    if n_cells < values["n_clusters"]:
        raise UserError(
            f"the data have {n_cells} cells for {values['n_clusters']} clusters; "
            "ask for fewer clusters."
        )
    refinements = values["refinements"] or 0
    if values["steps"] < 1 + refinements:
        raise UserError(
            f"steps={values['steps']} with refinements={refinements}: each of the "
            "1 + refinements phases needs at least one step."
        )
    if values["checkpoint"] is not None and not isinstance(values["random_state"], Integral):
        raise UserError(
            "training with a checkpoint cannot resume with another seed; give random_state as a "
            "whole number."
        )


def check_prior(prior: Any, n_cells: int, n_clusters: int, objective: str) -> np.ndarray | None:
    """The groups as (n_cells,) int64; UserError if invalid, or of no use to the objective.

    The released objective makes expert k that of group k, from cells of known groups alone.
    """
    if prior is None:
        return None
    groups = np.asarray(prior)
    if groups.shape != (n_cells,) or not np.issubdtype(groups.dtype, np.integer):
        raise UserError(
            f"the prior has shape {groups.shape} and type {groups.dtype}; expected one whole "
            f"number for each of the {n_cells} cells, its group (from 0) or -1 if unknown."
        )
    if objective == "released" and groups.max() < 0:
        raise UserError(
            "no cell in the prior has a known group, but objective='released' needs some."
        )
    if objective == "released" and groups.max() >= n_clusters:
        raise UserError(
            f"the prior contains group {groups.max()}, but the model has only groups 0 to "
            f"{n_clusters - 1}; raise n_clusters."
        )
    return groups.astype(np.int64)


def check_sparse(similarity: Any) -> None:
    """Raise UserError for a user's similarity that is neither a sparse matrix nor None."""
    if similarity is not None and not sparse.issparse(similarity):
        raise UserError(
            f"similarity is of type {type(similarity).__name__}; give a scipy sparse matrix, "
            "or the name of a kind to MoESimVAE(similarity=…)."
        )


def make_plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as plain JSON values, without those that concern only this machine."""
    kept = {name: value for name, value in values.items() if name not in OF_THE_MACHINE}
    return json.loads(json.dumps(kept, default=_plain))


def _plain(value: Any) -> Any:
    """Convert NumPy values, which JSON lacks, for `json.dumps`."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be stored in a parameter")


def take_seed(random_state: int | np.random.RandomState | None) -> int:
    """The whole number given, or one drawn from the state given; None means NumPy's own state."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
