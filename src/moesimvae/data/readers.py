"""From raw files, or from sources that need none, to cells and labels.

A reader takes a data set's registry block and its raw files by role, and returns

    cells: AnnData (n_cells, n_features), X as the file has it, no label anywhere;
    labels: DataFrame with the columns cell, label ("" = none), scored, split, in the same order.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import anndata
import numpy as np
import pandas as pd

from moesimvae.data import counts, cytometry, simulate
from moesimvae.data.dataset import Cells, Raw, labelled
from moesimvae.data.raw_file import opened
from moesimvae.errors import UserError
from moesimvae.nouns import DataSet
from moesimvae.registry import call

_UNSIGNED_BYTE = 0x08
_PIECE = 1 << 20


def read(wanted: DataSet, raw_files: Raw) -> Cells:
    """Read a data set with the reader that its block names; UserError if that does not exist."""
    return call(READERS, "reader", {"reader": wanted.reader}, wanted, raw_files)


def read_idx(path: str | Path, n_dimensions: int) -> np.ndarray:
    """One idx file of unsigned bytes (the format of MNIST), plain or gzip, as a uint8 array.

    n_dimensions: 3 for images (n, rows, columns), 1 for labels (n,).
    Raises UserError if the magic number, the dimensions or the length do not match.
    """
    with opened(path) as stream:
        head = stream.read(4)
        if len(head) < 4 or head[:2] != b"\0\0":
            raise UserError(
                f"{path} does not start like an idx file (its first bytes are {head!r}, expected "
                "two zero bytes, a type and a number of dimensions); use the file as published."
            )
        if head[2] != _UNSIGNED_BYTE or head[3] != n_dimensions:
            raise UserError(
                f"{path} holds idx type 0x{head[2]:02x} in {head[3]} dimensions, expected 0x08 "
                f"(unsigned bytes) in {n_dimensions}; images and labels may be swapped."
            )
        sizes = stream.read(4 * n_dimensions)
        if len(sizes) < 4 * n_dimensions:
            raise UserError(f"{path} ends within its idx header; fetch the file again.")
        shape = struct.unpack(f">{n_dimensions}I", sizes)
        expected = int(np.prod(shape, dtype=object))
        values = _at_most(stream, expected + 1)
    if len(values) != expected:
        found = "more" if len(values) > expected else f"{len(values):,}"
        raise UserError(
            f"{path} declares {' × '.join(map(str, shape))} = {expected:,} values in its header "
            f"but holds {found}; fetch the file again."
        )
    return np.frombuffer(values, np.uint8).reshape(shape)


def _at_most(stream: BinaryIO, count: int) -> bytearray:
    """Read up to `count` bytes in pieces: a false header must not cause a huge allocation."""
    values = bytearray()
    while len(values) < count and (piece := stream.read(min(_PIECE, count - len(values)))):
        values += piece
    return values


def idx(wanted: DataSet, raw_files: Raw) -> Cells:
    """Grey images from pairs of idx files, roles `<part>_images` and `<part>_labels`.

    The parts are concatenated in the order of the roles. X is (n_cells, rows·columns) uint8, cell
    ids are <part>_<number>.
    """
    parts = [role.removesuffix("_images") for role in raw_files if role.endswith("_images")]
    missing = [f"{part}_labels" for part in parts if f"{part}_labels" not in raw_files]
    if missing or not parts:
        raise UserError(
            f"the data set {wanted.title} needs files in the roles "
            f"{', '.join(missing) or '<part>_images and <part>_labels'}; its registry block names "
            f"{', '.join(raw_files) or 'none'}."
        )
    images = [read_idx(raw_files[f"{part}_images"], 3) for part in parts]
    digits = [read_idx(raw_files[f"{part}_labels"], 1) for part in parts]
    for part, part_images, part_digits in zip(parts, images, digits, strict=True):
        if len(part_images) != len(part_digits) or part_images.shape[1:] != images[0].shape[1:]:
            raise UserError(
                f"the {part} part of {wanted.title} has {len(part_digits)} labels and images "
                f"of shape {part_images.shape}, expected one label for each image of "
                f"{' × '.join(map(str, images[0].shape[1:]))} pixels; fetch its files again."
            )
    cell = [
        f"{part}_{i:05d}" for part, one in zip(parts, digits, strict=True) for i in range(len(one))
    ]
    return _images(np.concatenate(images), np.concatenate(digits), cell)


def digits(wanted: DataSet, raw_files: Raw) -> Cells:
    """scikit-learn's 1,797 real 8 × 8 images of handwritten digits, values 0 to 16."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return _images(data.images, data.target, [f"digit_{i:04d}" for i in range(len(data.target))])


def _images(images: np.ndarray, digits: np.ndarray, cell: list[str]) -> Cells:
    n, rows, columns = images.shape
    pixels = [
        f"row{row:02d}_column{column:02d}" for row in range(rows) for column in range(columns)
    ]
    cells = anndata.AnnData(
        images.reshape(n, rows * columns),
        obs=pd.DataFrame(index=pd.Index(cell)),
        var=pd.DataFrame(index=pd.Index(pixels)),
        uns={"image_shape": [rows, columns]},
    )
    return cells, labelled(cells.obs_names, digits.astype(str))


def simulated(wanted: DataSet, raw_files: Raw) -> Cells:
    """Cells from the simulator that the block's `simulate` names, with its parameters."""
    return call(simulate.SIMULATORS, "simulator", wanted.simulate or {})


READERS: dict[str, Callable[[DataSet, Raw], Cells]] = {
    "idx": idx,
    "digits": digits,
    "simulated": simulated,
    "cytometry": cytometry.cytometry,
    "populations": cytometry.populations,
    "gates": cytometry.gates,
    "count_tables": counts.count_tables,
    "h5ad_counts": counts.h5ad_counts,
}
