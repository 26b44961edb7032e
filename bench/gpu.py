"""MoE-Sim-VAE on a GPU, measured by one command of at most six minutes.

    .venv/bin/python bench/gpu.py --prepare ../shared/data/mnist # once, where this is installed
    python bench/gpu.py --out FOLDER                             # on the machine with the GPU
    .venv/bin/python bench/gpu.py --quick --out FOLDER           # in miniature, on a CPU

The machine needs this checkout, `resources/gpu` (what --prepare made: the digits, and the
similarities of the three phases of a fit on the CPU, since UMAP is not there), and torch, NumPy,
SciPy, scikit-learn, pandas and safetensors. Measured:

parity: losses of the same steps on CPU and GPU, and of steps launched kernel by kernel and replayed
    as CUDA graphs; the labels of a short fit;
waiting: whether a step ever waits for the device (`torch.cuda.set_sync_debug_mode("error")`);
graph: steps per second kernel by kernel and replayed, and what bounds a step;
mnist: training end to end, with the seconds to accuracies .975 and .985;
generation: of 100,000 images;
million: a fit of 1,000,000 simulated cells × 39, with the simulated populations as similarity;
batches: cells per second by batch size, K and precision, and the share of the chip's speed.

Without a GPU "the device" is the CPU with the layout of the experts that a GPU takes. Writes
gpu.json and gpu.md; a part due after --seconds is left out, which the output says.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))  # the machine has no installation

from moesimvae import files  # noqa: E402
from moesimvae.evaluation.metrics import evaluate  # noqa: E402
from moesimvae.model import experts, fitting  # noqa: E402
from moesimvae.model.estimator import MoESimVAE  # noqa: E402
from moesimvae.model.module import Module, PaperObjective, Weights, build  # noqa: E402
from moesimvae.model.similarity import Similarity, knn_in_batch  # noqa: E402
from moesimvae.model.training import Accumulated, Training, adam, seeded  # noqa: E402

PREPARED = ROOT / "resources" / "gpu"
WEIGHTS = Weights(0.2, 0.02, 1.0, 0.05)
PRECISIONS = {"float32": "highest", "tf32": "high", "bfloat16": "highest"}
GOALS = (0.975, 0.985)
FULL = {
    "parity_steps": 200,
    "timed_steps": 50,
    "warm_up": 20,
    "batches": (512, 2048, 8192),
    "clusters": (10, 40),
    "features": 784,
    "peak": 8192,
    "generated": 100_000,
    "cells": 1_000_000,
    "fit": {},
    "mnist": {"image_shape": (28, 28)},
}
SMALL = {"encoder_layers": (16,), "expert_layers": (8,), "gate_layers": (8,), "batch_size": 64}
QUICK = FULL | {
    "parity_steps": 8,
    "timed_steps": 2,
    "warm_up": 1,
    "batches": (32, 64),
    "clusters": (3, 20),
    "features": 30,
    "peak": 128,
    "generated": 200,
    "cells": 2000,
    "fit": SMALL | {"steps": 60},
    "mnist": SMALL
    | {"image_shape": (16, 16), "channels": (2, 4), "encoder": "conv"}
    | {"steps": 100, "refinements": 1},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "gpu", help="folder")
    parser.add_argument("--prepare", type=Path, metavar="MNIST", help="folder of MNIST's idx files")
    parser.add_argument(
        "--prepared", type=Path, default=PREPARED, help="folder that --prepare fills"
    )
    parser.add_argument("--seconds", type=float, default=330.0, help="after which no part begins")
    parser.add_argument("--quick", action="store_true", help="in miniature, on the CPU")
    options = parser.parse_args()
    if options.prepare is not None:
        prepare(*read_mnist(options.prepare), FULL, options.prepared)
        return
    if not options.quick and not torch.cuda.is_available():
        raise SystemExit("error: torch sees no GPU here; --quick does all of it in miniature.")
    if not options.quick and not (options.prepared / "mnist.npz").is_file():
        raise SystemExit(f"error: no {options.prepared / 'mnist.npz'}; run --prepare and carry it.")
    result = Bench(options).run()
    files.write_json(options.out / "gpu.json", result)
    text = table(result)
    files.write_text(options.out / "gpu.md", text)
    print(text)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------------- what is carried along


def read_mnist(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All 70,000 images as (n, 784) uint8, and their digits."""
    from moesimvae.data.readers import read_idx

    parts = ("train", "t10k")
    images = [read_idx(folder / f"{part}-images-idx3-ubyte.gz", 3) for part in parts]
    digits = [read_idx(folder / f"{part}-labels-idx1-ubyte.gz", 1) for part in parts]
    return np.concatenate(images).reshape(-1, 784), np.concatenate(digits)


def prepare(images: np.ndarray, digits: np.ndarray, sizes: dict[str, Any], out: Path) -> None:
    """Fit on the CPU; keep the projection that each phase's similarity was made from."""
    kept: dict[str, np.ndarray] = {}
    k: list[np.ndarray] = []
    made = fitting.similarity.build

    def build_and_keep(*given: Any, **named: Any) -> Similarity:
        similarity = made(*given, **named)
        points, of_cells = similarity._arrays
        kept[f"points_{len(k)}"] = points.numpy()
        k.append(of_cells.numpy().astype(np.int16))
        return similarity

    with patch.object(fitting.similarity, "build", build_and_keep):
        MoESimVAE(10, device="cpu", **sizes["mnist"]).fit(images / np.float32(255))
    path = out / "mnist.npz"
    with files.atomic(path) as temporary:
        np.savez_compressed(temporary, images=images, digits=digits, k=k, **kept)
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def small_digits() -> dict[str, np.ndarray]:
    """What `prepare` keeps, for scikit-learn's digits at twice the size, without UMAP."""
    found = load_digits()
    images = np.kron(found.images * (255 / 16), np.ones((1, 2, 2))).astype(np.uint8)
    points = PCA(8, random_state=0).fit_transform(found.data).astype(np.float32)
    return {
        "images": images.reshape(-1, 256),
        "digits": found.target,
        "k": np.array([3, 3]),
        "points_0": points,
        "points_1": points,
    }


@contextmanager
def similarities(*made: Similarity) -> Iterator[None]:
    """Let the phases of a fit take these, one after the other."""
    waiting = iter(made)
    with patch.object(fitting.similarity, "build", lambda *_, **__: next(waiting)):
        yield


def neighbours(points: np.ndarray, k: np.ndarray) -> Similarity:
    """k: one for each cell, or one for all."""
    most = int(k.max())
    pairs = lambda index, points, k: knn_in_batch(points[index], most, k[index])  # noqa: E731
    of_cells = torch.from_numpy(np.broadcast_to(k, len(points)).astype(np.int64))
    return Similarity(pairs, (torch.from_numpy(points), of_cells), facts={"kind": "carried along"})


def populations(groups: np.ndarray) -> Similarity:
    """S = 1 within the simulated populations."""

    def pairs(index: Tensor, groups: Tensor) -> Tensor:
        own = groups[index]
        return (own[:, None] == own[None, :]).float().fill_diagonal_(0.0)

    return Similarity(pairs, (torch.from_numpy(groups),), facts={"kind": "simulated populations"})


def simulate(n: int, n_features: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells (n, n_features) of k Gaussian populations of uneven size, and their populations."""
    random = np.random.default_rng(0)
    groups = random.choice(k, n, p=random.dirichlet(np.ones(k)))
    centres = 2 * random.standard_normal((k, n_features), dtype=np.float32)
    cells = random.standard_normal((n, n_features), dtype=np.float32)
    cells += centres[groups]
    return cells, groups


# ---------------------------------------------------------------------- the measurements


class Bench:
    """The device, the sizes, and one method for each part."""

    def __init__(self, options: argparse.Namespace):
        self.sizes: dict[str, Any] = QUICK if options.quick else FULL
        self.device = torch.device("cpu" if options.quick else "cuda")
        self.on_gpu = self.device.type == "cuda"
        self.until = perf_counter() + options.seconds
        self.fitted: MoESimVAE | None = None
        stored = small_digits() if options.quick else np.load(options.prepared / "mnist.npz")
        self.mnist = {name: stored[name] for name in stored}

    def run(self) -> dict[str, Any]:
        result: dict[str, Any] = {"machine": machine(self.device)}
        parts = [
            *(self.parity, self.waiting, self.graph, self.end_to_end),
            *(self.generation, self.million, self.batches),
        ]
        with self.layout():
            for part in parts:
                name = part.__name__
                if perf_counter() > self.until:
                    result[name] = {"left out": "no time was left"}
                    continue
                say(name)
                started = perf_counter()
                try:
                    result[name] = part()
                except Exception as error:  # one failing part must not end the others
                    if not self.on_gpu:
                        raise
                    result[name] = {"failed": f"{type(error).__name__}: {error}"[:500]}
                result[name]["seconds_of_this_part"] = round(perf_counter() - started, 2)
        return result

    def layout(self) -> Any:
        """A GPU's layout of the experts, on a CPU as well."""
        return patch.object(experts, "choose_layout", lambda _: experts.Tiles)

    def synchronise(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def networks(
        self, k: int, n_features: int, device: torch.device, batch: int, **settings: Any
    ) -> tuple[Module, PaperObjective, int]:
        """The default networks for simulated cells, what they minimise, and the number of cells."""
        seeded(0)
        n = max(4 * batch, 2048)
        cells, groups = simulate(n, n_features, k)
        low, high = cells.min(0), cells.max(0)
        x = torch.from_numpy((cells - low) / (high - low)).to(device)
        module = build(MoESimVAE(k, **settings).get_params(deep=False), n_features, None).to(device)
        similar = populations(groups).to(device)
        return module, PaperObjective(module, lambda index: x[index], similar, WEIGHTS), n

    def training(
        self,
        module: Module,
        n: int,
        batch: int,
        device: torch.device,
        record_every: int,
        replay: bool = False,
    ) -> Training:
        own = module.experts
        return Training(
            [p for name, p in module.named_parameters() if not name.startswith("experts.")],
            n,
            0,
            batch_size=batch,
            learning_rate=1e-3,
            generator=torch.Generator().manual_seed(0),
            optimiser=adam,
            schedule="constant",
            accumulated=[Accumulated(own.parameters(), own.every, own.rate)],
            record_every=record_every,
            replay=replay and self.on_gpu,
        )

    # (a)
    def parity(self) -> dict[str, Any]:
        steps = self.sizes["parity_steps"]
        cpu = torch.device("cpu")
        with patch.object(experts, "choose_layout", lambda _: experts.Segments):
            reference = self.losses(cpu, steps)
            labels = [self.short_fit(cpu, seed) for seed in (0, 1)]
        found = self.losses(self.device, steps)
        other = self.short_fit(self.device, 0)
        off = np.abs(np.divide(found, reference) - 1)
        return {
            "steps": steps,
            "relative_difference": {
                str(step): float(off[step - 1]) for step in (1, 10, 50, steps) if step <= steps
            },
            "largest": float(off.max()),
            "largest_replayed_against_launched": self.replayed_against_launched(steps),
            "ari_cpu_and_device": float(adjusted_rand_score(labels[0], other)),
            "ari_two_seeds_on_the_cpu": float(adjusted_rand_score(*labels)),
        }

    def losses(self, device: torch.device, steps: int) -> list[float]:
        """Of each step, with noise drawn on the CPU, since no two devices draw alike."""
        module, objective, n = self.networks(
            self.sizes["clusters"][0], 39, device, 256, gate_dropout=0.0
        )
        training = self.training(module, n, 256, device, record_every=1)
        training.steps = steps
        torch.manual_seed(0)
        noise = lambda x: torch.randn(x.shape).to(x.device)  # noqa: E731
        with patch.object(torch, "randn_like", noise):
            return training.run(objective, "")["total"]

    def replayed_against_launched(self, steps: int) -> float:
        """Largest relative difference of the losses; with every source of randomness, K experts."""
        found = []
        for replay in (False, True):
            k = self.sizes["clusters"][-1]
            module, objective, n = self.networks(k, 39, self.device, 256)
            training = self.training(module, n, 256, self.device, 1, replay)
            training.steps = steps
            torch.manual_seed(0)
            found.append(training.run(objective, "")["total"])
        return float(np.abs(np.divide(*found) - 1).max())

    def short_fit(self, device: torch.device, seed: int) -> np.ndarray:
        cells, groups = simulate(2000, 39, 8)
        steps = {"steps": 300} | self.sizes["fit"] | {"random_state": seed}
        with similarities(populations(groups)):
            return MoESimVAE(8, device=str(device), progress=False, **steps).fit(cells).labels_

    # (e)
    def waiting(self) -> dict[str, Any]:
        """Steps in a mode where waiting for CUDA is an error; a CPU has nothing to wait for."""
        found = {}
        for k in self.sizes["clusters"]:
            for replay in (False, True):
                module, objective, n = self.networks(k, self.sizes["features"], self.device, 512)
                training = self.training(module, n, 512, self.device, 10**9, replay)
                training.steps = self.sizes["warm_up"]
                training.run(objective, "")
                if self.on_gpu:
                    torch.cuda.set_sync_debug_mode("error")
                try:
                    for _ in range(10):  # several epochs, which are shuffled on the host
                        training._take_step(objective)
                    told = "never waits"
                except RuntimeError as error:
                    told = f"waits: {str(error)[:200]}"
                finally:
                    if self.on_gpu:
                        torch.cuda.set_sync_debug_mode("default")
                found[f"K={k}, {'replayed' if replay else 'launched'}"] = told
        return found

    # (d)
    def graph(self) -> dict[str, Any]:
        return {f"K={k}": self.launched_and_replayed(k) for k in self.sizes["clusters"]}

    def launched_and_replayed(self, k: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for replay in (False, True):
            module, objective, n = self.networks(k, self.sizes["features"], self.device, 512)
            training = self.training(module, n, 512, self.device, 10**9, replay)
            step = partial(training._take_step, objective)
            name = "replayed" if replay else "launched"
            result[f"steps_per_second_{name}"] = self.speed(step)
            if not replay:
                result |= self.what_bounds(step)
        busy = result["busy_ms_per_step"] * result["steps_per_second_replayed"] / 1e3
        return result | {"share_of_time_in_kernels_replayed": busy}

    def speed(self, step: Callable[[], Any]) -> float:
        for _ in range(self.sizes["warm_up"]):
            step()
        self.synchronise()
        started = perf_counter()
        for _ in range(self.sizes["timed_steps"]):
            step()
        self.synchronise()
        return self.sizes["timed_steps"] / (perf_counter() - started)

    def what_bounds(self, step: Callable[[], Any]) -> dict[str, Any]:
        """Kernels of a step, and how long the device works on them: the rest is launching."""
        kinds = torch.profiler.ProfilerActivity
        with torch.profiler.profile(activities=[kinds.CUDA if self.on_gpu else kinds.CPU]) as seen:
            for _ in range(5):  # with K = 40 the experts' weights change once in five steps
                step()
            self.synchronise()
        events = [e for e in seen.key_averages() if not self.on_gpu or e.self_device_time_total > 0]
        time = "self_device_time_total" if self.on_gpu else "self_cpu_time_total"
        events.sort(key=lambda event: -getattr(event, time))
        return {
            "kernels_per_step": sum(event.count for event in events) / 5,
            "busy_ms_per_step": sum(getattr(event, time) for event in events) / 5e3,
            "longest": [
                {"kernel": e.key[:160], "each_step": e.count / 5, "us": getattr(e, time) / 5}
                for e in events[:25]
            ],
        }

    # (b)
    def end_to_end(self) -> dict[str, Any]:
        images = self.mnist["images"] / np.float32(255)
        digits = self.mnist["digits"]
        made = [neighbours(self.mnist[f"points_{i}"], k) for i, k in enumerate(self.mnist["k"])]
        model = MoESimVAE(10, device=str(self.device), progress=False, **self.sizes["mnist"])
        with similarities(*made):
            course = course_of(model, images, digits)
        self.fitted = model
        last = course[-1]
        return {
            "accuracy": last["accuracy"],
            "training_seconds": last["seconds"],
            "steps": last["steps"],
            "steps_per_second": last["steps"] / last["seconds"],
            "seconds_to": {str(goal): seconds_to(goal, course) for goal in GOALS},
            "memory_mb": self.memory(),
            "course": course,
        }

    def memory(self) -> float | None:
        return torch.cuda.max_memory_allocated() / 1e6 if self.on_gpu else None

    # (f)
    def generation(self) -> dict[str, Any]:
        model = self.fitted
        if model is None:
            return {"left out": "no model of the images was fitted"}
        each = self.sizes["generated"] // model.n_clusters
        model.generate(0, 10)
        self.synchronise()
        started = perf_counter()
        made = sum(len(model.generate(cluster, each)) for cluster in range(model.n_clusters))
        seconds = perf_counter() - started
        return {"images": made, "seconds": seconds, "images_per_second": made / seconds}

    # (g)
    def million(self) -> dict[str, Any]:
        n, k = self.sizes["cells"], self.sizes["clusters"][-1]
        cells, groups = simulate(n, 39, k)
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        settings = {"similarity": "communities"} | self.sizes["fit"]
        model = MoESimVAE(k, device=str(self.device), progress=False, **settings)
        started = perf_counter()
        with similarities(populations(groups)):
            model.fit(cells)
        fitted = perf_counter()
        model.predict(cells)
        return {
            "cells": n,
            "K": k,
            "seconds_fit": fitted - started,
            "seconds_training": model.facts_["seconds_training"],
            "steps": model.facts_["steps"],
            "seconds_predict": perf_counter() - fitted,
            "memory_mb": self.memory(),
            "ari_with_the_simulated": float(adjusted_rand_score(groups, model.labels_)),
        }

    # (c)
    def batches(self) -> dict[str, Any]:
        peak = self.peak()
        rows = []
        for k in self.sizes["clusters"]:
            for batch in self.sizes["batches"]:
                for precision in PRECISIONS:
                    if perf_counter() > self.until + 20:
                        return {"bfloat16_peak_flops": peak, "rows": rows, "left out": "the rest"}
                    rows.append(self.cells_per_second(k, batch, precision, peak))
        return {"bfloat16_peak_flops": peak, "rows": rows}

    def peak(self) -> float:
        """FLOP/s of a large product in bfloat16, as measured here."""
        size = self.sizes["peak"]
        a, b = (torch.randn(size, size, device=self.device).bfloat16() for _ in range(2))
        return self.speed(lambda: a @ b) * 2 * size**3

    def cells_per_second(self, k: int, batch: int, precision: str, peak: float) -> dict[str, Any]:
        torch.set_float32_matmul_precision(PRECISIONS[precision])
        module, objective, n = self.networks(k, self.sizes["features"], self.device, batch)
        training = self.training(module, n, batch, self.device, 10**9, replay=True)
        cast = (
            partial(torch.autocast, self.device.type, torch.bfloat16)
            if precision == "bfloat16"
            else nullcontext
        )

        def terms(index: Tensor, step: int) -> dict[str, Tensor]:
            with cast():
                return objective(index, step)

        step = partial(training._take_step, terms)
        with FlopCounterMode(display=False) as counter:
            step()
        rate = self.speed(step)
        torch.set_float32_matmul_precision("highest")
        return {
            "K": k,
            "batch": batch,
            "precision": precision,
            "cells_per_second": rate * batch,
            "steps_per_second": rate,
            "flops_per_step": counter.get_total_flops(),
            "share_of_bfloat16_peak": rate * counter.get_total_flops() / peak,
        }


def course_of(model: MoESimVAE, cells: np.ndarray, truth: np.ndarray) -> list[dict[str, float]]:
    """Fit; steps, seconds since the start, and accuracy at each record.

    The clock stops while all the cells are looked at.
    """
    course: list[dict[str, float]] = []
    steps: dict[Training, int] = {}  # of each phase
    looking, record = 0.0, Training._record

    def record_and_look(training: Training, means: dict[str, float]) -> None:
        nonlocal looking
        record(training, means)  # waits for the device
        if "similarity" not in means:  # the experts alone, when the clusters stand
            return
        began = perf_counter()
        steps[training] = training.step
        labels = model._encode(cells)[1].argmax(1)
        accuracy = evaluate(truth, labels, ["accuracy_hungarian"])["accuracy_hungarian"]
        seconds = began - started - looking
        taken = sum(steps.values())
        course.append({"steps": taken, "seconds": seconds, "accuracy": float(accuracy)})
        looking += perf_counter() - began

    with patch.object(Training, "_record", record_and_look):
        started = perf_counter()
        model.fit(cells)
    return course


def seconds_to(goal: float, course: list[dict[str, float]]) -> float | None:
    return next((at["seconds"] for at in course if at["accuracy"] >= goal), None)


# ---------------------------------------------------------------------- what is reported


def machine(device: torch.device) -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor()
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else processor,
        "cpu": processor,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def table(result: dict[str, Any]) -> str:
    """One row for each number, the course of MNIST left to the JSON."""
    where = result["machine"]
    rows = []
    for part, values in result.items():
        for name, value in flat(values) if part != "machine" else []:
            rows.append(f"| {part} | {name} | {number(value)} |")
    for row in result.get("batches", {}).get("rows", []):
        name = f"K={row['K']}, {row['batch']} cells, {row['precision']}"
        share = f"{row['share_of_bfloat16_peak']:.1%} of the bfloat16 peak"
        rows.append(f"| cells per second | {name} | {row['cells_per_second']:,.0f} ({share}) |")
    head = f"{where['device']}; {where['cores']} cores, torch {where['torch']}"
    return "\n".join([head, "", "| part | what | value |", "|---|---|---|", *rows, ""])


def flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        words = (before + name).replace("_", " ")
        if isinstance(value, dict):
            yield from flat(value, f"{words}: ")
        elif not isinstance(value, list):
            yield words, value


def number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
