"""Training speed of MoE-Sim-VAE in cells per second, compared with that of other things.

    make env-clustpy                                   # only for the comparison with ClustPy
    .venv/bin/python bench/throughput.py --out results/throughput

Four questions, each answered by whole training steps (batch, similarity in the batch, encoder,
gate, experts, losses, gradients, Adam) that are measured in turn in one run:

- experts: does the number of experts K cost anything? The default layer sizes, K from 5 to 80.
- every expert: what if every expert decoded every cell, and the gate's choice were picked then?
- vade: ClustPy's VaDE in its own environment, with equal widths of encoder and decoders and equal
  batches, next to a MoE-Sim-VAE of 10 experts.
- peak: what share of the speed of a large matrix product do the products of a step reach?

Cells are simulated, 784 features. They are dealt out to the experts at random, so that all K are
at work and none is spared: the worst case. Writes throughput.json and throughput.png.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from moesimvae import files
from moesimvae.data import simulate
from moesimvae.model import similarity
from moesimvae.model.estimator import MoESimVAE
from moesimvae.model.experts import Experts, hidden_units
from moesimvae.model.module import Module, paper_terms
from moesimvae.model.networks import Encoder, Gate, mlp
from moesimvae.model.training import Accumulated, Training, seeded

ROOT = Path(__file__).resolve().parents[1]
N_FEATURES = 784
N_EXPERTS = (5, 10, 20, 40, 80)
# the sizes that ClustPy gives its autoencoders for such data
WIDE = {"encoder": (500, 500, 2000), "latent": 10, "expert": (2000, 500, 500), "batch": 256}
Block = Callable[[], float]  # trains some steps and returns cells per second


class Even(Module):
    """Cells are dealt out to all experts at random, whatever the gate says."""

    def decode(self, z: Tensor, assignment: Tensor) -> Tensor:
        return self.experts(z, torch.randint(0, self.experts.n_experts, assignment.shape))


class EveryExpert(nn.Module):
    """The reference: each expert decodes all cells, and of the K results one is picked."""

    def __init__(self, n_experts: int, sizes: Sequence[int]):
        super().__init__()
        self.n_experts, self.every, self.rate = n_experts, 1, 1.0
        self.decoders = nn.ModuleList(mlp(sizes) for _ in range(n_experts))

    def forward(self, z: Tensor, assignment: Tensor) -> Tensor:
        decoded = torch.stack([decoder(z) for decoder in self.decoders])
        return decoded[assignment, torch.arange(len(z))]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "throughput", help="folder")
    parser.add_argument("--repeats", type=int, default=7, help="of each measurement, in turn")
    parser.add_argument("--steps", type=int, default=50, help="of training in a measurement")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--clustpy",
        type=Path,
        default=ROOT / ".venv-clustpy" / "bin" / "python",
        help="Python with ClustPy; without it that comparison is left out",
    )
    parser.add_argument("--quick", action="store_true", help="a trial run, without ClustPy")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.steps, options.clustpy = 2, 2, Path(os.devnull)
    torch.set_num_threads(options.threads)
    result = measure(options)
    files.write_json(options.out / "throughput.json", result)
    plot(result, options.out / "throughput.png")
    print(table(result))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------------- what is measured


def measure(options: argparse.Namespace) -> dict:
    seeded(0)
    n_cells = 600 if options.quick else 6000
    raw = simulate.gaussians(n_cells, N_FEATURES, 10, seed=0)[0].X
    cells = (raw - raw.min(0)) / (raw.max(0) - raw.min(0))
    default = MoESimVAE()
    sizes = {
        "encoder": (512, 512),
        "latent": default.n_latent,
        "expert": None,  # as many as a model of K experts has
        "batch": 512,
    }
    with tempfile.TemporaryDirectory() as folder:
        say("the similarity of the simulated cells")
        trainer = Trainer(cells, Path(folder), options.steps)
        blocks: dict[str, Block] = {
            f"K={k}": trainer.block(Experts, n_experts=k, **sizes) for k in N_EXPERTS
        }
        blocks["every expert, K=10"] = trainer.block(EveryExpert, n_experts=10, **sizes)
        blocks["wide, K=10"] = trainer.block(Experts, n_experts=10, **WIDE)
        if options.clustpy.is_file():
            np.save(Path(folder) / "cells.npy", cells)
            blocks["ClustPy's VaDE"] = lambda: vade(options, Path(folder) / "cells.npy")
        blocks["matrix product"] = large_product
        speeds = in_turn(blocks, options.repeats)

    flops = {f"K={k}": flops_of_step(n_experts=k, **sizes) / sizes["batch"] for k in N_EXPERTS}
    flops["wide, K=10"] = flops_of_step(n_experts=10, **WIDE) / WIDE["batch"]
    peak = speeds.pop("matrix product")
    ratios = {f"K={k} to K=5": ratio(speeds, f"K={k}", "K=5") for k in N_EXPERTS[1:]}
    ratios["K=10 to every expert"] = ratio(speeds, "K=10", "every expert, K=10")
    if "ClustPy's VaDE" in speeds:
        ratios["wide, K=10 to ClustPy's VaDE"] = ratio(speeds, "wide, K=10", "ClustPy's VaDE")
    return {
        "machine": machine(options.threads),
        "steps": options.steps,
        "sizes": {"default": sizes, "wide": WIDE} | {"features": N_FEATURES},
        "cells_per_second": {name: spread(values) for name, values in speeds.items()},
        "ratios": {name: spread(values) for name, values in ratios.items()},
        "product_flops_per_second": spread(peak),
        "share_of_product_speed": {
            name: spread([s * f / p for s, p in zip(speeds[name], peak, strict=True)])
            for name, f in flops.items()
        },
    }


class Trainer:
    """Makes models of different sizes that are trained on the same cells."""

    def __init__(self, cells: np.ndarray, cache: Path, steps: int):
        self.cells, self.cache, self.steps = cells, cache, steps
        self.x = torch.from_numpy(cells)

    def block(
        self,
        experts: type[nn.Module],
        n_experts: int,
        encoder: Sequence[int],
        latent: int,
        expert: Sequence[int] | None,
        batch: int,
    ) -> Block:
        """A new model; each call of the result trains it for another `steps` steps."""
        model = MoESimVAE()
        expert = [hidden_units(n_experts)] if expert is None else expert
        module = Even(
            Encoder(N_FEATURES, encoder, latent),
            experts(n_experts, [latent, *expert, N_FEATURES]),
            Gate(latent, model.gate_layers, n_experts, model.gate_dropout),
            n_experts,
            latent,
        )
        similar = similarity.build(
            "umap_knn",
            self.cells,
            seed=0,
            n_clusters=n_experts,
            batch_size=batch,
            cache=self.cache,
        )
        weights = {
            name: getattr(model, f"{name}_weight") for name in ("kl", "similarity", "depict")
        } | {"reconstruction": 1.0}

        def terms(index: Tensor, step: int) -> dict[str, Tensor]:
            parts = paper_terms(module, self.x[index], similar(index))
            return {name: weights[name] * part for name, part in parts.items()}

        training = Training(
            [p for n, p in module.named_parameters() if not n.startswith("experts.")],
            len(self.cells),
            0,
            batch_size=batch,
            learning_rate=model.learning_rate,
            generator=torch.Generator().manual_seed(0),
            schedule="constant",
            accumulated=[
                Accumulated(module.experts.parameters(), module.experts.every, module.experts.rate)
            ],
            record_every=self.steps,
        )

        def run() -> float:
            training.steps += self.steps
            started = perf_counter()
            training.run(terms, "")
            return self.steps * training.batches.batch_size / (perf_counter() - started)

        return run


def vade(options: argparse.Namespace, cells: Path) -> float:
    """Cells per second of ClustPy's VaDE, in a process of its own."""
    script = Path(__file__).with_name("clustpy_vade.py")
    command = [options.clustpy, script, cells, str(WIDE["batch"]), str(options.steps)]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: ClustPy's VaDE failed: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout.splitlines()[-1])


def large_product(size: int = 2048) -> float:
    """Floating-point operations per second of a large float32 matrix product."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    times = []
    for _ in range(4):
        started = perf_counter()
        a @ b
        times.append(perf_counter() - started)
    return 2 * size**3 / min(times)


def flops_of_step(
    n_experts: int, encoder: Sequence[int], latent: int, expert: Sequence[int] | None, batch: int
) -> float:
    """In the matrix products of one step, a sample passing through one expert only."""
    hidden = [N_FEATURES, *encoder]
    into = sum(a * b for a, b in pairwise(hidden)) + 2 * hidden[-1] * latent
    back = [latent, *([hidden_units(n_experts)] if expert is None else expert), N_FEATURES]
    out = sum(a * b for a, b in pairwise(back))
    gate = MoESimVAE().gate_layers[0] * (latent + n_experts)
    # forwards once, backwards twice; the features need no gradient, and the gate runs twice
    per_cell = 3 * (into + out + 2 * gate) - hidden[0] * hidden[1]
    pairs = 3 * batch * batch * n_experts
    return 2.0 * (batch * per_cell + pairs)


# ---------------------------------------------------------------------- in turn, and summed up


def in_turn(blocks: dict[str, Block], repeats: int) -> dict[str, list[float]]:
    """Each block once for warming up, then all of them in turn, `repeats` times."""
    for name, block in blocks.items():
        say(f"warming up: {name}")
        block()
    speeds: dict[str, list[float]] = {name: [] for name in blocks}
    for repeat in range(repeats):
        for name, block in blocks.items():
            speeds[name].append(block())
        last = ", ".join(f"{name} {values[-1]:.3g}/s" for name, values in speeds.items())
        say(f"repeat {repeat + 1} of {repeats}: {last}")
    return speeds


def ratio(speeds: dict[str, list[float]], name: str, reference: str) -> list[float]:
    """Of measurements made one after the other, repeat by repeat."""
    return [a / b for a, b in zip(speeds[name], speeds[reference], strict=True)]


def spread(values: list[float]) -> dict:
    low, middle, high = min(values), statistics.median(values), max(values)
    return {"n": len(values), "median": middle, "min": low, "max": high, "values": values}


def machine(threads: int) -> dict:
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gb": round(pages / 1e9, 1),
        "load_average": os.getloadavg()[0],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def table(result: dict) -> str:
    def row(name: str, values: dict, form: str) -> str:
        numbers = [format(values[key], form) for key in ("median", "min", "max")]
        return f"| {name} | {numbers[0]} | {numbers[1]}–{numbers[2]} | {values['n']} |"

    shares = result["share_of_product_speed"]
    peak = result["product_flops_per_second"]
    gflops = peak | {key: peak[key] / 1e9 for key in ("median", "min", "max")}
    where = result["machine"]
    return "\n".join(
        [
            f"{where['cpu']}, {where['threads']} threads on {where['cores']} cores, "
            f"torch {where['torch']}",
            "",
            "| | median | range | n |",
            "|---|---|---|---|",
            *(row(f"cells/s, {n}", v, ",.0f") for n, v in result["cells_per_second"].items()),
            *(row(f"ratio, {name}", v, ".2f") for name, v in result["ratios"].items()),
            row("large product, GFLOP/s", gflops, ",.0f"),
            *(row(f"share of it, {name}", v, ".0%") for name, v in shares.items()),
        ]
    )


def plot(result: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    speeds = result["cells_per_second"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    ratios = result["ratios"]
    counts = N_EXPERTS[1:]
    centre = np.array([ratios[f"K={k} to K=5"]["median"] for k in counts])
    low = np.array([ratios[f"K={k} to K=5"]["min"] for k in counts])
    high = np.array([ratios[f"K={k} to K=5"]["max"] for k in counts])
    left.errorbar(counts, centre, [centre - low, high - centre], marker="o", capsize=3)
    left.axhline(1, color="0.6", linewidth=1)
    left.set(
        xscale="log", ylim=(0, 1.2), xlabel="experts K", ylabel="training speed relative to K = 5"
    )
    left.set_xticks(counts, [str(k) for k in counts])
    left.minorticks_off()
    names = list(speeds)
    middle = np.array([speeds[name]["median"] for name in names])
    errors = [
        [abs(speeds[name][key] - speeds[name]["median"]) for name in names]
        for key in ("min", "max")
    ]
    right.barh(names, middle, xerr=errors, capsize=3, color="#7aa6c2")
    right.invert_yaxis()
    right.set(xlabel="cells per second in training")
    right.locator_params(axis="x", nbins=5)
    where = result["machine"]
    figure.suptitle(f"{where['cpu']}, {where['threads']} threads; median and range", fontsize=9)
    with files.atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
