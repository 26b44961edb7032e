"""Disturb the workflow in every way that happens, restart it, and compare with an undisturbed run.

    sudo .venv/bin/python tests/faults/faults.py --out FOLDER [--kills 50] [--seed 0] [--demo]

It takes half an hour on two free cores; `--only` leaves all but the kills out.

Each fault: the workflow is started, disturbed, started again with the very same command, and what
lies in its results folder at the end must equal the undisturbed run's:

- byte for byte: features, labels, embeddings, models, histories, scores, figures, tables of
  populations, quality and significance;
- but for what was measured (time, memory, energy, when): status.json, *.runs.csv, table.csv,
  by_dataset.csv;
- what prints measured times (report.html, table.md, .tex, .html, the overview, and captions about
  them) must be there and whole.

Logs are not compared. No half-written file may have been taken as whole, nor may temporary ones be
left. Full disks and read-only folders are tmpfs and need root. It prints a line for each fault
and a count; exit status 1 when one differed.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
import small

TABLE = "results/demo/table.csv"  # most faults disturb a workflow that goes as far as this
NETWORK = {"steps": 30, "refinements": 0, "encoder_layers": [32], "expert_layers": [16]}
METHODS = {"moe_sim_vae": [0], "kmeans": [0]}
MEASURED = {
    *("wall_seconds", "cpu_seconds", "peak_memory_mb", "peak_gpu_memory_mb", "energy_j", "started"),
}
TABLES = ("table.csv", "by_dataset.csv")
PRINTS_TIMES = (
    *("overview.", "quality_vs_time_", "figures.json"),
    *("report.html", "status.html", "index.html", "table."),
)
KILLS_A_RUN, SECONDS_AFTER = 10, 5.0  # until so many seconds after a moment
PROCESSES = 60  # seconds until all that was killed is gone


@dataclass
class Place:
    """A copy of the project that is disturbed, and the results it should come to."""

    folder: Path
    reference: Path
    seconds: float  # of the undisturbed run
    draw: random.Random
    target: str

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        command = [*arguments, "--cores", "2", "--", self.target]
        return small.snakemake(self.folder, *command, environment=os.environ | environment)

    def finish(self, **environment: str) -> int:
        return self.start(**environment).wait()

    def some_time(self, share: float = 1.0) -> None:
        time.sleep(self.draw.uniform(0.0, share * self.seconds))

    def printed(self) -> str:
        return (self.folder / "snakemake.log").read_text(errors="replace")

    def clean(self) -> None:
        for path in (self.results, self.folder / ".snakemake"):
            shutil.rmtree(path, ignore_errors=True)
        (self.folder / "snakemake.log").unlink(missing_ok=True)


# The faults: each starts the workflow, disturbs it, and gives what is wrong besides differences


def kills(place: Place, count: int) -> tuple[int, list[str]]:
    """kill -9 of the whole process group at random moments; restarted until it comes through."""
    every, made, problems = len(files(place.reference)), [], []  # made: files there at each kill
    while len(made) < count:
        place.clean()
        process = place.start()
        # Each start goes on where the last was killed, so moments are shares of the work done.
        moments = sorted(place.draw.random() for _ in range(min(KILLS_A_RUN, count - len(made))))
        for moment in moments:
            enough = lambda: len(files(place.results)) >= moment * every  # noqa: B023, E731
            if wait_for(enough, process) is None:
                break  # it came through before
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(place.draw.uniform(0.0, SECONDS_AFTER))
                break
            kill_group(process, signal.SIGKILL)
            made.append(len(files(place.results)))
            process = place.start()
        problems += [f"exit status {process.returncode}"] if process.wait() else []
        problems += differences(place)
        print(f"  {len(made)} kills so far, one run came through", flush=True)
    tenths = Counter(min(9, 10 * number // every) for number in made)
    print(f"  kills in each tenth of the {every} files: {[tenths[i] for i in range(10)]}")
    return len(made), problems


def kill_main_process(place: Place) -> list[str]:
    """kill -9 of Snakemake alone: its jobs live on until the next one ends them."""
    process = place.start()
    place.some_time(0.6)
    process.kill()
    process.wait()
    return expect_success(place)


def ctrl_c(place: Place) -> list[str]:
    """SIGINT for the whole group, as a terminal sends it."""
    process = place.start()
    place.some_time(0.6)
    kill_group(process, signal.SIGINT)
    return expect_success(place)


def terminated(place: Place) -> list[str]:
    """SIGTERM for the whole group, as a machine sends it that shuts down."""
    process = place.start()
    place.some_time(0.6)
    kill_group(process, signal.SIGTERM)
    return expect_success(place)


def full_disk(place: Place) -> list[str]:
    """A results folder with too little space; more space; again."""
    with tmpfs(place.results, "300k") as mount:
        code = place.finish()
        problems = [] if code else ["a full disk was not noticed"]
        remount(mount, "size=500m")
        problems += expect_success(place)
        return problems + differences(place)


def read_only(place: Place) -> list[str]:
    """A results folder that cannot be written, in the middle of the work; writable; again."""
    with tmpfs(place.results, "500m") as mount:
        process = place.start()
        place.some_time(0.5)
        kill_group(process, signal.SIGKILL)
        remount(mount, "ro")
        process = place.start()
        code = process.wait()
        problems = [] if code else ["a read-only folder was not noticed"]
        # ours, or Snakemake's own when it was to replace a half-made output
        sentences = ("error: cannot write to results: Read-only", "Write-protected output files")
        told = any(sentence in place.printed() for sentence in sentences)
        problems += [] if told else ["no sentence about the read-only folder"]
        remount(mount, "rw")
        problems += expect_success(place)
        return problems + differences(place)


def two_at_once(place: Place) -> list[str]:
    """A second workflow while the first is at work: refused in one sentence."""
    first = place.start()
    wait_for(lambda: any(place.results.glob("runs/*/*")), first)
    second = place.start()
    code = second.wait()
    problems = [] if code else ["the second was let in"]
    told = place.printed().count("error: another workflow is running in results")
    problems += [] if told == 1 else [f"{told} sentences about the other workflow"]
    problems += [f"the first ended with {first.returncode}"] if first.wait() else []
    return problems


def clock_set_back(place: Place) -> list[str]:
    """The first half of the work lies two days in the future."""
    process = place.start(**faketime("+2d"))
    place.some_time(0.7)
    kill_group(process, signal.SIGKILL)
    problems = expect_success(place)
    again = place.finish()
    quiet = "Nothing to be done" in place.printed()
    return problems + ([] if quiet and not again else ["a third start found work to do"])


def clock_set_forward(place: Place) -> list[str]:
    """The first half of the work lies two days in the past."""
    process = place.start(**faketime("-2d"))
    place.some_time(0.7)
    kill_group(process, signal.SIGKILL)
    return expect_success(place)


def crashed_worker(place: Place, number: signal.Signals = signal.SIGSEGV) -> list[str]:
    """A run's process dies: DNF with the reason, the report is made; then it is tried again."""
    process = place.start()
    worker = wait_for(lambda: find_worker(process.pid), process)
    if worker:
        worker.send_signal(number)
    problems = [f"exit status {process.returncode}"] if process.wait() else []
    failed = [run for run in statuses(place) if run["status"] != "ok"]
    problems += [] if len(failed) == 1 else [f"{len(failed)} failed runs, expected 1"]
    problems += [f"reason: {r['reason']}" for r in failed if number.name not in r["reason"]]
    told = "DNF" in (place.results / "demo/table.md").read_text()
    problems += [] if told else ["no DNF in the table"]
    code = place.start("--config", "rerun_failed=true").wait()
    return problems + ([f"exit status {code} of the second try"] if code else [])


def killed_worker(place: Place) -> list[str]:
    """The same by SIGKILL, as when memory runs out."""
    return crashed_worker(place, signal.SIGKILL)


def killed_job(place: Place) -> list[str]:
    """What supervises a run dies, not the run: Snakemake tries the job again."""
    process = place.start()
    worker = wait_for(lambda: find_worker(process.pid), process)
    if worker:
        worker.parent().kill()
    return [f"exit status {process.returncode}"] if process.wait() else []


def lost_gpu(place: Place) -> list[str]:
    """torch sees a GPU, which fails when it is used: DNF with the reason; then without a GPU."""
    program = place.folder / "sitecustomize.py"  # the folder is on the path of every process
    program.write_text(LOST_GPU)
    code = place.finish()
    program.unlink()
    problems = [f"exit status {code}"] if code else []
    failed = {run["method"]: run["reason"] for run in statuses(place) if run["status"] != "ok"}
    if set(failed) != {"moe_sim_vae"} or "CUDA" not in failed["moe_sim_vae"]:
        problems.append(f"told as {failed}")
    code = place.start("--config", "rerun_failed=true").wait()
    return problems + ([f"exit status {code} of the second try"] if code else [])


LOST_GPU = '''\
"""A GPU that is there when one asks and gone when one uses it, for runs that may use one."""

import os
import sys

if "moesimvae.methods.worker" in sys.orig_argv and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
    import torch

    def gone(*_, **__):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    torch.cuda.is_available = lambda: True
    torch.Tensor.to = torch.nn.Module.to = gone
'''
FAULTS = [
    *(kill_main_process, ctrl_c, terminated, full_disk, read_only, two_at_once, clock_set_back),
    *(clock_set_forward, crashed_worker, killed_worker, killed_job, lost_gpu),
]


# Tools


def kill_group(process: subprocess.Popen, number: signal.Signals) -> None:
    """The signal for Snakemake and its jobs; runs, in groups of their own, end by themselves."""
    below = descendants(process.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    process.wait()
    psutil.wait_procs(below, timeout=PROCESSES)


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def find_worker(pid: int) -> psutil.Process | None:
    """A run's own process, a second after its start, if there is one below `pid`."""
    for process in descendants(pid):
        with contextlib.suppress(psutil.Error):
            if "moesimvae.methods.worker" in process.cmdline():
                time.sleep(1)
                return process if process.is_running() else None
    return None


def wait_for(found: Callable[[], object], process: subprocess.Popen) -> object:
    """What `found` gives, as soon as it gives anything; None when the process ended before."""
    while process.poll() is None:
        if value := found():
            return value
        time.sleep(0.1)
    return None


def expect_success(place: Place) -> list[str]:
    code = place.finish()
    return [f"exit status {code} of the restart"] if code else []


@contextlib.contextmanager
def tmpfs(folder: Path, size: str):
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def faketime(offset: str) -> dict[str, str]:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def statuses(place: Place) -> list[dict]:
    paths = sorted(place.results.glob("runs/*/*/seed*/status.json"))
    return [json.loads(path.read_text()) for path in paths]


# Comparing


def differences(place: Place) -> list[str]:
    """What differs from the undisturbed run, and what is left over, a line each."""
    theirs, ours = files(place.reference), files(place.results)
    lines = [f"{name} is missing" for name in sorted(set(theirs) - set(ours))]
    lines += [f"{name} is left over" for name in sorted(set(ours) - set(theirs))]
    for name in sorted(set(theirs) & set(ours)):
        if problem := difference(theirs[name], ours[name]):
            lines.append(f"{name} {problem}")
    return lines


def files(results: Path) -> dict[str, Path]:
    """Every file but logs and the workflow's lock, by its name below the results folder.

    A run's log tells its progress at moments, with the seconds left.
    """
    every = (path for path in results.rglob("*") if path.is_file())
    named = {path.relative_to(results).as_posix(): path for path in every}
    return {
        name: path
        for name, path in named.items()
        if not name.startswith("logs/") and name != ".workflow" and path.name != "log.txt"
    }


def difference(theirs: Path, ours: Path) -> str:
    """In which way `ours` is not `theirs`; empty when it is."""
    if theirs.read_bytes() == ours.read_bytes():
        return ""
    if ours.name == "status.json":
        same = unmeasured(json.loads(theirs.read_text())) == unmeasured(
            json.loads(ours.read_text())
        )
    elif ours.name in TABLES or ours.name.endswith(".runs.csv"):
        same = rows(theirs) == rows(ours)
    elif ours.name.startswith(PRINTS_TIMES):
        same_end = theirs.read_bytes()[-6:] == ours.read_bytes()[-6:]
        return "" if same_end else "is cut off"
    else:
        same = False
    return "" if same else "differs"


def unmeasured(value: Any) -> Any:
    """The same without what was measured, at any depth."""
    if isinstance(value, list):
        return [unmeasured(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        key: unmeasured(part)
        for key, part in value.items()
        if key not in MEASURED and not key.startswith("seconds")
    }


def rows(path: Path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        return [unmeasured(row) for row in csv.DictReader(file)]


# The programme


def prepare(folder: Path, demo: bool) -> None:
    """The project, with the small experiment in place of the demo's own unless `demo`."""
    small.copy_project(folder)
    if not demo:
        parameters = {"digits": {"moe_sim_vae": NETWORK}}
        small.write_experiment(folder, METHODS, parameters=parameters, showcase=next(iter(METHODS)))


def undisturbed(folder: Path, demo: bool, seed: int, target: str) -> Place:
    """A place, and the results of one run in it that nobody disturbed."""
    prepare(folder / "work", demo)
    place = Place(folder / "work", folder / "reference", 0.0, random.Random(seed), target)
    started = time.monotonic()
    if place.finish():
        sys.exit(f"error: the undisturbed run failed; see {place.folder}/snakemake.log.")
    place.seconds = time.monotonic() - started
    shutil.rmtree(place.reference, ignore_errors=True)
    place.results.rename(place.reference)
    return place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--target", default="demo", help="as far as the killed workflow goes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--demo", action="store_true", help="the demo, not a small experiment")
    parser.add_argument("--only", nargs="*", help="names of faults; without any: kills alone")
    options = parser.parse_args()
    out, bad = options.out.resolve(), 0
    if options.kills:
        place = undisturbed(out / "kills", options.demo, options.seed, options.target)
        tell_place(place)
        done, problems = kills(place, options.kills)
        bad += bool(problems)
        tell(f"{done} kills", kills.__doc__, problems)
    chosen = [f for f in FAULTS if options.only is None or f.__name__ in options.only]
    if chosen:
        place = undisturbed(out / "faults", options.demo, options.seed, TABLE)
        tell_place(place)
    for fault in chosen:
        place.clean()
        problems = fault(place)
        if fault not in (full_disk, read_only):  # these compare before their disk is gone
            problems += differences(place)
        bad += bool(problems)
        tell(fault.__name__.replace("_", " "), fault.__doc__, problems)
    print(f"{bad} faults left a difference" if bad else "every restart came to the same results")
    sys.exit(bool(bad))


def tell_place(place: Place) -> None:
    count = len(files(place.reference))
    print(f"undisturbed: {place.target}, {place.seconds:.0f} s, {count} files", flush=True)


def tell(name: str, about: str, problems: list[str]) -> None:
    print(f"{'DIFFERS' if problems else 'same   '} {name}: {about.splitlines()[0]}")
    for problem in problems[:20]:
        print(f"        {problem}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
