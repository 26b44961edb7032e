"""`moesimvae method`, `export` and `doctor`: what is beside clustering one's own cells."""

import csv
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from moesimvae import cli
from moesimvae.commands import export, new_method
from moesimvae.nouns import Status

N = 120
GROUP = np.arange(N) % 3
POINTS = (np.random.default_rng(0).normal(size=(N, 5)) + 8 * np.eye(5)[GROUP]).astype(np.float32)


@pytest.fixture
def cells(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    anndata.AnnData(POINTS).write_h5ad("cells.h5ad")
    return Path("cells.h5ad")


def run(*words):
    return cli.main([str(word) for word in words])


def refused(capsys, *words) -> str:
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    return printed


METHOD = ("--input", "cells.h5ad", "--output", "labels.csv", "--clusters", 3)


def test_a_method_gives_a_label_for_each_cell(cells):
    assert run("method", "kmeans", *METHOD, "--seed", 1, "--param", "n_init=2") == 0
    labels = pd.read_csv("labels.csv")
    assert list(labels["cell"]) == list(range(N))
    assert (pd.crosstab(labels["label"], GROUP) > 0).sum().sum() == 3, "each group one cluster"


def test_a_method_of_ones_own(cells):
    new_method.write("mine", "my_methods", command=False)
    assert run("method", "mine", *METHOD, "--own", "my_methods") == 0
    assert pd.read_csv("labels.csv")["label"].nunique() == 3


def test_what_no_method_can_do_is_one_sentence(cells, capsys):
    assert "did you mean one of: kmeans" in refused(capsys, "method", "kmens", *METHOD)
    assert "it has: n_pca, n_init" in refused(capsys, "method", "kmeans", *METHOD, "--param", "k=1")
    assert "write NAME=VALUE" in refused(capsys, "method", "kmeans", *METHOD, "--param", "k")
    assert not Path("labels.csv").exists()


def test_a_library_that_is_missing_is_told_with_what_installs_it(cells, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "hdbscan", None)
    told = refused(capsys, "method", "hdbscan", *METHOD)
    assert "needs hdbscan" in told
    assert "moesimvae[methods,benchmark]" in told


@pytest.fixture
def results(tmp_path) -> Path:
    """Two runs that finished and one that did not."""
    folder = tmp_path / "results"
    for seed, status in enumerate(["ok", "ok", "timeout"]):
        place = folder / f"runs/cells/kmeans/seed{seed}"
        place.mkdir(parents=True)
        told = Status(
            status=status,
            reason="" if status == "ok" else "stopped",
            seed=seed,
            params={"n_init": 10},
            n_clusters=3,
            wall_seconds=3723.5,
            cpu_seconds=7447.0,
            peak_memory_mb=1048.576,
            started="2026-01-01",
        )
        (place / "status.json").write_text(json.dumps(vars(told)))
        if status == "ok":
            pd.DataFrame({"cell": ["a", "b"], "label": [0, 1]}).to_parquet(place / "labels.parquet")
    return folder


def test_runs_are_exported_as_omnibenchmark_has_them(results, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("export", results, "--out", out) == 0
    assert "failed     cells/kmeans/seed2: timeout" in capsys.readouterr().out
    with open(out / export.TABLE, newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 2
    assert (rows[0]["s"], rows[0]["max_rss"], rows[0]["mean_load"]) == ("3723.5", "1000.0", "200.0")
    assert {row["lineage"] for row in rows} == {"data/cells/clustering/kmeans"}
    # SHA-256 of {"n_clusters": 3, "n_init": 10, "seed": 0}, as omnibenchmark takes it
    assert "228643d0" in {row["param_hash"] for row in rows}
    place = out / Path(rows[0]["path"]).parent
    assert (place / "performance.txt").read_text().splitlines()[1].split("\t")[1] == "1:02:03"
    assert (
        gzip.decompress((place / "cells.labels.csv.gz").read_bytes()) == b"cell,label\na,0\nb,1\n"
    )
    assert "already exists" in refused(capsys, "export", results, "--out", out)
    assert "there are no runs" in refused(capsys, "export", tmp_path, "--out", tmp_path / "new")


def test_omnibenchmark_makes_the_same_table(results, tmp_path):
    ob = shutil.which("ob")
    if ob is None:
        pytest.skip("needs omnibenchmark in an environment of its own, its `ob` on the PATH")
    out = tmp_path / "out"
    run("export", results, "--out", out)
    ours = (out / export.TABLE).read_bytes()
    subprocess.run([ob, "collect", "performance", "-o", str(out)], check=True)
    assert (out / export.TABLE).read_bytes() == ours
    root = Path(__file__).resolve().parent.parent
    plan = root / "workflow" / "omnibenchmark" / "plan.yaml"
    for words in (["plan", str(plan)], ["module", str(root)]):
        subprocess.run([ob, "validate", *words], check=True, cwd=tmp_path)


def test_the_doctor_tells_what_an_issue_needs(results, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert run("doctor", "--results", results) == 0
    printed = capsys.readouterr().out
    lines = dict(line.split(maxsplit=1) for line in printed.splitlines() if line[0] != "l")
    assert {"moesimvae", "Python", "system", "machine", "GPU", "threads"} <= lines.keys()
    assert "OMP_NUM_THREADS=1" in lines["threads"]
    assert f"last run     {results}/runs/cells/kmeans/seed" in printed
    assert run("doctor", "--results", results / "none") == 0
    assert "none in" in capsys.readouterr().out
