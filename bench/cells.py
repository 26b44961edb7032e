"""Cells clustered with the true number asked for: five seeds per method, the worst reported.

    .venv/bin/python bench/cells.py --out docs/bench/cells.json \
        NAME=results/data/pbmc_facs/features.h5ad,results/data/pbmc_facs/labels.parquet,label …

Each set is prepared features (as the workflow leaves them in `results/data`), a file with a label
for each of its cells in the same order (parquet, or the obs of an h5ad), and the label's column. A
method gets the input the registry names. Cells of no population are clustered but not scored.
"""

import argparse
import importlib
import json
import os
import platform
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from moesimvae import files, registry
from moesimvae.evaluation.metrics import evaluate

METRICS = ("f_flowcap", "f1_mean_hungarian", "ari", "nmi_arithmetic")
METHODS = (
    *("moe_sim_vae", "consensus", "kmeans", "gmm", "hierarchical"),
    *("flowsom", "leiden", "louvain", "kmeans_consensus"),
)
NO_POPULATION = ("", "nan", "NaN", "NA", "unassigned", "ungated", "None")
MOST_FEATURES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="NAME=FEATURES,LABELS,COLUMN")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    blocks = registry.load(["workflow/registry/methods.yaml"])
    rows = []
    for given in options.sets:
        name, _, parts = given.partition("=")
        cells, labels = read(*parts.split(","))
        scored = ~np.isin(labels, NO_POPULATION)
        k = len(set(labels[scored]))
        for method in options.methods:
            block = registry.block(blocks, method, "method")
            seeds = range(options.seeds if block.get("stochastic", True) else 1)
            for seed in seeds:
                row = run(block, cells, k, seed, labels, scored)
                rows.append({"set": name, "k": k, "method": method, "seed": seed} | row)
                print(rows[-1], flush=True)
            write(options.out, rows)


def read(features: str, labels: str, column: str) -> tuple[anndata.AnnData, np.ndarray]:
    cells = anndata.read_h5ad(features)
    table = pd.read_parquet(labels) if labels.endswith(".parquet") else _obs(labels)
    found = table[column].astype(str).to_numpy()
    if len(found) != cells.n_obs:
        raise SystemExit(f"{labels}: {len(found)} labels for {cells.n_obs} cells.")
    if "scored" in table:
        found = np.where(table["scored"], found, "unassigned")
    if cells.n_vars > MOST_FEATURES:
        values = cells.layers["lognorm"]
        variance = values.power(2).mean(0) - np.square(values.mean(0))
        kept = np.sort(np.argsort(-np.asarray(variance).ravel())[:MOST_FEATURES])
        cells = cells[:, kept].copy()
    return cells, found


def _obs(path: str) -> pd.DataFrame:
    return anndata.read_h5ad(path, backed="r").obs


def run(block: dict, cells: anndata.AnnData, k: int, seed: int, labels, scored) -> dict:
    part = cells.copy()
    if block.get("input") == "transformed":
        for layer in ("arcsinh", "lognorm"):
            part.X = part.layers.get(layer, part.X)
    parameters = dict(block.get("params", {}))
    if block["module"] == "moe_sim_vae":
        parameters |= {"progress": False}
    wall, cpu = time.monotonic(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method = importlib.import_module(f"moesimvae.methods.{block['module']}")
        found = method.cluster(part, k, seed, **parameters).labels
    seconds = {"cpu_s": time.process_time() - cpu, "wall_s": time.monotonic() - wall}
    numbers = np.unique(np.asarray(found), return_inverse=True)[1]
    scores = evaluate(labels[scored], numbers[scored], METRICS)
    return {"found": int(numbers.max()) + 1} | {
        name: round(float(value), 4) for name, value in (scores | seconds).items()
    }


def write(path: Path, rows: list[dict]) -> None:
    machine = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic(path) as temporary:
        temporary.write_text(json.dumps({"machine": machine, "runs": rows}, indent=1) + "\n")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
