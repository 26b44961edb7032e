"""The benchmarks run and write what they promise; what they measure is no matter of tests."""

import json
import subprocess
import sys

import pandas as pd
import pytest

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
    wanted = {"seconds_similarity", "seconds_epoch", "peak_per_data", "peak_above_imports_per_data"}
    assert all(wanted <= run.keys() for run in result["runs"])
    assert {"seconds_similarity", "seconds_epoch", "peak_above_imports"} == result["growth"].keys()


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
