"""Users' HDF5 files, checked before any of their content is read into memory.

h5py runs nothing in an HDF5 file as code. But a file may point to other files, promise in a few
bytes more values than any memory holds, and hold sparse matrices with indices out of bounds.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import scipy.sparse as sp

from moesimvae.errors import UserError
from moesimvae.surroundings import memory_bytes

UNPACKED = 1 << 30  # bytes of values up to which RATIO does not matter
RATIO = 200  # bytes of values in memory to bytes on disk; counts pack to a tenth or so


def require_plain(path: str | Path, on_disk: bool = False) -> None:
    """Raise UserError for an HDF5 file that refers to other files or explodes when read.

    on_disk: its values stay on disk, so that they may exceed the memory.
    Raises OSError where the file is not HDF5.
    """
    total = 0
    with h5py.File(path, "r") as file:
        for name, item in _items(path, file):
            if not isinstance(item, h5py.Dataset):
                continue
            if item.external or item.is_virtual:
                raise UserError(
                    f"{path}: the values of '{name}' are stored in another file, which is not "
                    "read; store them in this one."
                )
            total += item.nbytes
    size = Path(path).stat().st_size
    if total > max(UNPACKED, RATIO * size):
        raise UserError(
            f"{path} has {size:,} bytes but declares {total:,} bytes of values, more than {RATIO} "
            "times as many; write it again without compression."
        )
    if not on_disk and total > (memory := memory_bytes()):
        raise UserError(
            f"{path} holds {total:,} bytes of values, more than the {memory:,} bytes of memory "
            "of this machine; use fewer cells, or a larger machine."
        )


def _items(path: str | Path, group: h5py.Group) -> Iterator[tuple[str, Any]]:
    """(name, group or dataset) below a group; links that leave the file are refused."""
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise UserError(
                f"{path}: '{group.name.rstrip('/')}/{name}' is a link to the file "
                f"{link.filename!r}, which is not followed; store its target in this file."
            )
        if isinstance(link, h5py.SoftLink):
            continue  # leads elsewhere in this file, or nowhere
        item = group[name]
        yield item.name, item
        if isinstance(item, h5py.Group):
            yield from _items(path, item)


def require_whole(path: str | Path, name: str, matrix: Any) -> None:
    """Raise UserError for a sparse matrix with invalid indices, which compiled code would trust."""
    if not sp.issparse(matrix) or matrix.format not in ("csr", "csc"):
        return
    try:
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise UserError(
            f"{path}: the sparse matrix '{name}' is damaged ({error}); write the file again."
        ) from error
