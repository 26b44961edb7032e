"""Sections of a comparison as Markdown, LaTeX and HTML; names are escaped in each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from textwrap import wrap

import pandas as pd

from moesimvae.evaluation import comparison
from moesimvae.report import sections
from moesimvae.report.overview import Overview
from moesimvae.report.render import render
from moesimvae.report.sections import Cell, Row, Section, letter


def to_markdown(parts: Sequence[Section], title: str, overviews: Sequence[Overview] = ()) -> str:
    """GitHub-flavoured Markdown: one heading and one table for each overview and section."""
    blocks = [f"# {md(title)}"]
    for view in overviews:
        blocks += _md_overview(view)
    for part in parts:
        head = ["Method", "n", *(f"{_md_cell(c)}, published" for c in part.published),
                *_md_heads(part), "Seconds", "Peak MB", "Device"]  # fmt: skip
        lines = [md_line(head), md_line([":--", *["--:"] * (len(head) - 2), ":--"])]
        for heading, rows in part.groups:
            lines.append(md_line([f"*{md(heading)}*", *[""] * (len(head) - 1)]))
            lines += [md_line(_md_row(row, part)) for row in rows]
        notes = [f"<sup>{letter(i)}</sup> {md(text)}" for i, text in enumerate(part.notes)]
        blocks += [f"## {md(part.heading)}", md(part.caption), "\n".join(lines),
                   " ".join(map(md, part.legend.values())), "  \n".join(notes)]  # fmt: skip
    return "\n\n".join(filter(None, blocks)) + "\n"


def _md_heads(part: Section) -> list[str]:
    """Titles of the scores; which cells they are of is said where they are of several kinds."""
    of = [title.removeprefix("Run here: ") for title, width in part.spans for _ in range(width)]
    cells = map(_md_cell, part.scores)
    if len(part.spans) == 1:
        return list(cells)
    return [f"{cell}: {md(which)}" for cell, which in zip(cells, of, strict=True)]


def _md_overview(view: Overview) -> list[str]:
    metrics = [title for title, width in view.spans for _ in range(width)]
    head = ["Method", "n", *(f"{md(m)}: {md(where)}" for m, where in
                             zip(metrics, view.columns, strict=True))]  # fmt: skip
    lines = [md_line(head), md_line([":--", *["--:"] * (len(head) - 1)])]
    for heading, rows in view.groups:
        lines.append(md_line([f"*{md(heading)}*", *[""] * (len(head) - 1)]))
        lines += [
            md_line([f"{md(r.title)} {r.marks}".strip(), r.n, *map(_md_cell, r.cells)])
            for r in rows
        ]
    notes = [f"<sup>{letter(i)}</sup> {md(text)}" for i, text in enumerate(view.notes)]
    return [f"## {md(view.heading)}", md(view.caption), "\n".join(lines),
            f"**Note.** {md(view.remark)}" if view.remark else "", md(view.legend),
            "  \n".join(notes)]  # fmt: skip


def _md_row(row: Row, part: Section) -> list[str]:
    if row.dnf:
        scores = [_md_cell(row.dnf), *["DNF"] * (len(part.scores) - 1)]
    else:
        scores = [_md_cell(c) for c in row.scores] or [""] * len(part.scores)
    return [f"{md(row.title)} {row.marks}".strip(), _md_cell(row.n),
            *map(_md_cell, row.published or [Cell()] * len(part.published)), *scores,
            row.seconds, row.memory, md(row.device)]  # fmt: skip


def _md_cell(cell: Cell) -> str:
    text = md(cell.text)
    text = {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(cell.rank, text)
    if cell.below:
        text += f" ({cell.below})"
    return text + "".join(f"<sup>{letter(n)}</sup>" for n in cell.notes)


def md_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def md(text: str) -> str:
    text = re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", str(text))
    return re.sub(r"\s*\n\s*", " ", text.replace("&", "&amp;").replace("<", "&lt;"))


# --- LaTeX -----------------------------------------------------------------------------------

MOST_LETTERS = 36  # of a method's name on one line
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$",
    "–": "--", "—": "---", "…": r"\ldots{}", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$",
    "²": r"$^2$", "μ": r"$\mu$", "µ": r"$\mu$", "†": r"$\dagger$", "‡": r"$\ddagger$", "§": r"\S{}",
    "−": "$-$", "\u202f": r"\,", "\n": " ",
}  # fmt: skip


def latex(text: str) -> str:
    """`text` with every character that LaTeX reads as its own made harmless."""
    return "".join(_LATEX.get(character, character) for character in str(text))


def to_latex(parts: Sequence[Section], name: str, overviews: Sequence[Overview] = ()) -> str:
    r"""Two `table`s for each section, quality and cost, shrunk to the line where they are wider.

    Training cells that stand beside test cells elsewhere have a `table` of their own.

    Needs `\usepackage{booktabs,graphicx}`; labels are `tab:<name>-<data set>` and, for the cost,
    `tab:<name>-<data set>-cost`; overviews come first, as `tab:<name>-overview-<number>`.
    """
    label = re.sub(r"[^A-Za-z0-9]+", "-", name)
    texts = ["% \\usepackage{booktabs,graphicx}"]
    texts += [_latex_overview(view, f"tab:{label}-{view.key}") for view in overviews]
    for part in parts:
        texts.append(_latex_table(part, f"tab:{label}-{part.key}", cost=False))
        if part.scores:
            texts.append(_latex_table(part, f"tab:{label}-{part.key}-cost", cost=True))
    return "\n".join(texts)


def _latex_table(part: Section, label: str, cost: bool) -> str:
    quality = len(part.scores) - len(comparison.FOUND) if part.scores else 0
    if cost:
        tail = ["Seconds", "Peak MB", "Device"]
        groups = [(h, rows) for h, rows in part.groups if all(row.scores for row in rows)]
        spans = [("", 2), ("Run here", len(comparison.FOUND)), ("Cost", len(tail))]
        caption = f"{part.heading}: clusters found and cost."
        return _latex_part(part, label, caption, groups, spans, 0, slice(quality, None), tail)
    (title, width), *others = _quality_spans(part)
    quoted = len(part.published)
    spans = [("", 2), ("Published", quoted), (title, width)]
    made = [_latex_part(part, label, part.caption, part.groups, spans, quoted, slice(width), [])]
    for title, more in others:  # beside each other they would be too small to read
        name = f"{label}-{re.sub('[^a-z]+', '-', title.lower())}"
        groups = [(h, rows) for h, rows in part.groups if all(row.scores for row in rows)]
        some = slice(width, width + more)
        spans, caption = [("", 2), (f"Run here: {title}", more)], f"{part.heading}: {title}."
        made.append(_latex_part(part, name, caption, groups, spans, 0, some, []))
        width += more
    return "\n".join(made)


def _latex_part(
    part: Section,
    label: str,
    caption: str,
    groups: list[tuple[str, list[Row]]],
    spans: list[tuple[str, int]],
    quoted: int,
    scores: slice,
    tail: list[str],
) -> str:
    """Some columns of a section: `quoted` published ones, the scores of a slice, and the tail."""
    titles = map(_latex_head, [*part.published[:quoted], *part.scores[scores]])
    head = ["Method", "n", *titles, *tail]
    body = [latex_spans(spans), " & ".join(head) + r" \\"]
    for heading, rows in groups:
        group = rf"\multicolumn{{{len(head)}}}{{l}}{{\textit{{{latex(heading)}}}}} \\"
        body += [r"\midrule", group]
        body += [line for row in rows
                 for line in _latex_rows(row, quoted, scores, len(head), bool(tail))]  # fmt: skip
    columns = f"l{'r' * (len(head) - 1 - bool(tail))}{'l' if tail else ''}"
    return latex_float(caption, label, columns, body, _latex_below(part, bool(tail)))


def _quality_spans(part: Section) -> list[tuple[str, int]]:
    """The spans without the columns of what a run found, which stand in the table of the cost."""
    if not part.scores:
        return [("", 0)]
    *whole, (title, width) = part.spans
    spans = [*whole, (title, width - len(comparison.FOUND))]
    return [(latex(t), n) for t, n in spans if n]


def latex_float(caption: str, label: str, columns: str, body: list[str], below: str) -> str:
    return "\n".join(
        [
            r"\begin{table}[tbp]",
            r"\centering",
            rf"\caption{{{latex(caption)}}}",
            rf"\label{{{label}}}",
            r"\smallskip",
            r"\sbox0{\footnotesize",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}%",
            r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi",
            r"\par\smallskip",
            rf"\parbox{{\linewidth}}{{\footnotesize\raggedright {below}}}",
            r"\end{table}",
            "",
        ]
    )


def _latex_overview(view: Overview, label: str) -> str:
    head = ["Method", "n", *(_latex_head(Cell(where)) for where in view.columns)]
    body = [latex_spans([("", 2), *((latex(t), n) for t, n in view.spans)])]
    body.append(" & ".join(head) + r" \\")
    for heading, rows in view.groups:
        group = rf"\multicolumn{{{len(head)}}}{{l}}{{\textit{{{latex(heading)}}}}} \\"
        body += [r"\midrule", group]
        for row in rows:
            cells = [Cell(f"{row.title} {row.marks}".strip()), Cell(row.n), *row.cells]
            body += _latex_lines(cells, list(map(_latex_cell, cells)))
    below = [rf"\textbf{{Note.}} {latex(view.remark)}"] if view.remark else []
    below += [latex(view.legend), *_latex_footnotes(view.notes)]
    return latex_float(
        f"{view.heading}. {view.caption}", label, "l" + "r" * (len(head) - 1), body, " ".join(below)
    )


def by_dataset_latex(frame: pd.DataFrame, metrics: dict[str, dict], name: str) -> str:
    r"""`overview.by_dataset` as a `longtable`: every data set, every method, mean ± sd.

    Needs `\usepackage{booktabs,longtable}`; label `tab:<name>-by-dataset`. Controls are left out.
    """
    label = re.sub(r"[^A-Za-z0-9]+", "-", name)
    names = [c.removesuffix("_mean") for c in frame if c.endswith("_mean")]
    names = [m for m in names if m != "noise_share"]
    head = ["Method", "n", *(_latex_head(Cell(metrics[m]["title"])) for m in names)]
    lines, last, longest = [], None, 0
    for row in frame[frame["kind"] != "control"].to_dict("records"):
        where = (row["dataset"], row["split"])
        if where != last:  # a line of its own: a column of titles would make it too wide
            title = latex(row["title"])
            title += "" if row["split"] == "all" else f", {row['split']} cells"
            gap = [] if last is None else [r"\addlinespace"]
            lines += [*gap, rf"\multicolumn{{{len(head)}}}{{l}}{{\textit{{{title}}}}} \\*"]
        n = f"{row['n']} of {row['n_planned']}" if row["n"] < row["n_planned"] else str(row["n"])
        marks = " (oracle)" if row["kind"] == "oracle" and not row["settings"] else ""
        marks += " ‡" if row["uses_prior"] else ""
        settings = f": {row['settings']}" if row["settings"] else ""
        method = f"{row['method_title']}{settings}{marks}"
        cells = [method, n]
        longest = max(longest, len(method))
        if row["n"]:
            cells += [_mean_sd(row[f"{m}_mean"], row[f"{m}_sd"], m) for m in names]
        cells = list(map(latex, cells))
        if not row["n"]:
            why = latex(comparison.failure(row["status"]))
            cells.append(rf"\multicolumn{{{len(names)}}}{{l}}{{{why}}}")
        lines.append(" & ".join(cells) + r" \\")
        last = where
    caption = (
        "Every data set by every method: mean ± sample standard deviation over the n runs that "
        "finished; of the clusters found, the mean. DNF: none did; this is not a score of zero."
    )
    if frame["uses_prior"].any():
        caption += f" {sections.PRIOR}"
    method_column = "l" if longest <= MOST_LETTERS else "p{3.6cm}"
    columns = f"{method_column}l{'r' * len(names)}"
    table = longtable(columns, head, lines, caption, f"tab:{label}-by-dataset")
    return f"% \\usepackage{{booktabs,longtable}}\n{table}"


def longtable(
    columns: str, head: Sequence[str], lines: Sequence[str], caption: str, label: str
) -> str:
    """A small table over several pages whose head is repeated. head and lines are LaTeX."""
    header = [r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    return "\n".join(
        [
            r"{\scriptsize\setlength{\tabcolsep}{2pt}",
            rf"\begin{{longtable}}{{{columns}}}",
            rf"\caption{{{latex(caption)}}}\label{{{label}}} \\",
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


def _mean_sd(mean: float, sd: float, metric: str) -> str:
    if pd.isna(mean):
        return "–"
    if metric == "clusters_found":
        return f"{mean:.1f}"
    text = f"{round(mean, comparison.DIGITS) + 0.0:.{comparison.DIGITS}f}"
    return text if pd.isna(sd) else f"{text} ± {sd:.{comparison.DIGITS}f}"


def _latex_below(part: Section, cost: bool) -> str:
    left_out = "quality" if cost else "cost"
    legend = [latex(text) for about, text in part.legend.items() if about != left_out]
    return " ".join([*legend, *_latex_footnotes(part.notes)])


def _latex_footnotes(notes: Sequence[str]) -> list[str]:
    return [rf"\textsuperscript{{{letter(i)}}}~{latex(text)}" for i, text in enumerate(notes)]


def latex_spans(spans: list[tuple[str, int]]) -> str:
    cells = [rf"\multicolumn{{{n}}}{{c}}{{{text}}}" for text, n in spans if n]
    rules, start = [], 1
    for text, n in spans:
        if n and text:
            rules.append(rf"\cmidrule(lr){{{start}-{start + n - 1}}}")
        start += n
    return f"{' & '.join(cells)} \\\\ {''.join(rules)}"


def _latex_rows(row: Row, quoted: int, scores: slice, width: int, cost: bool) -> list[str]:
    """The row, and a smaller one for what stands below its cells where there is anything."""
    left = [Cell(f"{row.title} {row.marks}".strip()), row.n, *row.published[:quoted]]
    right = [Cell(t) for t in (row.seconds, row.memory, row.device)] if cost else []
    span = width - len(left) - len(right)
    middle = list(row.scores[scores]) or [Cell()] * span
    written = list(map(_latex_cell, middle))
    if row.dnf and span:
        written = [rf"\multicolumn{{{span}}}{{l}}{{{_latex_cell(row.dnf)}}}"]
    line = [*map(_latex_cell, left), *written, *map(_latex_cell, right)]
    return _latex_lines([*left, *middle, *right], line)


def _latex_lines(cells: Sequence[Cell], written: Sequence[str]) -> list[str]:
    rows = [" & ".join(written) + r" \\"]
    small = [cell.below for cell in cells]
    if any(small):
        small = [rf"{{\scriptsize ({latex(text)})}}" if text else "" for text in small]
        rows.append(" & ".join(small) + r" \\")
    return rows


def _latex_head(cell: Cell) -> str:
    """A column's title, long ones on several lines so that they do not widen the table."""
    lines = wrap(cell.text, 12, break_long_words=False)
    text = r"\\".join(map(latex, lines)) + _latex_notes(cell)
    return rf"\shortstack[r]{{{text}}}" if len(lines) > 1 else text


def _latex_cell(cell: Cell) -> str:
    text = latex(cell.text)
    text = {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(cell.rank, text)
    return text + _latex_notes(cell)


def _latex_notes(cell: Cell) -> str:
    notes = ",".join(letter(n) for n in cell.notes)
    return rf"\textsuperscript{{{notes}}}" if notes else ""


def to_html(parts: Sequence[Section], overviews: Sequence[Overview] = ()) -> str:
    """A fragment for Snakemake's own report: a `<div class="comparison">` for each table."""
    values = {"parts": parts, "overviews": overviews, "letter": letter}
    return render("table.html.j2", **values, anchor=None)  # no list of runs to lead to
