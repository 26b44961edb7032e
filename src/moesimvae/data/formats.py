"""Which formats of cells there are, told by the name of a file. Imports nothing that takes time."""

from pathlib import Path

from moesimvae.errors import UserError

SUFFIXES = {
    ".h5ad": "h5ad",
    ".csv": "table",
    ".csv.gz": "table",
    ".tsv": "table",
    ".tsv.gz": "table",
    ".fcs": "fcs",
    ".npz": "npz",
    ".h5": "10x",
}
FORMATS = f"{', '.join(SUFFIXES)} or a 10x folder"
# What a 10x folder holds; of each part the first that there is.
TENX = {
    "matrix": ("matrix.mtx", "matrix.mtx.gz"),
    "cells": ("barcodes.tsv", "barcodes.tsv.gz"),
    "genes": ("features.tsv", "features.tsv.gz", "genes.tsv", "genes.tsv.gz"),
}


def format_of(path: str | Path) -> str:
    """h5ad, table, fcs, npz or 10x; UserError where the file is none of them or is not there."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; check the name of the file.")
    if path.is_dir():
        tenx_parts(path)
        return "10x"
    if not path.is_file():
        raise UserError(f"{path} is not a file; give one of {FORMATS}.")
    kind = SUFFIXES.get(suffix(path))
    if kind is None:
        raise UserError(
            f"{path} has none of the endings {', '.join(SUFFIXES)}, by which formats are told "
            "apart; rename or convert it."
        )
    return kind


def suffix(path: str | Path) -> str:
    """The ending that tells the format, in lower case, with .gz where there is one."""
    *_, before, last = ["", "", *Path(path).suffixes]
    return (before + last if last.lower() == ".gz" else last).lower()


def files_of(path: str | Path) -> list[Path]:
    """The files that are read: the file itself, or the three of a 10x folder."""
    return list(tenx_parts(path).values()) if Path(path).is_dir() else [Path(path)]


def tenx_parts(folder: str | Path) -> dict[str, Path]:
    """The three files of a 10x folder: matrix, cells and genes; UserError where one is missing."""
    found = {}
    for part, names in TENX.items():
        there = [Path(folder, name) for name in names if Path(folder, name).is_file()]
        if not there:
            raise UserError(
                f"the folder {folder} holds no {names[0]} (or .gz), which a 10x folder has; give "
                "such a folder, or one file."
            )
        found[part] = there[0]
    return found
