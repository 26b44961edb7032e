"""Time and memory of MoE-Sim-VAE from ten thousand to a million cells.

    .venv/bin/python bench/scale.py --out results/scale

Simulated mass cytometry, 39 markers. Each number of cells is fitted in a process of its own, once
from an array in memory and, for the largest, again from a backed .h5ad file. Reported are the
seconds for the similarity (all of them, including those from the encoder's features), the
seconds for an epoch (from some steps, times the batches of an epoch), and the peak resident
memory: in all, and above what the process held after its imports, as multiples of the bytes of
the data. Writes scale.json and scale.png.
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
BATCH = 256
N_CLUSTERS = 15


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "scale", help="folder")
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=300, help="of training, in all phases")
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
        options.cells, options.steps = [600, 1200], 6
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

    # in parts, with the same populations in each, since a simulation holds many copies
    parts = []
    for start in range(0, n_cells, 100_000):
        n = min(100_000, n_cells - start)
        parts.append(simulate.cytof(n, n_markers=N_MARKERS, ungated_share=0.0, seed=seed)[0].X)
    rng = np.random.default_rng(seed)
    cells = np.arcsinh(np.concatenate(parts) / 5).astype(np.float32)
    # the parts are the same cells: a little noise tells them apart
    cells += rng.normal(0, 0.05, cells.shape).astype(np.float32)
    np.save(Path(folder) / "cells.npy", cells)
    anndata.AnnData(cells).write_h5ad(Path(folder) / "cells.h5ad")
    return {"bytes": cells.nbytes}


def fitted(folder: str, backed: bool, steps: int) -> dict:
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
        model = MoESimVAE(N_CLUSTERS, batch_size=BATCH, steps=steps, progress=False).fit(cells)
        seconds = monotonic() - started
    batches = cells.shape[0] // min(BATCH, cells.shape[0])
    return {
        "cells": cells.shape[0],
        "backed": backed,
        "phases": len(model.facts_["similarity"]),
        "seconds_similarity": model.facts_["seconds_similarity"],
        "seconds_epoch": model.facts_["seconds_training"] / steps * batches,
        "seconds_all": seconds,
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
                for backed in [False, True] if n_cells == max(options.cells) else [False]:
                    say(f"fitting {n_cells:,} cells{', backed by a file' if backed else ''}")
                    run = child(folder=folder, backed=backed, steps=options.steps)
                    run |= {"repeat": repeat, "bytes": size, **multiples(run, size)}
                    say(row(run))
                    runs.append(run)
    in_memory = [run for run in runs if not run["backed"]]
    return {
        "machine": machine(runs[0]),
        "markers": N_MARKERS,
        "steps": options.steps,
        "runs": runs,
        "growth": {
            name: exponent(in_memory, name)
            for name in ("seconds_similarity", "seconds_epoch", "peak_above_imports")
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
        f"| {run['seconds_similarity']:.1f} | {run['seconds_epoch']:.2f} "
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
            "| cells | similarity, s | epoch, s | peak, MiB | peak / data | above imports / data |",
            "|---|---|---|---|---|---|",
            *(row(run) for run in result["runs"]),
            "",
            "Growth exponents: "
            + ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in growth.items()),
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
    left.plot(cells, [run["seconds_similarity"] for run in runs], "o-", label="similarity")
    left.plot(cells, [run["seconds_epoch"] for run in runs], "s-", label="an epoch")
    start = min(run["seconds_epoch"] for run in runs)
    least = min(cells)
    left.plot(
        [least, max(cells)], [start, start * max(cells) / least], ":", color="0.5", label="linear"
    )
    left.set(xscale="log", yscale="log", xlabel="cells", ylabel="seconds")
    left.legend(frameon=False)
    mebi = 2**20
    right.plot(cells, [run["peak"] / mebi for run in runs], "o-", label="peak")
    right.plot(cells, [run["after_imports"] / mebi for run in runs], "v-", label="after imports")
    right.plot(cells, [run["bytes"] / mebi for run in runs], "s-", label="the data")
    right.plot(
        [run["cells"] for run in backed],
        [run["peak"] / mebi for run in backed],
        "x",
        color="k",
        label="peak, backed",
    )
    right.set(xscale="log", yscale="log", xlabel="cells", ylabel="MiB")
    right.legend(frameon=False)
    with files.atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
