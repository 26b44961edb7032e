"""Tables as GitHub-flavoured Markdown."""

import re
from collections.abc import Iterable

from moesimvae.report.tables import Cell, Column, Row, Table, letter


def write(tables: Iterable[Table], title: str) -> str:
    """One heading and one table per entry."""
    blocks = [f"# {escape(title)}"]
    for table in tables:
        notes = [f"<sup>{letter(i)}</sup> {escape(text)}" for i, text in enumerate(table.notes)]
        blocks += [
            f"## {escape(table.heading)}",
            escape(table.caption),
            "\n".join(lines(table)),
            f"**Note.** {escape(table.remark)}" if table.remark else "",
            " ".join(map(escape, table.legend.values())),
            "  \n".join(notes),
        ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def lines(table: Table) -> list[str]:
    """The table alone, without heading, caption or notes."""
    heads = [escape(table.rows), *map(_head, table.columns)]
    rules = ("--:" if column.number else ":--" for column in table.columns)
    made = [_line(heads), _line([":--", *rules])]
    for heading, rows in table.groups:
        if heading:
            made.append(_line([f"*{escape(heading)}*", *[""] * len(table.columns)]))
        for row in rows:
            first = escape(row.first)
            made.append(_line([f"*{first}*" if row.kind else first, *_row(row, table)]))
    return made


def _head(column: Column) -> str:
    before, _, after = column.alone.partition("{}")
    return escape(before) + _cell(column.head) + escape(after)


def _row(row: Row, table: Table) -> list[str]:
    """The cells; a failure is written in the first score column."""
    cells = list(map(_cell, row.cells))
    scores = [i for i, column in enumerate(table.columns) if column.of_run]
    if row.failed:
        for i in scores:
            cells[i] = _cell(row.failed) if i == scores[0] else "DNF"
    return cells


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    text = {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(cell.rank, text)
    if cell.href:
        text = f"[{text}]({cell.href})"
    if cell.below:
        text += f" ({cell.below})"
    return text + "".join(f"<sup>{letter(n)}</sup>" for n in cell.notes)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escape(text: str) -> str:
    text = re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", str(text))
    return re.sub(r"\s*\n\s*", " ", text.replace("&", "&amp;").replace("<", "&lt;"))
