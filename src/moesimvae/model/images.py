"""The shape of images, and transformations that keep what they show: random, or to one pose."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from moesimvae.errors import UserError

# rows and columns; smaller images go through dense layers unless convolutions are asked for, since
# three convolutions of stride 2 leave nothing of them
SMALLEST = 16

# amplitudes of rotation (radians), shift (share of the image), stretch and shear, all uniform
ROTATION = math.radians(15)
SHIFT = 0.1
STRETCH = 0.1
SHEAR = 0.2


def find_image_shape(
    X: Any, n_features: int, encoder: str, shape: Sequence[int] | None
) -> tuple[int, int] | None:
    """Rows and columns for the convolutions, None where the encoder is dense.

    encoder: "dense", "conv" or "auto"; shape: (rows, columns), or None to take the
    uns["image_shape"] of X, if it is an AnnData that has one.
    Raises UserError where convolutions are wanted and the shape does not match n_features.
    """
    if shape is None and hasattr(X, "uns"):
        shape = X.uns.get("image_shape")
    small = shape is not None and min(shape) < SMALLEST
    if encoder == "dense" or (encoder == "auto" and (shape is None or small)):
        return None
    if shape is None or len(shape) != 2 or int(shape[0]) * int(shape[1]) != n_features:
        raise UserError(
            f"image_shape is {None if shape is None else tuple(shape)}, but the cells have "
            f"{n_features} features; give (rows, columns), or encoder='dense'."
        )
    return int(shape[0]), int(shape[1])


def random_affine(x: Tensor, image_shape: tuple[int, int], strength: float = 1.0) -> Tensor:
    """Turn, shift, stretch and shear each image at random, by torch's global generator.

    x: (n, rows·columns), values in [0, 1], as is the result; pixels from outside are 0.
    strength: factor on all four amplitudes; 0 leaves the images as they are.
    """
    if strength == 0:
        return x
    n = len(x)
    # factors one by one: a tensor of them would have to be copied to the device
    amplitudes = ROTATION, STRETCH, STRETCH, SHEAR, 2 * SHIFT, 2 * SHIFT
    draws = 2 * torch.rand(n, 6, device=x.device) - 1
    turn, wide, high, shear, right, down = (
        draw * (amplitude * strength) for draw, amplitude in zip(draws.T, amplitudes, strict=True)
    )
    cosine, sine = turn.cos(), turn.sin()
    rows = [
        torch.stack([cosine * (1 + wide), shear - sine * (1 + high), right], 1),
        torch.stack([sine * (1 + wide), cosine * (1 + high), down], 1),
    ]
    shape = [n, 1, *image_shape]
    grid = functional.affine_grid(torch.stack(rows, 1), shape, align_corners=False)
    moved = functional.grid_sample(x.view(shape), grid, align_corners=False)
    return moved.reshape(n, -1).clamp(0, 1)


def deskew(x: Tensor, image_shape: tuple[int, int]) -> Tensor:
    """Move each image's centre of mass to the middle and shear its slant away.

    The slant is the slope of the regression of horizontal on vertical position, weighted by the
    pixels (LeCun et al. 1998, Proc. IEEE 86: 2278, section III, deskewed MNIST as well).
    x: (n, rows·columns), values in [0, 1], as is the result. An empty image stays as it is.
    """
    rows, columns = image_shape
    mass = x.view(-1, rows, columns)
    total = mass.sum((1, 2)).clamp(min=1e-6)
    down = torch.linspace(-1, 1, rows, device=x.device).view(1, rows, 1)
    right = torch.linspace(-1, 1, columns, device=x.device).view(1, 1, columns)
    centre_right = (mass * right).sum((1, 2)) / total
    centre_down = (mass * down).sum((1, 2)) / total
    off_right = right - centre_right.view(-1, 1, 1)
    off_down = down - centre_down.view(-1, 1, 1)
    height = (mass * off_down.square()).sum((1, 2)).clamp(min=1e-6)
    slant = (mass * off_right * off_down).sum((1, 2)) / height
    one, none = torch.ones_like(slant), torch.zeros_like(slant)
    matrix = torch.stack(
        [
            torch.stack([one, slant, centre_right], 1),
            torch.stack([none, one, centre_down], 1),
        ],
        1,
    )
    shape = [len(x), 1, rows, columns]
    grid = functional.affine_grid(matrix, shape, align_corners=True)
    upright = functional.grid_sample(x.view(shape), grid, align_corners=True)
    return upright.reshape(len(x), -1).clamp(0, 1)
