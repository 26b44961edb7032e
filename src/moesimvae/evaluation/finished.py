"""Read the tables that other experiments left in the results folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from moesimvae.evaluation import comparison, quality
from moesimvae.evaluation.scores import RUN_COLUMNS, SCORE_COLUMNS
from moesimvae.nouns import Facts


def read_results(
    paths: Iterable[Path],
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Facts], dict[str, pd.DataFrame]]:
    """Scores, runs, data sets and checks by experiment, from files in the results folder.

    paths: any number of <experiment>/scores/<dataset>.csv and .runs.csv, <experiment>/measured.csv
    (same columns as scores, for numbers that do not score a clustering), <experiment>/quality.csv
    and data/<dataset>/dataset.json.
    """
    paths = sorted(path for path in paths if not path.name.endswith(".populations.csv"))
    runs = [path for path in paths if path.name.endswith(".runs.csv")]
    scores = [
        path
        for path in paths
        if path not in runs and (path.parent.name == "scores" or path.name == "measured.csv")
    ]
    checks = {
        path.parent.name: pd.read_csv(path, keep_default_na=False)
        for path in paths
        if path.name == "quality.csv"
    }
    # Other studies may use the same file name.
    checks = {name: part for name, part in checks.items() if list(part) == quality.COLUMNS}
    return (
        comparison.read_many(scores) if scores else pd.DataFrame(columns=SCORE_COLUMNS),
        comparison.read_many(runs) if runs else pd.DataFrame(columns=RUN_COLUMNS),
        comparison.read_facts(path for path in paths if path.name == "dataset.json"),
        checks,
    )


def read_verdicts(path: str | Path) -> pd.DataFrame:
    """Read the table that `rule verdict` wrote."""
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    numbers = ["published", "published_sd", "mean", "sd", "low", "high", "difference", "tolerance"]
    whole = ["published_n", "n", "n_planned"]
    text = [c for c in table if c not in (*numbers, *whole)]
    table[text] = table[text].astype(object).where(table[text].notna(), "")
    return table.astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(numbers, float))
