"""A method from outside the package that goes wrong in the way it is asked to."""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from moesimvae.methods.interface import Clustering


def cluster(cells, n_clusters, seed, how, note=None):
    return globals()[how](cells, note)


def works(cells, note):
    return Clustering(
        np.arange(cells.n_obs) % 3 - 1,
        embedding=np.zeros((cells.n_obs, 2)),
        probabilities=np.full((cells.n_obs, 2), 0.5),
        history={"loss": [np.float32(2), 1.0]},
        facts={"threads": os.environ["OMP_NUM_THREADS"], "sum": cells.X.sum()},
        save=lambda folder: (folder / "weights.txt").write_text("1"),
    )


def tells_its_gpus(cells, note):
    facts = {"gpus": os.environ["CUDA_VISIBLE_DEVICES"]}
    return Clustering(np.zeros(cells.n_obs, dtype=int), facts=facts)


def crash(cells, note):
    print("the last thing it said")
    raise ValueError("no such cell\nsecond line")


def crash_while_saving(cells, note):
    def save(folder):
        raise OSError("disk full")

    return Clustering(np.zeros(cells.n_obs, dtype=int), save=save)


def segfault(cells, note):
    ctypes.string_at(0)


def leave(cells, note):
    os._exit(3)


def sleep(cells, note):
    """With a child in the same group and one in a group of its own; their ids go to `note`."""
    program = [sys.executable, "-c", "import time; time.sleep(600)"]
    children = [subprocess.Popen(program, start_new_session=new) for new in (False, True)]
    pids = [os.getpid(), *(child.pid for child in children)]
    partial = Path(f"{note}.partial")
    partial.write_text(" ".join(map(str, pids)))
    partial.rename(note)
    time.sleep(600)


def hoard(cells, note):
    kept = []
    while True:
        kept.append(np.ones(2_000_000))
        time.sleep(0.01)


def memory_error(cells, note):
    np.ones(10**15)


def too_few(cells, note):
    return Clustering(np.zeros(cells.n_obs - 1, dtype=int))


def nan(cells, note):
    return Clustering(np.full(cells.n_obs, np.nan))


def floats(cells, note):
    return Clustering(np.zeros(cells.n_obs))


def below_noise(cells, note):
    return Clustering(np.full(cells.n_obs, -2))


def bare_array(cells, note):
    return np.zeros(cells.n_obs, dtype=int)


def nan_embedding(cells, note):
    return Clustering(np.zeros(cells.n_obs, dtype=int), embedding=np.full((cells.n_obs, 2), np.nan))
