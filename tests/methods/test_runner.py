"""Contract 3: whatever a method does, a run ends with labels or a reason."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata
import jsonschema
import numpy as np
import pandas as pd
import psutil
import pytest

from moesimvae.errors import UserError
from moesimvae.files import read_json, sha256, write_json
from moesimvae.methods import gpus, runner
from moesimvae.nouns import Status

HERE = Path(__file__).parent
BLOCK = {"module": "lab.broken", "environment": "base", "input": "scaled", "gpu": False}
N_CELLS = 30


@pytest.fixture(autouse=True)
def lab_on_path(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "features.h5ad"
    matrix = np.random.default_rng(0).random((N_CELLS, 4), dtype=np.float32)
    cells = anndata.AnnData(matrix)
    cells.layers["counts"] = np.full_like(matrix, 2)
    cells.write_h5ad(path)
    return path


@pytest.fixture
def run(features, tmp_path):
    """Run one behaviour of lab.broken, with generous limits unless told otherwise."""

    def run(how="works", note=None, **settings):
        arguments = {
            "features": features,
            "out": tmp_path / "toy" / "broken" / "seed0",
            "dataset": "toy",
            "method": "broken",
            "block": BLOCK,
            "seed": 0,
            "n_clusters": 2,
            "params": {"how": how, "note": note},
            "threads": 1,
            "mem_mb": 4000,
            "runtime_minutes": 1,
        }
        return runner.run(**(arguments | settings))

    return run


@pytest.fixture
def out(tmp_path):
    return tmp_path / "toy" / "broken" / "seed0"


def contents(folder):
    return sorted(path.name for path in folder.iterdir())


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def dead(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_good_run_leaves_everything_the_contract_names(run, out, features):
    status = run()
    assert status["status"] == "ok"
    assert contents(out) == [
        *("embedding.npy", "history.json", "labels.parquet", "log.txt", "model"),
        *("probabilities.npy", "status.json"),
    ]
    assert contents(out.parent) == ["seed0"]  # nothing temporary beside it
    assert read_json(out / "status.json") == status

    labels = pd.read_parquet(out / "labels.parquet")
    assert labels["cell"].tolist() == anndata.read_h5ad(features).obs_names.tolist()
    assert labels["label"].dtype == np.int32
    assert labels["label"].tolist() == [i % 3 - 1 for i in range(N_CELLS)]
    assert np.load(out / "embedding.npy").dtype == np.float32
    assert read_json(out / "history.json") == {"loss": [2.0, 1.0]}
    assert (out / "model" / "weights.txt").exists()

    assert status["clusters_found"] == 2
    assert status["noise_share"] == pytest.approx(1 / 3)
    assert status["facts"]["threads"] == "1"
    assert 0.1 < status["wall_seconds"] < 60
    assert 0.1 < status["cpu_seconds"] < 60
    assert 30 < status["peak_memory_mb"] < 4000
    assert status["peak_gpu_memory_mb"] is None
    assert status["energy_j"] is None or status["energy_j"] > 0
    assert status["device"] == "cpu"
    assert status["features_sha256"] == sha256(features)
    assert status["packages"]["numpy"] == np.__version__
    assert {"cpu", "cores", "memory_mb", "platform", "python"} == set(status["machine"])
    assert list(status) == list(runner.blank_status("", "", 0, {}, 0, 0))
    jsonschema.validate(status, Status.schema())


def test_a_run_sees_one_gpu_and_those_of_other_methods_none(run, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(gpus.tempfile, "tempdir", str(tmp_path))
    with gpus.one_gpu() as taken:
        status = run("tells_its_gpus", block=BLOCK | {"gpu": True})
    assert (taken, status["facts"]["gpus"]) == ("4", "7")
    assert run("tells_its_gpus")["facts"]["gpus"] == ""


def test_transformed_values_are_handed_over_where_there_are_some(run, features, tmp_path):
    transformed = BLOCK | {"input": "transformed"}
    cells = anndata.read_h5ad(features)
    status = run(block=transformed)
    assert status["facts"]["sum"] == pytest.approx(cells.X.sum(), rel=1e-5)
    cells.layers["arcsinh"] = np.full_like(cells.X, 3)
    cells.write_h5ad(tmp_path / "cytometry.h5ad")
    status = run(block=transformed, features=tmp_path / "cytometry.h5ad")
    assert status["facts"]["sum"] == 3 * 4 * N_CELLS


def test_counts_are_handed_over_where_asked_for(run):
    status = run(block=BLOCK | {"input": "counts"})
    assert status["facts"]["sum"] == 2 * 4 * N_CELLS


@pytest.mark.parametrize(
    ("how", "expected", "reason"),
    [
        ("crash", "error", "ValueError: no such cell"),
        ("crash_while_saving", "error", "OSError: disk full"),
        ("segfault", "error", "killed by SIGSEGV, a crash inside a compiled library"),
        ("leave", "error", "exited with status 3 and without a result"),
        ("memory_error", "out-of-memory", "Unable to allocate"),
        ("too_few", "invalid", "labels have shape (29,), expected (30,), one per cell."),
        ("nan", "invalid", "labels are NaN for 30 cells"),
        ("floats", "invalid", "labels are of type float64, expected integers."),
        ("below_noise", "invalid", "labels range from -2 to -2"),
        ("bare_array", "invalid", "cluster() returned a ndarray, expected a Clustering."),
        ("nan_embedding", "invalid", "embedding contains values that are not finite."),
    ],
)
def test_a_failure_is_written_down_and_leaves_no_labels(run, out, how, expected, reason):
    status = run(how)
    assert status["status"] == expected
    assert reason in status["reason"]
    assert "\n" not in status["reason"]
    assert contents(out) == ["log.txt", "status.json"]
    assert read_json(out / "status.json") == status
    assert status["clusters_found"] is None
    assert status["packages"]["numpy"] == np.__version__


def test_the_log_ends_up_in_the_status(run, out):
    tail = run("crash")["log_tail"]
    assert "the last thing it said" in tail
    assert "ValueError: no such cell" in tail
    assert "Traceback" in (out / "log.txt").read_text()


def test_time_out_kills_the_whole_tree(run, tmp_path):
    note = tmp_path / "pids"
    for seconds in (3, 12, 60):  # a busy machine takes its time to start the children
        status = run("sleep", str(note), runtime_minutes=seconds / 60)
        assert status["status"] == "timeout"
        assert status["reason"] == f"stopped after the {seconds / 60:g} minutes allowed"
        assert seconds <= status["wall_seconds"] < seconds + 10
        if note.exists():
            break
    pids = [int(pid) for pid in note.read_text().split()]
    assert len(pids) == 3
    wait_until(lambda: all(map(dead, pids)))


def test_over_memory_is_stopped(run):
    status = run("hoard", mem_mb=400)
    assert status["status"] == "out-of-memory"
    assert "400 MB allowed" in status["reason"]
    assert 400 < status["peak_memory_mb"] < 2000


def test_missing_environment_is_a_reason(run, out):
    block = BLOCK | {"environment": "clustpy"}
    status = run(block=block, interpreter="/nowhere/bin/python")
    assert status["status"] == "error"
    assert status["reason"] == (
        "environment 'clustpy' is not installed (no /nowhere/bin/python); "
        "run `make env-clustpy`, or snakemake with --use-conda"
    )
    assert contents(out) == ["log.txt", "status.json"]


def test_second_run_replaces_the_first_whole(run, out):
    run("works")
    (out / "stray.txt").touch()
    stale = out.with_name(".seed0.partial")  # as a killed runner leaves it
    (stale / "model").mkdir(parents=True)
    run("crash")
    assert contents(out) == ["log.txt", "status.json"]
    assert contents(out.parent) == ["seed0"]


def test_labels_within_reach_are_refused(run, out, features, tmp_path):
    run("works")
    cells = anndata.read_h5ad(features)
    cells.obs["label"] = "T cell"
    annotated = tmp_path / "annotated.h5ad"
    cells.write_h5ad(annotated)
    with pytest.raises(UserError, match="has column 'label' in obs"):
        run("works", features=annotated)
    assert read_json(out / "status.json")["status"] == "ok"
    assert contents(out.parent) == ["seed0"]


def test_misuse_raises(run, tmp_path):
    with pytest.raises(UserError, match="no features file"):
        run(features=tmp_path / "none.h5ad")
    for module in ("no_such_method", "lab.no_such_method", "no_such_lab.method"):
        with pytest.raises(UserError, match=f"{module}', which cannot be found"):
            run(block=BLOCK | {"module": module})


RUNNER = """
import sys
from moesimvae.methods import gpus, runner
features, out, note = sys.argv[1:]
block = {"module": "lab.broken", "environment": "base", "input": "scaled", "gpu": False}
runner.run(features, out, "toy", "broken", block, 0, 2, {"how": "sleep", "note": note}, 1, 4000, 5)
"""


def test_what_was_ended_from_outside_is_told_at_the_last_attempt(run, out):
    runner.temporary_folder(out).mkdir(parents=True)
    status = run("works", attempt=3, attempts=3)
    assert (status["status"], status["reason"]) == ("error", runner.ENDED)
    assert contents(out.parent) == ["seed0"]
    runner.temporary_folder(out).mkdir()
    assert run("works", attempt=2, attempts=3)["status"] == "ok"
    assert run("works", attempt=3, attempts=3)["status"] == "ok", "the attempt before came through"


def test_sigterm_leaves_a_mark_for_the_next_attempt(out):
    with (
        pytest.raises(SystemExit),
        runner.marked_when_ended(out, attempts=2),
        runner.whole_folder(out),
    ):
        raise SystemExit(143)
    assert contents(out.parent) == [".seed0.partial"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_killing_the_runner_leaves_no_child(number, features, out, tmp_path, monkeypatch):
    source = str(Path(runner.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([source, str(HERE)]))
    note = tmp_path / "pids"
    program = [sys.executable, "-c", RUNNER, str(features), str(out), str(note)]
    supervisor = subprocess.Popen(
        program,
        stderr=subprocess.DEVNULL,
        # a background job of a shell without job control is born deaf to Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    try:
        wait_until(note.exists)
        supervisor.send_signal(number)
        assert supervisor.wait(10) != 0
    finally:
        supervisor.kill()
    pids = [int(pid) for pid in note.read_text().split()]
    # Nobody is left to find the grandchild that made a group of its own after a SIGKILL.
    caught = number != signal.SIGKILL
    wait_until(lambda: all(map(dead, pids if caught else pids[:2])))
    assert contents(out.parent) == ([] if caught else [".seed0.partial"])
    if not caught:
        os.kill(pids[2], signal.SIGKILL)


def test_supervisor_imports_nothing_heavy():
    program = "import sys, moesimvae.methods.runner; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(runner.__file__).parents[2])}
    loaded = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert not {"numpy", "pandas", "anndata", "torch", "sklearn"} & set(loaded.split())


def test_code_hash_follows_the_code_of_a_method_from_outside(tmp_path):
    def code(text):
        (tmp_path / "method.py").write_text(text)
        block = {"module": str(tmp_path / "method.py")}
        return runner.code_of("m", block)

    first = code("def cluster(): return 1")
    assert code('"""What it is."""\ndef cluster():\n    return 1  # one') == first
    assert code("def cluster(): return 2") != first
    files = {"module": str(tmp_path / "method.py"), "files_sha256": "ab"}
    assert runner.code_of("m", files) != runner.code_of("m", files | {"files_sha256": "cd"})


def test_packages_are_those_that_the_process_imported(run):
    status = run()
    assert {"numpy", "anndata"} <= set(status["packages"])
    assert not {"torch", "moesimvae", "snakemake"} & set(status["packages"])


def test_forget_stale_takes_what_other_code_made(tmp_path):
    methods = {"kmeans": {"module": "kmeans"}, "random_labels": {"control": True}}
    now = {name: runner.code_of(name, block) for name, block in methods.items()}
    assert len(set(now.values())) == 2
    made = {
        "toy/kmeans/seed0": ("kmeans", now["kmeans"]),
        "toy/kmeans/seed1": ("kmeans", "ab" * 32),
        "toy/unknown/seed0": ("unknown", "ab" * 32),
        "toy/controls/random_labels/seed0": ("random_labels", "ab" * 32),
        "tea/controls/random_labels/seed0": ("random_labels", now["random_labels"]),
    }
    for place, (method, code) in made.items():
        write_json(tmp_path / place / "status.json", {"method": method, "code_sha256": code})
    forgotten = runner.forget_stale(tmp_path, methods)
    assert forgotten == [tmp_path / "toy/controls", tmp_path / "toy/kmeans/seed1"]
    assert all(path.stat().st_mtime == runner.OLD for path in forgotten)


def test_forget_failed_keeps_what_is_ok(tmp_path):
    for name, status in {"a": "ok", "b": "timeout", "c": "invalid"}.items():
        write_json(tmp_path / "toy" / name / "seed0" / "status.json", {"status": status})
    torn = tmp_path / "toy" / "d" / "seed1"
    torn.mkdir(parents=True)
    (torn / "status.json").write_text("{")
    forgotten = runner.forget_failed(tmp_path)
    assert [path.parent.name for path in forgotten] == ["b", "c", "d"]
    assert all(path.stat().st_mtime == runner.OLD for path in forgotten)
    assert (tmp_path / "toy" / "a" / "seed0").stat().st_mtime > runner.OLD
    assert runner.forget_failed(tmp_path / "not there") == []
