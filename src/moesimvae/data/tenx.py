"""Counts as Cell Ranger (10x Genomics) writes them: a folder of three files, or one .h5 file.

Read here in a few lines rather than by scanpy, which takes seconds to import and is not a
dependency of the library. Of several kinds of features, only gene expression is taken.
"""

import csv
import io
import re
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp

from moesimvae.data import hdf5
from moesimvae.data.formats import tenx_parts
from moesimvae.data.raw_file import is_gzip, opened
from moesimvae.errors import UserError

GENES = "Gene Expression"
GENOME = re.compile(r"([A-Za-z0-9.-]+(?:_[A-Za-z0-9.-]+)*?)_+(?:ENS[A-Z]*G\d.*|gene[:-].*)")
OPTION = "--genome NAME (in the workflow, --config genome=NAME)"
LEAST_BYTES = 4  # per entry of matrix.mtx
MOST_PACKED = 1100  # highest ratio of unpacked to packed size in gzip


def read_folder(folder: Path, genome: str = "") -> tuple[anndata.AnnData, list[str]]:
    """Counts (n_cells, n_genes), CSR float32, and notes; UserError where the files do not match.

    genome: if there are several, the one whose genes are taken.
    """
    files = tenx_parts(folder)
    rows = {part: _rows(files[part]) for part in ("cells", "genes")}
    shape = len(rows["genes"]), len(rows["cells"])
    with opened(files["matrix"]) as stream:
        # the header decides how much memory is allocated, so it is checked against the rest
        stated = scipy.io.mminfo(io.BytesIO(_head(stream)))
    size = files["matrix"].stat().st_size * (MOST_PACKED if is_gzip(files["matrix"]) else 1)
    if tuple(stated[:2]) != shape or stated[2] * LEAST_BYTES > size:
        raise UserError(
            f"{files['matrix']} declares {stated[0]:,} genes × {stated[1]:,} cells and "
            f"{stated[2]:,} entries, but there are {shape[0]:,} genes and {shape[1]:,} cells in "
            f"{files['genes'].name} and {files['cells'].name}; export the three files again."
        )
    with opened(files["matrix"]) as stream:
        counts = scipy.io.mmread(stream)
    ids, names, kinds = (_column(rows["genes"], i) for i in range(3))
    barcodes = _column(rows["cells"], 0)
    cells = _cells(sp.csr_matrix(counts.T), barcodes, ids, names or ids, files["matrix"])
    return _chosen(cells, kinds, _genomes(ids), genome, folder)


def read_h5(path: Path, genome: str = "") -> tuple[anndata.AnnData, list[str]]:
    """The same from an .h5 of Cell Ranger 3 or later, or from one genome of an earlier version."""
    hdf5.require_plain(path)
    with h5py.File(path, "r") as file:
        if "matrix" in file:
            group, features = file["matrix"], file["matrix/features"]
            keys = ("id", "name", "feature_type")
        else:
            genomes = [name for name in file if "gene_names" in file[name]]
            if len(genomes) > 1 or (genome and genomes):
                genomes = [_one(genome, genomes, path)]
            if not genomes:
                raise UserError(
                    f"{path} holds {', '.join(file) or 'nothing'} instead of 'matrix' or the counts"
                    " of one genome; give an .h5 file as written by Cell Ranger."
                )
            group = features = file[genomes[0]]
            keys = ("genes", "gene_names", "")
        ids, names, kinds = ([] if key not in features else _text(features[key]) for key in keys)
        origins = _text(features["genome"]) if "genome" in features else [genome] * len(ids)
        arrays = tuple(group[name][:] for name in ("data", "indices", "indptr"))
        genes, cells = map(int, group["shape"][:])
        barcodes = _text(group["barcodes"])
    if (genes, cells) != (len(ids), len(barcodes)):
        raise UserError(
            f"{path} declares {genes:,} genes × {cells:,} cells, but names {len(ids):,} "
            f"genes and {len(barcodes):,} cells; export it again."
        )
    # stored cell by cell, i.e. as rows of the transposed matrix
    counts = sp.csr_matrix(arrays, (cells, genes))
    return _chosen(_cells(counts, barcodes, ids, names, path), kinds, origins, genome, path)


def _cells(
    counts: sp.csr_matrix,
    barcodes: list[str],
    ids: list[str],
    names: list[str],
    path: Path,
) -> anndata.AnnData:
    hdf5.require_whole(path, "matrix", counts)
    symbols = pd.Series(names, dtype=object)
    twice = symbols.duplicated(keep=False)
    var = pd.DataFrame({"gene_id": ids}, index=symbols.where(~twice, pd.Series(ids)).to_numpy())
    return anndata.AnnData(
        counts.astype(np.float32), obs=pd.DataFrame(index=pd.Index(barcodes)), var=var
    )


def _chosen(
    cells: anndata.AnnData, kinds: list[str], origins: list[str], genome: str, path: Path
) -> tuple[anndata.AnnData, list[str]]:
    """Only gene expression, of one genome if given; and notes on what was taken."""
    notes = []
    taken = np.array([kind == GENES for kind in kinds], dtype=bool)
    if not taken.any():
        taken = np.ones(cells.n_vars, dtype=bool)
        if len(set(kinds)) == 1:
            cells.var["feature_types"] = kinds
    elif not taken.all():
        others = Counter(kind for kind in kinds if kind != GENES)
        told = ", ".join(f"{number:,} of {kind}" for kind, number in others.items())
        notes.append(f"only the {taken.sum():,} features of {GENES} are used, not {told}")
    found = sorted({o for o, t in zip(origins, taken, strict=True) if t and o} if origins else ())
    if genome:
        taken &= np.array(origins or [""] * cells.n_vars) == _one(genome, found, path)
    elif len(found) > 1:
        notes.append(
            f"the genes are from several genomes ({', '.join(found)}), and all are used; for one, "
            f"use {OPTION}"
        )
    return (cells if taken.all() else cells[:, taken].copy()), notes


def _one(genome: str, genomes: list[str], path: Path) -> str:
    if genome in genomes:
        return genome
    if not genomes:
        raise UserError(f"{path} names no genome, but '{genome}' was requested; omit the genome.")
    raise UserError(
        f"{path} holds the counts of {'several genomes' if len(genomes) > 1 else 'one genome'} "
        f"({', '.join(genomes)}){f' but not of {genome!r}' * bool(genome)}; choose one with "
        f"{OPTION}."
    )


def _genomes(ids: list[str]) -> list[str]:
    """Each gene's genome, "" if unknown, where most ids give it (GRCh38_ENSG…, mm10___ENSMUSG…)."""
    found = [GENOME.fullmatch(gene) for gene in ids]
    known = [match[1] for match in found if match]
    if len(known) < len(ids) / 2 or not known:
        return []
    return [match[1] if match else "" for match in found]


def _head(stream: BinaryIO) -> bytes:
    """The lines of a Matrix Market file up to and including the one with its size."""
    lines = [stream.readline(1 << 16)]
    while not lines[-1][:1].isdigit() and lines[-1] and len(lines) < 1000:
        lines.append(stream.readline(1 << 16))
    return b"".join(lines)


def _rows(path: Path) -> list[list[str]]:
    with opened(path) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
        return [row for row in csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE) if row]


def _column(rows: list[list[str]], i: int) -> list[str]:
    return [row[i] for row in rows] if rows and all(len(row) > i for row in rows) else []


def _text(values: h5py.Dataset) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values[:]]
