"""A table of cells: one line per cell below a header line, in csv or tsv.

The separator is whichever of comma, semicolon and tab splits the header into most fields, or the
one given by a line such as `sep=;` above it. Trailing fields that have no name and are empty in all
lines are not columns. The first column names the cells when its own name is empty or one of
`CELL_COLUMNS`, when the header has one field fewer (as R writes it), when its values are text and
all different, or when it numbers the lines; without such a column, cells are numbered from 0.
Columns of numbers become X, others obs. What can be read in two ways is refused.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

import anndata
import numpy as np
import pandas as pd

from moesimvae.data.numerals import NUMBER, no_numbers
from moesimvae.data.orientation import GENE_COLUMNS
from moesimvae.data.raw_file import opened
from moesimvae.errors import UserError, first_line
from moesimvae.names import require_unique

KEPT = "="  # prefixed to a cell's name, so that no reader takes it for a missing value
SEPARATORS = "\t;,"  # of two that split the header equally, the first
# lower case, letters and digits only; for columns that name genes, see `orientation`
CELL_COLUMNS = frozenset(
    (
        *("barcode", "barcodes", "cell", "cells", "cellbarcode", "cellbarcodes", "cellid"),
        *("cellids", "cellname", "cellnames", "index", "id", "eventid", "unnamed0"),
    )
)
# names that programs give a column of line numbers: the name of another column that rules this out
LINE_NUMBERS = {
    **{"x": "y", "v1": "v2", "row": "col"},
    **dict.fromkeys(("rowname", "rownames", "rownumber", "rn", "rows", "no", "nr", "number", "n")),
}
SUMS = frozenset({"mean", "median", "average", "sd", "stdev", "cv", "sum", "total", "grand total"})
MANY = 20  # in this many lines, integers before a decimal comma are not all different
_SEP = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_QUOTES = ('""', "''", "“”", "‘’")


@dataclass(frozen=True)
class _Layout:
    """How lines are split. names: of the columns, the first "" where the header lacks it.

    above: lines before the first cell. fields: number per line, of which those beyond the names
    are empty. added: lines have a first field that the header lacks. trailing: they have an empty
    last field that the header lacks.
    """

    names: list[str]
    separator: str
    above: int
    fields: int
    added: bool = False
    trailing: bool = False


def read_table(path: Path) -> tuple[anndata.AnnData, str, tuple[str, ...]]:
    """The cells, the name of the column that names them, and notes on how they were read."""
    try:
        layout = _layout(path)
        table = _parsed(path, layout)
    except UserError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not encoded in UTF-8 ({first_line(error)}); save it as UTF-8."
        ) from error
    except (ValueError, csv.Error) as error:  # pandas' errors are ValueErrors
        raise UserError(
            f"{path} is not a table of cells ({first_line(error)}); correct that line."
        ) from error
    names = pd.Index(layout.names, dtype=object)
    notes: tuple[str, ...] = ()
    cell, first = pd.RangeIndex(len(table)).astype(str), ""
    if _first_names_cells(path, layout, table[0]):
        first, names = layout.names[0], names[1:]
        column = table.pop(0)
        if column.dtype.kind in "iu":
            notes = (
                f"the column '{first}' numbers the lines; it is used as cell names, not as a "
                "feature",
            )
        cell = pd.Index(column.fillna("NA").astype(str).map(_unquoted).to_numpy(), dtype=object)
        if (cell == "").any():
            raise UserError(
                f"{path}: cell number {np.argmax(cell == '')} (counted from 0) has an empty name; "
                "give it one, or remove the line."
            )
        sums = [name for name in cell[-4:] if name.lower() in SUMS]
        if sums:
            raise UserError(
                f"{path} ends with summary lines ({', '.join(sums)}), which are not cells; remove "
                "them."
            )
    require_unique(names, f"{path}: the column")
    table.columns, table.index = names, cell
    numbers = np.array([dtype.kind in "iuf" for dtype in table.dtypes], dtype=bool)
    text = table.loc[:, ~numbers]
    text = text.astype(str).where(text.notna(), "")
    _require_cells_in_lines(path, text)
    with np.errstate(over="ignore"):  # becomes infinite, reported when values are prepared
        values = table.loc[:, numbers].to_numpy(dtype=np.float32)
    cells = anndata.AnnData(values, obs=text, var=pd.DataFrame(index=names[numbers]))
    return cells, first, notes


def _parsed(path: Path, layout: _Layout) -> pd.DataFrame:
    named = layout.added or _is_for_names(layout.names[0])
    with opened(path) as stream:
        table = pd.read_csv(
            stream,
            sep=layout.separator,
            header=None,
            names=range(layout.fields),
            index_col=False,
            skiprows=layout.above,
            skipinitialspace=True,
            # so that a cell named 007 keeps its zeros, and one named NA its name
            converters={0: KEPT.__add__} if named else None,
            low_memory=False,
        )
    if named:
        table[0] = pd.Series([name[len(KEPT) :] for name in table[0]], table.index, object)
    return table.drop(columns=range(len(layout.names), layout.fields))


# ---------------------------------------------------------------------- lines


class _Lines:
    """The lines of a text, with a line counter."""

    def __init__(self, stream: TextIO):
        self.stream, self.number = stream, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self.stream)
        self.number += 1
        return line


def _layout(path: Path) -> _Layout:
    """The layout of a table; UserError where lines do not match the header, or each other."""
    with opened(path) as stream:
        lines = _Lines(io.TextIOWrapper(stream, "utf-8-sig", newline=""))
        line, above, separator = next(lines, ""), 1, ""
        if match := _SEP.fullmatch(line.strip("\r\n ")):
            line, above, separator = next(lines, ""), 2, match[1]
        if not line.strip():
            what = "has an empty first line" if line else "is empty"
            raise UserError(f"{path} {what}; its first line must name the features.")
        separator = separator or max(SEPARATORS, key=lambda sign: _parts(line, sign))
        names = [_unquoted(name) for name in _record(chain([line], lines), separator)]
        _require_names(path, names)
        fields, empty, example = _counted(path, lines, separator, line)
    parts = len(example.split())
    if len(names) == fields == 1 and (
        (example and not NUMBER.fullmatch(example)) or parts == len(names[0].split()) > 1
    ):
        raise UserError(
            f"{path} has a single column, which contains text ('{example}'); separate columns by "
            "commas, semicolons or tabs."
        )
    return _fitted(path, names, separator, above, fields or len(names), empty)


def _parts(line: str, separator: str) -> tuple[bool, int]:
    """Whether a line's quoted fields end at separators, and how many fields it has."""
    try:
        next(csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True))
        whole = True
    except csv.Error:
        whole = False
    return whole, len(_record([line], separator))


def _record(lines: Iterable[str], separator: str) -> list[str]:
    return next(csv.reader(lines, delimiter=separator, skipinitialspace=True))


def _unquoted(text: str) -> str:
    text = text.strip()
    while len(text) > 2 and text[0] + text[-1] in _QUOTES:
        text = text[1:-1].strip()
    return text


def _require_names(path: Path, names: list[str]) -> None:
    first = names[0]
    if first.startswith(("#", "!")) and _plain(first) and _plain(first) not in CELL_COLUMNS:
        raise UserError(
            f"{path} begins with a comment ('{first}'); remove it, so that the header is the first "
            "line, or, if it is the header, remove its first character."
        )
    if len(names) == 1 and any(sign in first for sign in SEPARATORS):
        raise UserError(
            f"{path} has quotes around whole lines ('{first}'); remove the outer quotes."
        )
    if _are_values([name for name in names if name]):
        raise UserError(
            f"{path} has numbers in its first line ({first or names[-1]}, …) where the names of "
            "the features are expected; add a header line."
        )


def _are_values(names: list[str]) -> bool:
    """Whether all are numbers, but not distinct integers: then a first cell, not a header."""
    numbers = pd.to_numeric(pd.Series(names, dtype=object), errors="coerce")
    counts = numbers.is_unique and (numbers == numbers.round()).all()
    return len(numbers) > 0 and bool(numbers.notna().all()) and not counts


def _counted(path: Path, lines: _Lines, separator: str, head: str) -> tuple[int, int, str]:
    """The lines' number of fields, how many at their end are empty in all lines, and the first
    line's first field; 0, 0 and "" without cells."""
    fields, empty, example, blank, second = 0, 0, "", 0, 0
    for line in lines:
        number, text = lines.number, line.rstrip("\r\n")
        if not text.strip(" "):
            blank = number
            continue
        if '"' in text:
            record = _record(chain([line], lines), separator)
            n, last = len(record), len(record) - len("".join(f[:1] or " " for f in record).rstrip())
        else:
            n, record = text.count(separator) + 1, None
            last = text[len(text.rstrip(separator + " ")) :].count(separator)
        if not fields:
            fields, empty, second = n, last, number
            example = (record or text.split(separator, 1))[0].strip()
        wrong = ""
        if n != fields:
            wrong = f"has {n} fields, but line {second} has {fields}"
        elif n > 1 and last >= n - 1 and not text.strip(separator + ' "'):
            wrong = "contains only separators"
        elif line == head:
            wrong = "repeats the header"
        elif n == 1 and blank:
            number, wrong = blank, "is empty"
        if wrong:
            raise UserError(
                f"{path} is not a table of cells (line {number} {wrong}); correct that line."
            )
        empty = min(empty, last)
    return fields, empty, example


def _fitted(
    path: Path, names: list[str], separator: str, above: int, fields: int, empty: int
) -> _Layout:
    """The names matched to a line's `fields`, of which the last `empty` are always empty."""
    told = len(names)
    while len(names) > 1 and not names[-1]:
        names = names[:-1]
    cut = max(0, min(empty, fields - len(names)))
    more = fields - cut - len(names)
    unnamed = [number for number, name in enumerate(names, 1) if not name and number > 1]
    unnamed += [len(names) + 1] * (more == 1 and fields <= told)
    if unnamed:
        raise UserError(
            f"{path} has a column without a name (number {unnamed[0]} of {fields}, if the others "
            "are in place); write a name for each field of a line, in their order."
        )
    if more < 0:
        raise UserError(
            f"{path} is not a table of cells (its first line names {len(names)} columns, but the "
            f"lines below have {fields} fields); correct that line."
        )
    if more > 1 or (more and _is_for_names(names[0])):
        raise _misfit(path, len(names), fields - cut)
    layout = ([""] * more + names, separator, above, fields)
    return _Layout(*layout, added=more == 1, trailing=cut > told - len(names))


def _misfit(path: Path, names: int, fields: int) -> UserError:
    return UserError(
        f"{path} names {names} columns in its first line but has {fields} fields in the lines "
        "below (decimal commas separate fields, too); correct the table."
    )


# ---------------------------------------------------------------------- the names of cells


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _is_for_names(name: str) -> bool:
    return not name or _plain(name) in CELL_COLUMNS


def _first_names_cells(path: Path, layout: _Layout, column: pd.Series) -> bool:
    """Whether the first column names the cells; UserError where that cannot be decided."""
    name = layout.names[0]
    if layout.added:
        if not _are_row_names(column, layout.separator):
            raise _misfit(path, len(layout.names) - 1, len(layout.names))
        return True
    if _is_for_names(name):
        return True
    text = not pd.api.types.is_numeric_dtype(column)
    names = (
        (_plain(name) in GENE_COLUMNS and (text or _are_ids(name, column)))
        or _counts(column)
        or _numbers_lines(layout.names, column)
        or (text and column.notna().all() and column.is_unique and not _any_number(column))
    )
    if names and layout.trailing and _plain(name) not in GENE_COLUMNS:
        raise UserError(
            f"{path} has an empty field at the end of its lines but not of the first, so '{name}' "
            "may name the first column or the second; write a first line with as many fields as "
            "the others."
        )
    return bool(names)


def _are_row_names(column: pd.Series, separator: str) -> bool:
    """Whether values can be R's row names: all different, and any numbers are plain integers."""
    numbers = column.map(NUMBER.fullmatch).notna()
    if not column.is_unique or not column[numbers].str.fullmatch(r"\d+").all():
        return False
    if separator != "," or not numbers.all() or len(column) >= MANY:
        return True
    return _counts(column.astype(int), least=1)


def _counts(column: pd.Series, least: int = 3) -> bool:
    """Whether the column is 0, 1, 2, … or 1, 2, 3, …"""
    if column.dtype.kind not in "iu" or len(column) < least:
        return False
    place = column.to_numpy() - np.arange(len(column))
    return bool((place == place[0]).all() and place[0] in (0, 1))


def _numbers_lines(names: list[str], column: pd.Series) -> bool:
    """Whether the column holds line numbers, even if some lines were removed or moved."""
    name = names[0].lower()
    plain = _plain(name) if not name.startswith("...") else "rowname"
    if plain not in LINE_NUMBERS and name != "#":
        return False
    if LINE_NUMBERS.get(plain) in [_plain(other) for other in names[1:]]:
        return False
    whole = column.dtype.kind in "iu" and column.is_unique
    return bool(whole and len(column) > 1 and column.min() >= 0)


def _are_ids(name: str, column: pd.Series) -> bool:
    """Whether the values are NCBI gene ids."""
    named = _plain(name).startswith(("entrez", "gene"))
    return named and column.dtype.kind in "iu" and column.is_unique


def _any_number(column: pd.Series) -> bool:
    """Whether any is a number, or begins like one and has few letters: 1.5±0.1, 12:00:01."""
    text = column.astype(str)
    letters = text.str.count(r"[^\W\d_]")
    like = text.str.match(r"\s*[<>~(]?\s*[+\-−]?[.,]?\d") & (letters < 3)
    return bool(like.any() or text.map(NUMBER.fullmatch).any())


def _require_cells_in_lines(path: Path, text: pd.DataFrame) -> None:
    """Raise UserError for one line of text, such as units, where all others hold numbers."""
    if text.shape[1] < 2 or len(text) < 2:
        return
    odd = None
    for name in text:
        wrong = np.flatnonzero(no_numbers(text[name]))
        if len(wrong) != 1 or (odd is not None and wrong[0] != odd) or (text[name] == "").any():
            return
        odd = wrong[0]
    raise UserError(
        f"{path}: cell number {odd} (counted from 0) has text ('{text.iloc[odd, 0]}' in "
        f"{text.columns[0]}) where all others have numbers; remove that line, or correct it."
    )
