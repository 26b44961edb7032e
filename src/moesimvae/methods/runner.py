"""One run of one method: contract 3. The one place that isolates, times and records runs.

`run` supervises a worker in its own process group, stops it when it exceeds its time or memory
limit, catches failures, and leaves a folder with labels or a reason, complete in either case.
Nothing heavy is imported here, since a supervisor waits beside every run.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import importlib.util
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

import moesimvae
from moesimvae.closure import code_sha256
from moesimvae.errors import UserError
from moesimvae.files import read_json, sha256, write_json
from moesimvae.methods import energy, gpus
from moesimvae.nouns import RUNS, Status, made_with

LOG_LINES = 20
SECONDS_BETWEEN_LOOKS = 0.02  # polling for the worker's end
SECONDS_BETWEEN_SAMPLES = 0.2  # of its memory
SECONDS_TO_END = 5.0  # for killed processes
PR_SET_CHILD_SUBREAPER = 36  # of Linux's prctl(2)
MB = 1e6
OLD = 86_400  # seconds since 1970: older than any features
ENDED = (
    "its job was terminated from outside at every attempt, as when it is cancelled, exceeds the "
    "cluster's limit on time or memory, or a node fails"
)
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "LOKY_MAX_CPU_COUNT"),
)


@dataclass
class Cost:
    """Resources used by the worker's process tree, and how it ended.

    stopped: "timeout" or "out-of-memory" if the supervisor ended it, else "".
    exit_code: as in subprocess, -n if ended by signal n.
    energy_j: of the whole machine meanwhile, J; None where not reported.
    """

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    stopped: str = ""
    exit_code: int = 0
    energy_j: float | None = None


def run(
    features: Path,
    out: Path,
    dataset: str,
    method: str,
    block: dict[str, Any],
    seed: int,
    n_clusters: int,
    params: dict[str, Any],
    threads: int,
    mem_mb: int,
    runtime_minutes: float,
    interpreter: str | Path | None = None,
    attempt: int = 1,
    attempts: int = 1,
) -> dict[str, Any]:
    """Cluster the cells of `features` with one method and leave the run in the folder `out`.

    block: the method's block of methods.yaml, of which module, environment, input, gpu and, where
        true, uses_prior and all_genes are used here. A user's own method also has files_sha256
        and, if it is an executable, command, folder and format (see `external`).
    params: complete keyword arguments of `cluster`: the block's defaults are not merged in.
    mem_mb: limit on the resident memory of the worker and its children together, 10⁶ bytes.
    interpreter: the Python of the block's environment; this one if None.
    attempt, attempts: number of this attempt, and of all. The last of several does not rerun what
        was ended from outside at the previous attempt (its temporary folder is still there), but
        reports that.

    Returns what it wrote to status.json. A method that fails gives a status other than ok.
    Raises UserError if there is no features file or no such module, or if the features carry
    annotation of the cells; `out` is then left as it was.
    """
    features, out = Path(features), Path(out)
    if not features.is_file():
        raise UserError(
            f"there is no features file {features}; prepare the data set '{dataset}' first."
        )
    module = module_name(block["module"])
    status = blank_status(dataset, method, seed, params, n_clusters, threads)
    status |= {"code_sha256": code_of(method, block), "features_sha256": sha256(features)}

    given_up = attempt == attempts > 1 and temporary_folder(out).exists()
    with stopped_by_sigterm(), marked_when_ended(out, attempts), whole_folder(out) as folder:
        (folder / "log.txt").touch()
        python = shutil.which(interpreter or sys.executable)
        if given_up:
            status |= {"status": "error", "reason": ENDED}
        elif python is None:
            status["status"] = "error"
            name = block["environment"]
            status["reason"] = (
                f"environment '{name}' is not installed (no {interpreter}); "
                f"run `make env-{name}`, or snakemake with --use-conda"
            )
        else:
            job = {
                "folder": str(folder.resolve()),
                "features": str(features.resolve()),
                "module": module,
                "input": block["input"],
                "uses_prior": block.get("uses_prior", False),
                "all_genes": block.get("all_genes", False),
                "seed": seed,
                "n_clusters": n_clusters,
                "params": arguments(block, params, threads, folder),
            }
            seconds = runtime_minutes * 60
            with gpus.one_gpu() if block["gpu"] else contextlib.nullcontext("") as gpu:
                environment = worker_environment(seed, threads, gpu)
                meter = energy.Meter(gpu=block["gpu"])
                cost = supervise(python, job, environment, folder, mem_mb, seconds, meter)
            status |= account(cost, folder, mem_mb, runtime_minutes)
        if status["status"] != "ok":
            clear_results(folder)
        write_json(folder / "status.json", status)
    return status


def forget_failed(runs_root: Path) -> list[Path]:
    """Forget the runs whose status is not ok or cannot be read; return them."""
    return _forget(runs_root, lambda status: status.get("status") != "ok")


def forget_stale(runs_root: Path, methods: dict[str, dict[str, Any]]) -> list[Path]:
    """Forget runs not made by the current code of these methods (name → block); return them."""
    codes: dict[str, str] = {}

    def is_stale(status: dict[str, Any]) -> bool:
        name = status.get("method", "")
        if name in methods and name not in codes:
            codes[name] = code_of(name, methods[name])
        return name in codes and status.get("code_sha256") != codes[name]

    return _forget(runs_root, is_stale)


def _forget(runs_root: Path, wanted: Callable[[dict[str, Any]], bool]) -> list[Path]:
    """Make run folders <dataset>/<method>/<seed> with such a status look old; return them.

    This makes the workflow rerun them and remake their tables; deleting a folder would
    not, as long as the table made from it exists. The controls of a data set
    are made together.
    """
    runs = [p for g in RUNS for p in Path(runs_root).glob(f"{g}/status.json")]
    places = {path: made_with(path.parent) for path in sorted(runs)}
    forgotten = {place: None for path, place in places.items() if wanted(_status(path))}
    for place in forgotten:
        for aged in (place / ".snakemake_timestamp", place):
            with contextlib.suppress(FileNotFoundError):
                os.utime(aged, (OLD, OLD))
    return list(forgotten)


def _status(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        status = read_json(path)
        return status if isinstance(status, dict) else {}
    return {}


# What to run


def arguments(
    block: dict[str, Any], params: dict[str, Any], threads: int, folder: Path
) -> dict[str, Any]:
    """Keyword arguments of `cluster`: the method's params, or those of `external` for a command."""
    if "command" not in block:
        return params
    return {
        "command": block["command"],
        "place": str(Path(block["folder"]).resolve()),
        "form": block["format"],
        "params": params | {"threads": threads},
        "exchange": str((folder / "exchange").resolve()),
    }


def module_name(module: str) -> str:
    """A plain name as a module of this folder; a dotted name unchanged; a .py file as absolute
    path.
    """
    if module.endswith(".py"):
        return str(Path(module).resolve())
    return module if "." in module else f"moesimvae.methods.{module}"


def module_source(module: str, method: str) -> Path:
    """The file of a method's module; UserError if there is none."""
    if module.endswith(".py"):
        return Path(module)
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise UserError(
            f"method '{method}' names module '{module}', which cannot be found; put it in "
            "src/moesimvae/methods/ or on PYTHONPATH."
        )
    return Path(spec.origin)


def code_of(method: str, block: dict[str, Any]) -> str:
    """Hash of the code that a method runs at present: its module, the worker around it, and
    everything that these import from this package.
    """
    if block.get("control"):
        return code_sha256(["moesimvae.methods.controls"])
    source = module_source(module_name(block["module"]), method)
    return code_sha256(["moesimvae.methods.worker", source], block.get("files_sha256", ""))


def blank_status(
    dataset: str, method: str, seed: int, params: dict[str, Any], n_clusters: int, threads: int
) -> dict[str, Any]:
    """status.json before the run: every key of contract 3, in order."""
    status = Status(
        dataset=dataset,
        method=method,
        seed=seed,
        params=params,
        n_clusters=n_clusters,
        threads=threads,
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine={
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "memory_mb": round(psutil.virtual_memory().total / MB),
            "platform": platform.platform(),
            "python": platform.python_version(),
        },
        version=moesimvae.__version__,
    )
    return asdict(status)


def cpu_name() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


# The folder


def temporary_folder(out: Path) -> Path:
    """Where a run is made; it stays if the run is ended from outside."""
    return out.with_name(f".{out.name}.partial")


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that replaces it when the block succeeds.

    One left behind by a killed run is cleared first.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_folder(out)
    replaced = out.with_name(f".{out.name}.replaced")
    for stale in (temporary, replaced):
        shutil.rmtree(stale, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if out.exists():
            out.rename(replaced)
        temporary.rename(out)
    finally:
        for leftover in (temporary, replaced):
            shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def marked_when_ended(out: Path, attempts: int) -> Iterator[None]:
    """Leave an empty temporary folder when SIGTERM ends a block that may be tried again."""
    try:
        yield
    except SystemExit:
        if attempts > 1:
            temporary_folder(out).mkdir(exist_ok=True)
        raise


def clear_results(folder: Path) -> None:
    """Keep only the log of a failed run: labels without the rest are not a result."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "log.txt":
            path.unlink()


# The process


def worker_environment(seed: int, threads: int, gpu: str | None) -> dict[str, str]:
    """Variables that must be set before the worker's libraries load.

    Another Python finds this package through PYTHONPATH if it is in a checkout. If installed,
    it is among packages that only this Python can use, and the other needs its own copy.
    gpu: the one that it may see (`gpus.one_gpu`), "" for none, None for all.
    """
    library = Path(moesimvae.__file__).parents[1]
    path = [] if library.name == "site-packages" else [str(library)]
    path += filter(None, [os.environ.get("PYTHONPATH")])
    variables = dict.fromkeys(THREAD_VARIABLES, str(threads)) | {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONHASHSEED": str(seed % 2**32),
        "PYTHONUNBUFFERED": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without this cuBLAS is not reproducible
    }
    if gpu is not None:
        variables["CUDA_VISIBLE_DEVICES"] = gpu
    return os.environ | variables


def supervise(
    python: str,
    job: dict[str, Any],
    environment: dict[str, str],
    folder: Path,
    mem_mb: float,
    seconds: float,
    meter: energy.Meter,
) -> Cost:
    """Run the worker to its end, or end it; none of its processes survives."""
    adopt_orphans()
    others = {child.pid for child in psutil.Process().children()}
    own_peak = peak_rss_bytes(resource.getrusage(resource.RUSAGE_SELF))
    started = time.monotonic()
    with open(folder / "log.txt", "wb") as log:
        worker = subprocess.Popen(
            [python, "-m", "moesimvae.methods.worker"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        assert worker.stdin is not None  # a pipe
        try:
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.write(json.dumps(job).encode() + b"\n")
                worker.stdin.flush()
            cost, usage = watch(worker.pid, others, mem_mb, started + seconds, meter)
            worker.returncode = cost.exit_code
        finally:
            kill_run(worker.pid, others)
            with contextlib.suppress(OSError):
                worker.stdin.close()
            if worker.returncode is None:
                worker.wait()
    cost.wall_seconds = time.monotonic() - started
    cost.cpu_seconds = usage.ru_utime + usage.ru_stime
    cost.energy_j = meter.joules()
    # On Linux a child inherits the supervisor's own peak: only a higher one is the run's.
    if peak_rss_bytes(usage) > own_peak:
        cost.peak_memory_mb = max(cost.peak_memory_mb, peak_rss_bytes(usage) / MB)
    return cost


def watch(
    pid: int, others: set[int], mem_mb: float, deadline: float, meter: energy.Meter
) -> tuple[Cost, resource.struct_rusage]:
    """Wait for the worker, sampling its run's memory; kill the run if over memory or time."""
    cost = Cost()
    next_sample = 0.0
    while True:
        ended, wait_status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            cost.exit_code = os.waitstatus_to_exitcode(wait_status)
            return cost, usage
        if time.monotonic() >= next_sample and not cost.stopped:
            cost.peak_memory_mb = max(cost.peak_memory_mb, rss_bytes(others) / MB)
            meter.sample()
            next_sample = time.monotonic() + SECONDS_BETWEEN_SAMPLES
            if cost.peak_memory_mb > mem_mb:
                cost.stopped = "out-of-memory"
            elif time.monotonic() > deadline:
                cost.stopped = "timeout"
            if cost.stopped:
                kill_run(pid, others)
        time.sleep(SECONDS_BETWEEN_LOOKS)


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Make SIGTERM end the block like an exception, so that its `finally` runs."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def end(signum: int, frame: Any) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def adopt_orphans() -> None:
    """Adopt processes whose parent has ended as this one's children, where possible (Linux).

    So a process that leaves the run's group and outlives its parent still counts as the run's.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def processes(others: set[int]) -> list[psutil.Process]:
    """A run's live processes: all below this one except its children `others`."""
    found = []
    for child in psutil.Process().children():
        if child.pid not in others:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [child, *child.children(recursive=True)]
    return found


def rss_bytes(others: set[int]) -> int:
    """Resident memory of a run; pages shared by forked processes count for each."""
    total = 0
    for process in processes(others):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += process.memory_info().rss
    return total


def kill_run(pid: int, others: set[int]) -> None:
    """Kill the worker's process group, and processes that left it for their own."""
    found = processes(others)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.kill()
    orphans = [process for process in processes(others) if process.pid != pid]
    psutil.wait_procs(orphans, timeout=SECONDS_TO_END)


def peak_rss_bytes(usage: resource.struct_rusage) -> int:
    """ru_maxrss in bytes; it is in KiB except on macOS."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# The outcome


def account(cost: Cost, folder: Path, mem_mb: float, runtime_minutes: float) -> dict[str, Any]:
    """The part of status.json that the run itself determines.

    Raises UserError if the worker reported that the features carry annotation.
    """
    report = read_report(folder)
    if report.get("status") == "misuse":
        raise UserError(report["reason"])
    if cost.stopped == "timeout":
        verdict = ("timeout", f"stopped after the {round(runtime_minutes, 2):g} minutes allowed")
    elif cost.stopped == "out-of-memory":
        used = round(cost.peak_memory_mb)
        verdict = ("out-of-memory", f"stopped at {used} MB of memory, {mem_mb:g} MB allowed")
    elif "status" in report:
        verdict = (report["status"], report["reason"])
    else:
        verdict = ("error", death(cost.exit_code))
    status = {
        "status": verdict[0],
        "reason": verdict[1],
        "log_tail": [] if verdict[0] == "ok" else tail(folder / "log.txt"),
        "wall_seconds": round(cost.wall_seconds, 3),
        "cpu_seconds": round(cost.cpu_seconds, 3),
        "peak_memory_mb": round(cost.peak_memory_mb, 1),
        "energy_j": cost.energy_j,
        "packages": report.get("packages", {}),
    }
    measured = ("clusters_found", "noise_share", "facts", "device", "peak_gpu_memory_mb")
    return status | {key: report[key] for key in measured if key in report}


def read_report(folder: Path) -> dict[str, Any]:
    """What the worker reported, removed from the folder; empty if it had no time to."""
    path = folder / "result.json"
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}
    finally:
        path.unlink(missing_ok=True)


def death(exit_code: int) -> str:
    """Why there is no result, in words."""
    if exit_code >= 0:
        return f"the method's process exited with status {exit_code} and without a result"
    name = signal.Signals(-exit_code).name
    hint = {
        "SIGKILL": ", as happens when the system runs out of memory",
        "SIGSEGV": ", a crash inside a compiled library",
    }.get(name, "")
    return f"killed by {name}{hint}"


def tail(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
