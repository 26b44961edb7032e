"""Every setting tried of every screened method, as a table for readers."""

import json
from collections.abc import Mapping

import pandas as pd

from moesimvae import registry
from moesimvae.evaluation import comparison
from moesimvae.nouns import Method, Metric
from moesimvae.report import words
from moesimvae.report.tables import Cell, Row, Table, plain
from moesimvae.report.words import Comparison

METRICS = (*registry.CRITERIA.values(), "nmi_arithmetic")


def screening_tables(
    screened: pd.DataFrame, methods: Mapping[str, Method], shown: Comparison
) -> list[Table]:
    """The settings of each data set by method, the best by the oracle's criterion first.

    screened: from `selection.screening`.
    """
    made = []
    for dataset, rows in screened.groupby("dataset", sort=False):
        columns = _columns(rows)
        place = {m: i for i, m in enumerate(dict.fromkeys(rows["method"]))}
        order = rows.assign(place=rows["method"].map(place)).sort_values(
            ["place", *columns[:1]],
            ascending=[True, *[False] * len(columns[:1])],
            na_position="last",
            kind="stable",
        )
        made.append(
            plain(
                shown.dataset(str(dataset)),
                ("Method", "Settings", *(_heading(c, shown.metrics) for c in columns), "Chosen"),
                [_row(row, columns, methods) for _, row in order.iterrows()],
                range(2, 2 + len(columns)),
            )
        )
    return made


def _columns(rows: pd.DataFrame) -> list[str]:
    """<metric>_<split> columns that have values; not of all cells where some are held out."""
    scored = [c for c in rows if c.startswith(METRICS) and rows[c].notna().any()]
    splits = comparison.shown_splits(c.rpartition("_")[2] for c in scored)
    return [f"{m}_{s}" for m in METRICS for s in splits if f"{m}_{s}" in scored]


def _heading(column: str, metrics: Mapping[str, Metric]) -> str:
    metric, _, split = column.rpartition("_")
    of = "" if split == "all" else f", {words.cells_of(split).lower()}"
    return f"{metrics[metric].title}{of}"


def _row(row: pd.Series, columns: list[str], methods: Mapping[str, Method]) -> Row:
    numbers = ["–" if pd.isna(row[c]) else words.fixed(row[c]) for c in columns]
    settings = registry.in_words(json.loads(row["settings"]))
    chosen = row["chosen"] if isinstance(row["chosen"], str) else ""
    lost = row["status"] != "ok"
    last = Cell(comparison.failure(row["status"]), kind="dnf") if lost else Cell(chosen)
    title = methods[row["method"]].title
    kind = "chosen" if chosen and not lost else ""
    return Row(title, (*map(Cell, (settings, *numbers)), last), kind=kind, head=Cell(title))
