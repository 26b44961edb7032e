"""Clusterings that the user already has, written as runs without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from moesimvae.files import sha256, write_json
from moesimvae.methods.runner import blank_status, code_of, whole_folder
from moesimvae.methods.worker import found, write_labels
from moesimvae.nouns import Run


def write_run(
    cells: np.ndarray,
    clusters: np.ndarray,
    names: list[str],
    block: dict[str, Any],
    features: Path,
    out: Path,
) -> None:
    """Write the clusters (n_cells,), integers ≥ −1, as the run in the folder `out`.

    names: of the clusters, as in the user's file. block: from the registry; it names the column.
    """
    run = Run.of(out)
    status = blank_status(run.dataset, run.method, int(run.seed), {}, len(names), threads=1)
    status |= found(clusters) | {
        "status": "ok",
        "facts": {"existing": block["existing"], "names": names},
        "code_sha256": code_of(run.method, block),
        "features_sha256": sha256(features),
    }
    with whole_folder(out) as folder:
        write_labels(folder, cells, clusters)
        (folder / "log.txt").touch()
        write_json(folder / "status.json", status)
