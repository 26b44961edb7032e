"""Compare this machine's numbers with those that the repository keeps in docs/.

Kept are an experiment's table and a fingerprint of its labels: each method's first-seed labels
of at most CELLS cells per data set.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from moesimvae.evaluation import comparison
from moesimvae.evaluation.metrics import ari

CELLS = 1000
EQUAL, WITHIN, OTHER = "equal", "within the spread of seeds", "different"
KEY = ["dataset", "split", "method", "metric"]


def against(here: pd.DataFrame, there: pd.DataFrame) -> pd.DataFrame:
    """Compare each number that both tables have of a method run, one row each; without controls.

    here, there: from `comparison.compare`. Columns KEY, title, here and there (means over the seeds
    that both have), and verdict: EQUAL if every seed is, at the digits shown; WITHIN if either mean
    lies between the other side's minimum and maximum; else OTHER.
    """
    rows = []
    kept = dict(_measured(there))
    for key, row in _measured(here):
        if key not in kept:
            continue
        ours, theirs = comparison.values(row), comparison.values(kept[key])
        shared = sorted(set(ours) & set(theirs))
        if not shared:
            continue
        x, y = (np.array([side[seed] for seed in shared]) for side in (ours, theirs))
        within = y.min() <= x.mean() <= y.max() or x.min() <= y.mean() <= x.max()
        same = (x.round(comparison.DIGITS) == y.round(comparison.DIGITS)).all()
        verdict = EQUAL if same else WITHIN if within and len(shared) > 1 else OTHER
        rows.append((*key, row["title"], x.mean(), y.mean(), verdict))
    return pd.DataFrame(rows, columns=[*KEY, "title", "here", "there", "verdict"])


def _measured(table: pd.DataFrame) -> list[tuple[tuple, pd.Series]]:
    own = table[(table["source"] == "run") & (table["kind"] != "control") & (table["n"] > 0)]
    return [(tuple(row[KEY]), row) for _, row in own.iterrows()]


def fingerprint(table: pd.DataFrame, results: str | Path) -> pd.DataFrame:
    """Labels to keep: index (dataset, cell), a column per method, empty where there are none.

    table: of an experiment whose runs are in the results folder.
    """
    columns: dict[str, list[pd.Series]] = {}
    for (dataset, method), labels in _first_labels(table, Path(results)).items():
        some = labels.iloc[np.unique(np.linspace(0, len(labels) - 1, CELLS).astype(int))]
        some.index = pd.MultiIndex.from_product([[dataset], some.index], names=["dataset", "cell"])
        columns.setdefault(method, []).append(some)
    return pd.DataFrame({m: pd.concat(parts) for m, parts in columns.items()}).astype("Int16")


def agreement(
    kept: pd.DataFrame, table: pd.DataFrame, results: str | Path
) -> dict[tuple[str, str], float]:
    """(data set, method) → ARI of the labels here with those kept, over the kept cells.

    kept: from `fingerprint`.
    """
    found = {}
    for (dataset, method), labels in _first_labels(table, Path(results)).items():
        if method in kept and dataset in kept.index.levels[0]:
            theirs = kept.loc[dataset][method].dropna()
            ours = labels.reindex(theirs.index).dropna()
            if len(ours):
                found[dataset, method] = ari(theirs[ours.index].astype(int), ours.astype(int))
    return found


def _first_labels(table: pd.DataFrame, results: Path) -> Mapping[tuple[str, str], pd.Series]:
    """(data set, method) → labels by cell of the first run, excluding chosen settings."""
    own = comparison.own_settings(table[(table["source"] == "run") & (table["kind"] != "control")])
    first = own.drop_duplicates(["dataset", "method"])
    paths = {(r.dataset, r.method): results / r.runs.partition(" ")[0] / "labels.parquet"
             for r in first.itertuples() if r.runs}  # fmt: skip
    return {
        key: pd.read_parquet(path).set_index("cell")["label"]
        for key, path in paths.items()
        if path.exists()
    }
