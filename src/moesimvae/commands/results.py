"""What commands read and write: the cells, the model, the results, and the lines they print."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from moesimvae import files
from moesimvae.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from anndata import AnnData

    from moesimvae.data.cells import CellFile
    from moesimvae.data.recipe import Recipe

LABELS, CELLS, MODEL = "labels.csv", "cells.h5ad", "model"
METHODS, ABUNDANCE = "methods.md", "abundance.csv"
FCS, TABLE, SEURAT = "fcs", "cells.csv", "seurat.h5ad"  # for other programs
RESULTS = (LABELS, MODEL, CELLS, METHODS, ABUNDANCE, FCS, TABLE, SEURAT)
KEY = "moesimvae"
ADDED = {KEY: "0", f"{KEY}_probability": 1.0}  # what `scverse.annotate` adds to obs
CHECKPOINT = ".checkpoint"


def read(options: argparse.Namespace, say: Any, compensation: Any = None) -> CellFile:
    from moesimvae.data.cells import read_cells, read_samples

    started = monotonic()
    if isinstance(options.cells, list) and len(options.cells) > 1:
        file = read_samples(options.cells, compensation)
    else:
        file = read_cells(
            options.cells[0] if isinstance(options.cells, list) else options.cells,
            on_disk=options.backed,
            genome=options.genome,
            transpose=options.transpose,
            compensation=compensation,
        )
    n_cells, n_features = file.cells.shape
    where = "values stay on disk" if file.on_disk else f"{monotonic() - started:.1f} s"
    say(f"read       {file.path}: {n_cells:,} cells × {n_features:,} features ({where})")
    tell(file.notes, say)
    return file


def load(options: argparse.Namespace) -> tuple[Any, Recipe | None]:
    folder = Path(options.model)
    folder = folder / MODEL if (folder / MODEL).is_dir() else folder
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give one that holds a saved model.")

    from moesimvae.data import recipe as recipes
    from moesimvae.model.estimator import MoESimVAE

    return MoESimVAE.load(folder, device=options.device), recipes.load(folder)


def write_cells(path: Path, cells: AnnData) -> None:
    from moesimvae.data import writable

    with files.atomic(path) as temporary:
        writable.write(cells, temporary)


def write_labels(
    path: Path, cells: AnnData, probabilities: np.ndarray, sample: pd.Series | None = None
) -> None:
    import pandas as pd

    labels = pd.DataFrame(
        {
            "cell": cells.obs_names,
            "cluster": probabilities.argmax(axis=1),
            "probability": probabilities.max(axis=1),
        }
    )
    if sample is not None:
        labels.insert(0, "sample", sample.to_numpy())
    with files.atomic(path) as temporary:
        labels.to_csv(temporary, index=False, float_format="%.4f")


def require_new(paths: Sequence[Path], force: bool) -> None:
    for path in paths:
        if path.exists() and not force:
            raise UserError(f"{path} already exists; use --force to overwrite it.")


def require_suffix(path: Path) -> None:
    if path.suffix not in (".csv", ".h5ad"):
        raise UserError(f"--out {path} must end in .csv or .h5ad, which gives the format.")


@contextmanager
def staged(options: argparse.Namespace) -> Iterator[Path]:
    """A temporary folder in that of the results; what is not moved there (`move`) is deleted."""
    made, found = not options.out.exists(), True
    staging = options.out / f".moesimvae-{os.getpid()}"
    try:  # created inside, so that no interrupt leaves them behind
        options.out.mkdir(parents=True, exist_ok=True)
        if options.force:
            shutil.rmtree(options.out / CHECKPOINT, ignore_errors=True)
        found = (options.out / CHECKPOINT).exists()
        staging.mkdir()
        yield staging
        shutil.rmtree(options.out / CHECKPOINT, ignore_errors=True)
    except Exception:  # not an interrupt, after which a rerun resumes from there
        if not found:  # else it is an earlier start's, perhaps of other cells
            shutil.rmtree(options.out / CHECKPOINT, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if made and options.out.exists() and not any(options.out.iterdir()):
            options.out.rmdir()


def move(options: argparse.Namespace, staging: Path, names: Sequence[str]) -> None:
    """Move finished results into `out`; a new model replaces all results of an earlier run."""
    former = RESULTS if MODEL in names else ()
    for name in former:
        if (options.out / name).exists():  # a folder cannot be replaced atomically
            (options.out / name).rename(staging / f"former-{name}")
    for name in names:
        (staging / name).rename(options.out / name)
    options.written = [*vars(options).get("written", []), *(options.out / name for name in names)]


def what_is_left(options: argparse.Namespace) -> str:
    if written := vars(options).get("written"):
        return f"written so far: {' and '.join(str(path) for path in written)}."
    if any(Path(options.out, CHECKPOINT).glob("*")):
        return f"the same command resumes from {Path(options.out, CHECKPOINT)}."
    return "nothing was written."


def tell(notes: Sequence[str], say: Any) -> None:
    for note in notes:
        say(f"note       {note}")


def printer(options: argparse.Namespace) -> Any:
    return (lambda line: None) if options.quiet else (lambda line: print(line, flush=True))


def size(path: Path) -> str:
    size = sum(part.stat().st_size for part in [path, *path.rglob("*")] if part.is_file())
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
