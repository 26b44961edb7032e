"""The comparison as people read it: one table for each data set, with caption and footnotes.

The words and the rounding are decided here, once; `formats` writes them as Markdown, LaTeX, HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from moesimvae.errors import UserError
from moesimvae.evaluation import comparison
from moesimvae.report import IN_DETAIL

Block = dict[str, Any]

KINDS = (
    ("method", "Run here"),
    ("oracle", "Run here, settings chosen with the true labels (oracle)"),
    ("published", "Published, not run here"),
    ("control", "Controls"),
)


PRIOR = "‡ uses prior knowledge about the cells, which the other methods are not given."


@dataclass(frozen=True)
class Cell:
    """text: what stands in it; below: small, below that; rank: 1 best, 2 second, 0 none of them;
    notes: numbers of its footnotes; run: path of a run that it comes from.
    """

    text: str = ""
    below: str = ""
    rank: int = 0
    notes: tuple[int, ...] = ()
    run: str = ""


@dataclass(frozen=True)
class Row:
    """One method; `dnf` stands across all score columns where no run finished."""

    title: str
    marks: str
    n: Cell
    published: tuple[Cell, ...]
    scores: tuple[Cell, ...]
    seconds: str
    memory: str
    device: str
    dnf: Cell | None = None


@dataclass
class Section:
    """One table: a data set, its rows in groups, and what must be said below it.

    `spans` are titles over as many columns of `scores` each, the last of which are of
    comparison.FOUND.
    """

    dataset: str
    key: str
    heading: str
    caption: str
    published: list[Cell]
    spans: list[tuple[str, int]]
    scores: list[Cell]
    groups: list[tuple[str, list[Row]]]
    legend: dict[str, str]
    notes: list[str] = field(default_factory=list)

    @property
    def width(self) -> int:
        cost = 3 if self.scores else 0
        return 2 + len(self.published) + len(self.scores) + cost


def sections(
    table: pd.DataFrame,
    metrics: dict[str, Block],
    datasets: Mapping[str, Block],
    machine: str = "",
    remark: str = "",
) -> list[Section]:
    """The comparison as one table for each data set, ready to be written down.

    Of cells that were held out, the test cells' columns stand first, the training cells' beside
    them.

    datasets: name → content of its dataset.json; data sets that only have published numbers need
    none. machine: what the runs ran on, from `machine_of`. remark: what must be said of the
    published numbers; it stands here where a single data set was run, else below the overview.
    Of many data sets only the first IN_DETAIL have a table. Published numbers are of real, whole
    data sets: where this one is simulated or a subset, they stand in a table of their own, never
    in a column beside it.
    """
    made = []
    shown = list(dict.fromkeys(table["dataset"][table["source"] == "run"]))[:IN_DETAIL]
    shown += list(dict.fromkeys(table["dataset"][table["source"] == "published"]))
    for dataset, rows in table[table["dataset"].isin(shown)].groupby("dataset", sort=False):
        facts, quoted = datasets.get(dataset), rows["source"] == "published"
        if facts and (facts["simulated"] or facts["partial"]) and quoted.any():
            apart = _section(dataset, rows[quoted], metrics, {}, machine)
            apart.key += "-published"
            made += [_section(dataset, rows[~quoted], metrics, datasets, machine), apart]
        else:
            made.append(_section(dataset, rows, metrics, datasets, machine))
    if remark and made and table["dataset"][table["source"] == "run"].nunique() < 2:
        said = [made[0].legend.get("quality", ""), f"Note: {_sentence(remark)}"]
        made[0].legend["quality"] = " ".join(filter(None, said))
    return made


def _section(
    dataset: str,
    table: pd.DataFrame,
    metrics: dict[str, Block],
    datasets: Mapping[str, Block],
    machine: str,
) -> Section:
    notes: list[str] = []
    own, quoted = table[table["source"] == "run"], table[table["source"] == "published"]
    quoted_metrics = list(dict.fromkeys(quoted["metric"]))
    own_metrics = list(dict.fromkeys(own["metric"]))
    columns = _columns(own)
    by_method = {m: rows.set_index("metric") for m, rows in quoted.groupby("method", sort=False)}
    definitions = {
        m: _definition_note(notes, quoted[quoted["metric"] == m]["definition"])
        for m in quoted_metrics
    }

    def row(method: str, rows: pd.DataFrame | None) -> Row:
        published = by_method.get(method)
        cells = tuple(_published_cell(published, m, notes) for m in quoted_metrics)
        if rows is None:
            return Row(published["title"].iloc[0], "", Cell(), cells, (), "", "", "")
        return _run_row(rows, columns, cells, notes)

    groups = []
    for kind, heading in KINDS:
        if kind == "published":
            only = [m for m in by_method if m not in set(own["method"])]
            members = [row(m, None) for m in only]
        else:
            mine = own[own["kind"] == kind]
            first = mine[mine["split"] == columns[0][0]] if columns else mine
            ordered = best_first(first, own_metrics[0], metrics) if len(mine) else []
            members = [row(m, mine[mine["method"] == m]) for m in ordered]
        if members:
            groups.append((heading, members))

    title = title_of(dataset, "all", datasets.get(dataset))
    return Section(
        dataset,
        re.sub(r"[^A-Za-z0-9]+", "-", dataset),
        title,
        _caption(title, own, datasets.get(dataset)),
        [Cell(metric_title(m, metrics), notes=definitions[m]) for m in quoted_metrics],
        _spans(own, columns),
        [Cell(metric_title(m, metrics)) for _, m in columns],
        groups,
        _legend(own, quoted, machine),
        notes,
    )


def _columns(own: pd.DataFrame) -> list[tuple[str, str]]:
    """(split, metric) of every column: each split's scores, then what a run found."""
    splits = list(dict.fromkeys(own["split"]))
    names = [m for m in dict.fromkeys(own["metric"]) if m not in comparison.FOUND]
    scores = [(split, metric) for split in splits for metric in names]
    return scores + [(split, metric) for split in splits[:1] for metric in comparison.FOUND]


def _spans(own: pd.DataFrame, columns: list[tuple[str, str]]) -> list[tuple[str, int]]:
    splits = list(dict.fromkeys(own["split"]))
    if len(splits) < 2:
        return [("Run here", len(columns))]
    each = (len(columns) - len(comparison.FOUND)) // len(splits)
    of_all = (own["definition"] == comparison.OF_ALL_CELLS).any()
    found = "all cells" if of_all else f"{splits[0]} cells"
    spans = [(f"{_named(split)} cells", each) for split in splits]
    return [(f"Run here: {spans[0][0]}", each), *spans[1:], (found, len(comparison.FOUND))]


def cells_of(split: str) -> str:
    """Test cells, Training cells, All cells."""
    return f"{_named(split).capitalize()} cells"


def _named(split: str) -> str:
    return "training" if split == "train" else split


def best_first(table: pd.DataFrame, metric: str, metrics: dict[str, Block]) -> list[str]:
    """Methods of one data set by their mean of `metric`, best first, those without one last."""
    rows = table[table["metric"] == metric]
    sign = 1 if metrics[metric]["better"] == "lower" else -1
    order = rows.assign(key=sign * rows["mean"]).sort_values(
        ["key", "title"], na_position="last", kind="stable"
    )
    return list(order["method"])


def _run_row(
    rows: pd.DataFrame,
    columns: list[tuple[str, str]],
    published: tuple[Cell, ...],
    notes: list[str],
) -> Row:
    by_column = rows.set_index(["split", "metric"])
    first = rows.iloc[0]
    # The clusters a run found are known whenever it finished, whatever a metric says.
    found = by_column.loc[(columns[0][0], comparison.FOUND[0])]
    finished, planned, failed = int(found["n"]), int(first["n_planned"]), found["reason"]
    why = (note(notes, failed),) if failed else ()
    dnf = None
    if finished == 0:
        dnf = Cell(
            comparison.failure(first["status"]), notes=why, run=first["runs"].partition(" ")[0]
        )
    spent = seconds(first["wall_seconds"])
    return Row(
        f"{first['title']}: {first['settings']}" if first["settings"] else first["title"],
        marks(first),
        Cell(str(planned) if finished == planned else f"{finished} of {planned}",
             notes=() if dnf else why),
        published,
        tuple(score_cell(by_column.loc[c], c[1], finished, notes) for c in columns),
        f"> {spent}" if first["status"] == "timeout" else spent,
        "" if np.isnan(first["peak_memory_mb"]) else f"{first['peak_memory_mb']:,.0f}",
        first["device"],
        dnf,
    )  # fmt: skip


def marks(row: pd.Series) -> str:
    """The signs behind a method's name that the legend explains."""
    signs = (
        ("†", row["deterministic"] and row["n_planned"] == 1),
        ("‡", row["uses_prior"]),
        ("§", row["kind"] == "oracle"),
    )
    return "".join(sign for sign, applies in signs if applies)


def score_cell(
    row: pd.Series, metric: str, finished: int, notes: list[str], tell: bool = False
) -> Cell:
    """A row of the comparison as a cell: mean ± sd over the range.

    tell: put the reason of runs that did not finish at this cell, for want of another place.
    """
    run = row["runs"].partition(" ")[0]
    if row["n"] == 0:
        if finished == 0:
            return Cell("DNF", notes=_own_note(row, notes) if tell else (), run=run)
        return Cell("–", notes=_own_note(row, notes), run=run)
    count, varies = metric == "clusters_found", row["n"] > 1 and row["min"] < row["max"]
    number = _count if count else fixed
    text, below = number(row["mean"]), ""
    if varies:
        digits = 1 if count else comparison.DIGITS
        mean = round(row["mean"], digits) + 0.0  # no "-0.000"
        text = f"{mean:,.{digits}f} ± {row['sd']:,.{digits}f}"
        below = f"{number(row['min'])}–{number(row['max'])}"
    elif row["n"] > 1 and metric not in comparison.FOUND:
        text += " ± 0"
    rank = 0 if pd.isna(row["rank"]) else int(row["rank"])
    lacking = row["n"] < (row["n_planned"] if tell else finished)
    return Cell(text, below, rank, _own_note(row, notes) if lacking else (), run)


def _published_cell(rows: pd.DataFrame | None, metric: str, notes: list[str]) -> Cell:
    if rows is None or metric not in rows.index:
        return Cell()
    row = rows.loc[metric]
    if isinstance(row, pd.DataFrame):
        raise UserError(
            f"the published numbers hold {metric} of {row['title'].iloc[0]} on "
            f"{row['dataset'].iloc[0]} {len(row)} times; keep one row of each."
        )
    text = "–" if np.isnan(row["mean"]) else as_printed(row["mean"])
    if not np.isnan(row["sd"]):
        text += f" ± {as_printed(row['sd'])}"
    seeds = f"n = {row['n']}" if not pd.isna(row["n"]) and row["n"] > 1 else ""
    said = row["note"] and not np.isnan(row["mean"])  # a missing value is a dash, said below
    return Cell(text, seeds, notes=(note(notes, row["note"]),) if said else ())


def title_of(dataset: str, split: str, facts: Block | None) -> str:
    title = str(facts["title"]) if facts else dataset
    said = title.lower()
    what = []
    if facts and facts["simulated"] and not _says(said, "simulated", "synthetic"):
        what.append("simulated")
    if facts and facts["partial"] and not _says(said, "subset", "sample"):
        what.append("subset")
    if split != "all":
        what.append(f"{_named(split)} cells")
    return f"{title} ({', '.join(what)})" if what else title


def _says(title: str, *words: str) -> bool:
    return any(word in title for word in words)


def caveats(datasets: Iterable[Block]) -> str:
    """What a caption must say of data sets that are simulated or not whole; "" for others.

    datasets: their dataset.json.
    """
    facts = list(datasets)
    made_up = [f for f in facts if f["simulated"]]
    mixed = [f for f in made_up if "semi-synthetic" in f["title"].lower()]
    said = ""
    for word, means, some in (
        ("Simulated", "no evidence about real cells", [f for f in made_up if f not in mixed]),
        ("Semi-synthetic", "no evidence about the real data set", mixed),
        ("Subsets", "not comparable with numbers of the whole data sets",
         [f for f in facts if f["partial"]]),
    ):  # fmt: skip
        if some:
            titles = [f["title"] for f in some]
            listed = ", ".join(titles) if len(some) <= IN_DETAIL else f"{len(some)} data sets"
            said += f" {word}, so {means}: {listed}."
    return said


def _caption(title: str, own: pd.DataFrame, facts: Block | None) -> str:
    if facts is None:
        return f"{title}: published numbers only; this data set was not run in this experiment."
    seeds = sorted(set(own[own["kind"] != "control"]["n_planned"]))
    n = f"n = {int(seeds[0])}" if len(seeds) == 1 else f"n = {int(seeds[0])} to {int(seeds[-1])}"
    note = f" {_sentence(facts['note'])}" if facts["note"] else ""
    held_out = ""
    if own["split"].nunique() > 1:
        test, train = (f"{facts[k]:,} " if k in facts else "" for k in ("n_test", "n_train"))
        held_out = (
            f" Scores of the {test}test cells, to which nothing was fitted, then of the "
            f"{train}training cells."
        )
    return (
        f"{title}. {facts['n_cells']:,} cells, {facts['n_features']:,} features, "
        f"{facts['n_clusters']} clusters asked for; {n} seeds.{held_out}{note}"
    )


def _legend(own: pd.DataFrame, quoted: pd.DataFrame, machine: str) -> dict[str, str]:
    """What signs mean, by what they stand at: general, quality, cost, machine."""
    general, quality, cost = [], [], []
    if not own.empty:
        general.append(
            "Run here: mean ± sample standard deviation over the n seeds that finished, with the "
            "range (minimum–maximum); where one run stands alone, its value."
        )
        if (own["deterministic"] & (own["n_planned"] == 1)).any():
            general.append("† deterministic: one run is all there is.")
        general += marks_legend(own)
        if (own["n"] == 0).any():
            general.append("DNF: no run finished; this is not a score of zero.")
        if own["rank"].notna().any():
            quality.append(
                "Bold: best mean; underlined: second best; equal to three digits is a tie. "
                "Only methods of which every seed finished are compared, without controls, "
                f"oracles{_with_prior(own)} and published values."
            )
        cost.append(
            "Seconds (wall clock) and peak memory: mean over the finished runs, or what the "
            "failed ones had used (> : stopped at the limit)."
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
    """What ‡, § and the choice of settings mean, as far as they stand in a table."""
    said = []
    if own["uses_prior"].any():
        said.append(PRIOR)
    if (own["kind"] == "oracle").any():
        said.append("§ oracle: its settings were chosen by looking at the true labels.")
    if (own["choice"] == "label-free").any():
        said.append(
            "Chosen without labels: the settings with the best silhouette. Rows of chosen settings "
            "are one run each; every setting tried stands in screening.csv."
        )
    return said


def _with_prior(own: pd.DataFrame) -> str:
    return ", methods that use prior knowledge" if own["uses_prior"].any() else ""


def machine_of(statuses: Iterable[Block]) -> str:
    """What runs ran on, in words, from their status.json; each different machine once."""
    return "; ".join(
        dict.fromkeys(
            f"{m['cpu']}, {m['cores']} cores, {m['memory_mb'] / 1000:.0f} GB, {m['platform']}, "
            f"Python {m['python']}"
            for m in (status["machine"] for status in statuses)
        )
    )


def metric_title(name: str, metrics: dict[str, Block]) -> str:
    """The registry's title; a published number's own metric has but its name."""
    if name in metrics:
        return metrics[name]["title"]
    bounded = name.removesuffix("_lower_bound")
    if bounded != name and bounded in metrics:
        return f"{metrics[bounded]['title']}, lower bound"
    return " ".join({"nmi": "NMI", "mmd": "MMD", "f": "F"}.get(w, w) for w in name.split("_"))


def _definition_note(notes: list[str], definitions: pd.Series) -> tuple[int, ...]:
    texts = [text for text in dict.fromkeys(definitions) if text]
    return tuple(note(notes, f"As published: {_sentence(text)}") for text in texts)


def _own_note(row: pd.Series, notes: list[str]) -> tuple[int, ...]:
    return (note(notes, row["reason"]),) if row["reason"] else ()


def note(notes: list[str], text: str) -> int:
    """The number of a footnote, counted from 0; the same text gets the same number."""
    text = _sentence(text)
    if text not in notes:
        notes.append(text)
    return notes.index(text)


def letter(number: int) -> str:
    """Name of footnote 0, 1, …: a … z, aa, ab, …"""
    prefix = letter(number // 26 - 1) if number >= 26 else ""
    return prefix + chr(ord("a") + number % 26)


def fixed(value: float, digits: int = comparison.DIGITS) -> str:
    # rounding first, then + 0.0: no "-0.000"
    return "0" if value == 0 else f"{round(value, digits) + 0.0:.{digits}f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def as_printed(value: float) -> str:
    """A quoted number: two digits at least, as papers print them, and never more than it had."""
    text = f"{value:.4f}".rstrip("0")
    return text if len(text.split(".")[1]) >= 2 else f"{value:.2f}"


def seconds(value: float) -> str:
    if np.isnan(value):
        return ""
    if 0 < value < 0.005:
        return "< 0.01"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _sentence(text: str) -> str:
    text = str(text).strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
