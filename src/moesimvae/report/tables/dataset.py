"""The comparison as one table per data set, with caption and footnotes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from moesimvae.errors import UserError
from moesimvae.evaluation import comparison
from moesimvae.evaluation.comparison import best_first
from moesimvae.nouns import Facts, Metric
from moesimvae.report import words
from moesimvae.report.tables import Cell, Column, Row, Table, note
from moesimvae.report.words import Comparison

KINDS = (
    ("method", "Run here"),
    ("oracle", "Run here, settings or number of clusters from the true labels (oracle)"),
    ("published", "Published, not run here"),
    ("control", "Controls"),
)
PRIOR = "‡ uses prior knowledge about the cells, which the other methods are not given."
HERE = "Run here"
COST = (
    Column(Cell("Seconds"), "Cost", "cost"),
    Column(Cell("Peak MB"), "Cost", "cost"),
    Column(Cell("Device"), "Cost", "cost", number=False),
)


def sections(shown: Comparison, machine: str = "", remark: str = "") -> list[Table]:
    """The comparison as one table per data set, ready to be written.

    Where cells were held out, the columns of the test cells come first, then those of the training
    cells.

    shown: data sets that only have published numbers need no dataset.json. machine: what the runs
    ran on, from `words.machine_of`. remark: on the published numbers; it is placed
    here if a single data set was run, else below the overview. Only the first IN_DETAIL data sets
    have a table. Published numbers are of real, whole data sets: where this one is
    simulated or a subset, they are in a table of their own, never in a column beside it.
    """
    made = []
    names = [*shown.in_detail, *shown.quoted["dataset"]]
    some = shown.table[shown.table["dataset"].isin(names)]
    for dataset, rows in some.groupby("dataset", sort=False):
        facts, quoted = shown.datasets.get(str(dataset)), rows["source"] == "published"
        if facts and (facts.simulated or facts.partial) and quoted.any():
            apart = _section(str(dataset), rows[quoted], shown.metrics, None, machine)
            apart.key += "-published"
            made += [_section(str(dataset), rows[~quoted], shown.metrics, facts, machine), apart]
        else:
            made.append(_section(str(dataset), rows, shown.metrics, facts, machine))
    if remark and made and len(shown.run_here) < 2:
        said = [made[0].legend.get("quality", ""), f"Note: {words.sentence(remark)}"]
        made[0].legend["quality"] = " ".join(filter(None, said))
    return made


def in_print(table: Table) -> list[Table]:
    """A section as tables narrow enough for a printed page: quality, then cost.

    Training cells, elsewhere beside test cells, have a table of their own.
    """
    first, *others = dict.fromkeys(c.span for c in table.columns if c.kind == "score") or [""]
    legend = {about: text for about, text in table.legend.items() if about != "cost"}
    own = [(heading, rows) for heading, rows in table.groups if heading != dict(KINDS)["published"]]

    def narrow(wanted: str, **changed: Any) -> Table:
        return replace(table, groups=own).only(
            lambda c: not c.kind or (c.kind == "score" and c.span == wanted), **changed
        )

    made = [
        table.only(
            lambda c: c.kind in ("", "published") or (c.kind == "score" and c.span == first),
            legend=legend,
        )
    ]
    for span in others:  # side by side they would be too small to read
        part = narrow(
            span, key=f"{table.key}-{words.slug(span.lower())}",
            caption=f"{table.heading}: {span}.", legend=legend,
        )  # fmt: skip
        part.columns = [replace(c, span=c.span and f"{HERE}: {span}") for c in part.columns]
        made.append(part)
    if any(c.kind == "found" for c in table.columns):
        legend = {about: text for about, text in table.legend.items() if about != "quality"}
        cost = replace(table, groups=own).only(
            lambda c: c.kind in ("", "found", "cost"), key=f"{table.key}-cost",
            caption=f"{table.heading}: clusters found and cost.", legend=legend,
        )  # fmt: skip
        cost.columns = [replace(c, span=HERE) if c.kind == "found" else c for c in cost.columns]
        made.append(cost)
    return made


def _section(
    dataset: str,
    table: pd.DataFrame,
    metrics: Mapping[str, Metric],
    facts: Facts | None,
    machine: str,
) -> Table:
    notes: list[str] = []
    own, quoted = table[table["source"] == "run"], table[table["source"] == "published"]
    names = list(dict.fromkeys(quoted["metric"]))
    lacking = comparison.lacking(own, metrics)
    columns = [column for column in _columns(own) if column not in lacking]
    by_method = {m: rows.set_index("metric") for m, rows in quoted.groupby("method", sort=False)}
    heads = [
        Column(Cell(words.metric_title(m, metrics), notes=_definitions(quoted, m, notes)),
               "Published", "published", "{}, published")
        for m in names
    ]  # fmt: skip

    def row(method: str, rows: pd.DataFrame | None = None) -> Row:
        cells = tuple(_published_cell(by_method.get(method), m, notes) for m in names)
        if rows is None:
            nothing = (Cell(),) * (len(columns) + len(COST) if columns else 0)
            return Row(by_method[method]["title"].iloc[0], (Cell(), *cells, *nothing))
        return _run_row(rows, columns, cells, notes)

    groups = []
    for kind, heading in KINDS:
        if kind == "published":
            only = [m for m in by_method if m not in set(own["method"])]
            members = [row(m) for m in only]
        else:
            mine = own[own["kind"] == kind]
            first = mine[mine["split"] == columns[0][0]] if columns else mine
            ordered = best_first(first, own["metric"].iloc[0], metrics) if len(mine) else []
            members = [row(m, mine[mine["method"] == m]) for m in ordered]
        if members:
            groups.append((heading, members))

    title = words.title_of(dataset, "all", facts)
    return Table(
        words.slug(dataset),
        title,
        _caption(title, own, facts) + _left_out(lacking, metrics),
        [Column(Cell("n")), *heads, *_score_columns(own, columns, metrics),
         *(COST if columns else ())],
        groups,
        _legend(own, quoted, machine),
        notes,
        dataset=dataset,
    )  # fmt: skip


def _columns(own: pd.DataFrame) -> list[tuple[str, str]]:
    """(split, metric) of every column: each split's scores, then clusters found and noise."""
    splits = list(dict.fromkeys(own["split"]))
    names = [m for m in dict.fromkeys(own["metric"]) if m not in comparison.FOUND]
    scores = [(split, metric) for split in splits for metric in names]
    return scores + [(split, metric) for split in splits[:1] for metric in comparison.FOUND]


def _score_columns(
    own: pd.DataFrame, columns: list[tuple[str, str]], metrics: Mapping[str, Metric]
) -> list[Column]:
    splits = list(dict.fromkeys(own["split"]))
    of_all = (own["definition"] == comparison.OF_ALL_CELLS).any()
    made = []
    for split, metric in columns:
        kind = "found" if metric in comparison.FOUND else "score"
        head = Cell(words.metric_title(metric, metrics))
        if len(splits) < 2:
            made.append(Column(head, HERE, kind))
            continue
        cells = f"{words.named(split)} cells"
        if kind == "found" and of_all:
            cells = "all cells"
        span = f"{HERE}: {cells}" if split == splits[0] and kind == "score" else cells
        made.append(Column(head, span, kind, f"{{}}: {cells}"))
    return made


def _run_row(
    rows: pd.DataFrame,
    columns: list[tuple[str, str]],
    published: tuple[Cell, ...],
    notes: list[str],
) -> Row:
    by_column = rows.set_index(["split", "metric"])
    first = rows.iloc[0]
    # Clusters found are known for every finished run, whether or not a metric is.
    clusters = by_column.loc[(columns[0][0], comparison.FOUND[0])]
    finished, why = int(clusters["n"]), own_note(clusters, notes)
    failed = None
    if finished == 0:
        run = first["runs"].partition(" ")[0]
        failed = Cell(comparison.failure(first["status"]), notes=why, run=run)
    n = words.of_planned(finished, int(first["n_planned"]))
    spent = words.seconds(first["wall_seconds"])
    cost = (f"> {spent}" if first["status"] == "timeout" else spent,
            words.whole(first["peak_memory_mb"]), first["device"])  # fmt: skip
    cells = (
        Cell(n, notes=() if failed else why),
        *published,
        *(score_cell(by_column.loc[c], c[1], finished, notes) for c in columns),
        *map(Cell, cost),
    )
    title = f"{first['title']}: {first['settings']}" if first["settings"] else first["title"]
    return Row(title, cells, marks(first), failed)


def marks(row: pd.Series) -> str:
    """The signs after a method's name that the legend explains."""
    signs = (
        ("†", row["deterministic"] and row["n_planned"] == 1),
        ("‡", row["uses_prior"]),
        ("§", row["kind"] == "oracle"),
    )
    return "".join(sign for sign, applies in signs if applies)


def score_cell(
    row: pd.Series, metric: str, finished: int, notes: list[str], tell: bool = False
) -> Cell:
    """A row of the comparison as a cell: mean ± sd, with the range below.

    tell: put the reason for unfinished runs in this cell, for want of another place.
    """
    run = row["runs"].partition(" ")[0]
    if row["n"] == 0:
        if finished == 0:
            return Cell("DNF", notes=own_note(row, notes) if tell else (), run=run)
        return Cell("–", notes=own_note(row, notes), run=run)
    count, varies = metric == "clusters_found", row["n"] > 1 and row["min"] < row["max"]
    number = words.whole if count else words.fixed
    text, below = number(row["mean"]), ""
    if varies:
        text = words.mean_sd(row["mean"], row["sd"], 1 if count else comparison.DIGITS)
        below = f"{number(row['min'])}–{number(row['max'])}"
    elif row["n"] > 1 and metric not in comparison.FOUND:
        text += " ± 0"
    rank = 0 if pd.isna(row["rank"]) else int(row["rank"])
    lacking = row["n"] < (row["n_planned"] if tell else finished)
    return Cell(text, below, rank, own_note(row, notes) if lacking else (), run)


def _published_cell(rows: pd.DataFrame | None, metric: str, notes: list[str]) -> Cell:
    if rows is None or metric not in rows.index:
        return Cell()
    row = rows.loc[metric]
    if isinstance(row, pd.DataFrame):
        raise UserError(
            f"the published numbers contain {metric} of {row['title'].iloc[0]} on "
            f"{row['dataset'].iloc[0]} {len(row)} times; keep only one row."
        )
    seeds = f"n = {row['n']}" if not pd.isna(row["n"]) and row["n"] > 1 else ""
    if np.isnan(row["mean"]):  # a missing value is a dash, explained below
        return Cell("–", seeds)
    return replace(quoted_cell(row, notes), below=seeds)


def quoted_cell(row: pd.Series, notes: list[str], sign: str = "") -> Cell:
    """A published value as printed, with its sd and note."""
    text = sign + words.as_printed(row["mean"])
    if not np.isnan(row["sd"]):
        text += f" ± {words.as_printed(row['sd'])}"
    said = (note(notes, words.sentence(row["note"])),) if row["note"] else ()
    return Cell(text, notes=said)


def _caption(title: str, own: pd.DataFrame, facts: Facts | None) -> str:
    if facts is None:
        return f"{title}: published numbers only; this data set was not run in this experiment."
    seeds = sorted(set(own[own["kind"] != "control"]["n_planned"]))
    n = f"n = {int(seeds[0])}" if len(seeds) == 1 else f"n = {int(seeds[0])} to {int(seeds[-1])}"
    said = f" {words.sentence(facts.note)}" if facts.note else ""
    held_out = ""
    if own["split"].nunique() > 1:
        test, train = ("" if n is None else f"{n:,} " for n in (facts.n_test, facts.n_train))
        held_out = (
            f" Scores of the {test}test cells, which were not used for fitting, then of the "
            f"{train}training cells."
        )
    genes = len(facts.genes["names"]) if facts.genes else 0
    seen = f" (methods see {genes:,})" if 0 < genes < facts.n_features else ""
    return (
        f"{title}. {facts.n_cells:,} cells, {facts.n_features:,} features{seen}, "
        f"{facts.n_clusters} clusters asked for; {n} seeds.{held_out}{said}"
    )


def _left_out(lacking: set[tuple[str, str]], metrics: Mapping[str, Metric]) -> str:
    """Why metrics that a data set cannot have get no column."""
    told = [metrics[name] for name in dict.fromkeys(name for _, name in sorted(lacking))]
    return "".join(f" {metric.title} is not shown: {metric.lacking}" for metric in told)


def _legend(own: pd.DataFrame, quoted: pd.DataFrame, machine: str) -> dict[str, str]:
    """What signs mean, by the part they apply to: general, quality, cost, machine."""
    general, quality, cost = [], [], []
    if not own.empty:
        general.append(
            "Run here: mean ± sample standard deviation over the n seeds that finished, with the "
            "range (minimum–maximum); for a single run, its value."
        )
        if (own["deterministic"] & (own["n_planned"] == 1)).any():
            general.append("† deterministic: run only once.")
        general += marks_legend(own)
        if ((own["n"] == 0) & (own["status"] != comparison.NOT_SCORED)).any():
            general.append("DNF: no run finished; this is not a score of zero.")
        if own["rank"].notna().any():
            prior = ", methods that use prior knowledge" if own["uses_prior"].any() else ""
            quality.append(
                "Bold: best mean; underlined: second best; values equal to three decimals are "
                "ties. Only methods that finished with every seed are compared; controls, "
                f"oracles{prior} and published values are not."
            )
        cost.append(
            "Seconds (wall clock) and peak memory: mean over the finished runs or, if there are "
            "none, over the failed ones (>: stopped at the time limit)."
        )
        if (own["definition"] == comparison.OF_ALL_CELLS).any():
            cost.append(f"Clusters found and noise: {comparison.OF_ALL_CELLS}.")
    if not quoted.empty:
        where = comparison.joined(quoted["quoted_from"])
        quality.append(f"Published values are quoted from {where}, not run here; –: not reported.")
    said = {"general": general, "quality": quality, "cost": cost}
    if machine and not own.empty:
        said["machine"] = [f"Machine: {machine}."]
    return {about: " ".join(sentences) for about, sentences in said.items() if sentences}


def marks_legend(own: pd.DataFrame) -> list[str]:
    """What ‡, § and the choice of settings mean, as far as they appear in a table."""
    said = []
    if own["uses_prior"].any():
        said.append(PRIOR)
    if (own["kind"] == "oracle").any():
        said.append(
            "§ oracle: its settings or the number of clusters (K known) come from the true labels."
        )
    if (own["choice"] == "label-free").any():
        said.append(
            "Chosen without labels: the settings with the best silhouette. Rows of chosen settings "
            "are single runs; all settings tried are in screening.csv."
        )
    return said


def _definitions(quoted: pd.DataFrame, metric: str, notes: list[str]) -> tuple[int, ...]:
    texts = dict.fromkeys(quoted[quoted["metric"] == metric]["definition"])
    return tuple(note(notes, f"As published: {words.sentence(t)}") for t in texts if t)


def own_note(row: pd.Series, notes: list[str]) -> tuple[int, ...]:
    return (note(notes, words.sentence(row["reason"])),) if row["reason"] else ()
