"""Damaged files against the readers: anything but cells or one sentence is a finding.

    python bench/fuzz.py --seconds 600 --seed 0 [--files FOLDER] [--keep FOLDER]

Each input is a file that its reader takes, with bytes changed, cut, doubled, exchanged or replaced
by extreme numbers. It is read in a process limited to 3 GB and 10 seconds per input, so that a
crash inside a library is a finding, too. The same seed makes the same inputs, as many as time
allows.
"""

import argparse
import contextlib
import gzip
import io
import json
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import flowio
import numpy as np

from moesimvae.data import counts
from moesimvae.data.cells import read_cells
from moesimvae.data.readers import read_idx
from moesimvae.errors import UserError

MEMORY = 3 << 30  # bytes
SECONDS = 10  # per input
BATCH = 200  # inputs of one process
LARGEST = 100_000  # bytes of a real file to start from
EXTREMES = [b"0", b"-1", b"99999999", b"2147483648", b"1e309", b"nan", b"\xff\xff\xff\xff", b""]
POPULATIONS = ["Liver", "Thymus"]
COUNTS = {
    "title": "fuzz",
    "counts": {"populations": POPULATIONS, "member": "FACS/{population}-counts.csv"},
}


# ---------------------------------------------------------------------- whole files


def fcs() -> bytes:
    values = np.random.default_rng(0).normal(100, 30, (60, 5))
    with tempfile.NamedTemporaryFile(suffix=".fcs") as file:
        with open(file.name, "wb") as stream:
            flowio.create_fcs(stream, values.ravel(), ["FSC-A", "CD3", "CD4", "Time", "CD8"])
        return Path(file.name).read_bytes()


def idx_images() -> bytes:
    values = np.random.default_rng(0).integers(0, 256, (20, 6, 6), dtype=np.uint8)
    return struct.pack(">BBBBIII", 0, 0, 8, 3, 20, 6, 6) + values.tobytes()


def idx_labels() -> bytes:
    return struct.pack(">BBBBI", 0, 0, 8, 1, 60) + bytes(range(60))


def table() -> bytes:
    rows = np.random.default_rng(0).poisson(1, (12, 8))
    lines = [",".join(["", *(f"cell{i}" for i in range(8))])]
    lines += [",".join([f"Gene{i}", *map(str, row)]) for i, row in enumerate(rows)]
    return "\n".join(lines).encode() + b"\n"


def archive(texts: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as members:
        for name, text in texts.items():
            members.writestr(f"FACS/{name}-counts.csv", text)
    return file.getvalue()


def tables() -> bytes:
    return archive({name: table().replace(b"cell", name.encode()) for name in POPULATIONS})


# ---------------------------------------------------------------------- readers


def read_tables(path: Path) -> None:
    counts.count_tables(COUNTS, {"counts": path})


def read_packed_table(path: Path) -> None:
    """The bytes are those of one table, which is put into an archive first."""
    other = table().replace(b"cell", b"other")
    path.write_bytes(archive({"Liver": path.read_bytes(), "Thymus": other}))
    read_tables(path)


def read_images(path: Path) -> None:
    read_idx(path, 3)


def read_labels(path: Path) -> None:
    read_idx(path, 1)


# name → (ending, reader, the bytes to start from, which real files are of the kind)
KINDS: dict[str, tuple[str, Callable[[Path], object], Callable[[], bytes], str]] = {
    "FCS": (".fcs", read_cells, fcs, "*.fcs"),
    "idx": (".idx", read_images, idx_images, "*idx3-ubyte"),
    "idx, gzip": (".gz", read_labels, lambda: gzip.compress(idx_labels()), "*idx1-ubyte.gz"),
    "count tables, zip": (".zip", read_tables, tables, "*counts.zip"),
    "count table, text": (".zip", read_packed_table, table, "*counts.csv"),
    "csv": (".csv", read_cells, table, "*.csv"),
}


def real(folder: Path | None) -> dict[str, list[bytes]]:
    """The small real files below a folder by kind, with headers that written ones lack."""
    found = {}
    for name, (*_, pattern) in KINDS.items():
        paths = sorted(folder.rglob(pattern)) if folder else []
        found[name] = [p.read_bytes() for p in paths if p.stat().st_size <= LARGEST]
    return found


# ---------------------------------------------------------------------- mutations


def mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(len(changed) + 1)
        # the beginning describes what follows, so half of all changes are made there
        at = min(at, rng.randrange(1, 400)) if rng.random() < 0.5 else at
        n = rng.choice([1, 2, 8, 64])
        kind = rng.randrange(6)
        if kind == 0:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del changed[at : at + n]
        elif kind == 2:
            changed[at:at] = changed[at : at + n]
        elif kind == 3:
            changed[at : at + n] = rng.choice(EXTREMES)
        elif kind == 4:
            other = rng.randrange(len(changed) + 1)
            changed[at : at + n] = changed[other : other + n]
        elif rng.random() < 0.3:
            del changed[at:]
    return bytes(changed)


def inputs(name: str, seed: int, start: int, stop: int, files: list[bytes]):
    """(number, bytes) of inputs; each depends on the seed and its own number alone."""
    whole = [KINDS[name][2](), *files]
    for number in range(start, stop):
        rng = random.Random(f"{seed} {name} {number}")
        yield number, mutated(rng.choice(whole), rng)


# ---------------------------------------------------------------------- trying them


class TooLong(Exception):
    pass


def outcome(read: Callable[[Path], object], path: Path) -> str:
    """read, refused (one sentence), or what went wrong."""
    try:
        read(path)
    except UserError as error:
        return "refused" if str(error).strip() and "\n" not in str(error) else "not one line"
    except TooLong:
        return f"takes more than {SECONDS} s"
    except BaseException as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return "read"


def batch(name: str, seed: int, start: int, files: list[bytes], report: Path) -> None:
    """Try some inputs and write a line for each; runs in a process of its own."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    def too_long(number, frame):
        raise TooLong

    signal.signal(signal.SIGALRM, too_long)
    suffix, read, *_ = KINDS[name]
    with tempfile.TemporaryDirectory() as folder, open(report, "w", buffering=1) as lines:
        path = Path(folder, f"input{suffix}")
        for number, data in inputs(name, seed, start, start + BATCH, files):
            lines.write(json.dumps([number, "began"]) + "\n")
            path.write_bytes(data)
            signal.alarm(SECONDS)
            found = outcome(read, path)
            signal.alarm(0)
            lines.write(json.dumps([number, found]) + "\n")


def tried(name: str, seed: int, start: int, files: list[bytes]) -> dict[int, str]:
    """Number of an input → outcome, of one batch."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as report:
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                batch(name, seed, start, files, Path(report.name))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        lines = [json.loads(line) for line in Path(report.name).read_text().splitlines()]
    found = dict(lines)
    for number, what in found.items():
        if what == "began":
            found[number] = f"the process died (status {status})"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, required=True, help="how long to go on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=Path, help="folder with real files to start from, too")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that are findings")
    options = parser.parse_args()
    files, began = real(options.files), time.monotonic()
    outcomes: dict[str, Counter] = {name: Counter() for name in KINDS}
    findings: dict[tuple[str, str], int] = {}
    start = 0
    while time.monotonic() - began < options.seconds:
        for name in KINDS:
            for number, what in tried(name, options.seed, start, files[name]).items():
                known = what in ("read", "refused")
                outcomes[name][what if known else "finding"] += 1
                if not known:
                    findings.setdefault((name, what), number)
        start += BATCH
    for name, found in outcomes.items():
        told = ", ".join(f"{what} {found[what]:,}" for what in ("read", "refused", "finding"))
        print(f"{name:20} {sum(found.values()):>9,} inputs: {told}")
    seconds = time.monotonic() - began
    total = sum(sum(found.values()) for found in outcomes.values())
    print(f"{total:,} inputs in {seconds:.0f} s, seed {options.seed}: {len(findings)} findings")
    for (name, what), number in findings.items():
        print(f"finding: {name}, input {number}: {what}")
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            ((_, data),) = inputs(name, options.seed, number, number + 1, files[name])
            place = options.keep / f"{name.split(',')[0].replace(' ', '_')}_{number}"
            place.with_suffix(KINDS[name][0]).write_bytes(data)
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
