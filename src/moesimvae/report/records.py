"""What made each number: its runs, seed by seed, with parameters, hashes, packages and machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from moesimvae.evaluation import comparison
from moesimvae.report import IN_DETAIL, words

Block = dict[str, Any]


def anchor(run: str) -> str:
    """Name, on the page, of the list of runs that `run` (runs/<data set>/<method>/seed0) is in."""
    return "run-" + re.sub(r"[^A-Za-z0-9_]+", "-", run.removeprefix("runs/").rpartition("/")[0])


def href(runs: str, where: str, detailed: bool) -> str:
    """Where a number's runs are told: their list on the page, or the record of the first of them.

    runs: paths relative to the results folder, parted by blanks; "" for a published number.
    where: path of the experiment's page from the index, "" on that page.
    """
    if not runs:
        return ""
    first = runs.split(maxsplit=1)[0]
    return (
        f"{where}#{anchor(first)}" if detailed else f"{'' if where else '../'}{first}/status.json"
    )


def in_detail(table: pd.DataFrame) -> list[str]:
    """The data sets run here whose runs the page lists, method by method."""
    return list(dict.fromkeys(table["dataset"][table["source"] == "run"]))[:IN_DETAIL]


def records(
    table: pd.DataFrame,
    runs: pd.DataFrame,
    statuses: Mapping[str, Block],
    metrics: dict[str, Block],
    datasets: Mapping[str, Block],
) -> list[Block]:
    """For each of the first IN_DETAIL data sets, each method with its runs.

    table: from `comparison.compare`; runs: contract 4's; statuses: path of the run → status.json.
    """
    own = table[table["source"] == "run"]
    named = environments(statuses)[1]
    by_run = runs.set_index("run")
    made = []
    for dataset in in_detail(table):
        mine = own[own["dataset"] == dataset]
        columns = [key for key, _ in mine.groupby(["split", "metric"], sort=False)]
        several = mine["split"].nunique() > 1
        heads = [
            words.metric_title(m, metrics) + (f", {words.cells_of(s).lower()}" * several)
            for s, m in columns
        ]
        groups: dict[str, Block] = {}
        for paths, rows in mine[mine["runs"] != ""].groupby("runs", sort=False):
            group = _group(str(paths).split(), rows, columns, by_run, statuses, named)
            groups.setdefault(group["id"], group)
        made.append(
            {
                "dataset": dataset,
                "title": words.title_of(dataset, "all", datasets[dataset]),
                "heads": heads,
                "groups": list(groups.values()),
                "measured": {
                    key: title
                    for key, title in (("gpu", "GPU MB"), ("energy", "Joule"))
                    if any(seed[key] for group in groups.values() for seed in group["seeds"])
                },
            }
        )
    return made


def _group(
    paths: list[str],
    rows: pd.DataFrame,
    columns: list[tuple[str, str]],
    runs: pd.DataFrame,
    statuses: Mapping[str, Block],
    named: Mapping[str, int],
) -> Block:
    """All runs of one method on one data set; rows with the same runs share them."""
    values = {(r["split"], r["metric"]): comparison.values(r) for _, r in rows.iterrows()}
    seeds = []
    for path in paths:
        run, status = runs.loc[path], statuses[path]
        scores = [values[c].get(int(run["seed"])) if c in values else None for c in columns]
        seeds.append(
            {
                "path": path,
                "seed": run["seed"],
                "ok": run["status"] == "ok",
                "status": comparison.short(run["status"]),
                "reason": run["reason"] if isinstance(run["reason"], str) else "",
                "scores": [
                    _score(v, m)
                    for (_, m), v in zip(columns, scores, strict=True)
                ],
                "seconds": words.seconds(run["wall_seconds"]),
                "cpu": words.seconds(run["cpu_seconds"]),
                "memory": words.whole(run["peak_memory_mb"]),
                "gpu": words.whole(run["peak_gpu_memory_mb"]),
                "energy": words.whole(run.get("energy_j")),
                "device": run["device"] if isinstance(run["device"], str) else "",
                "started": status.get("started", ""),
                "environment": named.get(path, ""),
            }
        )  # fmt: skip
    told = [statuses[path] for path in paths]
    target = re.sub(r"/controls/.*", "/controls", paths[0])
    return {
        "id": anchor(paths[0]),
        "title": ", ".join(dict.fromkeys(rows["title"])),
        "done": sum(seed["ok"] for seed in seeds),
        "seeds": seeds,
        "params": parameters([status.get("params") or {} for status in told]),
        "data": tally(
            status["features_sha256"] for status in told if status.get("features_sha256")
        ),
        "code": tally(status["code_sha256"] for status in told if status.get("code_sha256")),
        "command": f"snakemake --cores 1 -- results/{target}",
    }


def environments(statuses: Mapping[str, Block]) -> tuple[list[Block], dict[str, int]]:
    """The different machines with their packages, counted from 1, and run → which of them.

    A run tells the packages that it imported; runs on one machine whose versions do not
    contradict each other are of one environment, which has the packages of them all.
    """
    found: list[Block] = []
    of_run = {}
    for path, status in statuses.items():
        if not status.get("machine"):
            continue  # controls are written, not run
        packages = status["packages"]
        same = (status["machine"], status["version"])
        for where in found:
            known = where["packages"]
            if where["same"] == same and all(known.get(n, v) == v for n, v in packages.items()):
                break
        else:
            machine = words.machine_of([status])
            where = {"same": same, "number": len(found) + 1, "machine": machine, "packages": {}}
            where |= {"version": status["version"], "runs": 0}
            found.append(where)
        where["packages"] |= packages
        where["runs"] += 1
        of_run[path] = where["number"]
    for where in found:
        told = sorted(where["packages"].items(), key=lambda item: item[0].lower())
        where["packages"] = ", ".join(f"{name} {version}" for name, version in told)
    return found, of_run


def unfinished(
    runs: pd.DataFrame, listed: Iterable[str], methods: dict[str, Block], datasets: list[str]
) -> list[Block]:
    """Runs that did not finish and that no method's list holds: of settings that were tried and
    not chosen, and of data sets beyond the first. listed: paths."""
    lost = runs[(runs["status"] != "ok") & ~runs["run"].isin(set(listed))]
    order = {name: i for i, name in enumerate(datasets)}
    lost = lost.assign(where=lost["dataset"].map(order)).sort_values(
        ["where", "method", "seed"], kind="stable"
    )
    return [
        {
            "path": row["run"],
            "title": methods[row["method"]]["title"],
            "dataset": row["dataset"],
            "seed": row["seed"],
            "status": comparison.short(row["status"]),
            "seconds": words.seconds(row["wall_seconds"]),
            "memory": words.whole(row["peak_memory_mb"]),
            "reason": row["reason"] if isinstance(row["reason"], str) else "",
        }
        for row in lost.to_dict("records")
    ]


def in_words(params: Block) -> str:
    """Parameters as the page prints them: `n_init = 10; n_pca = none`."""
    return "; ".join(f"{k} = {'none' if v is None else v}" for k, v in params.items()) or "none"


def parameters(given: list[Block]) -> str:
    """What runs were given, in words: what is the same in all of them, then what is not."""
    names = list(dict.fromkeys(name for params in given for name in params))
    values = {n: [str(params.get(n, "not known")) for params in given] for n in names}
    same = {n: given[0][n] for n in names if len(set(values[n])) == 1}
    others = [
        f"{n} = {', '.join(f'{value} ({times} of {len(given)} runs)' for value, times in tally(v))}"
        for n, v in values.items()
        if n not in same
    ]
    return "; ".join([in_words(same), *others])


def tally(values: Iterable[str]) -> list[tuple[str, int]]:
    """Each different value with how often it is there."""
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return list(counts.items())


def _score(value: float | None, metric: str) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if metric == comparison.FOUND[0] else words.fixed(value)
