"""A table for readers, whatever it shows; `markdown`, `latex` and `html` write it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any


@dataclass(frozen=True)
class Cell:
    """text: its content; below: small text below that; rank: 1 best, 2 second, 0 neither;
    notes: numbers of its footnotes; run: path of a run that it comes from.

    On a page also: code: its name in the configuration, before the text below; href: link
    target; hidden: text for screen readers after it; hint: tooltip; kind: "text" for prose, a
    verdict, a level; more: further cells in its place.
    """

    text: str = ""
    below: str = ""
    rank: int = 0
    notes: tuple[int, ...] = ()
    run: str = ""
    code: str = ""
    href: str = ""
    hidden: str = ""
    hint: str = ""
    kind: str = ""
    more: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Column:
    """head: its title; span: the title above it and its neighbours; kind: "published", "score",
    "found" or "cost" where these are distinguished; alone: its title where there is none above,
    "{}" standing for head's.
    """

    head: Cell
    span: str = ""
    kind: str = ""
    alone: str = "{}"
    number: bool = True

    @property
    def of_run(self) -> bool:
        """Whether a failed run leaves it empty."""
        return self.kind in ("score", "found")


@dataclass(frozen=True)
class Row:
    """A title and a cell for each column; `failed` spans the columns that a run would fill.

    kind: what sets it apart, such as "chosen"; head: its title if that is more than text.
    """

    title: str
    cells: tuple[Cell, ...]
    marks: str = ""
    failed: Cell | None = None
    kind: str = ""
    head: Cell | None = None

    @property
    def first(self) -> str:
        return f"{self.title} {self.marks}".strip()


@dataclass
class Table:
    """Rows in groups, each with its heading ("": none), and the text below them.

    `legend` explains signs, by the part they apply to; letters: per line of a column's head.
    """

    key: str
    heading: str
    caption: str
    columns: list[Column]
    groups: list[tuple[str, list[Row]]]
    legend: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    remark: str = ""
    dataset: str = ""
    rows: str = "Method"
    letters: int = 12

    @property
    def width(self) -> int:
        return 1 + len(self.columns)

    @property
    def spans(self) -> list[tuple[str, str, int]]:
        """(title, kind, width) of neighbouring columns below the same title."""
        neighbours = [list(columns) for _, columns in groupby(self.columns, key=lambda c: c.span)]
        return [(some[0].span, some[0].kind, len(some)) for some in neighbours]

    @property
    def after_heading(self) -> str:
        """The caption without the heading that some captions begin with."""
        if self.caption.startswith(self.heading):
            return self.caption[len(self.heading) + 1 :]
        return f" {self.caption}" if self.caption else ""

    def only(self, wanted: Callable[[Column], bool], **changed: Any) -> Table:
        """The table with only the wanted columns."""
        kept = [i for i, column in enumerate(self.columns) if wanted(column)]
        groups = [
            (heading, [replace(row, cells=tuple(row.cells[i] for i in kept)) for row in rows])
            for heading, rows in self.groups
        ]
        return replace(self, columns=[self.columns[i] for i in kept], groups=groups, **changed)


def plain(
    heading: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[object] | Row],
    numbers: Sequence[int] = (),
    caption: str = "",
    key: str = "",
) -> Table:
    """A table without groups. heads: the title of the row titles, then the column titles;
    rows: title, then cells; numbers: which of the heads are above numbers.
    """
    made = []
    for row in rows:
        if not isinstance(row, Row):
            head, *cells = (cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row)
            row = Row(head.text, tuple(cells), head=head)  # noqa: PLW2901
        made.append(row)
    columns = [Column(Cell(head), number=i in numbers) for i, head in enumerate(heads)][1:]
    return Table(key, heading, caption, columns, [("", made)], rows=heads[0])


def note(notes: list[str], text: str) -> int:
    """Number of a footnote, counted from 0; the same text gets the same number."""
    if text not in notes:
        notes.append(text)
    return notes.index(text)


def letter(number: int) -> str:
    """Name of footnote 0, 1, …: a … z, aa, ab, …"""
    prefix = letter(number // 26 - 1) if number >= 26 else ""
    return prefix + chr(ord("a") + number % 26)
