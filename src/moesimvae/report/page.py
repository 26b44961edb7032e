"""One self-contained HTML page for each experiment: it loads nothing, from nowhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from moesimvae import closure, files
from moesimvae.evaluation import comparison
from moesimvae.report import IN_DETAIL, records, words
from moesimvae.report.leaderboard import leaderboard
from moesimvae.report.render import render
from moesimvae.report.tables import letter, overview, screening, sections, signatures
from moesimvae.report.verdicts import MARKS, checked
from moesimvae.report.widgets import widgets

Block = dict[str, Any]

MOST_BYTES = 3_000_000  # of all pictures of a page together
CITE = (
    "Kopf A., Fortuin V., Somnath V. R., Claassen M. (2021) Mixture-of-Experts Variational "
    "Autoencoder for clustering and generating from similarity-based representations on single "
    "cell data. PLoS Comput. Biol. 17(6): e1009086.",
    "https://doi.org/10.1371/journal.pcbi.1009086",
)


def page(
    table: pd.DataFrame,
    runs: pd.DataFrame,
    statuses: Mapping[str, Block],
    experiment: Block,
    datasets: Mapping[str, Block],
    methods: dict[str, Block],
    metrics: dict[str, Block],
    figures: Sequence[str | Path],
    views: Sequence[Block] = (),
    remark: str = "",
    signature: pd.DataFrame | None = None,
    screened: pd.DataFrame | None = None,
    checks: pd.DataFrame | None = None,
) -> str:
    """The report of one experiment as HTML.

    table: from `comparison.compare`; runs: contract 4's table; statuses: path of each run,
    relative to the results folder → its status.json; datasets: name → dataset.json; figures:
    folders written by `style.write`; views: from `spaces.spaces`;
    remark: on the published numbers, as for `overview.overviews`; signature: from
    `signature.table`; screened: from `selection.screening`, whose variants stand in
    experiment["variants"]; checks: from `quality.check`. Of many data sets only the first
    IN_DETAIL have a section and their runs listed, of the others those that did not finish. Links
    to run folders and to the table's other formats are relative to results/<experiment>/.
    """
    machine = words.machine_of(s for s in statuses.values() if s.get("machine"))
    own = table[table["source"] == "run"]
    methods = methods | experiment.get("variants", {})
    shown = {run for paths in own["runs"] for run in paths.split()}
    mine = runs[runs["run"].isin(shown) | runs["method"].isin(experiment.get("variants", {}))]
    used = [m for m in methods if m in set(own["method"])]
    listed = records.records(table, runs, statuses, metrics, datasets)
    paths = [seed["path"] for part in listed for group in part["groups"] for seed in group["seeds"]]
    return render(
        "report.html.j2",
        **widgets(leaderboard([("", "", table, datasets)], metrics), views),
        experiment=experiment,
        summary=summary(table, metrics, datasets, screened),
        best=best_by_metric(table, metrics, datasets),
        overviews=overview.overviews(table, metrics, datasets, remark),
        parts=sections.sections(table, metrics, datasets, machine, remark),
        signature=() if signature is None else signatures.signature_sections(signature, datasets),
        screening=()
        if screened is None
        else screening.screening_tables(screened, methods, metrics, datasets),
        figures=pictures_of(figures, Path(figures[0]).parent),
        published=published_values(table, metrics),
        metrics={m: metrics[m] for m in dict.fromkeys(own["metric"])},
        datasets=datasets,
        methods={m: methods[m] for m in used},
        records=listed,
        unfinished=records.unfinished(mine, paths, methods, list(datasets)),
        n_runs=len(mine),
        environments=records.environments(statuses)[0],
        checks=None if checks is None else checked(experiment["name"], checks),
        marks=MARKS,
        cite=CITE,
        code_sha256=closure.code_sha256(closure.PACKAGE.rglob("*.py")),
        in_detail=IN_DETAIL,
        letter=letter,
        anchor=records.anchor,
        range_of=range_of,
        in_words=records.in_words,
    )


def summary(
    table: pd.DataFrame,
    metrics: dict[str, Block],
    datasets: Mapping[str, Block],
    screened: pd.DataFrame | None = None,
) -> list[str]:
    """What was run, what failed and what came out, in sentences made from the tables alone."""
    own = comparison.of_first_split(
        table[(table["source"] == "run") & (table["kind"] != "control")]
    )
    finished = comparison.own_settings(own[own["metric"] == comparison.FOUND[0]])
    names = [words.title_of(d, "all", datasets[d]) for d in dict.fromkeys(own["dataset"])]
    where = f" ({words.joined(names)})" if len(names) <= IN_DETAIL else ""
    done, planned = int(finished["n"].sum()), int(finished["n_planned"].sum())
    seeds = int(finished["n_planned"].max())
    said = [
        f"{words.counted(finished['method'].nunique(), 'method')} on "
        f"{words.counted(len(names), 'data set')}{where}, with up to "
        f"{words.counted(seeds, 'seed')} each; {done} of {planned} planned runs finished."
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
            _first_two(rows, metrics, words.title_of(dataset, split, datasets[dataset]))
            for (dataset, split), rows in contests
        ]
    else:
        said.append("Who came first on which data set stands in the table below.")
    if screened is not None:
        tried = screened.drop_duplicates(["dataset", "variant"])
        said.append(
            f"Screened: {words.counted(tried['variant'].nunique(), 'setting')} of "
            f"{words.counted(tried['method'].nunique(), 'method')}, one run on each data set; "
            f"{int((tried['status'] == 'ok').sum())} of {len(tried)} runs finished. The tables "
            "show what the true labels would choose (oracle) and what is chosen without them."
        )
    if own["uses_prior"].any() and len(contests) <= 6:
        said += [
            _with_prior(rows, metrics, words.title_of(dataset, split, datasets[dataset]))
            for (dataset, split), rows in contests
        ]
    if (own["kind"] == "oracle").any():
        titles = own[own["kind"] == "oracle"]["title"].str.removesuffix(", oracle")
        oracles = words.joined(list(dict.fromkeys(titles)))
        said.append(
            f"Oracle, {oracles}: settings chosen by looking at the true labels, so not ranked."
        )
    if (table["source"] == "published").any():
        said.append("Published values are quoted for orientation; none was measured here.")
    caveats = words.caveats(datasets.values())
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
    seeds = words.counted(row.n_planned, "seed")
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
    return f"{said}; their ranges do not overlap, though {words.counted(few, 'seed')} are few."


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
        rows.append((words.title_of(dataset, split, datasets[dataset]), cells))
    return {"metrics": [metrics[m]["title"] for m in ranked], "rows": rows, "prior": prior}


def published_values(table: pd.DataFrame, metrics: dict[str, Block]) -> list[Block]:
    """Every published value with whose it is and how it is defined."""
    quoted = table[(table["source"] == "published") & (table["status"] == "published")]
    return [
        {
            "dataset": row["dataset"],
            "method": row["title"],
            "metric": words.metric_title(row["metric"], metrics),
            "value": words.as_printed(row["mean"]),
            "citation": row["citation"],
            "quoted_from": row["quoted_from"],
            "note": row["note"],
        }
        for _, row in quoted.iterrows()
    ]


def range_of(metric: Block) -> str:
    low, high = metric["range"]
    return f"{low} to {'no limit' if high is None or high == float('inf') else high}"


def pictures_of(folders: Iterable[str | Path], where: str | Path) -> dict[str, list[Block]]:
    """Data set → its pictures, each with its bytes as a data URI and its size in pixels.

    They are as sharp as on disk where all of them together stay below MOST_BYTES, and smaller by
    one factor for all where they would not. `pdf` is relative to `where`, the folder of the page.
    """
    said = [(Path(f), p) for f in folders for p in files.read_json(Path(f) / "figures.json")]
    drawn = [_webp(folder / picture["file"]) for folder, picture in said]
    whole = sum(len(data) for data, _ in drawn)
    if whole > MOST_BYTES:
        drawn = [_webp(folder / p["file"], MOST_BYTES / whole) for folder, p in said]
    by_dataset: dict[str, list[Block]] = {}
    for (folder, picture), (data, size) in zip(said, drawn, strict=True):
        by_dataset.setdefault(picture["dataset"], []).append(
            {
                **picture,
                "uri": f"data:image/webp;base64,{base64.b64encode(data).decode()}",
                "width": size[0],
                "height": size[1],
                "reduced": whole > MOST_BYTES,
                "pdf": str((folder / picture["file"]).with_suffix(".pdf").relative_to(where)),
            }
        )
    return by_dataset


def _webp(path: Path, share: float = 1) -> tuple[bytes, tuple[int, int]]:
    """A picture's bytes, without loss or in some `share` of them, and its size on the page."""
    with Image.open(path) as image:
        whole, written = image.convert("RGB"), io.BytesIO()
    if share == 1:
        whole.save(written, "WEBP", lossless=True, quality=60, method=4)
    else:
        side = max(0.5, share**0.5)
        small = whole.resize([round(side * n) for n in whole.size], Image.Resampling.LANCZOS)
        small.save(written, "WEBP", quality=70, method=4)
    return written.getvalue(), whole.size
