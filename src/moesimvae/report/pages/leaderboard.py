"""The leaderboard: every row of the comparison as data for the page's interactive table.

The page sorts and filters them in the browser with DataTables, which itables ships.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from moesimvae.evaluation import comparison
from moesimvae.nouns import Metric
from moesimvae.report import records, words
from moesimvae.report.tables import dataset as tables
from moesimvae.report.words import BOUND, Comparison

SHARP = 5  # digits kept: more than shown, so that sorting distinguishes what looks equal


def leaderboard(
    comparisons: Iterable[tuple[str, str, Comparison]], metrics: Mapping[str, Metric]
) -> dict[str, Any]:
    """What the page's script needs: metrics, data sets, cells, and one row for each method there.

    comparisons: (path of the experiment's page from the index, "" on that page itself; its name;
    its comparison), one per experiment. A row has
    `scores`: metric → [mean, median, min, max, sd] over seeds, sd empty for one; a published
    number serves as all of them. `href` links to the list of its runs.
    """
    every = list(comparisons)
    rows = [row for one in every for row in _rows(*one)]
    given = dict.fromkeys(m for row in rows for m in row["scores"])
    scored = {m for row in rows if row["kind"] != "published" for m in row["scores"]}
    listed = dict.fromkeys(m for _, _, shown in every for m in shown.table["metric"])
    own = [name for name in listed if name in scored]  # in the experiment's order of metrics
    titles = {
        name: words.metric_title(name, metrics)
        for name in (*own, *(m for m in given if m not in own))
    }
    heads = words.short_titles(titles)
    return {
        "metrics": [
            {
                "name": name,
                "title": title,
                "head": heads[name],
                "better": metrics[name].better if name in metrics else "higher",
                "digits": 1 if name == "clusters_found" else comparison.DIGITS,
                "published": name not in own,
            }
            for name, title in titles.items()
        ],
        "experiments": list(dict.fromkeys(row["experiment"] for row in rows)),
        "datasets": list(dict.fromkeys(row["dataset"] for row in rows)),
        "cells": list(dict.fromkeys(row["cells"] for row in rows)),
        "rows": rows,
    }


def _rows(where: str, experiment: str, shown: Comparison) -> Iterable[dict[str, Any]]:
    keys = ["dataset", "split", "method", "source"]
    for (dataset, split, _, source), rows in shown.table.groupby(keys, sort=False):
        first = rows.iloc[0]
        bounded = rows["metric"].str.endswith(BOUND)  # a value takes precedence over its bound
        ordered = pd.concat([rows[bounded], rows[~bounded]])
        scores = {r["metric"].removesuffix(BOUND): _score(r) for _, r in ordered.iterrows()}
        scores = {metric: score for metric, score in scores.items() if score}
        if source == "published" and not scores:
            continue
        finished = rows["n"].max() if source == "run" else pd.NA
        yield {
            "experiment": experiment,
            "method": _title(first),
            "marks": tables.marks(first) if source == "run" else "",
            "kind": "published" if source == "published" else first["kind"],
            "prior": bool(first["uses_prior"]),
            "dataset": shown.dataset(dataset),
            "cells": words.cells_of(split),
            "n": "" if pd.isna(finished) else words.of_planned(finished, int(first["n_planned"])),
            "dnf": comparison.failure(first["status"]) if source == "run" and finished == 0 else "",
            "seconds": _number(first["wall_seconds"], 1),
            "memory": _number(first["peak_memory_mb"], 0),
            "href": records.href(first["runs"], where, dataset in shown.in_detail),
            "bounds": sorted(
                set(rows["metric"][bounded].str.removesuffix(BOUND)) - set(rows["metric"])
            ),
            "scores": scores,
        }


def _title(row: pd.Series) -> str:
    return f"{row['title']}: {row['settings']}" if row["settings"] else str(row["title"])


def _score(row: pd.Series) -> list[float | None] | None:
    if np.isnan(row["mean"]):
        return None
    return [_number(value, SHARP) for value in comparison.over_seeds(row)]


def _number(value: float, digits: int) -> float | None:
    return None if np.isnan(value) else round(float(value), digits)
