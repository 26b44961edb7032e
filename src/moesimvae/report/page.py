"""One self-contained HTML page for each experiment: it loads nothing, from nowhere."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from moesimvae import files
from moesimvae.report import IN_DETAIL, overview, screening, sections, signatures, tables
from moesimvae.report.render import render

Block = dict[str, Any]

MANY_RUNS = 1000


def page(
    table: pd.DataFrame,
    runs: pd.DataFrame,
    statuses: Iterable[Block],
    experiment: Block,
    datasets: Mapping[str, Block],
    methods: dict[str, Block],
    metrics: dict[str, Block],
    figures: str | Path,
    remark: str = "",
    signature: pd.DataFrame | None = None,
    screened: pd.DataFrame | None = None,
) -> str:
    """The report of one experiment as HTML.

    table: from `tables.comparison`; runs: contract 4's table; statuses: the status.json of its
    runs; datasets: name → dataset.json; figures: folder written by `style.write`;
    remark: on the published numbers, as for `overview.overviews`; signature: from
    `signature.table`; screened: from `selection.screening`, whose variants stand in
    experiment["variants"]. Of many data sets only the first
    IN_DETAIL have a section, and of many runs only those that did not finish are listed. Links to
    run folders and to the table's other formats are relative to results/<experiment>/.
    """
    statuses = list(statuses)
    machine = sections.machine_of(statuses)
    own = table[table["source"] == "run"]
    methods = methods | experiment.get("variants", {})
    shown = {run for paths in own["runs"] for run in paths.split()}
    mine = runs[runs["run"].isin(shown) | runs["method"].isin(experiment.get("variants", {}))]
    used = [m for m in methods if m in set(own["method"])]
    listed = mine if len(mine) <= MANY_RUNS else mine[mine["status"] != "ok"]
    return render(
        "report.html.j2",
        experiment=experiment,
        summary=summary(table, metrics, datasets, screened),
        best=best_by_metric(table, metrics, datasets),
        overviews=overview.overviews(table, metrics, datasets, remark),
        parts=sections.sections(table, metrics, datasets, machine, remark),
        signature=() if signature is None else signatures.signature_sections(signature, datasets),
        screening=()
        if screened is None
        else screening.screening_tables(screened, methods, metrics, datasets),
        figures=_figures(Path(figures)),
        published=published_values(table, metrics),
        metrics={m: metrics[m] for m in dict.fromkeys(own["metric"])},
        datasets=datasets,
        methods={m: methods[m] for m in used},
        runs=_runs(listed, methods, datasets),
        n_runs=len(mine),
        in_detail=IN_DETAIL,
        provenance=provenance(statuses),
        letter=sections.letter,
        short=tables.SHORT,
        range_of=range_of,
    )


def summary(
    table: pd.DataFrame,
    metrics: dict[str, Block],
    datasets: Mapping[str, Block],
    screened: pd.DataFrame | None = None,
) -> list[str]:
    """What was run, what failed and what came out, in sentences made from the tables alone."""
    own = tables.of_first_split(table[(table["source"] == "run") & (table["kind"] != "control")])
    finished = tables.own_settings(own[own["metric"] == tables.FOUND[0]])
    names = [sections.title_of(d, "all", datasets[d]) for d in dict.fromkeys(own["dataset"])]
    where = f" ({_listed(names)})" if len(names) <= IN_DETAIL else ""
    done, planned = int(finished["n"].sum()), int(finished["n_planned"].sum())
    seeds = int(finished["n_planned"].max())
    said = [
        f"{_counted(finished['method'].nunique(), 'method')} on "
        f"{_counted(len(names), 'data set')}{where}, with up to "
        f"{_counted(seeds, 'seed')} each; {done} of {planned} planned runs finished."
    ]
    lost = finished[finished["n"] < finished["n_planned"]]
    if 0 < len(lost) <= 8:
        titles = {name: facts["title"] for name, facts in datasets.items()}
        said += [_lost(row, titles[row.dataset]) for row in lost.itertuples()]
    elif len(lost):
        said.append("Which did not finish, and why, stands below each table and under Runs.")
    contests = own[own["kind"] == "method"].groupby(["dataset", "split"], sort=False)
    if len(contests) <= 6:
        said += [
            _first_two(rows, metrics, sections.title_of(dataset, split, datasets[dataset]))
            for (dataset, split), rows in contests
        ]
    else:
        said.append("Who came first on which data set stands in the table below.")
    if screened is not None:
        tried = screened.drop_duplicates(["dataset", "variant"])
        said.append(
            f"Screened: {_counted(tried['variant'].nunique(), 'setting')} of "
            f"{_counted(tried['method'].nunique(), 'method')}, one run on each data set; "
            f"{int((tried['status'] == 'ok').sum())} of {len(tried)} runs finished. The tables "
            "show what the true labels would choose (oracle) and what is chosen without them."
        )
    if own["uses_prior"].any() and len(contests) <= 6:
        said += [
            _with_prior(rows, metrics, sections.title_of(dataset, split, datasets[dataset]))
            for (dataset, split), rows in contests
        ]
    if (own["kind"] == "oracle").any():
        titles = own[own["kind"] == "oracle"]["title"].str.removesuffix(", oracle")
        oracles = _listed(list(dict.fromkeys(titles)))
        said.append(
            f"Oracle, {oracles}: settings chosen by looking at the true labels, so not ranked."
        )
    if (table["source"] == "published").any():
        said.append("Published values are quoted for orientation; none was measured here.")
    caveats = sections.caveats(datasets.values())
    said += [caveats.strip()] if caveats else []
    if len(names) > IN_DETAIL:
        said.append(
            f"The first {IN_DETAIL} data sets have tables and pictures of their own here; all of "
            "them stand in by_dataset.csv and in the pictures across data sets."
        )
    return said


def _with_prior(rows: pd.DataFrame, metrics: dict[str, Block], title: str) -> str:
    """What prior knowledge is worth: the methods that use it, and the best that do not."""
    metric = rows["metric"].iloc[0]
    done = rows[(rows["metric"] == metric) & (rows["n"] > 0)].sort_values("mean", ascending=False)
    given, blind = done[done["uses_prior"]], done[~done["uses_prior"]]
    told = "; ".join(_result(row) for _, row in given.iterrows()) or "none finished"
    best = f"; best without: {_result(blind.iloc[0])}" if len(blind) else ""
    what = metrics[metric]["title"]
    return f"{what} on {title} with prior knowledge (‡, not ranked): {told}{best}."


def _lost(row: Any, where: str) -> str:
    seeds = _counted(row.n_planned, "seed")
    missing = row.n_planned - row.n
    return f"{row.title} did not finish on {where} with {missing} of {seeds}: {row.reason}."


def _first_two(rows: pd.DataFrame, metrics: dict[str, Block], title: str) -> str:
    metric = rows["metric"].iloc[0]
    what = metrics[metric]["title"]
    ranked = rows[(rows["metric"] == metric) & rows["rank"].notna()].sort_values(
        ["rank", "title"], kind="stable"
    )
    if len(ranked) < 2:
        return f"On {title} fewer than two methods can be compared by {what}."
    first, second = ranked.iloc[0], ranked.iloc[1]
    said = f"Best mean {what} on {title}: {_result(first)}, then {_result(second)}"
    if first["n"] == 1 or second["n"] == 1:
        return f"{said}; a single run says nothing about spread."
    if first["min"] <= second["max"] and second["min"] <= first["max"]:
        return f"{said}; their ranges overlap, so these seeds do not settle the order."
    few = int(min(first["n"], second["n"]))
    return f"{said}; their ranges do not overlap, though {_counted(few, 'seed')} are few."


def _result(row: pd.Series) -> str:
    spread = f", {row['min']:.3f}–{row['max']:.3f}" if row["n"] > 1 else ""
    return f"{row['title']} {row['mean']:.3f} (n = {row['n']}{spread})"


def best_by_metric(
    table: pd.DataFrame, metrics: dict[str, Block], datasets: Mapping[str, Block]
) -> Block:
    """Which method has the best mean of each ranked metric: {"metrics": […], "rows": […]}."""
    own = table[table["source"] == "run"]
    own = own[own["dataset"].isin(list(dict.fromkeys(own["dataset"]))[:IN_DETAIL])]
    prior = own["uses_prior"].any()
    ranked = [m for m in dict.fromkeys(own["metric"]) if metrics[m]["better"] != "none"]
    rows = []
    for (dataset, split), part in own.groupby(["dataset", "split"], sort=False):
        first = part[part["rank"] == 1]
        cells = []
        for metric in ranked:
            winners = first[first["metric"] == metric]
            names = " = ".join(winners["title"])
            cells.append((names, f"{winners['mean'].iloc[0]:.3f}") if names else ("", "–"))
        rows.append((sections.title_of(dataset, split, datasets[dataset]), cells))
    return {"metrics": [metrics[m]["title"] for m in ranked], "rows": rows, "prior": prior}


def published_values(table: pd.DataFrame, metrics: dict[str, Block]) -> list[Block]:
    """Every published value with whose it is and how it is defined."""
    quoted = table[(table["source"] == "published") & (table["status"] == "published")]
    return [
        {
            "dataset": row["dataset"],
            "method": row["title"],
            "metric": sections.metric_title(row["metric"], metrics),
            "value": sections.as_printed(row["mean"]),
            "citation": row["citation"],
            "quoted_from": row["quoted_from"],
            "note": row["note"],
        }
        for _, row in quoted.iterrows()
    ]


def provenance(statuses: list[Block]) -> Block:
    """What made the runs: each different value with the number of runs it holds for."""
    packages: dict[str, dict[str, None]] = {}
    for status in statuses:
        for name, version in status["packages"].items():
            packages.setdefault(name, {})[version] = None
    started = sorted(status["started"] for status in statuses)
    return {
        "code": _tally(status["code_sha256"] for status in statuses),
        "version": _tally(status["version"] for status in statuses),
        "machine": _tally(sections.machine_of([status]) for status in statuses),
        "device": _tally(status["device"] for status in statuses),
        "started": (started[0], started[-1]) if started else None,
        "packages": {name: ", ".join(found) for name, found in sorted(packages.items())},
    }


def range_of(metric: Block) -> str:
    low, high = metric["range"]
    return f"{low} to {'no limit' if high is None or high == float('inf') else high}"


def _tally(values: Iterable[str]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return list(counts.items())


def _runs(
    runs: pd.DataFrame, methods: dict[str, Block], datasets: Mapping[str, Block]
) -> list[Block]:
    """The runs, failed ones first in each data set, with what the page prints of them."""
    order = {name: i for i, name in enumerate(datasets)}
    rows = runs.assign(
        where=runs["dataset"].map(order),
        ok=runs["status"] == "ok",
        title=[methods[m]["title"] for m in runs["method"]],
    ).sort_values(["where", "ok", "title", "seed"], kind="stable")
    return [
        {
            **row,
            "reason": row["reason"] if isinstance(row["reason"], str) else "",
            "seconds": sections.seconds(row["wall_seconds"]),
            "memory": "" if pd.isna(row["peak_memory_mb"]) else f"{row['peak_memory_mb']:,.0f}",
        }
        for row in rows.to_dict("records")
    ]


def _figures(folder: Path) -> dict[str, list[Block]]:
    """Data set → its pictures, each with its bytes as a data URI and its size in pixels."""
    by_dataset: dict[str, list[Block]] = {}
    for picture in files.read_json(folder / "figures.json"):
        png = (folder / picture["file"]).read_bytes()
        width, height = struct.unpack(">II", png[16:24])  # the PNG header
        by_dataset.setdefault(picture["dataset"], []).append(
            {
                **picture,
                "uri": f"data:image/png;base64,{base64.b64encode(png).decode()}",
                "width": width,
                "height": height,
                "pdf": f"{folder.name}/{Path(picture['file']).with_suffix('.pdf')}",
            }
        )
    return by_dataset


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
