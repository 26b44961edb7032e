"""The comparison across data sets: methods by data sets, and every data set by every method."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from moesimvae.evaluation import comparison
from moesimvae.evaluation.comparison import best_first
from moesimvae.nouns import Metric
from moesimvae.report import IN_DETAIL, words
from moesimvae.report.tables import Cell, Column, Row, Table, latex
from moesimvae.report.tables.dataset import (
    KINDS,
    PRIOR,
    marks,
    marks_legend,
    quoted_cell,
    score_cell,
)
from moesimvae.report.words import BOUND, Comparison, fixed, joined

Groups = list[tuple[str, list[Row]]]
Keys = list[tuple[str, str, str]]  # data set, split, metric

COLUMNS = 8  # that fit on a page
MOST_LETTERS = 36  # of a method's name on one line
PUBLISHED = dict(KINDS)["published"]


def overviews(shown: Comparison, remark: str = "") -> list[Table]:
    """Methods by data sets, with as many metrics side by side as fit on a page.

    remark: note on the published numbers below the first table. Nothing for a single data set. A
    published lower bound is in its metric's column, preceded by "≥"; published numbers of data sets
    that were not run here, such as the whole of a subset, are not in these tables. More than
    IN_DETAIL data sets share one column per metric: mean and spread over data sets.
    """
    # Where cells were held out, test cells only; the others are in each data set's own table.
    own, quoted = comparison.of_first_split(shown.own), shown.quoted
    parts = list(dict.fromkeys(zip(own["dataset"], own["split"], strict=True)))
    if len(parts) < 2:
        return []
    names = [m for m in dict.fromkeys(own["metric"]) if m not in comparison.FOUND]
    pooled = len(parts) > IN_DETAIL
    at_once = max(1, COLUMNS // (1 if pooled else len(parts)))
    made = []
    for i, start in enumerate(range(0, len(names), at_once)):
        some = names[start : start + at_once]
        titles = list(map(shown.metric, some))
        notes: list[str] = []
        if pooled:
            where = [f"all {len(parts)} data sets"]
            heading = f"{joined(titles)} over {len(parts)} data sets"
            groups = _pooled(own, len(parts), some, names[0], shown.metrics)
            legend = _pooled_legend(own, len(parts))
        else:
            where = [shown.dataset(d, s) for d, s in parts]
            heading = f"{joined(titles)} on all data sets"
            keys = [(*part, metric) for metric in some for part in parts]
            groups = _side_by_side(own, quoted, keys, names[0], shown.metrics, notes)
            legend = _legend(own, quoted, any(h == PUBLISHED for h, _ in groups))
        columns = [Column(Cell(place), title, alone=f"{title}: {{}}")
                   for title in titles for place in where]  # fmt: skip
        methods = own[(own["kind"] != "control") & (own["choice"] == "")]["method"].nunique()
        caption = f"{joined(titles)} of {methods} methods on {'; '.join(where)}."
        caption += shown.caveats(d for d, _ in parts)
        made.append(
            Table(f"overview-{i + 1}", heading, caption, [Column(Cell("n")), *columns], groups,
                  {"general": legend}, notes)
        )  # fmt: skip
    made[0].remark = remark
    return made


def _side_by_side(
    own: pd.DataFrame,
    quoted: pd.DataFrame,
    keys: Keys,
    first: str,
    metrics: Mapping[str, Metric],
    notes: list[str],
) -> Groups:
    """One cell per metric and data set."""
    runs = own.set_index(["method", "dataset", "split", "metric"]).sort_index()
    groups = []
    for kind, heading in KINDS:
        if kind == "published":
            rows = _published_rows(quoted, keys, notes)
        else:
            mine = own[own["kind"] == kind]
            rows = [_run_row(runs, m, keys, notes) for m in best_first(mine, first, metrics)]
        if rows:
            groups.append((heading, rows))
    return groups


def _run_row(runs: pd.DataFrame, method: str, keys: Keys, notes: list[str]) -> Row:
    cells, finished = [], []
    for dataset, split, metric in keys:
        row = runs.loc[(method, dataset, split, metric)]
        n = int(runs.loc[(method, dataset, split, comparison.FOUND[0]), "n"])
        cells.append(score_cell(row, metric, n, notes, tell=True))
        finished.append(n)
    low, high = min(finished), max(finished)
    seeds = Cell(str(low) if low == high else f"{low}–{high}")
    first = runs.loc[(method, *keys[0])]
    return Row(first["title"], (seeds, *cells), marks(first))


def _published_rows(quoted: pd.DataFrame, keys: Keys, notes: list[str]) -> list[Row]:
    rows = []
    for title, mine in quoted.groupby("title", sort=False):
        given = {(r["dataset"], r["split"], r["metric"]): r for _, r in mine.iterrows()}
        cells = [_published_cell(given, key, notes) for key in keys]
        if any(cell.text for cell in cells):
            some = [given[k] for k in given if k in keys or _base(k) in keys]
            seeds = sorted({int(r["n"]) for r in some if not pd.isna(r["n"])})
            n = "–".join(dict.fromkeys(map(str, (seeds[0], seeds[-1])))) if seeds else ""
            shown = (cell if cell.text else Cell("–") for cell in cells)
            rows.append(Row(str(title), (Cell(n), *shown)))
    return rows


def _published_cell(given: dict, key: tuple[str, str, str], notes: list[str]) -> Cell:
    dataset, split, metric = key
    row, sign = given.get(key), ""
    if row is None:
        row, sign = given.get((dataset, split, metric + BOUND)), "≥ "
    return Cell() if row is None or np.isnan(row["mean"]) else quoted_cell(row, notes, sign)


def _base(key: tuple[str, str, str]) -> tuple[str, str, str]:
    return (key[0], key[1], key[2].removesuffix(BOUND))


def _pooled(
    own: pd.DataFrame, many: int, names: list[str], first: str, metrics: Mapping[str, Metric]
) -> Groups:
    """One cell per metric: mean and spread over data sets."""
    groups = []
    for kind, heading in KINDS:
        mine = own[own["kind"] == kind]
        spread = comparison.over_datasets(mine)
        rows = []
        for method in best_first(mine, first, metrics):
            of_method = mine[mine["method"] == method]
            cells = [_spread(spread.loc[(method, m)]) for m in names]
            one = of_method.iloc[0]
            done = of_method[(of_method["metric"] == comparison.FOUND[0]) & (of_method["n"] > 0)]
            n = f"{done['dataset'].nunique()} of {many}"
            rows.append(Row(one["title"], (Cell(n), *cells), marks(one)))
        if rows:
            groups.append((heading, rows))
    return groups


def _pooled_legend(own: pd.DataFrame, many: int) -> str:
    said = [
        f"Mean ± sample standard deviation, and range, over {many} data sets of each data set's "
        "mean over seeds; n: data sets on which the method finished. Values for each data set are "
        "in by_dataset.csv.",
        *marks_legend(own),
    ]
    return " ".join(said)


def _spread(row: pd.Series) -> Cell:
    """row: from `comparison.over_datasets`."""
    if row["count"] == 0:
        return Cell("DNF")
    sd = f" ± {fixed(row['std'])}" if row["count"] > 1 else ""
    return Cell(f"{fixed(row['mean'])}{sd}", f"{fixed(row['min'])}–{fixed(row['max'])}")


def _legend(own: pd.DataFrame, quoted: pd.DataFrame, shown: bool) -> str:
    said = [
        "Run here: mean ± sample standard deviation over the n seeds that finished, with the "
        "range; a deterministic method (†) has one run. Bold: best mean in a column; underlined: "
        "second best; only methods run here that finished with every seed are compared"
        + (", except those that use prior knowledge." if own["uses_prior"].any() else "."),
        *marks_legend(own),
    ]
    if ((own["n"] == 0) & (own["status"] != comparison.NOT_SCORED)).any():
        said.append("DNF: no run finished; this is not a score of zero.")
    if shown:
        said.append(
            "Published values are quoted, not run here; –: not reported; ≥: a lower bound, computed"
            " from published results. Their definitions are below each data set's own table."
        )
    elif not quoted.empty and not set(quoted["dataset"]) & set(own["dataset"]):
        said.append(
            "The published values are for other, full data sets; they are in separate tables, not "
            "in columns of these."
        )
    return " ".join(said)


def by_dataset_latex(frame: pd.DataFrame, metrics: Mapping[str, Metric], name: str) -> str:
    r"""`by_dataset` as a `longtable`: every data set, every method, mean ± sd.

    Needs `\usepackage{booktabs,longtable}`; label `tab:<name>-by-dataset`. Controls are left out.
    """
    names = [c.removesuffix("_mean") for c in frame if c.endswith("_mean")]
    names = [m for m in names if m != "noise_share"]
    # A data set's title has a line of its own: a column of titles would make the table too wide.
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in frame[frame["kind"] != "control"].to_dict("records"):
        where = "" if row["split"] == "all" else f", {row['split']} cells"
        groups.setdefault((row["dataset"], row["title"] + where), []).append(_line(row, names))
    caption = (
        "All methods on all data sets: mean ± sample standard deviation over the n finished runs; "
        "for clusters found, only the mean. DNF: no run finished; this is not a score of zero."
    )
    if frame["uses_prior"].any():
        caption += f" {PRIOR}"
    heads = [Column(Cell(metrics[m].title), kind="score") for m in names]
    named = [(heading, rows) for (_, heading), rows in groups.items()]
    table = Table("", "", caption, [Column(Cell("n")), *heads], named)
    longest = max((len(row.title) for rows in groups.values() for row in rows), default=0)
    columns = f"{'l' if longest <= MOST_LETTERS else 'p{3.6cm}'}l{'r' * len(names)}"
    long = latex.long(table, f"{words.slug(name)}-by-dataset", columns, gap=True)
    return f"% \\usepackage{{booktabs,longtable}}\n{long}"


def _line(row: dict[str, Any], names: Sequence[str]) -> Row:
    signs = " (oracle)" if row["kind"] == "oracle" and not row["settings"] else ""
    signs += " ‡" if row["uses_prior"] else ""
    settings = f": {row['settings']}" if row["settings"] else ""
    cells = [_mean_sd(row[f"{m}_mean"], row[f"{m}_sd"], m) for m in names]
    return Row(
        f"{row['method_title']}{settings}{signs}",
        tuple(map(Cell, (words.of_planned(row["n"], row["n_planned"]), *cells))),
        failed=None if row["n"] else Cell(comparison.failure(row["status"])),
    )


def _mean_sd(mean: float, sd: float, metric: str) -> str:
    if pd.isna(mean):
        return "–"
    return f"{mean:.1f}" if metric == "clusters_found" else words.mean_sd(mean, sd)
