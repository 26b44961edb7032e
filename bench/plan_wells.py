"""How long Snakemake takes to plan the paper's 268 wells × 5 methods × 3 seeds.

    python bench/plan_wells.py [--wells 268] [--folder FOLDER]

Writes an export folder of tiny FCS files, <inhibitor>_<population>_<well>.fcs, and runs
`snakemake --dry-run figure4` on it. Prints the number of jobs, the seconds and the memory taken.
640 wells make 10,000 jobs.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import flowio
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
MARKERS = ("CD20", "IgM", "CD4", "CD33", "HLA-DR", "CD14", "CD7", "CD3", "CD123")
POPULATIONS = (
    *("cd4+", "cd8+", "cd14+hladr-", "cd14+hladrhigh", "cd14+hladrmid", "cd14+surf-"),
    *("cd14-hladr-", "cd14-hladrhigh", "cd14-hladrmid", "cd14-surf-", "dendritic", "igm+"),
    *("igm-", "nk"),
)
# a plate has 8 rows and 12 columns
PLATE = [f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)]


def write_export(folder: Path, n_wells: int, n_cells: int = 20, seed: int = 0) -> None:
    """Files of `n_cells` cells for every population of `n_wells` (inhibitor, well) pairs."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n_wells):
        inhibitor, well = f"Inhibitor-{i // len(PLATE) + 1}", PLATE[i % len(PLATE)]
        for k, population in enumerate(POPULATIONS):
            levels = np.where(np.arange(len(MARKERS)) % len(POPULATIONS) == k % 9, 100.0, 2.0)
            values = random.poisson(levels, (n_cells, len(MARKERS)))
            with open(folder / f"{inhibitor}_{population}_{well}.fcs", "wb") as file:
                channels = [f"{marker}(X{j})Dd" for j, marker in enumerate(MARKERS)]
                flowio.create_fcs(file, values.ravel().astype(float), channels, list(MARKERS))


def plan(folder: Path, results: Path) -> tuple[float, float, str]:
    """Seconds and CPU seconds of a dry run of figure4 on the folder, and what it printed."""
    start, cpu = perf_counter(), cpu_of_children()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--cores", "1"),
            *("figure4", "--config", f"bodenmiller={folder}", f"results={results}"),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout)
    return perf_counter() - start, cpu_of_children() - cpu, done.stdout


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wells", type=int, default=268)
    parser.add_argument("--folder", type=Path, help="keep the export folder here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary, "export")
        write_export(folder, options.wells)
        seconds, cpu, printed = plan(folder, Path(temporary, "results"))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    jobs = [line for line in printed.splitlines() if re.match(r"\w+ +\d+$", line)]
    print("\n".join(dict.fromkeys(jobs)))  # snakemake says it before and after
    print(f"{options.wells} wells planned in {seconds:.1f} s ({cpu:.1f} s of CPU, {peak:.0f} MB)")


if __name__ == "__main__":
    main()
