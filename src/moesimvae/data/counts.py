"""Readers of single-cell RNA counts: X is CSR float32 and holds the counts as they are.

    count_tables  a zip archive with one table per population (for Tabula Muris, an organ), in
                  which a row is a gene and a column a cell; the population is the label
    h5ad_counts   an h5ad with counts in X and the label in a column of obs

Both take settings from the block's `counts`. Rows of spike-in RNA (ERCC) are tallied and dropped:
they reflect how a cell was measured, not what it is. Values that are not counts (negative,
fractional, not a number) are refused, as are cells without any count unless the block says
`empty_cells: kept`.
"""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, cast

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from moesimvae.data.cells import read_cells
from moesimvae.data.dataset import Cells, Raw, labelled
from moesimvae.data.raw_file import archive
from moesimvae.errors import UserError, first_line
from moesimvae.names import hint, listed, require_unique
from moesimvae.nouns import Counts, DataSet

ROWS = 256  # genes read at a time
DIGITS = 15  # of an integer that float64 holds exactly
UNPACKED = 4 << 30  # bytes; the tables of seven organs take about one GB


def count_tables(wanted: DataSet, raw_files: Raw) -> Cells:
    """Cells of the tables in a zip archive, in the order of `populations`; no file is extracted.

    A table's first line has an empty field, then the names of the cells; each further line is a
    gene's name and its counts. All tables need the same genes in the same order.
    """
    settings = _settings(wanted, ("populations", "member"), ("spike_ins",))
    (path,) = raw_files.values()
    with archive(path) as members:
        tables = _members(members, path, settings.populations, settings.member)
        names, counts, genes = [], [], None
        for info in tables:
            where = f"{path}/{info.filename}"
            with members.open(info) as stream:
                cell, table_genes, table = _table(stream, where)
            genes = table_genes if genes is None else genes
            _same_genes(table_genes, genes, where, f"{path}/{tables[0].filename}")
            names.append(cell)
            counts.append(table)
    label = np.repeat(settings.populations, list(map(len, names)))
    names, var = pd.Index(np.concatenate(names), dtype=object), pd.DataFrame(index=genes)
    return _data_set(counts, names, var, label, settings, str(path))


def h5ad_counts(wanted: DataSet, raw_files: Raw) -> Cells:
    """Cells of an h5ad: counts in X, labels in obs under `label`; "" and missing are not scored.

    Only names, counts and the genes' symbols are kept.
    """
    settings = _settings(wanted, ("label",), ("symbols", "spike_ins"))
    (path,) = raw_files.values()
    file = read_cells(path).cells
    _require_column(settings.label, file.obs, f"{path} has no obs column")
    var = pd.DataFrame(index=file.var_names.astype(str))
    if settings.symbols is not None:
        _require_column(settings.symbols, file.var, f"{path} has no var column")
        var["symbol"] = file.var[settings.symbols].astype(str).to_numpy()
    if file.X is None:
        raise UserError(f"{path} has no values in X, where counts are expected; store them there.")
    label = file.obs[settings.label].astype(object)
    label = label.where(label.notna(), "").astype(str).to_numpy()
    counts = sp.csr_matrix(file.X)
    names = file.obs_names.astype(str)
    _require_counts(counts, lambda i, j: (file.var_names[j], names[i]), str(path))
    return _data_set([counts.astype(np.float32)], names, var, label, settings, str(path))


# ---------------------------------------------------------------------- what the block asks for


def _settings(wanted: DataSet, needed: Sequence[str], further: Sequence[str]) -> Counts:
    settings = wanted.counts or {}
    allowed = (*needed, *further, "empty_cells")
    wrong = [f"lacks {key}" for key in needed if key not in settings]
    wrong += [f"has the unknown key '{key}'" for key in settings if key not in allowed]
    if wrong:
        raise UserError(
            f"the registry block of {wanted.title} {wrong[0]} under counts; allowed keys: "
            f"{', '.join(allowed)}."
        )
    return Counts.of(settings)


def _require_column(name: str, table: pd.DataFrame, what: str) -> None:
    if name not in table:
        raise UserError(f"{what} '{name}'; {hint(name, list(table.columns))}.")


# ---------------------------------------------------------------------- the archive


def _members(
    members: zipfile.ZipFile, path: str | Path, populations: Sequence[str], name: str
) -> list[zipfile.ZipInfo]:
    """The tables by their exact names: each present once, unencrypted, and not too large in all."""
    found = [info.filename for info in members.infolist()]
    tables = []
    for population in populations:
        wanted = name.format(population=population)
        if (many := found.count(wanted)) != 1:
            raise UserError(
                f"{path} contains {'no' if many == 0 else many} {wanted}, expected one with the "
                f"counts of {population}; {hint(wanted, found) if many == 0 else 'fetch it again'}."
            )
        tables.append(members.getinfo(wanted))
    locked = [info.filename for info in tables if info.flag_bits & 1]
    if locked:
        raise UserError(f"{path}: {locked[0]} is encrypted; use the archive as published.")
    if (size := sum(info.file_size for info in tables)) > UNPACKED:
        raise UserError(
            f"{path} unpacks to {size:,} bytes of counts, more than the limit of {UNPACKED:,}; "
            "use the archive as published."
        )
    return tables


def _table(stream: IO[bytes], where: str) -> tuple[np.ndarray, pd.Index, sp.csr_matrix]:
    """Names of cells, names of genes, and counts (n_cells, n_genes), read from rows of genes."""
    lines = io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20)
    try:
        first = lines.readline().decode("utf-8-sig")
        head = next(csv.reader([first]), [])
        if len(head) < 2 or head[0]:
            raise UserError(
                f"{where} begins with {first.strip()[:60]!r}, expected a line with an empty field "
                "and the names of the cells; use the file as published."
            )
        cell, genes, counts = np.array(head[1:], dtype=object), [], []
        while some := list(islice(lines, ROWS)):
            pairs = [line.rstrip(b"\r\n").partition(b",")[::2] for line in some if line.strip()]
            genes += [gene.decode().strip('"') for gene, _ in pairs]
            names = np.array(genes[len(genes) - len(pairs) :], dtype=object)
            counts.append(_counts([fields for _, fields in pairs], names, cell, where))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{where} is not a table of counts ({first_line(error)}); fetch the archive again."
        ) from error
    if not genes:
        raise UserError(f"{where} has no genes; fetch the archive again.")
    names = pd.Index(genes, dtype=object)
    require_unique(names, f"{where}: the gene symbol")
    return cell, names, sp.vstack(counts, format="csr").T.tocsr()


def _counts(lines: list[bytes], genes: np.ndarray, cell: np.ndarray, where: str) -> sp.csr_matrix:
    """Counts (n_genes, n_cells), float32, from one line of fields per gene.

    All fields are parsed together, since most are a plain 0: several times faster than one by one.
    """
    for gene, line in zip(genes, lines, strict=True):
        if (fields := line.count(b",") + 1) != len(cell):
            raise UserError(
                f"{where}: gene {gene} has {fields:,} fields for {len(cell):,} cells; fetch the "
                "archive again."
            )
    text = np.frombuffer(b"".join(line + b"," for line in lines), dtype=np.uint8)
    ends = np.flatnonzero(text == ord(","))
    begins = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    stored = np.flatnonzero((ends - begins != 1) | (text[begins] != ord("0")))
    row, column, begins, ends = *divmod(stored, len(cell)), begins[stored], ends[stored]
    values, odd = np.zeros(len(stored)), (ends == begins) | (ends - begins > DIGITS)
    for place in range(DIGITS):
        inside = np.flatnonzero((begins + place < ends) & ~odd)
        digit = text[begins[inside] + place] - np.uint8(ord("0"))  # below "0" becomes large
        odd[inside[digit > 9]] = True
        values[inside] = 10 * values[inside] + digit
    for i in np.flatnonzero(odd):
        field = text[begins[i] : ends[i]].tobytes().decode(errors="replace")
        try:
            values[i] = float(field.replace("_", " _"))  # only Python takes 1_000 for a number
        except ValueError:
            raise UserError(
                f"{where}: gene {genes[row[i]]} has '{field[:40]}' in cell {cell[column[i]]}, "
                "expected a count; fetch the archive again."
            ) from None
    counts = sp.csr_matrix((values, (row, column)), (len(lines), len(cell)))
    counts.eliminate_zeros()
    _require_counts(counts, lambda i, j: (genes[i], cell[j]), where)
    return counts.astype(np.float32)


def _same_genes(found: pd.Index, expected: pd.Index, where: str, other: str) -> None:
    if found.equals(expected):
        return
    both = min(len(found), len(expected))
    differ = np.flatnonzero(found[:both].to_numpy() != expected[:both].to_numpy())
    first = int(differ[0]) if len(differ) else both
    here, there = (names[first] if first < len(names) else "none" for names in (found, expected))
    raise UserError(
        f"{where} and {other} differ in their genes: {len(found):,} instead of {len(expected):,}, "
        f"and row {first + 1} is {here} instead of {there}; give tables with the same genes in the "
        "same order."
    )


# ---------------------------------------------------------------------- the data set


def _require_counts(
    counts: sp.csr_matrix, names: Callable[[int, int], tuple[str, str]], where: str
) -> None:
    """Raise UserError for the first stored value that is not a count.

    names: (row, column) → (gene, cell).
    """
    values = counts.data
    bad = np.flatnonzero(~((values >= 0) & (values == np.floor(values)) & (values < np.inf)))
    if len(bad):
        row = int(np.searchsorted(counts.indptr, bad[0], side="right")) - 1
        gene, cell = names(row, int(counts.indices[bad[0]]))
        kind = "a negative value" if values[bad[0]] < 0 else "not an integer"
        raise UserError(
            f"{where}: gene {gene} has {values[bad[0]]:g} in cell {cell}, {kind}, and "
            f"{len(bad) - 1:,} other values are not counts either; give raw counts, not normalised "
            "values."
        )


def _data_set(
    tables: Sequence[sp.csr_matrix],
    names: pd.Index,
    var: pd.DataFrame,
    label: np.ndarray,
    settings: Counts,
    where: str,
) -> Cells:
    require_unique(names, f"{where}: the cell name")
    spike_ins = _starts(var.index, settings.spike_ins)
    counts = sp.vstack([table[:, ~spike_ins] for table in tables], format="csr")
    empty = np.asarray(counts.sum(axis=1)).ravel() == 0
    if empty.any() and settings.empty_cells != "kept":
        raise UserError(
            f"{where}: of {len(names):,} cells, {empty.sum():,} ({listed(names[empty], 3)}) have "
            "no counts for any gene; remove them from the file, or set empty_cells: kept under "
            "counts in the registry block."
        )
    cells = anndata.AnnData(counts, obs=pd.DataFrame(index=names), var=var[~spike_ins])
    facts = {"spike_ins": int(spike_ins.sum()), "empty_cells": int(empty.sum())}
    cells.uns["counts"] = json.dumps(facts)
    return cells, labelled(names, label)


def _starts(names: Iterable[str], start: str | None) -> np.ndarray:
    return np.array([start is not None and name.startswith(start) for name in names], dtype=bool)
