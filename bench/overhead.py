"""What the workflow adds to small jobs: wall time of a run's job against that of the run itself.

    python bench/overhead.py [--seeds 10] [--repeats 3]

Runs k-means and Gaussian mixtures on scikit-learn's digits through the workflow, one job at a time,
in a folder of its own. A run's own work is the wall time of its worker process (status.json), with
the start of Python and the import of its library; the job adds Snakemake's scheduling, the script
and the supervisor. Planning, which happens once, is measured by a dry run and printed separately.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("kmeans", "gmm")


def snakemake(results: Path, config: Path, targets: list[str], *options: str) -> float:
    """Seconds of one call of Snakemake."""
    start = perf_counter()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--quiet", "all"),
            *("--configfile", str(config), "--config", f"results={results}", *options),
            *("--", *targets),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return perf_counter() - start


def measure(n_seeds: int) -> tuple[float, float, float]:
    """Planning, wall time of a job and of its run, in seconds; means over the jobs."""
    with tempfile.TemporaryDirectory() as folder:
        results, config = Path(folder, "results"), Path(folder, "config.json")
        experiment = {"datasets": ["digits"], "methods": list(METHODS), "seeds": [*range(n_seeds)]}
        config.write_text(json.dumps({"experiments": {"demo": experiment}}))
        snakemake(results, config, [f"{results}/data/digits/features.h5ad"])
        runs = [
            f"{results}/runs/digits/{method}/seed{seed}"
            for method in METHODS
            for seed in range(n_seeds)
        ]
        planning = snakemake(results, config, runs, "--dry-run")
        wall = (snakemake(results, config, runs) - planning) / len(runs)
        own = [json.loads(Path(run, "status.json").read_text())["wall_seconds"] for run in runs]
    return planning, wall, float(np.mean(own))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    for _ in range(options.repeats):
        planning, wall, own = measure(options.seeds)
        ratios.append(wall / own)
        print(
            f"planning {planning:.2f} s; a job {wall:.2f} s, its run {own:.2f} s: {wall / own:.2f}"
        )
    low, high = min(ratios), max(ratios)
    n = options.seeds * len(METHODS)
    print(
        f"job to run: median {np.median(ratios):.2f} ({low:.2f}–{high:.2f}), "
        f"{options.repeats} × {n} jobs"
    )


if __name__ == "__main__":
    main()
