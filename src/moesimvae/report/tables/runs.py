"""The runs behind each number, seed by seed, with their provenance."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pandas as pd

from moesimvae.evaluation import comparison, provenance
from moesimvae.nouns import Method, Run, Status
from moesimvae.report import records, words
from moesimvae.report.tables import Cell, Row, Table, plain
from moesimvae.report.words import Comparison

MEASURED = {"peak_gpu_memory_mb": "GPU MB", "energy_j": "Joule"}  # where any run reports it


@dataclass
class Group:
    """All runs of one method on one data set with their provenance; hashes with run counts."""

    id: str
    title: str
    paths: list[str]
    finished: int
    runs: Table
    params: str
    data: list[tuple[str, int]]
    code: list[tuple[str, int]]
    command: str


@dataclass
class OfDataSet:
    title: str
    groups: list[Group]


def run_tables(
    shown: Comparison, runs: pd.DataFrame, statuses: Mapping[str, Status]
) -> list[OfDataSet]:
    """For each of the first IN_DETAIL data sets, each method with its runs.

    runs: contract 4's; statuses: by run path.
    """
    machines = provenance.environments(statuses)[1]
    by_run = runs.set_index("run")
    made = []
    for dataset in shown.in_detail:
        mine = shown.own[shown.own["dataset"] == dataset]
        columns = [key for key, _ in mine.groupby(["split", "metric"], sort=False)]
        several = mine["split"].nunique() > 1
        scores = [
            shown.metric(m) + (f", {words.cells_of(s).lower()}" * several) for s, m in columns
        ]
        title = shown.dataset(dataset)
        groups: dict[str, Group] = {}
        by_runs = list(mine[mine["runs"] != ""].groupby("runs", sort=False))
        every = by_run.loc[[path for paths, _ in by_runs for path in str(paths).split()]]
        measured = [m for m in MEASURED if m in every and every[m].notna().any()]
        heads = ["Seed, folder", "Status", *scores, "Seconds", "CPU seconds", "Peak MB",
                 *(MEASURED[m] for m in measured), "Device", "Machine", "Record"]  # fmt: skip
        for text, rows in by_runs:  # rows with the same runs share them
            paths = str(text).split()
            name = ", ".join(dict.fromkeys(rows["title"]))
            values = {(r["split"], r["metric"]): comparison.values(r) for _, r in rows.iterrows()}
            seeds = [
                _row(path, by_run.loc[path], columns, values, measured, machines.get(path))
                for path in paths
            ]
            of_group = [statuses[path] for path in paths]
            first = Run.of(paths[0])
            group = Group(
                records.anchor(paths[0]),
                name,
                paths,
                int((by_run.loc[paths, "status"] == "ok").sum()),
                plain(f"runs of {name} on {title}", heads, seeds, range(2, len(heads) - 3)),
                parameters([status.params for status in of_group]),
                provenance.tally(s.features_sha256 for s in of_group if s.features_sha256),
                provenance.tally(s.code_sha256 for s in of_group if s.code_sha256),
                "snakemake --cores 1 -- results/"
                + (Run.controls(dataset) if first.control else first.path),
            )
            groups.setdefault(group.id, group)
        made.append(OfDataSet(title, list(groups.values())))
    return made


def _row(
    path: str,
    run: pd.Series,
    columns: Sequence[tuple[str, str]],
    values: Mapping[tuple[str, str], Mapping[int, float]],
    measured: Iterable[str],
    machine: int | None,
) -> Row:
    seed, folder = str(run["seed"]), f"../{quote(path)}"
    scores = [_score(values.get(key, {}).get(int(run["seed"])), key[1]) for key in columns]
    spent = [
        *(words.seconds(run[seconds]) for seconds in ("wall_seconds", "cpu_seconds")),
        *(words.whole(run[amount]) for amount in ("peak_memory_mb", *measured)),
    ]
    failed = run["status"] != "ok"
    cells = (
        Cell(_failure(run), kind="text") if failed else Cell("ok"),
        *map(Cell, (*scores, *spent, run["device"] if isinstance(run["device"], str) else "")),
        Cell(str(machine), href=f"#machine-{machine}") if machine else Cell(),
        Cell("status", href=f"{folder}/status.json", hidden=f" of seed {seed}"),
    )
    head = Cell(seed, href=f"{folder}/", hidden=f", folder of {path}")
    return Row(seed, cells, kind="failed" if failed else "", head=head)


def _failure(run: pd.Series) -> str:
    reason = run["reason"] if isinstance(run["reason"], str) else ""
    return f"{comparison.failure(run['status'])}. {reason}"


def _score(value: float | None, metric: str) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if metric == comparison.FOUND[0] else words.fixed(value)


def unfinished(
    runs: pd.DataFrame,
    listed: Iterable[OfDataSet],
    methods: Mapping[str, Method],
    datasets: Sequence[str],
) -> Table:
    """Unfinished runs that are in no method's list: of settings that were tried but
    not chosen, and of data sets beyond the first IN_DETAIL.
    """
    shown = {path for part in listed for group in part.groups for path in group.paths}
    lost = runs[(runs["status"] != "ok") & ~runs["run"].isin(shown)]
    lost = lost.assign(place=lost["dataset"].map({name: i for i, name in enumerate(datasets)}))
    lost = lost.sort_values(["place", "method", "seed"], kind="stable")
    rows = []
    for run in lost.to_dict("records"):
        status, seconds = comparison.failure(run["status"]), words.seconds(run["wall_seconds"])
        texts = (run["dataset"], str(run["seed"]), status, seconds,
                 words.whole(run["peak_memory_mb"]))  # fmt: skip
        reason = Cell(run["reason"] if isinstance(run["reason"], str) else "", kind="text")
        title = methods[run["method"]].title
        head = Cell(title, href=f"../{quote(run['run'])}/status.json")
        rows.append(Row(title, (*map(Cell, texts), reason), kind="failed", head=head))
    heads = ("Run", "Data set", "Seed", "Status", "Seconds", "Peak MB", "Reason")
    return plain("further runs that did not finish", heads, rows, (2, 4, 5))


def parameters(given: list[dict[str, Any]]) -> str:
    """The parameters of runs in words: those equal in all of them, then the others."""
    same, others = provenance.parameters(given)
    differ = [
        f"{n} = {', '.join(f'{v} ({times} of {len(given)} runs)' for v, times in counts)}"
        for n, counts in others.items()
    ]
    return "; ".join([records.in_words(same), *differ])
