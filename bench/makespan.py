"""How long an experiment's runs would take on several workers: simulated from recorded times.

    python bench/makespan.py results/table1/scores/*.runs.csv

Every finished run's CPU seconds (on one thread) go to the worker that is free first, in the order
of the table. Nothing is run; queueing and data transfer are not included.
"""

import heapq
import sys

import pandas as pd

WORKERS = (1, 2, 4, 8, 16, 32, 64)


def makespan(seconds: list[float], workers: int) -> float:
    """Seconds until the last worker is done."""
    free_at = [0.0] * workers
    for needed in seconds:
        heapq.heapreplace(free_at, free_at[0] + needed)
    return max(free_at)


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit("error: name the <data set>.runs.csv files of an experiment.")
    runs = pd.concat([pd.read_csv(path) for path in sys.argv[1:]])
    seconds = runs.loc[runs["status"] == "ok", "cpu_seconds"].dropna().tolist()
    alone = makespan(seconds, 1)
    print(
        f"{len(seconds)} runs, {alone / 3600:.2f} h of CPU time; the longest {max(seconds):.0f} s"
    )
    print("| workers | hours (simulated) | speed-up |\n|---|---|---|")
    for workers in WORKERS:
        taken = makespan(seconds, workers)
        print(f"| {workers} | {taken / 3600:.2f} | {alone / taken:.1f} |")


if __name__ == "__main__":
    main()
