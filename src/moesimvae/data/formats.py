"""The file formats for cells, recognised by a file's name. Imports nothing slow."""

from pathlib import Path

from moesimvae.errors import UserError
from moesimvae.names import listed

SUFFIXES = {
    ".h5ad": "h5ad",
    ".csv": "table",
    ".csv.gz": "table",
    ".tsv": "table",
    ".tsv.gz": "table",
    ".fcs": "fcs",
    ".npz": "npz",
    ".h5": "10x",
    ".mtx": "10x",
    ".mtx.gz": "10x",
}
FORMATS = f"{', '.join(SUFFIXES)} or a 10x folder"
# What a 10x folder holds; for each part the first file that exists counts.
TENX = {
    "matrix": ("matrix.mtx", "matrix.mtx.gz"),
    "cells": ("barcodes.tsv", "barcodes.tsv.gz"),
    "genes": ("features.tsv", "features.tsv.gz", "genes.tsv", "genes.tsv.gz"),
}


def format_of(path: str | Path) -> str:
    """h5ad, table, fcs, npz or 10x; UserError where the file is missing or none of these."""
    path = Path(path)
    if is_tenx_parts(path):
        tenx_parts(path)
        return "10x"
    if not path.exists():
        raise UserError(f"{path} does not exist; check the name of the file.")
    if not path.is_file():
        raise UserError(f"{path} is not a file; give one of {FORMATS}.")
    kind = SUFFIXES.get(suffix(path))
    if kind is None:
        raise UserError(
            f"{path} has none of the extensions {', '.join(SUFFIXES)}, which give the format; "
            "rename or convert it."
        )
    return kind


def suffix(path: str | Path) -> str:
    """The extension that gives the format, in lower case, including any .gz."""
    *_, before, last = ["", "", *Path(path).suffixes]
    return (before + last if last.lower() == ".gz" else last).lower()


def files_of(path: str | Path) -> list[Path]:
    """The files to read: the file itself, or the three of a 10x folder."""
    return list(tenx_parts(path).values()) if is_tenx_parts(path) else [Path(path)]


def is_tenx_parts(path: str | Path) -> bool:
    """Whether a path names the three files of 10x: by folder, by matrix, or by common prefix."""
    path = Path(path)
    if not path.exists():
        return bool(_prefixes(path.parent, path.name))
    return path.is_dir() or suffix(path) in (".mtx", ".mtx.gz")


def tenx_parts(path: str | Path) -> dict[str, Path]:
    """The three files: matrix, cells and genes; UserError where one is missing.

    path: the folder; or, since GEO has several samples in one folder, the matrix, or
    `folder/GSM123_sample` for GSM123_sample_matrix.mtx, GSM123_sample_barcodes.tsv and so on.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    prefixes = _prefixes(folder, "" if path.is_dir() else path.name)
    if path.is_file():
        # the matrix may have another name: then its stem, with a separator, is the prefix
        stem = path.name[: -len(suffix(path))]
        before = stem.removesuffix("matrix")
        prefixes = [before] if before != stem else [f"{stem}{sign}" for sign in "_.-"]
        prefixes = [p for p in prefixes if _first(folder, p, TENX["cells"])] or prefixes[:1]
    prefixes = [""] if "" in prefixes else prefixes
    if len(prefixes) > 1:
        samples = [prefix.rstrip("_.-") for prefix in prefixes]
        raise UserError(
            f"the folder {folder} contains the counts of several samples ({listed(samples)}); name "
            f"one of them, as in {folder / samples[0]}."
        )
    prefix = prefixes[0] if prefixes else ""
    found = {"matrix": path} if path.is_file() else {}
    for part, ends in TENX.items():
        if part not in found and (there := _first(folder, prefix, ends)) is not None:
            found[part] = there
        elif part not in found:
            raise UserError(
                f"the folder {folder} has no {prefix}{ends[0]} (or .gz), which a 10x folder "
                "contains; give a 10x folder or a single file."
            )
    return found


def _prefixes(folder: Path, start: str = "") -> list[str]:
    """Prefixes of matrix.mtx in a folder: "" or, in GEO, sample names; with `start`, only that."""
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    ends = TENX["matrix"]
    found = {n.removesuffix(end) for n in names for end in ends if n.endswith(end)}
    same = {prefix for prefix in found if prefix.rstrip("_.-") == start.rstrip("_.-")}
    return sorted(found if not start else same)


def _first(folder: Path, prefix: str, names: tuple[str, ...]) -> Path | None:
    return next((f for name in names if (f := folder / f"{prefix}{name}").is_file()), None)
