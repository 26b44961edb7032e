"""The files of a finished model, and the checkpoints of a training that has not ended.

Tensors are stored in safetensors files, everything else as JSON. Nothing is pickled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from moesimvae import files
from moesimvae.errors import UserError

FORMAT = "moesimvae-model"
FORMAT_VERSION = 6
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CHECKPOINT = "checkpoint.safetensors"

Tensors = dict[str, Tensor]


def write_model(folder: Path, tensors: Tensors, config: dict[str, Any]) -> None:
    """Write model.safetensors and config.json."""
    _write_tensors(folder / WEIGHTS, tensors)
    files.write_json(folder / CONFIG, {"format": FORMAT, "format_version": FORMAT_VERSION} | config)


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json; UserError when it is missing, damaged or of another version."""
    path = folder / CONFIG
    try:
        config = files.read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); save the model again.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise UserError(f"{path} is not the configuration of a MoE-Sim-VAE model.")
    if config.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {config.get('format_version')}, but this program reads "
            f"version {FORMAT_VERSION}; fit the model again or use the program that wrote it."
        )
    return config


def read_weights(folder: Path, expected: dict[str, tuple[int, ...]]) -> Tensors:
    """Read model.safetensors; UserError when it is damaged or its shapes are not as expected."""
    path = folder / WEIGHTS
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({error}); save the model again.") from error
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise UserError(
                f"{path}: '{name}' has shape {found.get(name)}, but config.json asks for "
                f"{expected.get(name)}; the two files belong to different models."
            )
    return tensors


def write_checkpoint(folder: Path, tensors: Tensors, values: dict[str, Any]) -> None:
    """Replace the folder's checkpoint atomically."""
    _write_tensors(folder / CHECKPOINT, tensors, {"values": json.dumps(values)})


def read_checkpoint(folder: Path, fingerprint: str) -> tuple[Tensors, dict[str, Any]] | None:
    """The tensors and values of the folder's checkpoint, None where there is none.

    Raises UserError when it is damaged, or when its fingerprint, which stands for cells and
    parameters, differs.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, "pt") as file:
            values = json.loads(file.metadata()["values"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise UserError(
            f"the checkpoint {path} cannot be read ({error}); delete it to start over."
        ) from error
    if values.get("fingerprint") != fingerprint:
        raise UserError(
            f"the checkpoint {path} belongs to other cells or parameters; delete it to start over, "
            "or give another folder."
        )
    return tensors, values


def remove_checkpoint(folder: Path) -> None:
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _write_tensors(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with files.atomic(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata)
