"""The short version of faults.py, and the lock by which a killed workflow is forgotten."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moesimvae import workflow_lock
from moesimvae.errors import UserError

sys.path.insert(0, str(Path(__file__).parent))
import faults

HOLD = "from moesimvae.workflow_lock import hold; import sys, time; hold(sys.argv[1]); "
HOLD += "time.sleep(60)"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "METHODS", {"kmeans": [0]})
    monkeypatch.setattr(faults, "NETWORK", {})
    target = "results/runs/digits/kmeans/seed0"
    return faults.undisturbed(tmp_path, demo=False, seed=0, target=target)


@pytest.mark.slow
def test_three_kills_and_a_second_workflow(place):
    place.draw = random.Random(1)
    place.seconds = min(place.seconds, 16)
    kills = 0
    process = place.start()
    while kills < 3:
        try:
            process.wait(place.draw.uniform(0.5, 0.3 * place.seconds))
        except subprocess.TimeoutExpired:
            faults.kill_group(process, signal.SIGKILL)
            kills += 1
        else:
            place.clean()
        process = place.start()
    lock = place.results / ".workflow"
    faults.wait_for(lambda: lock.exists() and str(process.pid) in lock.read_text(), process)
    second = place.start()
    assert second.wait() == 1, place.printed()
    assert place.printed().count("error: another workflow is running in results (process ") == 1
    assert process.wait() == 0, place.printed()
    assert faults.differences(place) == []


def test_differences_are_seen(tmp_path):
    place = faults.Place(tmp_path, tmp_path / "reference", 1.0, random.Random(0), "")
    for folder in (place.reference, place.results):
        (folder / "logs").mkdir(parents=True)
        (folder / "logs/table.log").write_text(str(folder))
        (folder / "status.json").write_text(
            f'{{"status": "ok", "wall_seconds": {len(str(folder))}}}'
        )
        (folder / "scores.csv").write_text("0.1\n")
        (folder / "report.html").write_text(f"<html>{folder}</html>\n")
    assert faults.differences(place) == []
    (place.results / "scores.csv").write_text("0.2\n")
    (place.results / "status.json").write_text('{"status": "error", "wall_seconds": 1}')
    (place.results / ".12.labels.parquet").write_text("half")
    (place.results / "report.html").write_text("<html>")
    assert faults.differences(place) == [
        ".12.labels.parquet is left over",
        "report.html is cut off",
        "scores.csv differs",
        "status.json differs",
    ]


# The lock


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)])
    wait_until((tmp_path / ".workflow").exists)
    wait_until((tmp_path / ".workflow").read_text)
    yield process
    process.kill()
    process.wait()


def wait_until(true, seconds=30):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_folder_is_held_until_its_process_ends_however(holder, tmp_path):
    who = rf"another workflow is running in .* \(process {holder.pid} on .* since .*\)"
    with pytest.raises(UserError, match=who):
        workflow_lock.hold(tmp_path)
    with pytest.raises(UserError, match=who):
        workflow_lock.check_free(tmp_path)
    holder.kill()
    holder.wait()
    workflow_lock.check_free(tmp_path)
    workflow_lock.hold(tmp_path)


def test_nobody_is_at_work_in_a_folder_that_is_not_there(tmp_path):
    workflow_lock.check_free(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file/results: Not a directory; make"):
        workflow_lock.hold(tmp_path / "file" / "results")


@pytest.mark.slow
def test_jobs_of_a_killed_workflow_are_ended_and_no_others(tmp_path):
    sleep = ["sleep", "60"]
    ours = subprocess.Popen(sleep, env=os.environ | workflow_lock.marked(tmp_path))
    others = subprocess.Popen(sleep, env=os.environ | workflow_lock.marked(tmp_path / "else"))
    program = "import sys; from moesimvae.workflow_lock import end_jobs_of_killed as end; "
    program += "print(end(sys.argv[1]))"
    printed = subprocess.check_output([sys.executable, "-c", program, str(tmp_path)], text=True)
    assert printed == "1\n"
    assert ours.wait(10) == -signal.SIGKILL
    assert others.poll() is None
    others.kill()
    others.wait()


def test_files_from_the_future_are_dated_back_in_their_order(tmp_path):
    now = time.time()
    for name, hours in {"old": -1, "first": 47, "second": 48}.items():
        path = tmp_path / "runs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
        os.utime(path, (now + 3600 * hours,) * 2)
    assert workflow_lock.date_back([tmp_path, tmp_path / "nowhere"]) == 2
    dated = {path.name: path.stat().st_mtime for path in (tmp_path / "runs").iterdir()}
    assert dated["old"] == pytest.approx(now - 3600, abs=1)
    assert dated["second"] == pytest.approx(now, abs=60)
    assert dated["second"] - dated["first"] == pytest.approx(3600, abs=1)
    assert workflow_lock.date_back([tmp_path]) == 0
