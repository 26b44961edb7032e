"""`moesimvae export`: runs in omnibenchmark's file layout, with its `performances.tsv`.

As in omnibenchmark 0.7: folders <stage>/<module>/.<hash of parameters>/, nested stage by stage,
with parameters.json and performance.txt, a table as written by Snakemake's `benchmark`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moesimvae import files
from moesimvae.errors import UserError
from moesimvae.nouns import Run

STAGES = "data", "clustering"
TABLE = "performances.tsv"
# columns of Snakemake's table; what a run does not measure is NA there, 0 in omnibenchmark's
MEASURED = (
    *("s", "h:m:s", "max_rss", "max_vms", "max_uss", "max_pss", "io_in", "io_out", "mean_load"),
    "cpu_time",
)
MEBIBYTES = 1e6 / 2**20  # in one of our MB; Snakemake's MB are MiB


def add(commands: Any) -> None:
    """The command and its options."""
    parser = commands.add_parser("export", help="write runs in omnibenchmark's layout")
    parser.description = (
        f"Writes each finished run as {'/'.join(f'{stage}/…' for stage in STAGES)}: its labels, "
        f"parameters and performance.txt, and {TABLE} for all; `ob dashboard` shows it. A failed "
        "run has only its status.json."
    )
    parser.add_argument("results", type=Path, help="folder written by the workflow: results")
    parser.add_argument("--out", required=True, type=Path, help="a new folder")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    n_finished, failed = write(options.results, options.out)
    print(f"wrote      {options.out / TABLE} ({n_finished} runs)")
    for name in failed:
        print(f"failed     {name}")


def write(results: Path, out: Path) -> tuple[int, list[str]]:
    """Write the runs below `results` into the new folder `out`.

    Returns how many finished, and the names of those that failed. Raises UserError where there is
    no run, or `out` is there already.
    """
    folders = sorted(path.parent for path in Path(results).glob("runs/*/*/seed*/status.json"))
    if not folders:
        raise UserError(f"there are no runs in {results}; name the folder written by the workflow.")
    if out.exists():
        raise UserError(f"{out} already exists; give a new folder.")
    rows: list[dict[str, Any]] = []
    failed = []
    for folder in folders:
        run, status = Run.of(folder), files.read_json(folder / "status.json")
        params = {**status["params"], "n_clusters": status["n_clusters"], "seed": status["seed"]}
        place = Path(STAGES[0], run.dataset, ".default", STAGES[1], run.method, f".{short(params)}")
        files.write_json(out / place / "status.json", status)
        if status["status"] != "ok":
            failed.append(f"{run.name}: {status['status']}")
            continue
        files.write_text(out / place / "parameters.json", json.dumps(params))
        labels = _labels(folder)
        with files.atomic(out / place / f"{run.dataset}.labels.csv.gz") as temporary:
            temporary.write_bytes(gzip.compress(labels.encode(), mtime=0))
        performance = measured(status)
        files.write_text(out / place / "performance.txt", _table([performance]))
        rows.append(_row(performance, run, params, place))
    if rows:
        rows.sort(key=lambda row: Path(row["path"]))
        files.write_text(out / TABLE, _table(rows, "\r\n"))  # omnibenchmark's line ending
    return len(rows), failed


def short(params: Mapping[str, Any]) -> str:
    """omnibenchmark's short hash of parameters, which names their folder."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:8]


def measured(status: Mapping[str, Any]) -> dict[str, str]:
    """Resources a run used, as in Snakemake's `benchmark`: seconds, MiB, percent of one core."""
    seconds = status["wall_seconds"]
    minutes, rest = divmod(int(seconds), 60)
    return dict.fromkeys(MEASURED, "NA") | {
        "s": f"{seconds:.4f}",
        "h:m:s": f"{minutes // 60}:{minutes % 60:02}:{rest:02}",
        "max_rss": f"{status['peak_memory_mb'] * MEBIBYTES:.2f}",
        "mean_load": f"{100 * status['cpu_seconds'] / max(seconds, 1e-9):.2f}",
        "cpu_time": f"{status['cpu_seconds']:.2f}",
    }


def _row(
    performance: dict[str, str], run: Run, params: dict[str, Any], place: Path
) -> dict[str, Any]:
    """A line of performances.tsv, as `ob collect performance` would write it."""
    numbers: dict[str, Any] = {
        k: 0 if v == "NA" else float(v) for k, v in performance.items() if k != "h:m:s"
    }
    return numbers | {
        "stage": STAGES[1],
        "module": run.method,
        "dataset": run.dataset,
        "param_hash": short(params),
        "params": json.dumps({STAGES[1]: params}),
        "lineage": f"{STAGES[0]}/{run.dataset}/{STAGES[1]}/{run.method}",
        "path": (place / "performance.txt").as_posix(),
    }


def _table(rows: list[dict[str, Any]], end: str = "\n") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], delimiter="\t", lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _labels(folder: Path) -> str:
    from pandas import read_parquet

    return read_parquet(folder / "labels.parquet").to_csv(index=False)
