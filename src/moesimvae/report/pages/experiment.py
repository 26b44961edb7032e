"""One self-contained HTML page per experiment, which loads nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from moesimvae import closure, paragraph
from moesimvae.evaluation import provenance
from moesimvae.nouns import Method, Metric, Plan, Status
from moesimvae.report import IN_DETAIL, words
from moesimvae.report.figures.sureness import PREFIX
from moesimvae.report.glance import glance
from moesimvae.report.pages.leaderboard import leaderboard
from moesimvae.report.pages.pictures import pictures_of
from moesimvae.report.pages.summary import summary
from moesimvae.report.pages.widgets import widgets
from moesimvae.report.tables import (
    dataset,
    facts,
    overview,
    reference,
    runs,
    screening,
    signatures,
    sureness,
)
from moesimvae.report.tables.html import render
from moesimvae.report.tables.verdicts import MARKS, checked
from moesimvae.report.words import Comparison

OVERVIEW = "overview.png"  # printable version of the page's first part
CITE = (paragraph.MODEL, "https://doi.org/10.1371/journal.pcbi.1009086")


def page(
    shown: Comparison,
    all_runs: pd.DataFrame,
    statuses: Mapping[str, Status],
    experiment: Plan,
    methods: Mapping[str, Method],
    figures: Sequence[str | Path],
    views: Sequence[Mapping[str, Any]] = (),
    remark: str = "",
    signature: pd.DataFrame | None = None,
    screened: pd.DataFrame | None = None,
    checks: pd.DataFrame | None = None,
    kept: tuple[str, pd.DataFrame, Mapping[tuple[str, str], float]] | None = None,
) -> str:
    """The report of one experiment as HTML.

    all_runs: contract 4's table; statuses: by the path of each run in the results folder; figures:
    folders written by `style.write`; views: from `viewer.viewed`; remark: on the published
    numbers, as for `overview.overviews`; signature: from `signature.table`; screened: from
    `selection.screening`; checks: from `quality.check`; kept: the folder of docs/ with numbers of
    this experiment, then, from `reference`, the comparison `against` them and the labels'
    `agreement`. Only the first IN_DETAIL data sets have a section and all runs listed; for the
    others, only unfinished runs are. Links to run folders and to the table's other formats are
    relative to results/<experiment>/.
    """
    machine = words.machine_of(s.machine for s in statuses.values() if s.machine)
    own, variants = shown.own, experiment.variants
    methods = {**methods, **variants}
    paths = {run for listed in own["runs"] for run in listed.split()}
    mine = all_runs[all_runs["run"].isin(paths) | all_runs["method"].isin(variants)]
    used = [m for m in methods if m in set(own["method"])]
    listed = runs.run_tables(shown, all_runs, statuses)
    mine_only = {run: statuses[run] for run in mine["run"] if run in statuses}
    sure = sureness.sureness(mine_only, {d: shown.datasets[d] for d in shown.in_detail}, methods)
    no_structure = [
        f"{part.heading}: {sureness.UNSTRUCTURED}"
        for part in sure.values()
        if sureness.UNSTRUCTURED in part.sentences
    ]
    drawn = pictures_of(figures, Path(figures[0]).parent)
    return render(
        "report.html.j2",
        **widgets(leaderboard([("", "", shown)], shown.metrics), views),
        experiment=experiment,
        summary=[*summary(shown, screened), *no_structure],
        glance=glance(shown),
        overviews=overview.overviews(shown, remark),
        parts=dataset.sections(shown, machine, remark),
        signature=()
        if signature is None
        else signatures.signature_sections(signature, shown.datasets),
        screening=() if screened is None else screening.screening_tables(screened, methods, shown),
        figures={
            dataset: [p for p in some if not p["file"].startswith((OVERVIEW, PREFIX))]
            for dataset, some in drawn.items()
        },
        sure=[
            (part, [p for p in drawn.get(name, ()) if p["file"].startswith(PREFIX)])
            for name, part in sure.items()
        ],
        published=facts.published_table(shown),
        metrics={m: shown.metrics[m] for m in dict.fromkeys(own["metric"])},
        datasets=shown.datasets,
        methods=facts.methods_table({m: methods[m] for m in used}),
        records=listed,
        unfinished=runs.unfinished(mine, listed, methods, list(shown.datasets)),
        n_runs=len(mine),
        environments=provenance.environments(statuses)[0],
        machine_of=words.machine_of,
        checks=None if checks is None else checked(experiment.name, checks),
        marks=MARKS,
        here=None
        if kept is None
        else (reference.headline(kept[1], kept[0]), reference.by_method(*kept[1:], shown)),
        cite=CITE,
        code_sha256=closure.code_sha256(closure.PACKAGE.rglob("*.py")),
        in_detail=IN_DETAIL,
        range_of=range_of,
    )


def range_of(metric: Metric) -> str:
    low, high = metric.range
    return f"{low} to {'no limit' if high is None or high == float('inf') else high}"
