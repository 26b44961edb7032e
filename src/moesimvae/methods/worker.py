"""The inside of one run: read the features, call the method, check and write its result.

Started by `runner` as `python -m moesimvae.methods.worker`, in a process group of its own and
possibly in another Python. The job is one line of JSON on standard input, which is kept open:
when it closes, the supervisor is gone, and the worker ends itself and all it started.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from moesimvae.errors import UserError
from moesimvae.files import write_json
from moesimvae.layers import SELECTED, SIGNATURE, TRANSFORMED
from moesimvae.methods.interface import Clustering, Invalid
from moesimvae.methods.label_transfer import NEIGHBOURS, by_nearest_cells

if TYPE_CHECKING:
    from anndata import AnnData

SECONDS_TO_IMPORT = 10.0  # by then a run has imported what it needs, should it be killed later


class LabelsWithinReach(Exception):
    """The features file carries annotation of the cells; the message is one sentence."""


def main() -> None:
    job = json.loads(read_line(0))
    threading.Thread(target=end_with_supervisor, daemon=True).start()
    folder = Path(job["folder"])

    def versions() -> dict[str, Any]:
        return {"packages": imported_packages(), "python": platform.python_version()}

    # so that a killed run reports its versions too
    write_json(folder / "result.json", versions())
    early = threading.Timer(
        SECONDS_TO_IMPORT, lambda: write_json(folder / "result.json", versions())
    )
    early.daemon = True
    early.start()
    report = outcome(job, folder) | accelerator()
    early.cancel()
    if early.is_alive():
        early.join()
    write_json(folder / "result.json", report | versions())


def read_line(descriptor: int) -> bytes:
    """Read one line unbuffered: the waiting thread would hold a buffer's lock at exit."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(descriptor, 65536)
        if not piece:
            raise SystemExit("worker: no job on standard input; use moesimvae.methods.runner.run")
        line += piece
    return line


def end_with_supervisor() -> None:
    while os.read(0, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def outcome(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run the method; return its status, a reason unless ok, and its results."""
    try:
        return {"status": "ok", "reason": ""} | cluster_and_write(job, folder)
    except LabelsWithinReach as error:
        return {"status": "misuse", "reason": str(error)}
    except Invalid as error:
        return {"status": "invalid", "reason": str(error)}
    except Exception as error:
        traceback.print_exc()
        status = "out-of-memory" if is_out_of_memory(error) else "error"
        return {"status": status, "reason": sentence(error)}


def cluster_and_write(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    cells = read_cells(
        Path(job["features"]), job["input"], job["uses_prior"], job.get("all_genes", False)
    )
    names = cells.obs_names.to_numpy(copy=True)
    method = load(job["module"])
    random.seed(job["seed"])
    np.random.seed(job["seed"] % 2**32)  # noqa: NPY002 - libraries without a seed draw from it
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(job["seed"])

    def cluster(cells: AnnData) -> Clustering:
        return method.cluster(cells, job["n_clusters"], job["seed"], **job["params"])

    if "split" in cells.obs:
        result = cluster_training_cells(cells, cluster, job["seed"])
    else:
        result = cluster(cells)
    check(result, len(names))
    write_labels(folder, names, result.labels)
    write_extras(folder, result)
    return found(result.labels) | {"facts": plain(result.facts)}


def load(module: str) -> ModuleType:
    """Load a method's module, by name or from a user's own file, which may import its neighbours.

    Raises UserError if that file has no function `cluster`.
    """
    if not module.endswith(".py"):
        return importlib.import_module(module)
    path = Path(module)
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None  # true of every .py file
    method = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(method)
    if not callable(getattr(method, "cluster", None)):
        raise UserError(f"{path.name} has no function 'cluster(cells, n_clusters, seed)'; add it.")
    return method


def cluster_training_cells(
    cells: AnnData, cluster: Callable[[AnnData], Clustering], seed: int
) -> Clustering:
    """Cluster the training cells alone and assign the others; return all cells, in order.

    The split itself is removed before the method sees the cells. Embedding and probabilities
    are kept if both parts have them. Raises UserError without a training cell.
    """
    train = (cells.obs["split"] == "train").to_numpy()
    if not train.any():
        raise UserError("the data set has no training cells; change its split.")
    del cells.obs["split"]
    training, others = cells[train].copy(), cells[~train].copy()
    n_cells = {"train": training.n_obs, "test": others.n_obs}
    result = cluster(training)
    check(result, training.n_obs)
    assign = result.assign or by_nearest_cells(training, result.labels, seed)
    if others.n_obs:
        further = assign(others)
        check(further, others.n_obs)
        for name in ("labels", "embedding", "probabilities"):
            parts = getattr(result, name), getattr(further, name)
            setattr(result, name, in_order(train, *parts))
    predicted = "predicted by the method"
    nearest = f"majority of the {NEIGHBOURS} nearest training cells"
    how = predicted if result.assign else nearest
    result.facts = result.facts | {"split": n_cells | {"test_labels": how}}
    return result


def in_order(
    train: np.ndarray, of_train: np.ndarray | None, of_test: np.ndarray | None
) -> np.ndarray | None:
    """Merge the rows of both parts by `train`, (n_cells,) bool, in order; None unless both fit."""
    if of_train is None or of_test is None or of_train.shape[1:] != of_test.shape[1:]:
        return None
    together = np.empty((len(train), *of_train.shape[1:]), np.result_type(of_train, of_test))
    together[train], together[~train] = of_train, of_test
    return together


def read_cells(features: Path, kind: str, uses_prior: bool, all_genes: bool = False) -> AnnData:
    """Read the cells, with X as the method asked for it (`with_input`).

    The only annotation they may have is `split`, train or test. Signatures of groups are kept only
    for methods that use prior knowledge. Where genes are selected, the others are left out unless
    `all_genes`; methods that use prior knowledge also see the signature genes.
    Raises LabelsWithinReach for any other annotation, UserError if counts are needed but missing.
    """
    from anndata import read_h5ad

    cells = read_h5ad(features)
    annotation = [column for column in cells.obs.columns if column != "split"]
    if annotation:
        raise LabelsWithinReach(
            f"{features} has column '{annotation[0]}' in obs, expected only 'split': methods "
            "must not see annotation of the cells; keep it in labels.parquet."
        )
    unknown = set(cells.obs.get("split", [])) - {"train", "test"}
    if unknown:
        raise LabelsWithinReach(
            f"{features} has '{min(map(str, unknown))}' in obs column 'split', expected train or "
            "test: methods must not see annotation of the cells; keep it in labels.parquet."
        )
    if kind == "counts" and "counts" not in cells.layers:
        raise UserError(
            f"{features} has no layer 'counts', which this method needs; "
            "leave the method out for this data set."
        )
    if SELECTED in cells.var and not all_genes:
        seen = [name for name in (SELECTED, SIGNATURE)[: 1 + uses_prior] if name in cells.var]
        cells = cells[:, cells.var[seen].any(axis=1)].copy()
    if not uses_prior:
        for part in (cells.obsm, cells.uns, cells.var):
            if SIGNATURE in part:
                del part[SIGNATURE]
    return with_input(cells, kind)


def with_input(cells: AnnData, kind: str) -> AnnData:
    """The cells with X as a method asked for it.

    kind: "scaled" (X as it is), "counts" (the layer of that name) or "transformed" (before
    scaling: whichever layer of `layers.TRANSFORMED` is present; X if none is).
    """
    if kind == "counts":
        cells.X = cells.layers["counts"]
    elif kind == "transformed":
        layers = [name for name in TRANSFORMED if name in cells.layers]
        cells.X = cells.layers[layers[0]] if layers else cells.X
    return cells


def check(result: Any, n_cells: int) -> None:
    """Raise Invalid unless `result` is a Clustering of `n_cells` cells that meets contract 2."""
    if not isinstance(result, Clustering):
        raise Invalid(f"cluster() returned a {type(result).__name__}, expected a Clustering.")
    labels = result.labels = np.asarray(result.labels)
    if labels.shape != (n_cells,):
        raise Invalid(f"labels have shape {labels.shape}, expected ({n_cells},), one per cell.")
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise Invalid(f"labels are NaN for {np.isnan(labels).sum()} cells, expected integers.")
    if labels.dtype.kind not in "iu":
        raise Invalid(f"labels are of type {labels.dtype}, expected integers.")
    if n_cells and (labels.min() < -1 or labels.max() > np.iinfo(np.int32).max):
        raise Invalid(
            f"labels range from {labels.min()} to {labels.max()}, expected -1 (noise) or cluster "
            "numbers from 0."
        )
    for name in ("embedding", "probabilities"):
        values = getattr(result, name)
        if values is None:
            continue
        if np.ndim(values) != 2 or len(values) != n_cells:
            raise Invalid(f"{name} has shape {np.shape(values)}, expected one row per cell.")
        if not np.isfinite(values).all():
            raise Invalid(f"{name} contains values that are not finite.")


def write_labels(folder: Path, cells: np.ndarray, labels: np.ndarray) -> None:
    """Write labels.parquet of a run: cell (string), label (int32)."""
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"cell": cells.astype(str), "label": labels.astype(np.int32)})
    parquet.write_table(table, folder / "labels.parquet")


def write_extras(folder: Path, result: Clustering) -> None:
    """Write what the method returned besides its labels."""
    for name in ("embedding", "probabilities"):
        values = getattr(result, name)
        if values is not None:
            np.save(folder / f"{name}.npy", np.asarray(values, dtype=np.float32))
    if result.history:
        write_json(folder / "history.json", plain(result.history))
    if result.save is not None:
        (folder / "model").mkdir()
        result.save(folder / "model")


def found(labels: np.ndarray) -> dict[str, Any]:
    """Number of non-empty clusters, and share of noise cells (-1)."""
    return {
        "clusters_found": int(np.unique(labels[labels >= 0]).size),
        "noise_share": float((labels == -1).mean()),
    }


def plain(values: Any) -> Any:
    """Convert NumPy and torch numbers and arrays in the values to plain Python ones."""
    return json.loads(json.dumps(values, default=lambda value: value.tolist()))


def imported_packages() -> dict[str, str]:
    """Versions of the distributions that this process has imported, except this package.

    `importlib.metadata.packages_distributions` would take several times as long, in every run.
    """
    names = {name.partition(".")[0] for name in list(sys.modules)}
    names -= sys.stdlib_module_names | {"moesimvae"}
    found = {}
    for distribution in importlib.metadata.distributions():
        told = distribution.read_text("top_level.txt")
        if told is None:
            record = distribution.read_text("RECORD") or ""
            told = "\n".join({line[: line.find("/")] for line in record.split("\n")})
        if not names.isdisjoint(told.split()):
            found[distribution.metadata["Name"]] = distribution.version
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def is_out_of_memory(error: Exception) -> bool:
    """Whether it is an out-of-memory error of Python, NumPy, CUDA or torch's CPU allocator."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


def sentence(error: Exception) -> str:
    """`ValueError: first line of its message`; a UserError already is a sentence."""
    if isinstance(error, UserError):
        return str(error)
    first = (str(error).strip().splitlines() or [""])[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def accelerator() -> dict[str, Any]:
    """Name and peak memory of the GPU, if the method started one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {"device": "cpu", "peak_gpu_memory_mb": None}
    peak = torch.cuda.max_memory_allocated() / 1e6
    return {"device": torch.cuda.get_device_name(), "peak_gpu_memory_mb": round(peak, 1)}


if __name__ == "__main__":
    main()
