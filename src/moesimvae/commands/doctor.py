"""`moesimvae doctor`: what a maintainer first asks about a machine, to paste into an issue."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import moesimvae
from moesimvae import files
from moesimvae.surroundings import memory_bytes

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
EXTRAS = ("benchmark", "methods")


def add(commands: Any) -> None:
    """The command and its options."""
    parser = commands.add_parser("doctor", help="print versions, machine, GPU, and the last run")
    parser.description = (
        "Prints what a bug report should contain: versions, machine, GPU, threads, and how the "
        "last run of the workflow ended."
    )
    parser.add_argument(
        "--results", dest="out", type=Path, default=Path("results"), help="default: %(default)s"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    for name, value in facts(options.out):
        print(f"{name:<12} {value}")


def facts(results: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of each line."""
    yield "moesimvae", f"{moesimvae.__version__} in {Path(moesimvae.__file__).parent}"
    yield "Python", f"{platform.python_version()} in {sys.prefix}"
    yield "system", platform.platform()
    n_bytes = memory_bytes()
    memory = "unknown" if n_bytes == sys.maxsize else f"{n_bytes / 1e9:.1f} GB of memory"
    yield "machine", f"{_cores()} of {os.cpu_count()} cores, {memory}, {platform.machine()}"
    yield "GPU", _gpu()
    said = [f"{name}={os.environ[name]}" for name in THREADS if name in os.environ]
    yield "threads", ", ".join(said) or "chosen by the libraries"
    for extra, lacking in _packages():
        yield extra or "needs", lacking
    yield "last run", _last_run(results)


def _cores() -> int | None:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _gpu() -> str:
    if importlib.util.find_spec("torch") is None:
        return "unknown: torch is not installed"
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()} (CUDA {torch.version.cuda})"
    if torch.backends.mps.is_available():
        return "Apple's (mps)"
    return f"none that torch {torch.__version__} can use"


def _packages() -> Iterator[tuple[str, str]]:
    """("" or an extra, versions of its requirements), with MISSING for absent ones."""
    try:
        asked = metadata.requires("moesimvae") or []
    except metadata.PackageNotFoundError:
        yield "", "unknown: moesimvae is on the path but not installed"
        return
    for extra in ("", *EXTRAS):
        versions = []
        for line in asked:
            need, _, marker = line.partition(";")
            name = need.partition("[")[0].partition(">")[0].strip()
            if name != "moesimvae" and (f'extra == "{extra}"' in marker if extra else not marker):
                versions.append(f"{name} {_version(name)}")
        if versions:
            yield extra, ", ".join(versions)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "MISSING"


def _last_run(results: Path) -> str:
    found = sorted(results.glob("runs/*/*/seed*/status.json"), key=lambda p: p.stat().st_mtime)
    if not found:
        return f"none in {results}"
    try:
        status = files.read_json(found[-1])
        reason = f": {status['reason']}" if status["reason"] else ""
        return f"{found[-1].parent} {status['status']}{reason}, started {status['started']}"
    except (OSError, ValueError, KeyError):
        return f"{found[-1]} cannot be read"
