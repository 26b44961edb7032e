"""An experiment at a glance: methods by metrics and data sets, glyphs sized by score."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd

from moesimvae.evaluation import comparison, ranking
from moesimvae.evaluation.ranking import WEIGHTINGS, WITHIN, Ranking
from moesimvae.report import IN_DETAIL, records, words
from moesimvae.report.tables.dataset import marks, marks_legend
from moesimvae.report.words import Comparison, counted, fixed, joined

MOST_CIRCLES = 24  # side by side; beyond, means over metrics and over data sets are shown
COSTS = {"wall_seconds": ("Seconds", words.seconds), "peak_memory_mb": ("Peak MB", words.whole)}
NOTHING = float("nan")


@dataclass(frozen=True)
class Glyph:
    """text: the number; size: from 0 to 1, NaN where there is none; tone: from 0, the
    column's worst, to 1, its best; hint: full details; order: sort key.
    """

    text: str
    size: float = NOTHING
    tone: float = NOTHING
    hint: str = ""
    order: float = NOTHING


@dataclass(frozen=True)
class Column:
    """group: the title above it and its neighbours; kind: "circle", "bar", "cost" or "text";
    glyphs: one per method; least_first: whether lower is better; hint: its full title.
    """

    group: str
    title: str
    kind: str
    glyphs: list[Glyph]
    least_first: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Line:
    """A method, its rank ("" for one that does not compete), and a link to its runs."""

    method: str
    title: str
    marks: str
    rank: str
    href: str


@dataclass(frozen=True)
class Glance:
    title: str
    headline: str
    lines: list[Line]
    columns: list[Column]
    legend: list[str]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Titles above columns, each with the number of columns it spans."""
        return [
            (group, len(list(mine))) for group, mine in groupby(self.columns, lambda c: c.group)
        ]


def glance(shown: Comparison) -> Glance:
    """The overview of an experiment's table, best methods first.

    Uses the first split of each data set. Up to MOST_CIRCLES numbers per method are shown singly;
    more are averaged by data set and by metric, above IN_DETAIL data sets by metric alone.
    """
    own = comparison.of_first_split(shown.own[shown.own["kind"] != "control"])
    found = ranking.rank(shown.table, shown.metrics)
    rows = {m: own[own["method"] == m] for m in found.scores.index}
    columns = [_mean(found), *_circles(shown, own, found), *_leads(found), *_costs(rows)]
    ranks = found.of_methods["rank"].dropna()
    lines = [
        Line(
            method,
            str(row["title"]),
            marks(row),
            str(ranks[method]) if method in ranks else "",
            records.href(row["runs"], "", row["dataset"] in shown.in_detail),
        )
        for method, row in ((m, mine.iloc[0]) for m, mine in rows.items())
    ]  # fmt: skip
    datasets = counted(own["dataset"].nunique(), "data set")
    title = f"{counted(len(lines), 'method')} on {datasets}"
    return Glance(title, _headline(found, lines), lines, columns, _legend(own, found, shown))


def _headline(found: Ranking, lines: Iterable[Line]) -> str:
    titles = {line.method: line.title for line in lines}
    first = [titles[m] for m in found.leaders]
    if not first:
        return "No method finished all of its runs, so none is ranked."
    mean = found.of_methods.loc[found.leaders[0]]
    said = f"Best mean: {joined(first)}, {fixed(mean['mean'])}"
    if len(first) > 1 or pd.isna(mean["leads"]):
        return f"{said}."
    return f"{said}; ranked first under {_percent(mean['leads'])} of all metric weightings."


def _percent(share: float) -> str:
    return "< 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def _mean(found: Ranking) -> Column:
    glyphs = [_scored(value, 1.0) for value in found.of_methods["mean"]]
    return Column("Overall", "Mean", "bar", glyphs)


def _leads(found: Ranking) -> list[Column]:
    """How the rank changes under other weights; nothing for a single metric."""
    if found.of_methods["leads"].isna().all():
        return []
    first, spread = [], []
    for row in found.of_methods.itertuples():
        if pd.isna(row.rank):
            first.append(Glyph("–"))
            spread.append(Glyph("–"))
            continue
        first.append(Glyph(_percent(row.leads), order=row.leads))
        text = f"{row.low}–{row.high}" if row.low != row.high else str(row.low)
        spread.append(Glyph(text, order=float(row.low) + float(row.high) / 1000))
    group = "Other weights"
    return [
        Column(group, "Leads", "text", first),
        Column(group, "Ranks", "text", spread, least_first=True),
    ]


def _circles(shown: Comparison, own: pd.DataFrame, found: Ranking) -> list[Column]:
    scores = found.scores
    names = list(dict.fromkeys(scores.columns.get_level_values("metric")))
    short = words.short_titles({metric: shown.metric(metric) for metric in names})
    splits = own.drop_duplicates("dataset").set_index("dataset")["split"]
    titles = {d: shown.dataset(str(d), split) for d, split in splits.items()}
    if scores.shape[1] <= MOST_CIRCLES:
        given = own.set_index(["dataset", "metric", "method"])
        return [
            Column(
                titles[dataset] if len(titles) > 1 else "Metrics",
                short[metric],
                "circle",
                [
                    _glyph(given.loc[(dataset, metric, method)], value, scores[dataset, metric])
                    for method, value in scores[dataset, metric].items()
                ],
                shown.metrics[metric].sign < 0,
                shown.metric(metric),
            )
            for dataset, metric in scores.columns
        ]
    by_metric = scores.T.groupby(level="metric", sort=False).mean().T[names]
    counted_in = scores.loc[:, scores.columns.isin(found.metrics, level="metric")]
    by_dataset = counted_in.T.groupby(level="dataset", sort=False).mean().T
    parts = [("Metrics, mean over data sets", by_metric.rename(columns=short))]
    if by_dataset.shape[1] <= IN_DETAIL:
        parts.append(("Data sets, mean over metrics", by_dataset.rename(columns=titles)))
    return [
        Column(
            group, str(title), "circle", [_scored(v, _tone(v, part[title])) for v in part[title]]
        )
        for group, part in parts
        for title in part
    ]


def _tone(value: float, column: pd.Series) -> float:
    low, high = column.min(), column.max()
    return 1.0 if low == high else (value - low) / (high - low)


def _scored(value: float, tone: float) -> Glyph:
    if np.isnan(value):
        return Glyph("–")
    return Glyph(fixed(value), value, tone, order=value)


def _glyph(row: pd.Series, score: float, column: pd.Series) -> Glyph:
    if np.isnan(row["mean"]):
        nothing = row["status"] in (comparison.NOT_RUN[0], comparison.NOT_SCORED)
        why = f"{row['title']}: {row['reason'] or comparison.failure(row['status'])}"
        return Glyph("–" if nothing else "DNF", hint=why)
    spread = words.mean_sd(row["mean"], row["sd"])
    seeds = words.of_planned(int(row["n"]), int(row["n_planned"]))
    hint = f"{row['title']}: {spread} (n = {seeds})"
    return Glyph(fixed(row["mean"]), score, _tone(score, column), hint, float(row["mean"]))


def _costs(rows: dict[str, pd.DataFrame]) -> list[Column]:
    """Means over data sets of the mean over seeds, on a logarithmic scale."""
    made = []
    for key, (title, written) in COSTS.items():
        values = [mine.drop_duplicates("dataset")[key].mean() for mine in rows.values()]
        logs = np.log([v if v > 0 else NOTHING for v in values])
        low, high = (np.nanmin(logs), np.nanmax(logs)) if np.isfinite(logs).any() else (0, 0)
        glyphs = []
        for value, log in zip(values, logs, strict=True):
            size = 0.06 + 0.94 * (log - low) / (high - low) if high > low else 1.0
            shown = Glyph(written(value), float(size), 1.0, order=value)
            glyphs.append(shown if shown.text else Glyph("–"))
        if any(not np.isnan(glyph.size) for glyph in glyphs):
            made.append(Column("Cost of a run", title, "cost", glyphs, least_first=True))
    return made


def _legend(own: pd.DataFrame, found: Ranking, shown: Comparison) -> list[str]:
    many = own["dataset"].nunique()
    over = f" over {many} data sets" if many > 1 else ""
    names = joined([shown.metric(m) for m in found.metrics])
    said = [
        f"Ranked by the mean of {names}{over}, equally weighted and scaled to 0–1 (negative "
        "values count as 0). Not ranked (–): methods with an unfinished run or a missing score "
        "(their means cover what is available), methods that use prior knowledge, and methods "
        "whose settings or number of clusters come from the true labels."
    ]
    if all(shown.metrics[m].label_free for m in found.metrics):
        said.append("These metrics use no true labels and do not measure agreement with them.")
    if found.of_methods["leads"].notna().any():
        said.append(
            f"Other weights: share of {WEIGHTINGS:,} random weightings of these metrics under "
            f"which a method ranks first, and its ranks under {100 * WITHIN:.0f} % of them."
        )
    said.append(
        "Circles: larger is better (0 to 1); a stronger colour is closer to the best of the "
        "column. Cost: mean per run, on logarithmic scales."
    )
    caveats = shown.caveats(own["dataset"]).strip()
    return [*said, *marks_legend(own), *([caveats] if caveats else [])]
