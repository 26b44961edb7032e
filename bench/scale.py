"""Time and memory of MoE-Sim-VAE from ten thousand to ten million cells.

    .venv/bin/python bench/scale.py --out results/scale

Simulated mass cytometry, 39 markers, 15 clusters, defaults: as many steps as the data need. Each
number of cells is fitted in a process of its own, up to a million from an array in memory, from a
million on from a backed .h5ad file. Reported are the seconds of the whole fit, of its similarity
and of its training, and the peak resident memory: in all, and above what the process held after
its imports, as multiples of the bytes of the data. Writes scale.json and scale.png.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parents[1]
N_MARKERS = 39
N_CLUSTERS = 15


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "scale", help="folder")
    parser.add_argument("--cells", type=int, nargs="+", default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument(
        "--in-memory", type=int, default=10**6, help="cells: up to so many from an array"
    )
    parser.add_argument("--steps", type=int, help="at most; else as many as MoESimVAE's default")
    parser.add_argument("--repeats", type=int, default=1, help="of each size, in turn")
    parser.add_argument("--quick", action="store_true", help="a trial run with few cells")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(
            json.dumps(
                simulated(**options.child) if "seed" in options.child else fitted(**options.child)
            )
        )
        return
    if options.quick:
        options.cells, options.in_memory, options.steps = [600, 1200], 1200, 6
    from moesimvae import files

    result = measure(options)
    files.write_json(options.out / "scale.json", result)
    plot(result, options.out / "scale.png")
    print(table(result))


# ---------------------------------------------------------------------- in the child processes


def simulated(n_cells: int, seed: int, folder: str) -> dict:
    """Write cells.npy and cells.h5ad; return their bytes in memory."""
    import anndata
    import numpy as np

    from moesimvae.data import simulate

    rng = np.random.default_rng(seed)
    cells = np.empty((n_cells, N_MARKERS), np.float32)
    # in parts, with the same populations in each, since a simulation holds many copies
    for part in np.array_split(cells, max(1, n_cells // 100_000)):
        made = simulate.cytof(len(part), n_markers=N_MARKERS, ungated_share=0.0, seed=seed)[0].X
        # the parts are the same cells: a little noise tells them apart
        part[:] = np.arcsinh(made / 5) + rng.normal(0, 0.05, part.shape)
    np.save(Path(folder) / "cells.npy", cells)
    anndata.AnnData(cells).write_h5ad(Path(folder) / "cells.h5ad")
    return {"bytes": cells.nbytes}


def fitted(folder: str, backed: bool, steps: int | None) -> dict:
    """Fit the cells in the folder; what it took, memory in bytes."""
    import anndata
    import numpy as np
    import pynndescent  # noqa: F401 (what the fit imports is not counted as the fit's memory)
    import torch
    import umap  # noqa: F401

    from moesimvae.model.estimator import MoESimVAE

    after_imports = peak_memory()
    with Watch() as anonymous:
        started = monotonic()
        if backed:
            cells = anndata.read_h5ad(Path(folder) / "cells.h5ad", backed="r")
        else:
            cells = np.load(Path(folder) / "cells.npy")
        given = {} if steps is None else {"steps": steps}
        model = MoESimVAE(N_CLUSTERS, progress=False, **given).fit(cells)
        seconds = monotonic() - started
    return {
        "cells": cells.shape[0],
        "backed": backed,
        "steps": model.facts_["steps"],
        "seconds_similarity": model.facts_["seconds_similarity"],
        "seconds_training": model.facts_["seconds_training"],
        "seconds": seconds,
        "after_imports": after_imports,
        "peak": peak_memory(),
        "peak_anonymous": anonymous.peak,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def peak_memory() -> int:
    """Greatest resident memory of this process so far, pages of mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Watch:
    """Greatest anonymous memory: without pages of files, which can be dropped at any time."""

    def __enter__(self) -> "Watch":
        self.peak = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()
        return self

    def _look(self) -> None:
        while not self.stop.wait(0.05):
            with open("/proc/self/status") as lines:
                found = next(line for line in lines if line.startswith("RssAnon"))
            self.peak = max(self.peak, int(found.split()[1]) * 1024)

    def __exit__(self, *unused: object) -> None:
        self.stop.set()
        self.thread.join()


# ---------------------------------------------------------------------- in the parent


def measure(options: argparse.Namespace) -> dict:
    runs = []
    for repeat in range(options.repeats):
        for n_cells in options.cells:
            with tempfile.TemporaryDirectory() as folder:
                say(f"simulating {n_cells:,} cells")
                size = child(n_cells=n_cells, seed=0, folder=folder)["bytes"]
                ways = {False: n_cells <= options.in_memory, True: n_cells >= options.in_memory}
                for backed in (way for way, wanted in ways.items() if wanted):
                    say(f"fitting {n_cells:,} cells{', backed by a file' if backed else ''}")
                    run = child(folder=folder, backed=backed, steps=options.steps)
                    run |= {"repeat": repeat, "bytes": size, **multiples(run, size)}
                    say(row(run))
                    runs.append(run)
    in_memory = [run for run in runs if not run["backed"]]
    return {
        "machine": machine(runs[0]),
        "markers": N_MARKERS,
        "runs": runs,
        "growth": {
            name: exponent(in_memory, name)
            for name in ("seconds", "seconds_similarity", "peak_above_imports")
            if len({run["cells"] for run in in_memory}) > 1
        },
    }


def child(**job: object) -> dict:
    command = [sys.executable, __file__, "--child", json.dumps(job)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: the process for {job} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def multiples(run: dict, size: int) -> dict:
    above = run["peak"] - run["after_imports"]
    return {
        "peak_above_imports": above,
        "peak_above_imports_per_data": above / size,
        "peak_per_data": run["peak"] / size,
        "peak_anonymous_per_data": run["peak_anonymous"] / size,
    }


def exponent(runs: list[dict], name: str) -> float:
    """Growth from the smallest to the largest number of cells: 1 is linear."""
    low = min(runs, key=lambda run: run["cells"])
    high = max(runs, key=lambda run: run["cells"])
    return math.log(high[name] / low[name]) / math.log(high["cells"] / low["cells"])


def machine(run: dict) -> dict:
    import os
    import platform

    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": run["threads"],
        "memory_gb": round(pages / 1e9, 1),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": run["torch"],
    }


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def row(run: dict) -> str:
    return (
        f"| {run['cells']:,}{' (backed)' if run['backed'] else ''} "
        f"| {run['seconds']:.1f} | {run['seconds_similarity']:.1f} "
        f"| {run['seconds_training']:.1f} ({run['steps']:,} steps) "
        f"| {run['peak'] / 2**20:,.0f} | {run['peak_per_data']:.1f} "
        f"| {run['peak_above_imports_per_data']:.1f} |"
    )


def table(result: dict) -> str:
    where, growth = result["machine"], result["growth"]
    return "\n".join(
        [
            f"{where['cpu']}, {where['threads']} threads on {where['cores']} cores; "
            f"{result['markers']} markers",
            "",
            "| cells | fit, s | similarity, s | training, s | peak, MiB | peak / data "
            "| above imports / data |",
            "|---|---|---|---|---|---|---|",
            *(row(run) for run in result["runs"]),
            "",
            "Growth exponents: "
            + (
                ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in growth.items())
                or "need two numbers of cells in memory"
            ),
        ]
    )


def plot(result: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from moesimvae import files

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    runs = [run for run in result["runs"] if not run["backed"]]
    backed = [run for run in result["runs"] if run["backed"]]
    cells = [run["cells"] for run in runs]
    for name, words, marker in (
        ("seconds", "the fit", "o"),
        ("seconds_similarity", "its similarity", "^"),
        ("seconds_training", "its training", "s"),
    ):
        (line,) = left.plot(cells, [run[name] for run in runs], f"{marker}-", label=words)
        at = [run["cells"] for run in backed]
        left.plot(at, [run[name] for run in backed], f"{marker}--", color=line.get_color())
    left.set(xscale="log", yscale="log", xlabel="cells (dashed: from a file)", ylabel="seconds")
    left.legend(frameon=False)
    mebi = 2**20
    (line,) = right.plot(cells, [run["peak"] / mebi for run in runs], "o-", label="peak")
    at = [run["cells"] for run in backed]
    right.plot(at, [run["peak"] / mebi for run in backed], "o--", color=line.get_color())
    for name, words, marker in (
        ("after_imports", "after imports", "v"),
        ("bytes", "the data", "s"),
    ):
        right.plot(
            cells + at, [run[name] / mebi for run in runs + backed], f"{marker}-", label=words
        )
    right.set(xscale="log", yscale="log", xlabel="cells (dashed: from a file)", ylabel="MiB")
    right.legend(frameon=False)
    with files.atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
