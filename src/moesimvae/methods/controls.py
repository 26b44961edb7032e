"""The three controls, the only "methods" that read labels.

A table in which one cluster, random labels or true labels do not score as they must is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moesimvae.files import sha256, write_json
from moesimvae.methods.runner import blank_status, code_of, whole_folder
from moesimvae.methods.worker import found, write_labels
from moesimvae.nouns import Run

# Unique to this control: labels that a user simulates with `default_rng(seed)` must differ.
SALT = 0x6D6F6573


def random_labels(n_clusters: int, n_cells: int, seed: int) -> np.ndarray:
    """Each cell's cluster, (n_cells,), drawn uniformly from a stream that nothing else uses."""
    return np.random.default_rng([SALT, seed]).integers(n_clusters, size=n_cells)


def write_controls(labels_path: Path, n_clusters: int, seeds: Sequence[int], out: Path) -> None:
    """Write the controls as runs: <out>/<control>/seed<seed>/.

    labels_path: labels.parquet in the folder of its data set, whose name the runs carry.
    `one_cluster` and `true_labels` run with the first seed only. Cells without a label (never
    scored) are noise, -1, in `true_labels`. `random_labels` draws each cell's cluster
    uniformly from `n_clusters`. Where no cell has a label, there is no `true_labels`.
    """
    from pandas import read_parquet

    dataset = labels_path.parent.name
    table = read_parquet(labels_path)
    cells = table["cell"].to_numpy()
    true = table["label"].mask(table["label"] == "").factorize(sort=True)[0]
    for seed in seeds:
        labels = {"random_labels": random_labels(n_clusters, len(cells), seed)}
        if seed == seeds[0]:
            labels["one_cluster"] = np.zeros(len(cells), dtype=int)
            labels |= {"true_labels": true} if (true >= 0).any() else {}
        for method, values in labels.items():
            status = blank_status(dataset, method, seed, {}, n_clusters, threads=1)
            status |= found(values) | {
                "status": "ok",
                "facts": {"control": True, "labels_sha256": sha256(labels_path)},
                "code_sha256": code_of(method, {"control": True}),
            }
            run = Run(dataset, method, seed, control=True)
            with whole_folder(out / run.tail) as folder:
                write_labels(folder, cells, values)
                (folder / "log.txt").touch()
                write_json(folder / "status.json", status)
