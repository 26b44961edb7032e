"""Whether a fit that ends by itself differs more from a full one than two seeds do.

    .venv/bin/python bench/early.py --out docs/bench/early.json \
        pbmc=results/data/pbmc_facs/features.h5ad,5 NAME=FEATURES,K …

Sets as in `bench/profiling.py`. Each is fitted with several seeds, once with the defaults, which
end when nothing changes any more, and once to the last of 5,000 steps with the cosine schedule.
Reported is the adjusted Rand index of the labels: between the two fits of a seed, and between
seeds. No label of the cells is read.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anndata import read_h5ad
from peers import machine, most_variable, spread
from sklearn.metrics import adjusted_rand_score

from moesimvae import files
from moesimvae.model.estimator import MoESimVAE

WAYS: dict[str, dict[str, Any]] = {"early": {}, "full": {"schedule": "cosine"}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", metavar="NAME=FEATURES,K")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5000, help="of a full fit")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for given in options.sets:
        name, _, rest = given.partition("=")
        path, _, k = rest.rpartition(",")
        rows.append({"set": name} | compare(Path(path), int(k), options.seeds, options.steps))
        print(table(rows[-1:]), flush=True)
        files.write_json(options.out, {"machine": machine(1), "steps": options.steps, "sets": rows})
    print(table(rows))


def compare(path: Path, k: int, seeds: int, steps: int) -> dict[str, Any]:
    """Steps, seconds of training, and agreement of the labels, early and full."""
    with tempfile.TemporaryDirectory() as folder:
        cells = read_h5ad(most_variable(path, Path(folder)))
    labels: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
    costs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as cache:  # both ways learn the same similarity
        for seed, (way, changes) in itertools.product(range(seeds), WAYS.items()):
            model = MoESimVAE(
                k, steps=steps, random_state=seed, progress=False, cache=cache, **changes
            )
            labels[way].append(model.fit(cells, drawing=False).labels_)
            costs[way].append({name: model.facts_[name] for name in ("steps", "seconds_training")})
    pairs = [*itertools.combinations(range(seeds), 2)]
    between = {
        way: [adjusted_rand_score(found[a], found[b]) for a, b in pairs]
        for way, found in labels.items()
    }
    same = [adjusted_rand_score(*found) for found in zip(*labels.values(), strict=True)]
    return {
        "cells": cells.n_obs,
        "K": k,
        "runs": costs,
        "early to full": spread(same),
        "between seeds, early": spread(between["early"]),
        "between seeds, full": spread(between["full"]),
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| set, K | steps, early | ARI, early to full | between seeds, early "
        "| between seeds, full |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        steps = [run["steps"] for run in row["runs"]["early"]]
        ranges = [
            f"{row[name]['median']:.3f} ({row[name]['min']:.3f}–{row[name]['max']:.3f})"
            for name in ("early to full", "between seeds, early", "between seeds, full")
        ]
        lines.append(
            f"| {row['set']}, {row['K']} | {min(steps)}–{max(steps)} | {' | '.join(ranges)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
