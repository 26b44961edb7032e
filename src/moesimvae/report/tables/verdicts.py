"""Verdicts on the paper's numbers and checks of experiments, as tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pandas as pd

from moesimvae.evaluation import quality, verdicts
from moesimvae.nouns import Metric, Run
from moesimvae.report import words
from moesimvae.report.tables import Cell, Column, Row, Table, latex, markdown, plain

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
    verdicts.NOISE: f"it is not, but the two 95 % intervals overlap (ours needs at least "
    f"{verdicts.MIN_SEEDS} seeds): these runs cannot distinguish the two, which confirms nothing",
    verdicts.DIFFERENT: "everything else; an arrow shows whether ours is better (▲) or worse (▼)",
    verdicts.NOT_COMPARABLE: "different cells (a subset or simulated) or a different definition",
    verdicts.NOT_RUN: "the method is not implemented here, has no runs yet, or all runs failed",
}
ARROWS = {"better": "▲ better", "worse": "▼ worse", "above": "▲ above", "below": "▼ below"}
INTERVALS = (
    "Intervals are Student's 95 % intervals of our mean over seeds; where the published value is "
    "known to come from a single run, noise is judged by the wider prediction interval for one "
    "further run."
)
Said = dict[str, Any]  # a row of verdicts or of checks
MARKS = {quality.RED: "●", quality.AMBER: "▲", quality.GREEN: "✓", quality.UNCHECKED: "–"}


def _row(row: Said, metrics: Mapping[str, Metric]) -> Said:
    """A verdict as printed: every field a string, and the runs a list."""
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


def _here(row: Said) -> str:
    """The method that stands for the published one, if its title differs."""
    if row["role"] == verdicts.BEYOND:
        return f"{row['title']}, beyond the paper"
    return row["title"] if row["title"] != row["published_method"] else ""


def ours(value: float, row: Said) -> str:
    """Our value: three decimals if the published one is a share, else formatted like that one."""
    if pd.isna(value):
        return ""
    if abs(row["published"]) < 1:
        return f"{value:.3f}".replace("-", "−")
    return words.large(value, 2)


def _count(row: Said) -> str:
    n, planned = int(row["n"]), row["n_planned"]
    return words.of_planned(n, n if pd.isna(planned) else planned) if n else ""


@dataclass
class Group:
    """One table of the paper: numbers with a counterpart of ours, and those without one."""

    key: str
    heading: str
    shown: list[Said]
    missing: list[Said]

    def table(self, up: str = "../") -> Table:
        """One row per number with a counterpart; up: path from the page to the results folder."""
        heads = ("Method", "Data set", "Metric", "Published", "Ours", "n", "Tolerance", "Verdict",
                 "Why", "Runs by seed")  # fmt: skip
        rows = [_web_row(row, up) for row in self.shown]
        return plain(f"verdicts, {self.heading}", heads, rows, range(3, 7))

    @property
    def without_ours(self) -> Table:
        heads = ("Method", "Data set", "Metric", "Published", "Why")
        rows = [
            (row["name"], row["dataset"], Cell(row["metric"], hint=row["definition"]),
             row["published"], Cell(row["reason"], kind="why"))
            for row in self.missing
        ]  # fmt: skip
        return plain(f"not run here, {self.heading}", heads, rows, (3,))


def _web_row(row: Said, up: str) -> Row:
    ran_on = f"run on {row['ran_on']}" if row["ran_on"] not in ("", row["dataset"]) else ""
    cells = f"{row['split']} cells" if row["split"] not in ("", "all") else ""
    runs = [
        Cell(str(Run.of(run).seed), href=f"{up}{quote(run)}/status.json", hidden=f", {run}")
        for run in row["runs"]
    ]
    return Row(
        row["name"],
        (
            Cell(row["dataset"], more=tuple(Cell(below=t) for t in (ran_on, cells) if t)),
            Cell(row["metric"], hint=row["definition"]),
            Cell(row["published"]),
            Cell(row["mean"], row["interval"]),
            Cell(row["n"]),
            Cell(row["tolerance"], hint=row["tolerance_reason"] if row["tolerance"] else ""),
            Cell(f"{row['sign']} {row['verdict']}", row["arrow"],
                 kind=f"verdict {row['verdict'].replace(' ', '-')}"),
            Cell(row["reason"], kind="why"),
            Cell(more=tuple(runs), kind="seeds"),
        ),
        kind="beyond" if row["beyond"] else "",
        head=Cell(row["name"], f"here {row['here']}" if row["here"] else ""),
    )  # fmt: skip


def groups(table: pd.DataFrame, metrics: Mapping[str, Metric]) -> list[Group]:
    """The numbers by table of the paper; table: from `verdicts.verdicts`."""
    made = []
    for name, part in table.groupby("table", sort=False):
        group = Group(str(name), TABLES.get(str(name), str(name)), [], [])
        for row in part.to_dict("records"):
            shown = row["verdict"] != verdicts.NOT_RUN and row["role"] != verdicts.SETTING
            (group.shown if shown else group.missing).append(_row(row, metrics))
        made.append(group)
    return made


def headline(table: pd.DataFrame) -> str:
    """The number of the paper's results per verdict, in a sentence."""
    counted = verdicts.summary(table).sum()
    verdict_counts = [f"{counted[v]} {v}" for v in verdicts.VERDICTS]
    return f"Of {counted['results']} printed results: {', '.join(verdict_counts)}."


def counts(table: pd.DataFrame, signs: bool = True) -> Table:
    """Number of results per verdict, by table of the paper."""
    names = [f"{SIGNS[v]} {v}" if signs else v for v in verdicts.VERDICTS]
    heads = ("Printed in" if signs else "", *names, "results")
    rows = [
        (TABLES.get(str(name), str(name)), *(row[v] for v in (*verdicts.VERDICTS, "results")))
        for name, row in verdicts.summary(table).iterrows()
    ]
    return plain("verdicts by table of the paper", heads, rows, range(1, len(heads)))


@dataclass
class Checked:
    """Which of an experiment's checks fired, are green, or were not made."""

    experiment: str
    level: str
    wrong: list[Said]
    right: list[str]
    unchecked: list[str]

    @property
    def table(self) -> Table:
        heads = ("Check", "Level", "Data set", "Method", "Found", "Rule")
        rows = [
            (row["check"], Cell(_level(row["level"]), kind=row["level"]), row["dataset"],
             row["method"], *(Cell(row[key], kind="text") for key in ("found", "rule")))
            for row in self.wrong
        ]  # fmt: skip
        return plain(f"quality of {self.experiment}", heads, rows)


def checked(experiment: str, part: pd.DataFrame) -> Checked:
    """part: from `quality.check`."""
    rows = part.where(part.notna(), "").to_dict("records")
    by_level = {level: [r for r in rows if r["level"] == level] for level in quality.LEVELS}
    return Checked(
        experiment,
        quality.overall(part),
        [row for row in rows if row["level"] in (quality.RED, quality.AMBER)],
        [row["check"] for row in by_level[quality.GREEN]],
        [row["check"] for row in by_level[quality.UNCHECKED]],
    )


def _level(level: str) -> str:
    return f"{MARKS[level]} {level}"


# --- Markdown and LaTeX -------------------------------------------------------------------------


def to_markdown(
    table: pd.DataFrame, checks: Mapping[str, pd.DataFrame], metrics: Mapping[str, Metric]
) -> str:
    """Tables with one row per number, what decided its verdict, and a link to its runs' folder.

    checks: experiment → table of `quality.check`.
    """
    lines = ["# Verdicts on the paper's numbers", "", headline(table), ""]
    lines += [f"- {SIGNS[v]} **{v}**: {MEANING[v]}" for v in verdicts.VERDICTS]
    lines += ["", INTERVALS, "", *markdown.lines(counts(table, signs=False))]
    heads = ("Method", "Data set", "Metric", "Published", "Ours", "95 %", "n", "Tolerance",
             "Verdict", "Why", "Runs")  # fmt: skip
    for part in groups(table, metrics):
        lines += ["", f"## {part.heading}", ""]
        if part.shown:
            rows = [_markdown_row(row) for row in part.shown]
            lines += markdown.lines(plain("", heads, rows, range(3, 8)))
        if part.missing:
            lines += ["", "Not run here, or without a result:", ""]
            lines += [f"- {text}" for text in _missing(part.missing)]
    if checks:
        lines += ["", "## Quality control", ""]
        for name, some in checks.items():
            lines += [quality_markdown(name, some, level=3)]
    return "\n".join(lines) + "\n"


def _markdown_row(row: Said) -> Row:
    runs = [Run.of(run) for run in row["runs"]]
    folder = runs[0].path.removesuffix(f"/seed{runs[0].seed}") if runs else ""
    other = row["ran_on"] not in ("", row["dataset"])
    texts = (
        f"{row['dataset']}; run on {row['ran_on']}" if other else row["dataset"],
        *(row[key] for key in ("metric", "published", "mean", "interval", "n", "tolerance")),
        " ".join(filter(None, [row["sign"], row["verdict"], row["arrow"]])),
        row["reason"],
    )
    link = Cell("runs", href=f"../{folder}") if folder else Cell()
    return Row(_name(row), (*map(Cell, texts), link), kind="beyond" if row["beyond"] else "")


def _missing(rows: list[Said]) -> list[str]:
    """Numbers that are not run here, grouped by reason."""
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        what = f"{row['name']}, {row['metric']} on {row['dataset']}: {row['published']}"
        by_reason.setdefault(row["reason"], []).append(what)
    return [f"{reason} {'; '.join(whats)}." for reason, whats in by_reason.items()]


def quality_markdown(name: str, part: pd.DataFrame, level: int = 1) -> str:
    """The checks of one experiment: the overall level, what fired, and what did not."""
    checks = checked(name, part)
    lines = [f"{'#' * level} Quality control of {name}: {_level(checks.level)}", ""]
    if checks.wrong:
        keys = ("check", "dataset", "method", "found", "rule")
        heads = ("Level", *(head.replace("Dataset", "Data set") for head in map(str.title, keys)))
        rows = [(_level(row["level"]), *(row[key] for key in keys)) for row in checks.wrong]
        lines += [*markdown.lines(plain("", heads, rows)), ""]
    lines.append(f"Green: {', '.join(checks.right) or 'nothing'}.")
    if checks.unchecked:
        lines.append(f"Not checked: {', '.join(checks.unchecked)}.")
    return "\n".join(lines) + "\n"


def to_latex(table: pd.DataFrame, metrics: Mapping[str, Metric]) -> str:
    r"""One `longtable` per table of the paper that was run; its caption lists what was not run.

    Needs `\usepackage{array,booktabs,longtable}`; labels are `tab:verdict-<table>`.
    """
    columns = r"*{4}{>{\raggedright}p{2cm}}rr>{\raggedright\arraybackslash}p{1.6cm}"
    parts = [
        latex.long(_in_print(part), f"verdict-{part.key}", columns)
        for part in groups(table, metrics)
        if part.shown
    ]
    return "\n".join(["% \\usepackage{array,booktabs,longtable}", *parts])


def _in_print(part: Group) -> Table:
    """A table of the paper, grouped by the data sets that were run."""
    caption = f"{part.heading}: verdicts on its printed numbers. {INTERVALS}"
    if part.missing:
        names = ", ".join(dict.fromkeys(row["name"] for row in part.missing))
        caption += f" Not run here, or without a result: {len(part.missing)} ({names})."
    by_dataset: dict[str, list[Row]] = {}
    for row in sorted(part.shown, key=lambda row: row["ran_on"] or row["dataset"]):
        own = f"{row['mean']} [{row['interval']}]" if row["interval"] else row["mean"]
        verdict = " ".join(filter(None, [row["verdict"], row["arrow"][2:]]))
        cells = (row["metric"], row["published"], own, row["n"], row["tolerance"], verdict)
        where = row["ran_on"] or row["dataset"]
        by_dataset.setdefault(where, []).append(Row(_name(row), tuple(map(Cell, cells))))
    heads = ("Metric", "Published", "Ours", "n", "Tolerance", "Verdict")
    return Table("", "", caption, [Column(Cell(h)) for h in heads], list(by_dataset.items()))


def _name(row: Said) -> str:
    return f"{row['name']}; here {row['here']}" if row["here"] else row["name"]
