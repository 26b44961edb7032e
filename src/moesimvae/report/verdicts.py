"""The verdicts as Markdown, LaTeX and one page that needs no network; nothing is computed here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from moesimvae.evaluation import quality, verdicts
from moesimvae.report import words
from moesimvae.report.render import render
from moesimvae.report.tables import Cell, Column, Row, Table, latex, markdown

Block = dict[str, Any]

TABLES = {
    "table1": "Table 1: MNIST",
    "table2": "Table 2: mouse organs",
    "table3": "Table 3: mass cytometry",
    "text": "Text, captions and supplement",
}
SIGNS = {
    verdicts.REPRODUCED: "✓",
    verdicts.NOISE: "≈",
    verdicts.DIFFERENT: "✗",
    verdicts.NOT_COMPARABLE: "≠",
    verdicts.NOT_RUN: "–",
}
MEANING = {
    verdicts.REPRODUCED: "our mean is within the tolerance of the published value",
    verdicts.NOISE: f"it is not, but the 95 % intervals of both overlap (ours from "
    f"{verdicts.MIN_SEEDS} seeds on): these runs cannot tell them apart, which confirms nothing",
    verdicts.DIFFERENT: "everything else; an arrow says whether ours is better (▲) or worse (▼)",
    verdicts.NOT_COMPARABLE: "other cells (a subset, simulated) or another definition",
    verdicts.NOT_RUN: "no implementation of the method here, no runs yet, or all runs failed",
}
ARROWS = {"better": "▲ better", "worse": "▼ worse", "above": "▲ above", "below": "▼ below"}
INTERVALS = (
    "Intervals are Student's 95 % intervals of our mean over seeds; where the published value is "
    "known to be a single run, noise is judged by the wider interval of one further run."
)
MARKS = {quality.RED: "●", quality.AMBER: "▲", quality.GREEN: "✓", quality.UNCHECKED: "–"}


def _row(row: Block, metrics: Mapping[str, Block]) -> Block:
    """A verdict as it is printed: every field a string, and the runs a list."""
    published = words.large(row["published"])
    if row["published_sd"] > 0:  # not for NaN
        published += f" ± {row['published_sd']:g}"
    if pd.notna(row["published_n"]):
        published += f" (n = {row['published_n']})"
    metric = words.metric_title(row["metric"], metrics)
    judged = row["verdict"] in verdicts.VERDICTS[:3]
    return {
        **{key: row[key] for key in ("table", "dataset", "definition", "source", "verdict")},
        **{key: row[key] for key in ("reason", "role", "method", "ran_on", "split")},
        "name": row["published_method"],
        "here": _here(row),
        "metric": metric,
        "published": published,
        "mean": ours(row["mean"], row),
        "interval": " to ".join(filter(None, (ours(row[end], row) for end in ("low", "high")))),
        "n": _count(row),
        "tolerance": _tolerance(row["tolerance"]) if judged else "",
        "tolerance_reason": row["tolerance_reason"],
        "sign": SIGNS[row["verdict"]],
        "arrow": ARROWS.get(row["direction"], "") if row["verdict"] == verdicts.DIFFERENT else "",
        "runs": row["runs"].split(),
        "beyond": row["role"] == verdicts.BEYOND,
    }


def _tolerance(value: float) -> str:
    return f"± {words.large(value)}" if value else "exact"


def _here(row: Block) -> str:
    """What stands for the published method, where its name does not say it."""
    if row["role"] == verdicts.BEYOND:
        return f"{row['title']}, beyond the paper"
    return row["title"] if row["title"] != row["published_method"] else ""


def ours(value: float, row: Block) -> str:
    """A value of ours: three digits where the published one is a share, else as that is printed."""
    if pd.isna(value):
        return ""
    if abs(row["published"]) < 1:
        return f"{value:.3f}".replace("-", "−")
    return words.large(value, 2)


def _count(row: Block) -> str:
    n, planned = int(row["n"]), row["n_planned"]
    return words.of_planned(n, n if pd.isna(planned) else planned) if n else ""


def groups(table: pd.DataFrame, metrics: Mapping[str, Block]) -> list[Block]:
    """For each table of the paper: heading, rows with a number of ours, and those without one."""
    found = []
    for name, part in table.groupby("table", sort=False):
        told = [_row(row, metrics) for row in part.to_dict("records")]
        found.append(
            {
                "key": name,
                "heading": TABLES.get(name, name),
                "shown": [r for r in told if _shown(r)],
                "missing": [r for r in told if not _shown(r)],
            }
        )
    return found


def _shown(row: Block) -> bool:
    return row["verdict"] != verdicts.NOT_RUN and row["role"] != verdicts.SETTING


def headline(table: pd.DataFrame) -> str:
    """How many of the paper's numbers have which verdict, in a sentence."""
    found = verdicts.summary(table).sum()
    said = [f"{found[v]} {v}" for v in verdicts.VERDICTS]
    return f"Of {found['results']} printed results: {', '.join(said)}."


def page(
    table: pd.DataFrame, checks: Mapping[str, pd.DataFrame], metrics: Mapping[str, Block]
) -> str:
    """One self-contained page. table: from `verdicts.verdicts`; checks: experiment → table of
    `quality.check`. Links to run folders are relative to results/verdict/."""
    return render(
        "verdict.html.j2",
        headline=headline(table),
        counts=counts(table),
        verdicts=verdicts.VERDICTS,
        signs=SIGNS,
        meaning=MEANING,
        intervals=INTERVALS,
        groups=groups(table, metrics),
        checks=[checked(name, part) for name, part in checks.items()],
        marks=MARKS,
    )


def counts(table: pd.DataFrame) -> list[Block]:
    """How many numbers of each table of the paper have which verdict."""
    return [
        {"heading": TABLES.get(name, name), **row.to_dict()}
        for name, row in verdicts.summary(table).iterrows()
    ]


def checked(experiment: str, part: pd.DataFrame) -> Block:
    """What of an experiment's checks fired, what is green, and what was not checked."""
    told = part.where(part.notna(), "").to_dict("records")
    wrong = [row for row in told if row["level"] in (quality.RED, quality.AMBER)]
    return {
        "experiment": experiment,
        "level": quality.overall(part),
        "wrong": wrong,
        "right": [r["check"] for r in told if r["level"] == quality.GREEN],
        "unchecked": [r["check"] for r in told if r["level"] == quality.UNCHECKED],
    }


# --- Markdown and LaTeX -------------------------------------------------------------------------


def to_markdown(
    table: pd.DataFrame, checks: Mapping[str, pd.DataFrame], metrics: Mapping[str, Block]
) -> str:
    """Tables with one row for each number, what decided, and a link to the folder of its runs."""
    lines = ["# Verdicts on the paper's numbers", "", headline(table), ""]
    lines += [f"- {SIGNS[v]} **{v}**: {MEANING[v]}" for v in verdicts.VERDICTS]
    lines += ["", INTERVALS, ""]
    columns = ("heading", *verdicts.VERDICTS, "results")
    counted = [[row[column] for column in columns] for row in counts(table)]
    lines += _grid(["", *columns[1:]], counted, range(1, len(columns)))
    head = ["Method", "Data set", "Metric", "Published", "Ours", "95 %", "n", "Tolerance"]
    for part in groups(table, metrics):
        lines += ["", f"## {part['heading']}", ""]
        if part["shown"]:
            rows = map(_md_row, part["shown"])
            lines += _grid([*head, "Verdict", "Why", "Runs"], rows, range(3, 8))
        if part["missing"]:
            lines += ["", "Not run here, or no result:", ""]
            lines += [f"- {text}" for text in _missing(part["missing"])]
    if checks:
        lines += ["", "## Quality control", ""]
        for name, part in checks.items():
            lines += [quality_markdown(name, part, level=3)]
    return "\n".join(lines) + "\n"


def _md_row(row: Block) -> list[str]:
    folder = row["runs"][0].rsplit("/", 1)[0] if row["runs"] else ""
    name = _name(row)
    other = row["ran_on"] not in ("", row["dataset"])
    return [
        f"*{name}*" if row["beyond"] else name,
        f"{row['dataset']}; run on {row['ran_on']}" if other else row["dataset"],
        *(row[key] for key in ("metric", "published", "mean", "interval", "n", "tolerance")),
        " ".join(filter(None, [row["sign"], row["verdict"], row["arrow"]])),
        row["reason"],
        f"[runs](../{folder})" if folder else "",
    ]


def _missing(told: list[Block]) -> list[str]:
    """Numbers that are not run here, those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for row in told:
        what = f"{row['name']}, {row['metric']} on {row['dataset']}: {row['published']}"
        by_reason.setdefault(row["reason"], []).append(what)
    return [f"{reason} {'; '.join(whats)}." for reason, whats in by_reason.items()]


def quality_markdown(name: str, part: pd.DataFrame, level: int = 1) -> str:
    """The checks of one experiment: the verdict over all, what fired, and what did not."""
    told = checked(name, part)
    head = f"{'#' * level} Quality control of {name}: {MARKS[told['level']]} {told['level']}"
    lines = [head, ""]
    if told["wrong"]:
        keys = ("check", "dataset", "method", "found", "rule")
        rows = [[f"{MARKS[row['level']]} {row['level']}", *(row[key] for key in keys)]
                for row in told["wrong"]]  # fmt: skip
        lines += [*_grid(["Level", "Check", "Data set", "Method", "Found", "Rule"], rows), ""]
    lines.append(f"Green: {', '.join(told['right']) or 'nothing'}.")
    if told["unchecked"]:
        lines.append(f"Not checked: {', '.join(told['unchecked'])}.")
    return "\n".join(lines) + "\n"


def _grid(heads: list[str], rows: Iterable[Iterable[Any]], numbers: range = range(0)) -> list[str]:
    """Lines of a Markdown table; numbers: the columns that hold some."""
    texts = [[re.sub(r"\s+", " ", str(c)).replace("|", r"\|") for c in row] for row in rows]
    return markdown.grid(heads, [i in numbers for i in range(len(heads))], texts)


def to_latex(table: pd.DataFrame, metrics: Mapping[str, Block]) -> str:
    r"""One `longtable` for each table of the paper that was run, what was not in its caption.

    Needs `\usepackage{array,booktabs,longtable}`; labels are `tab:verdict-<table>`.
    """
    columns = r"*{4}{>{\raggedright}p{2cm}}rr>{\raggedright\arraybackslash}p{1.6cm}"
    parts = [
        latex.long(_in_print(part), f"verdict-{part['key']}", columns)
        for part in groups(table, metrics)
        if part["shown"]
    ]
    return "\n".join(["% \\usepackage{array,booktabs,longtable}", *parts])


def _in_print(part: Block) -> Table:
    """A table of the paper, by the data sets that it was run on."""
    caption = f"{part['heading']}: verdicts on its printed numbers. {INTERVALS}"
    if part["missing"]:
        names = ", ".join(dict.fromkeys(row["name"] for row in part["missing"]))
        caption += f" Not run here, or no result: {len(part['missing'])} ({names})."
    by_dataset: dict[str, list[Row]] = {}
    for row in sorted(part["shown"], key=lambda row: row["ran_on"] or row["dataset"]):
        own = f"{row['mean']} [{row['interval']}]" if row["interval"] else row["mean"]
        verdict = " ".join(filter(None, [row["verdict"], row["arrow"][2:]]))
        cells = (row["metric"], row["published"], own, row["n"], row["tolerance"], verdict)
        where = row["ran_on"] or row["dataset"]
        by_dataset.setdefault(where, []).append(Row(_name(row), tuple(map(Cell, cells))))
    heads = ("Metric", "Published", "Ours", "n", "Tolerance", "Verdict")
    return Table("", "", caption, [Column(Cell(h)) for h in heads], list(by_dataset.items()))


def _name(row: Block) -> str:
    return f"{row['name']}; here {row['here']}" if row["here"] else row["name"]
