"""Where the time of a fit goes, part by part, in CPU and wall-clock seconds.

    .venv/bin/python bench/profiling.py --out docs/bench/profile.json \
        digits=results/data/digits/features.h5ad,10 NAME=FEATURES,K …

Features are those that the workflow leaves in `results/data`, 2,000 genes at most; parameters for a
data set of `config.yaml` are taken from there. A part's time is without that of the parts inside
it; "steps" are those of training. On a machine that does other work, too, trust CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

import torch
import yaml
from anndata import read_h5ad
from peers import most_variable

from moesimvae import files
from moesimvae.model import cutting, graphs, losses, projection, similarity, training
from moesimvae.model.estimator import MoESimVAE
from moesimvae.model.experts import Experts
from moesimvae.model.module import Module
from moesimvae.model.networks import Encoder, Gate

ROOT = Path(__file__).resolve().parents[1]
# part → the code that belongs to it
PARTS: dict[str, list[tuple[Any, str]]] = {
    "similarity: components": [
        (projection, "principal_components"),
        (projection, "count_components"),
    ],
    "similarity: neighbours": [
        (graphs, "nearest_neighbours"),
        (projection.NeighbourSearch, "__init__"),
        (projection.NeighbourSearch, "query"),
    ],
    "similarity: graph": [
        (graphs, name) for name in ("apart", "graph_of", "jaccard_graph", "symmetric")
    ],
    "similarity: communities": [(similarity, "_partition")],
    "similarity: joining": [(cutting, "cut")],
    "similarity: UMAP": [(projection, "umap_projection")],
    "similarity: the rest": [(similarity, "build")],
    "steps: cells of a batch": [(training.Batches, "__next__")],
    "steps: S of a batch": [(similarity.Similarity, "__call__")],
    "steps: encoder": [(Encoder, "forward")],
    "steps: gate": [(Gate, "forward")],
    "steps: experts": [(Experts, "forward")],
    "steps: losses": [
        (losses, name) for name in ("reconstruction", "cluster_kl", "similarity", "depict")
    ],
    "steps: gradients": [(torch.Tensor, "backward")],
    "steps: Adam": [(training.Training, "_update_weights")],
    "steps: the rest": [(training.Training, "run")],
    "all cells encoded": [(Module, "encode_cells")],
    "writing": [(MoESimVAE, "save")],
    "the rest": [(MoESimVAE, "fit")],
}


class Clock:
    """Seconds of each part, without those of the parts that it calls."""

    def __init__(self) -> None:
        self.spent = {part: [0.0, 0.0] for part in PARTS}
        self.calls = dict.fromkeys(PARTS, 0)
        self.inside = [[0.0, 0.0]]  # of each open part, what the parts in it took

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            began = process_time(), perf_counter()
            self.inside.append([0.0, 0.0])
            try:
                return function(*given, **named)
            finally:
                took = process_time() - began[0], perf_counter() - began[1]
                own = self.inside.pop()
                for i, seconds in enumerate(took):
                    self.spent[part][i] += seconds - own[i]
                    self.inside[-1][i] += seconds
                self.calls[part] += 1

        return call


def holders(owner: Any, name: str, function: Any) -> list[Any]:
    """A class, or the module of a function and all of ours that import it from there."""
    ours = [m for found, m in sys.modules.items() if found.startswith("moesimvae.")]
    return [owner, *(m for m in ours if m is not owner and vars(m).get(name) is function)]


@contextmanager
def watched() -> Iterator[Clock]:
    clock = Clock()
    with ExitStack() as patches:
        for part, functions in PARTS.items():
            for owner, name in functions:
                function = getattr(owner, name)
                timed = clock.timed(part, function)
                for holder in holders(owner, name, function):
                    patches.enter_context(patch.object(holder, name, timed))
        yield clock


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", metavar="NAME=FEATURES,K")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--parameters", type=json.loads, default={}, help="of the model, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    own = yaml.safe_load((ROOT / "config.yaml").read_text())["parameters"]
    profiles = []
    for given in options.sets:
        name, _, rest = given.partition("=")
        path, _, k = rest.rpartition(",")
        parameters = own.get(name, {}).get("moe_sim_vae", {}) | options.parameters
        profiles.append(profile(name, Path(path), int(k), parameters))
        print(table(profiles[-1]), flush=True)
        files.write_json(options.out, {"machine": machine(options.threads), "profiles": profiles})


def profile(name: str, path: Path, k: int, parameters: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        cells = read_h5ad(most_variable(path, Path(folder)))
    print(f"{name}: {cells.n_obs} × {cells.n_vars}, K = {k}", file=sys.stderr, flush=True)
    model = MoESimVAE(k, progress=False, **parameters)
    with watched() as clock, tempfile.TemporaryDirectory() as folder:
        model.fit(cells)
        model.save(folder)
    parts = {
        part: {"cpu_s": round(cpu, 3), "wall_s": round(wall, 3), "calls": clock.calls[part]}
        for part, (cpu, wall) in clock.spent.items()
        if clock.calls[part]
    }
    return {
        "set": name,
        "cells": cells.n_obs,
        "features": cells.n_vars,
        "K": k,
        "steps": model.facts_["steps"],
        "cpu_s": round(sum(part["cpu_s"] for part in parts.values()), 2),
        "wall_s": round(sum(part["wall_s"] for part in parts.values()), 2),
        "parts": parts,
    }


def machine(threads: int) -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else "",
        "cores": os.cpu_count(),
        "threads": threads,
        "load_average": os.getloadavg()[0],
        "torch": torch.__version__,
    }


def table(found: dict[str, Any]) -> str:
    rows = [
        f"| {part} | {took['cpu_s']:.1f} | {took['cpu_s'] / found['cpu_s']:.0%} "
        f"| {took['wall_s']:.1f} |"
        for part, took in found["parts"].items()
    ]
    head = (
        f"{found['set']}: {found['cells']:,} × {found['features']:,}, K = {found['K']}, "
        f"{found['steps']} steps, {found['cpu_s']} CPU s"
    )
    return "\n".join([head, "", "| part | CPU s | share | s |", "|---|---|---|---|", *rows, ""])


if __name__ == "__main__":
    main()
