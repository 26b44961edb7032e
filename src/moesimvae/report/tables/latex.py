"""Tables as LaTeX with booktabs: floats no wider than the line, and long tables over pages."""

from collections.abc import Iterable
from textwrap import wrap

from moesimvae.report.tables import Cell, Row, Table, letter
from moesimvae.report.words import slug

_ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$",
    "–": "--", "—": "---", "…": r"\ldots{}", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$",
    "²": r"$^2$", "μ": r"$\mu$", "µ": r"$\mu$", "†": r"$\dagger$", "‡": r"$\ddagger$", "§": r"\S{}",
    "−": "$-$", "\u202f": r"\,", "\n": " ",
}  # fmt: skip


def escape(text: str) -> str:
    """`text` with every special character of LaTeX escaped."""
    return "".join(_ESCAPED.get(character, character) for character in str(text))


def write(tables: Iterable[Table], name: str) -> str:
    r"""A `table` float for each, shrunk to the line width where wider.

    Needs `\usepackage{booktabs,graphicx}`; labels are `tab:<name>-<key>`.
    """
    floats = [_float(table, f"tab:{slug(name)}-{table.key}") for table in tables]
    return "\n".join(["% \\usepackage{booktabs,graphicx}", *floats])


def _float(table: Table, name: str) -> str:
    apart = "" if table.caption.startswith(table.heading) else f"{table.heading}."
    heads = [table.rows, *(_head(column.head, table.letters) for column in table.columns)]
    body = [_spans(table), " & ".join(heads) + r" \\"]
    for heading, rows in table.groups:
        body.append(r"\midrule")
        if heading:
            body.append(rf"{_across(table.width, heading)} \\")
        body += [line for row in rows for line in _rows(row, table)]
    return "\n".join(
        [
            r"\begin{table}[tbp]",
            r"\centering",
            rf"\caption{{{escape(f'{apart} {table.caption}'.strip())}}}",
            rf"\label{{{name}}}",
            r"\smallskip",
            r"\sbox0{\footnotesize",
            rf"\begin{{tabular}}{{l{''.join('r' if c.number else 'l' for c in table.columns)}}}",
            r"\toprule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}%",
            r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi",
            r"\par\smallskip",
            rf"\parbox{{\linewidth}}{{\footnotesize\raggedright {_below(table)}}}",
            r"\end{table}",
            "",
        ]
    )


def _across(width: int, text: str) -> str:
    return rf"\multicolumn{{{width}}}{{l}}{{\textit{{{escape(text)}}}}}"


def _spans(table: Table) -> str:
    """Titles above columns, ruled; leading columns without one merge with the row titles."""
    spans = [("", 1), *((title, width) for title, _, width in table.spans)]
    if len(spans) > 1 and not spans[1][0]:
        spans[:2] = [("", 1 + spans[1][1])]
    cells, rules, start = [], [], 1
    for title, width in spans:
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(title)}}}")
        if title:
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    return f"{' & '.join(cells)} \\\\ {''.join(rules)}"


def _rows(row: Row, table: Table) -> list[str]:
    """The row, and a smaller one for the text below its cells, if there is any."""
    cells = [Cell(row.first), *row.cells]
    written = list(map(_cell, cells))
    scores = [i for i, column in enumerate(table.columns, 1) if column.of_run]
    if row.failed and scores:
        reason = rf"\multicolumn{{{len(scores)}}}{{l}}{{{_cell(row.failed)}}}"
        written[scores[0] : scores[-1] + 1] = [reason]
    lines = [" & ".join(written) + r" \\"]
    if any(cell.below for cell in cells):
        small = (rf"{{\scriptsize ({escape(c.below)})}}" if c.below else "" for c in cells)
        lines.append(" & ".join(small) + r" \\")
    return lines


def _head(cell: Cell, letters: int) -> str:
    """A column's title; long ones are wrapped so as not to widen the table."""
    lines = wrap(cell.text, letters, break_long_words=False)
    text = r"\\".join(map(escape, lines)) + _notes(cell)
    return rf"\shortstack[r]{{{text}}}" if len(lines) > 1 else text


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    text = {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(cell.rank, text)
    return text + _notes(cell)


def _notes(cell: Cell) -> str:
    notes = ",".join(letter(n) for n in cell.notes)
    return rf"\textsuperscript{{{notes}}}" if notes else ""


def _below(table: Table) -> str:
    remark = [rf"\textbf{{Note.}} {escape(table.remark)}"] if table.remark else []
    notes = [rf"\textsuperscript{{{letter(i)}}}~{escape(t)}" for i, t in enumerate(table.notes)]
    return " ".join([*remark, *map(escape, table.legend.values()), *notes])


def long(table: Table, name: str, columns: str, gap: bool = False) -> str:
    r"""A small-print `longtable` over several pages, repeating its head.

    name: its label; columns: the column specification; gap: leave some space before each group.
    """
    heads = [escape(table.rows), *(_head(column.head, table.letters) for column in table.columns)]
    lines = []
    for i, (heading, rows) in enumerate(table.groups):
        lines += [r"\addlinespace"] if gap and i else []
        lines.append(rf"{_across(table.width, heading)} \\*")
        lines += [line for row in rows for line in _rows(row, table)]
    header = [r"\toprule", " & ".join(heads) + r" \\", r"\midrule"]
    return "\n".join(
        [
            r"{\scriptsize\setlength{\tabcolsep}{2pt}",
            rf"\begin{{longtable}}{{{columns}}}",
            rf"\caption{{{escape(table.caption)}}}\label{{tab:{name}}} \\",
            *header,
            r"\endfirsthead",
            *header,
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *lines,
            r"\end{longtable}}",
            "",
        ]
    )
