"""Try the SLURM profile on a cluster of one node, this machine, and print what came of it.

    sudo .venv/bin/python tests/cluster/on_slurm.py --out FOLDER [--demo]

A small experiment, in which one run is cancelled with scancel whenever it starts, one lasts longer
than SLURM allows, and the controller is away for some seconds in between; with --demo the
whole demo as well, of which a job of each group is cancelled once. Takes some five minutes, with
the demo half an hour on two cores.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import one_node_slurm

sys.path.insert(0, str(Path(__file__).parents[1]))
import small

METHODS = {"kmeans": [0, 1], "gmm": [0], "cancelled": [0], "overtime": [0]}
GROUPS = ("short", "report")  # of the profile, as far as the demo has jobs in them
SLURM = [
    *("--workflow-profile", "profiles/slurm", "--slurm-status-command", "squeue"),
    *("--slurm-no-account", "--slurm-init-seconds-before-status-checks", "3"),
    *("--latency-wait", "10", "--cores", "2"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--demo", action="store_true", help="the whole demo as well")
    options = parser.parse_args()
    if one_node_slurm.missing():
        sys.exit(f"error: this {one_node_slurm.missing()}.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # takes the cluster down, too
    folder = options.out.resolve()
    with one_node_slurm.OneNode(folder / "slurm") as cluster:
        good = small_experiment(cluster, folder / "small")
        good &= not options.demo or demo(cluster, folder / "demo")
    sys.exit(not good)


def small_experiment(cluster: one_node_slurm.OneNode, folder: Path) -> bool:
    """Whether the table, with its two failed runs told as such, and the report were made."""
    small.copy_project(folder)
    small.write_experiment(folder, METHODS, sleeping=("cancelled", "overtime"))
    limit = ["--set-resources", "cluster:runtime=1", "cluster:gpu=0"]
    started = time.monotonic()
    process = small.snakemake(folder, *SLURM, *limit, "--", "demo", environment=cluster.environment)
    cancelled, restarted, seen = [], False, {}
    while process.poll() is None:
        for job, state, comment in jobs(cluster):
            seen[job] = comment
            ours = "cancelled" in comment and state == "RUNNING" and job not in cancelled
            if ours and started_sleeping(folder / "cancelled.pids", len(cancelled)):
                cluster.call("scancel", job)
                cancelled.append(job)
        if not restarted and len(seen) > 3:
            cluster.restart_controller()
            restarted = True
        time.sleep(1)
    tell("small experiment", folder, process.returncode, started, len(seen))
    print(f"scancel: jobs {', '.join(cancelled)}; controller restarted: {restarted}")
    ended = {name: status(folder, name) for name in METHODS}
    for name, told in ended.items():
        print(f"  {name:10} {told['status']:8} {told['reason']}")
    table = (folder / "results/demo/table.md").read_text()
    return all(
        [
            process.returncode == 0,
            restarted and len(cancelled) == 2,
            ended["kmeans"]["status"] == ended["gmm"]["status"] == "ok",
            ended["cancelled"]["status"] == ended["overtime"]["status"] == "error",
            table.count("DNF") >= 2,
            (folder / "results/demo/report.html").exists(),
        ]
    )


def demo(cluster: one_node_slurm.OneNode, folder: Path) -> bool:
    """Whether the demo ran to its end, every run of it, with a job of each group cancelled once."""
    small.copy_project(folder)
    started = time.monotonic()
    process = small.snakemake(folder, *SLURM, "--", "demo", environment=cluster.environment)
    seen, cancelled = set(), {}
    while process.poll() is None:
        for job, state, comment in jobs(cluster):
            seen.add(job)
            group = next((name for name in GROUPS if comment.startswith(f"rule_{name}")), None)
            if group and state == "RUNNING" and group not in cancelled:
                time.sleep(10)  # until it is in the middle of its work
                cluster.call("scancel", job)
                cancelled[group] = job
        time.sleep(1)
    tell("demo", folder, process.returncode, started, len(seen))
    print("  scancel: " + ", ".join(f"job {job} ({group})" for group, job in cancelled.items()))
    runs = list(folder.glob("results/runs/*/*/seed*/status.json"))
    ok = sum(json.loads(path.read_text())["status"] == "ok" for path in runs)
    print(f"  {ok} of {len(runs)} runs ok")
    return process.returncode == 0 and len(cancelled) == len(GROUPS) and 0 < ok == len(runs)


def jobs(cluster: one_node_slurm.OneNode) -> list[list[str]]:
    """(number, state, comment) of what is queued or runs; nothing while no controller answers."""
    printed = cluster.call("squeue", "-h", "-o", "%i %T %k", check=False).stdout
    return [line.split(" ", 2) for line in printed.splitlines() if line.count(" ") >= 2]


def started_sleeping(note: Path, times: int) -> bool:
    """Whether the method itself has started once more than `times`: its note is there anew."""
    if not note.exists():
        return False
    os.rename(note, note.with_suffix(f".{times}"))
    return True


def status(folder: Path, method: str) -> dict:
    path = folder / f"results/runs/digits/{method}/seed0/status.json"
    return json.loads(path.read_text()) if path.exists() else {"status": "none", "reason": ""}


def tell(what: str, folder: Path, code: int, started: float, count: int) -> None:
    seconds = time.monotonic() - started
    report = (folder / "results/demo/report.html").exists()
    print(f"{what}: exit status {code}, {count} jobs, {seconds:.0f} s, report made: {report}")


if __name__ == "__main__":
    main()
