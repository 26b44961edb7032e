"""The benchmarks run and write what they promise; what they measure is no matter of tests."""

import json
import os
import subprocess
import sys

import anndata
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

pytestmark = pytest.mark.slow


def quick(root, name, out):
    command = [sys.executable, root / "bench" / f"{name}.py", "--quick", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "|---|" in done.stdout
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((out / f"{name}.json").read_text())


def test_throughput(root, tmp_path):
    result = quick(root, "throughput", tmp_path)
    assert {"machine", "cells_per_second", "ratios", "share_of_product_speed"} <= result.keys()
    assert {"K=40 to K=5", "K=10 to every expert"} <= result["ratios"].keys()
    assert {"K=5", "K=40", "every expert, K=10", "wide, K=10"} <= result["cells_per_second"].keys()
    assert result["ratios"]["K=40 to K=5"].keys() == {"n", "median", "min", "max", "values"}
    assert {"cpu", "cores", "threads"} <= result["machine"].keys()


def test_scale(root, tmp_path):
    result = quick(root, "scale", tmp_path)
    assert [(run["cells"], run["backed"]) for run in result["runs"]] == [
        (600, False),
        (1200, False),
        (1200, True),
    ]
    wanted = {"seconds", "seconds_training", "peak_per_data", "peak_above_imports_per_data"}
    assert all(wanted <= run.keys() for run in result["runs"])
    assert {"seconds", "seconds_similarity", "peak_above_imports"} == result["growth"].keys()


# what bench/gpu.py may find on its machine, and what these bring along
THERE = """torch numpy scipy sklearn pandas h5py safetensors numba moesimvae
    joblib cloudpickle threadpoolctl narwhals dateutil pytz six llvmlite torchgen functorch triton
    sympy mpmath networkx jinja2 markupsafe filelock fsspec typing_extensions packaging"""

BARE = f"""
import runpy, sys
from importlib.machinery import PathFinder

class Bare(PathFinder):
    there = set({THERE.split()}) | sys.stdlib_module_names

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in cls.there or top.startswith("_"):
            return super().find_spec(name, path, target)

sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not PathFinder] + [Bare]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def bare(root, *arguments):
    """bench/gpu.py on a machine without an installation and with few libraries."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", BARE, root / "bench" / "gpu.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_gpu_in_miniature_with_the_few_libraries_of_its_machine(root, tmp_path):
    done = bare(root, "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "gpu.json").read_text())
    parts = ("parity", "waiting", "graph", "end_to_end", "generation", "million", "batches")
    assert list(result) == ["machine", *parts]
    assert result["parity"]["largest"] < 1e-4
    assert result["parity"]["ari_cpu_and_device"] > 0.9
    assert set(result["waiting"].values()) >= {"never waits"}
    assert result["parity"]["largest_replayed_against_launched"] < 1e-4
    for name in ("K=3", "K=20"):
        assert result["graph"][name]["steps_per_second_replayed"] > 0
        assert result["graph"][name]["longest"][0]["us"] > 0
    assert result["end_to_end"]["steps"] == 100
    assert result["end_to_end"]["seconds_to"].keys() == {"0.975", "0.985"}
    assert result["generation"]["images"] == 200
    assert len(result["batches"]["rows"]) == 12
    assert all(row["share_of_bfloat16_peak"] > 0 for row in result["batches"]["rows"])
    assert (tmp_path / "gpu.md").read_text() == done.stdout.rstrip("\n") + "\n"


def test_gpu_says_what_it_lacks(root, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    done = bare(root, "--out", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: torch sees no GPU here; --quick does all of it in miniature.\n"


@pytest.fixture
def digits(tmp_path):
    """Scikit-learn's digits as the workflow prepares them."""
    found = load_digits()
    cells = anndata.AnnData((found.data / 16).astype("float32"))
    (tmp_path / "data" / "digits").mkdir(parents=True)
    cells.write_h5ad(tmp_path / "data" / "digits" / "features.h5ad")
    labels = pd.DataFrame({"cell": cells.obs_names, "label": found.target, "scored": True})
    labels.to_parquet(tmp_path / "data" / "digits" / "labels.parquet")
    return tmp_path / "data"


def test_peers(root, tmp_path, digits):
    options = ["--rows", "digits", "--repeats", "1", "--threads", "1", "--data", digits]
    command = [sys.executable, root / "bench" / "peers.py", *options, "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / "peers.json").read_text())["digits"]
    for took in row["methods"].values():
        assert {"seconds", "cpu_seconds", "memory_mb", "accuracy_hungarian"} <= took.keys()
    ours, kmeans = (row["methods"][name]["seconds"] for name in ("moe_sim_vae", "kmeans"))
    assert row["ratios"]["kmeans"]["median"] == pytest.approx(ours["median"] / kmeans["median"])
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")


def test_profiling(root, tmp_path, digits):
    options = [f"quick={digits}/digits/features.h5ad,3", "--parameters", '{"steps": 20}']
    command = [sys.executable, root / "bench" / "profiling.py", *options]
    done = subprocess.run(
        [*command, "--out", tmp_path / "profile.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "profile.json").read_text())["profiles"]
    wanted = {"similarity: neighbours", "similarity: communities", "steps: experts", "writing"}
    assert wanted <= found["parts"].keys()
    assert found["parts"]["steps: cells of a batch"]["calls"] == found["steps"] == 20
    assert found["cpu_s"] == pytest.approx(sum(p["cpu_s"] for p in found["parts"].values()), 0.01)


def test_early(root, tmp_path, digits):
    options = [f"quick={digits}/digits/features.h5ad,3", "--seeds", "2", "--steps", "20"]
    command = [sys.executable, root / "bench" / "early.py", *options]
    done = subprocess.run(
        [*command, "--out", tmp_path / "early.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "early.json").read_text())["sets"]
    assert [run["steps"] for run in found["runs"]["full"]] == [20, 20]
    assert found["early to full"]["n"] == 2
    assert found["between seeds, early"]["n"] == found["between seeds, full"]["n"] == 1


def test_ceiling(root, tmp_path):
    cells = [f"c{i}" for i in range(6)]
    truth = pd.DataFrame({"cell": cells, "label": list("aaabbb"), "scored": True, "split": "all"})
    truth.to_parquet(tmp_path / "labels.parquet")
    (tmp_path / "run").mkdir()
    found = pd.DataFrame({"cell": cells, "label": [0, 1, 2, 3, 3, 3]})
    found.to_parquet(tmp_path / "run" / "labels.parquet")
    command = [sys.executable, root / "bench" / "ceiling.py", tmp_path / "run", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| all, as found | 4 | 0.750 |" in done.stdout
    assert "| all, joined by majority | 2 | 1.000 | 1.000 | 1.000 |" in done.stdout
