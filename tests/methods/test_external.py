"""A user's own method, a command without a shell or a file of Python: labels or a reason."""

import re
import shutil
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import psutil
import pytest
import scipy.io
import scipy.sparse as sp

from fences import code_blocks
from moesimvae import registry
from moesimvae.errors import UserError
from moesimvae.files import read_json
from moesimvae.methods import external, runner

N = 20
VALUES = np.random.default_rng(0).random((N, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "features.h5ad"
    cells = anndata.AnnData(sp.csr_matrix(VALUES))
    cells.var_names = ["CD3", "CD4, total", 'CD"8']
    cells.write_h5ad(path)
    return path


@pytest.fixture
def run(features, tmp_path):
    """Run the method of a block, with the files beside it."""

    def run(block, minutes=1.0, **files):
        folder = tmp_path / "my methods; $(touch x)"
        folder.mkdir()
        (folder / "mine.yaml").write_text(f"mine: {block}")
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(text)
        (known,) = registry.load(registry.own_methods(folder)).values()
        out = tmp_path / "runs" / "mine" / "seed3"
        status = runner.run(
            features, out, "toy", "mine", known, 3, 4, known["params"], 1, 4000, minutes
        )
        assert status == read_json(out / "status.json")
        assert not (out / "exchange").exists()
        labels = out / "labels.parquet"
        return status, pd.read_parquet(labels)["label"].tolist() if labels.exists() else None

    return run


def test_values_reach_the_command_as_words_and_its_labels_come_back(run):
    script = (
        "import csv, sys\n"
        "rows = list(csv.reader(open(sys.argv[1])))\n"
        "assert rows[0] == ['cell', 'CD3', 'CD4, total', 'CD\"8'], rows[0]\n"
        "assert sys.argv[3:] == ['4', '3', '1', 'a b; exit 9', '--x=$HOME'], sys.argv\n"
        "print('said to the log')\n"
        "labels = [int(float(row[1]) > 0.5) if i else -1 for i, row in enumerate(rows[1:])]\n"
        "open(sys.argv[2], 'w').write('\\n'.join(map(str, labels)))\n"
    )
    block = (
        f"{{command: '{sys.executable} a.py {{features}} {{labels}} {{n_clusters}} {{seed}} "
        "{threads} {word} --x=$HOME', params: {word: 'a b; exit 9'}}"
    )
    status, labels = run(block, a_py=script)
    assert status["status"] == "ok", status
    assert labels == [-1, *(VALUES[1:, 0] > 0.5).astype(int)]
    assert status["params"] == {"word": "a b; exit 9"}
    assert status["noise_share"] == 1 / N


def test_what_leaves_the_run_and_outlives_it_is_ended_with_it(run, tmp_path):
    note = tmp_path / "pid"
    script = (
        "import subprocess, sys\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(300)']\n"
        "if len(sys.argv) == 4:\n"
        "    again = [sys.executable, *sys.argv[:3]]\n"
        "    subprocess.run(again, start_new_session=True)\n"  # whose own parent then ends
        f"    open(sys.argv[2], 'w').write('0\\n' * {N})\n"
        "else:\n"
        "    child = subprocess.Popen(sleep, start_new_session=True)\n"
        f"    open({str(note)!r}, 'w').write(str(child.pid))\n"
    )
    block = f"{{command: '{sys.executable} a.py {{features}} {{labels}} {{seed}}'}}"
    status, _ = run(block, a_py=script)
    assert status["status"] == "ok", status
    assert not psutil.pid_exists(int(note.read_text()))


def test_the_example_in_r(run, root):
    r_has_mclust = ["Rscript", "-e", "library(mclust)"]
    if not shutil.which("Rscript") or subprocess.run(r_has_mclust, check=False).returncode:
        pytest.skip("needs R with its package mclust, which is not here")
    page = (root / "docs/own_method.md").read_text(encoding="utf-8")
    command = re.search(r"^  command: (\"Rscript .*)", page, re.MULTILINE)[1]
    (script,) = code_blocks(page, "r")
    status, labels = run(f"{{command: {command}}}", mclust_R=script)
    assert status["status"] == "ok", status
    assert (len(labels), set(labels)) == (N, {1, 2, 3, 4})


@pytest.mark.parametrize(
    ("block", "script", "status", "reason"),
    [
        ("sh a.sh {features} {labels}", "exit 3", "error", "ended with exit status 3"),
        ("sh a.sh {features} {labels}", "true", "invalid", "wrote no labels"),
        ("sh a.sh {features} {labels}", 'echo x > "$2"', "invalid", "1 labels for 20 cells"),
        ("nowhere/r {features} {labels}", "", "error", "'nowhere/r' of the command cannot be"),
        ("sh a.sh {features} {labels}", "sleep 60", "timeout", "stopped after the 0.07 minutes"),
    ],
)
def test_what_a_command_does_wrong_is_the_reason_of_its_dnf(run, block, script, status, reason):
    minutes = 0.07 if status == "timeout" else 1
    told, labels = run(f"{{command: '{block}'}}", minutes, a_sh=script)
    assert (told["status"], labels) == (status, None)
    assert reason in told["reason"]


def test_a_file_of_python_may_import_its_neighbours(run):
    status, labels = run(
        "{module: mine.py, params: {shift: 2}}",
        mine_py="import numpy as np\nfrom helper import Clustering\n"
        "def cluster(cells, n_clusters, seed, shift):\n"
        "    return Clustering(np.full(cells.n_obs, shift + seed))\n",
        helper_py="from moesimvae.methods.interface import Clustering\n",
    )
    assert status["status"] == "ok", status
    assert set(labels) == {5}


def test_a_file_of_python_without_the_function_is_told(run):
    status, _ = run("{module: mine.py}", mine_py="x = 1\n")
    assert status["status"] == "error"
    assert "mine.py has no function 'cluster" in status["reason"]


def test_a_value_with_a_name_in_braces_is_handed_on_as_it_is():
    words = external.filled("sh {a} x{b}{c}", {"a": "{b} c", "b": 1})
    assert words == ["sh", "{b} c", "x1{c}"]


def test_sparse_features_in_the_matrix_market_format(tmp_path):
    cells = anndata.AnnData(sp.csr_matrix(VALUES))
    cells.obs_names = [f"cell\n{i}" for i in range(N)]
    path = external.write_features(cells, tmp_path, "mtx")
    np.testing.assert_allclose(scipy.io.mmread(path).toarray(), VALUES, rtol=1e-6)
    assert len((tmp_path / "cells.txt").read_text().splitlines()) == N
    assert (tmp_path / "features.txt").read_text() == "0\n1\n2\n"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("input: count", "give one of scaled, transformed, counts"),
        ("stochstic: false", "unknown key 'stochstic'; did you mean stochastic"),
        ("stochastic: 'false'", "give true or false"),
        ("gpu: 'yes'", "give true or false"),
        ("threads: 0", "a whole number above 0"),
        ("mem_mb: 1.5", "a whole number above 0"),
        ("runtime: -5", "minutes above 0"),
        ("params: [1]", "a mapping of names to values"),
    ],
)
def test_a_block_is_checked(tmp_path, setting, says):
    block = f"mine: {{command: 'sh a.sh {{features}} {{labels}}', {setting}}}"
    (tmp_path / "mine.yaml").write_text(block)
    with pytest.raises(UserError, match=says):
        registry.load(registry.own_methods(tmp_path))


def test_a_block_changes_its_hash_with_its_files_and_no_others(tmp_path):
    def block():
        return registry.load(registry.own_methods(tmp_path))["mine"]

    (tmp_path / "mine.yaml").write_text("mine: {command: 'sh a.sh {features} {labels}'}")
    (tmp_path / "a.sh").write_text("one")
    (tmp_path / "b.sh").write_text("one")
    first = block()
    assert (first["runtime"], first["format"], first["title"]) == (60, "csv", "mine")
    (tmp_path / "b.sh").write_text("two")
    assert block() == first
    (tmp_path / "a.sh").write_text("two")
    assert block()["files_sha256"] != first["files_sha256"]
    (tmp_path / "mine.yaml").write_text("mine: {module: mine.py}")
    for name in ("mine", "helper"):
        before = [block()["files_sha256"]] if (tmp_path / "mine.py").exists() else []
        (tmp_path / f"{name}.py").write_text("x = 1")
        assert block()["files_sha256"] not in before  # what stands beside a module it may import
