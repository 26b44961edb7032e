"""The comparison across data sets: methods by data sets, and every data set by every method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from moesimvae.evaluation import comparison
from moesimvae.report import IN_DETAIL, sections
from moesimvae.report.sections import Cell

Block = dict[str, Any]

BOUND = "_lower_bound"  # of the metric before it: no value of that metric, but not above one
COLUMNS = 8  # that a page is wide


@dataclass(frozen=True)
class OverviewRow:
    """One method: n of its runs, and a cell for each column."""

    title: str
    marks: str
    n: str
    cells: tuple[Cell, ...]


@dataclass
class Overview:
    """One table across data sets: `spans` are metrics over as many columns each."""

    key: str
    heading: str
    caption: str
    spans: list[tuple[str, int]]
    columns: list[str]
    groups: list[tuple[str, list[OverviewRow]]]
    legend: str
    remark: str = ""
    notes: list[str] = field(default_factory=list)


def overviews(
    table: pd.DataFrame, metrics: dict[str, Block], datasets: Mapping[str, Block], remark: str = ""
) -> list[Overview]:
    """Methods by data sets, as many metrics side by side as a page is wide.

    table: from `comparison.compare`; remark: what must be said below the first table about the
    published numbers. Nothing for a single data set. A published lower bound
    stands in its metric's column behind "≥"; published numbers of data sets that were not run
    here, such as the whole of a subset, are not in these tables. More than IN_DETAIL data sets
    are one column for each metric: mean and spread over data sets.
    """
    own, quoted = (table[table["source"] == source] for source in ("run", "published"))
    # Of cells that were held out, the test cells; the others stand in each data set's own table.
    own = comparison.of_first_split(own)
    parts = list(dict.fromkeys(zip(own["dataset"], own["split"], strict=True)))
    if len(parts) < 2:
        return []
    names = [m for m in dict.fromkeys(own["metric"]) if m not in comparison.FOUND]
    pooled = len(parts) > IN_DETAIL
    at_once = max(1, COLUMNS // (1 if pooled else len(parts)))
    made = []
    for i, start in enumerate(range(0, len(names), at_once)):
        some = names[start : start + at_once]
        titles, notes = [metrics[m]["title"] for m in some], []
        if pooled:
            where = [f"all {len(parts)} data sets"]
            heading = f"{joined(titles)} over {len(parts)} data sets"
            groups = _pooled(own, parts, some, names[0], metrics)
            legend = _pooled_legend(own, len(parts))
        else:
            where = [sections.title_of(d, s, datasets[d]) for d, s in parts]
            heading = f"{joined(titles)} on all data sets"
            groups = _side_by_side(own, quoted, parts, some, names[0], metrics, notes)
            legend = _legend(own, quoted, any(h == PUBLISHED for h, _ in groups))
        made.append(
            Overview(
                f"overview-{i + 1}",
                heading,
                _caption(own, titles, where, [datasets[d] for d, _ in parts]),
                [(title, len(where)) for title in titles],
                where * len(some),
                groups,
                legend,
                notes=notes,
            )
        )
    made[0].remark = remark
    return made


Groups = list[tuple[str, list[OverviewRow]]]
PUBLISHED = dict(sections.KINDS)["published"]


def _side_by_side(
    own: pd.DataFrame,
    quoted: pd.DataFrame,
    parts: list[tuple[str, str]],
    names: list[str],
    first: str,
    metrics: dict[str, Block],
    notes: list[str],
) -> Groups:
    """A cell for each metric and data set."""
    runs = own.set_index(["method", "dataset", "split", "metric"]).sort_index()
    keys = [(*part, metric) for metric in names for part in parts]
    groups = []
    for kind, heading in sections.KINDS:
        if kind == "published":
            rows = _published_rows(quoted, keys, notes)
        else:
            mine = own[own["kind"] == kind]
            rows = [_run_row(runs, m, keys, notes) for m in _ordered(mine, first, metrics)]
        if rows:
            groups.append((heading, rows))
    return groups


def _run_row(
    runs: pd.DataFrame, method: str, keys: list[tuple[str, str, str]], notes: list[str]
) -> OverviewRow:
    cells, finished = [], []
    for dataset, split, metric in keys:
        row = runs.loc[(method, dataset, split, metric)]
        n = int(runs.loc[(method, dataset, split, comparison.FOUND[0]), "n"])
        cells.append(sections.score_cell(row, metric, n, notes, tell=True))
        finished.append(n)
    low, high = min(finished), max(finished)
    first = runs.loc[(method, *keys[0])]
    return OverviewRow(
        first["title"],
        sections.marks(first),
        str(low) if low == high else f"{low}–{high}",
        tuple(cells),
    )


def _published_rows(
    quoted: pd.DataFrame, keys: list[tuple[str, str, str]], notes: list[str]
) -> list[OverviewRow]:
    rows = []
    for title, mine in quoted.groupby("title", sort=False):
        given = {(r.dataset, r.split, r.metric): r for r in mine.itertuples()}
        cells = [_published_cell(given, key, notes) for key in keys]
        if any(cell.text for cell in cells):
            some = [given[k] for k in given if k in keys or _base(k) in keys]
            seeds = sorted({int(r.n) for r in some if not pd.isna(r.n)})
            n = "–".join(dict.fromkeys(map(str, (seeds[0], seeds[-1])))) if seeds else ""
            rows.append(OverviewRow(str(title), "", n, tuple(c if c.text else Cell("–")
                                                             for c in cells)))  # fmt: skip
    return rows


def _published_cell(given: dict, key: tuple[str, str, str], notes: list[str]) -> Cell:
    dataset, split, metric = key
    row, sign = given.get(key), ""
    if row is None:
        row, sign = given.get((dataset, split, metric + BOUND)), "≥ "
    if row is None or np.isnan(row.mean):
        return Cell()
    text = sign + sections.as_printed(row.mean)
    if not np.isnan(row.sd):
        text += f" ± {sections.as_printed(row.sd)}"
    return Cell(text, notes=(sections.note(notes, row.note),) if row.note else ())


def _base(key: tuple[str, str, str]) -> tuple[str, str, str]:
    return (key[0], key[1], key[2].removesuffix(BOUND))


def _pooled(
    own: pd.DataFrame,
    parts: list[tuple[str, str]],
    names: list[str],
    first: str,
    metrics: dict[str, Block],
) -> Groups:
    """A cell for each metric: mean and spread over data sets."""
    groups = []
    for kind, heading in sections.KINDS:
        mine = own[own["kind"] == kind]
        rows = []
        for method in _ordered(mine, first, metrics):
            of_method = mine[mine["method"] == method]
            cells = [_spread(of_method[of_method["metric"] == m]["mean"]) for m in names]
            one = of_method.iloc[0]
            done = of_method[(of_method["metric"] == comparison.FOUND[0]) & (of_method["n"] > 0)]
            n = f"{done['dataset'].nunique()} of {len(parts)}"
            rows.append(OverviewRow(one["title"], sections.marks(one), n, tuple(cells)))
        if rows:
            groups.append((heading, rows))
    return groups


def _pooled_legend(own: pd.DataFrame, many: int) -> str:
    said = [
        f"Mean ± sample standard deviation, and range, over {many} data sets of each data set's "
        "mean over seeds; n: data sets on which the method finished. Each of them stands in "
        "by_dataset.csv.",
        *sections.marks_legend(own),
    ]
    return " ".join(said)


def _spread(means: pd.Series) -> Cell:
    means = means.dropna()
    if means.empty:
        return Cell("DNF")
    text = sections.fixed(means.mean())
    if len(means) > 1:
        text += f" ± {sections.fixed(means.std(ddof=1))}"
    return Cell(text, f"{sections.fixed(means.min())}–{sections.fixed(means.max())}")


def _ordered(own: pd.DataFrame, metric: str, metrics: dict[str, Block]) -> list[str]:
    """Methods by their mean over data sets, best first; what finished nowhere comes last."""
    means = own[own["metric"] == metric].groupby(["method", "title"])["mean"].mean().reset_index()
    sign = 1 if metrics[metric]["better"] == "lower" else -1
    return list(means.assign(key=sign * means["mean"]).sort_values(
        ["key", "title"], na_position="last", kind="stable")["method"])  # fmt: skip


def _caption(own: pd.DataFrame, titles: list[str], where: list[str], facts: list[Block]) -> str:
    methods = own[(own["kind"] != "control") & (own["choice"] == "")]["method"].nunique()
    said = f"{joined(titles)} of {methods} methods on {'; '.join(where)}."
    return said + sections.caveats(facts)


def joined(titles: list[str]) -> str:
    """ "a, b and c"."""
    return " and ".join(filter(None, [", ".join(titles[:-1]), titles[-1]]))


def _legend(own: pd.DataFrame, quoted: pd.DataFrame, shown: bool) -> str:
    said = [
        "Run here: mean ± sample standard deviation over the n seeds that finished, with the "
        "range; a deterministic method (†) has one run. Bold: best mean of a column; underlined: "
        "second; only methods run here of which every seed finished are compared"
        + (", and none that uses prior knowledge." if own["uses_prior"].any() else "."),
        *sections.marks_legend(own),
    ]
    if (own["n"] == 0).any():
        said.append("DNF: no run finished; this is not a score of zero.")
    if shown:
        said.append(
            "Published values are quoted, not run here; –: not reported; ≥: a lower bound, computed"
            " from what was published. Their definitions stand below each data set's own table."
        )
    elif not quoted.empty and not set(quoted["dataset"]) & set(own["dataset"]):
        said.append(
            "The published values are of other, whole data sets: they stand in tables of their "
            "own, not in columns of these."
        )
    return " ".join(said)


def by_dataset(table: pd.DataFrame, datasets: Mapping[str, Block]) -> pd.DataFrame:
    """Every data set by every method run here, one row each, at full precision.

    Columns: group, dataset, title, simulated, partial, split, method, method_title, kind, n,
    n_planned, status, reason, wall_seconds, peak_memory_mb, uses_prior, settings, then
    <metric>_mean, _sd, _min, _max for each metric. group is what the data set's facts say (such as
    the inhibitor), or "".
    """
    own = table[table["source"] == "run"]
    names = list(dict.fromkeys(own["metric"]))
    rows = []
    for (dataset, split, method), mine in own.groupby(["dataset", "split", "method"], sort=False):
        facts, by_metric = datasets[dataset], mine.set_index("metric")
        found = by_metric.loc[comparison.FOUND[0]]
        row = {
            "group": facts.get("group", ""), "dataset": dataset, "title": facts["title"],
            "simulated": facts["simulated"], "partial": facts["partial"], "split": split,
            "method": method, "method_title": found["title"], "kind": found["kind"],
            "n": found["n"], "n_planned": found["n_planned"], "status": found["status"],
            "reason": found["reason"], "wall_seconds": found["wall_seconds"],
            "peak_memory_mb": found["peak_memory_mb"], "uses_prior": found["uses_prior"],
            "settings": found["settings"],
        }  # fmt: skip
        for metric in names:
            row |= {f"{metric}_{c}": by_metric.loc[metric, c] for c in ("mean", "sd", "min", "max")}
        rows.append(row)
    return pd.DataFrame(rows)
