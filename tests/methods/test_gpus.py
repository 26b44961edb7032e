"""Runs spread over GPUs, made up: a run asks the machine for nothing but their number."""

import os
import subprocess
import sys
import time

import pytest

from moesimvae.methods import gpus
from moesimvae.methods.gpus import one_gpu


@pytest.fixture(autouse=True)
def two(tmp_path, monkeypatch):
    """A machine with two GPUs, and slots of its own."""
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "gpus" / name).mkdir(parents=True)
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "gpus")
    monkeypatch.setattr(gpus.tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_each_run_holds_one_of_the_machines():
    with one_gpu() as first, one_gpu() as second:
        assert (first, second) == ("0", "1")
        with one_gpu() as third:  # more runs than GPUs share them
            assert third in ("0", "1")
    with one_gpu() as again:
        assert again == "0"


def test_a_scheduler_says_which(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5a/1")
    with one_gpu() as first, one_gpu() as second:
        assert (first, second) == ("3", "GPU-5a/1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    with one_gpu() as first, one_gpu() as second:
        assert (first, second) == ("2", "2")


def test_none_stays_none_and_not_told_is_left_open(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with one_gpu() as chosen:
        assert chosen == ""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "none")
    with one_gpu() as chosen:
        assert chosen is None


def test_a_process_that_dies_leaves_its_gpu(tmp_path):
    script = (
        "import time; from moesimvae.methods.gpus import one_gpu\n"
        "with one_gpu() as gpu: print(gpu, flush=True); time.sleep(60)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": "0,1"}
    other = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=-1, text=True)
    assert other.stdout.readline() == "0\n"
    with one_gpu() as chosen:
        assert chosen == "1"
    other.kill()
    other.wait()
    time.sleep(0.1)
    with one_gpu() as chosen:
        assert chosen == "0"
