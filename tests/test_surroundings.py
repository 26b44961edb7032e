"""What is missing around the project is told before anything starts, or provided."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from checkout import Checkout
from moesimvae import surroundings
from sentences import error

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NOWHERE = "/proc/nowhere"  # where not even root can make a folder


@pytest.mark.parametrize(
    "variables", [{"HOME": NOWHERE, "XDG_CACHE_HOME": ""}, {"XDG_CACHE_HOME": NOWHERE}]
)
def test_a_cache_that_cannot_be_written_is_told(variables, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    sentence = error(surroundings.require_cache)
    assert NOWHERE in sentence
    assert "set XDG_CACHE_HOME to a writable folder" in sentence


def test_numba_and_matplotlib_get_a_cache_where_they_have_none(monkeypatch):
    def provided():
        for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
            monkeypatch.delenv(name, raising=False)
        surroundings.provide_caches()
        return [os.environ.get(name) for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR")]

    monkeypatch.setattr(surroundings.os, "access", lambda *_: False)  # the libraries' own folder
    monkeypatch.setattr(surroundings.atexit, "register", lambda remove, folder, **_: None)
    monkeypatch.setenv("XDG_CACHE_HOME", NOWHERE)
    numba, matplotlib = provided()
    assert numba == matplotlib
    assert Path(numba).stat().st_mode & 0o777 == 0o700
    shutil.rmtree(numba)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(Path(numba).parent))
    assert provided() == [None, None]
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)


def test_braces_in_the_path_of_a_clone_are_told(tmp_path):
    told = error(surroundings.require_plain_path, tmp_path / "br{ace}s")
    assert "br{ace}s, and Snakemake would treat" in told
    surroundings.require_plain_path(tmp_path / "a b's $x;#[y]")


def test_a_working_folder_that_takes_nothing_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".snakemake").touch()
    assert "--directory FOLDER" in error(surroundings.require_working_folder)


@pytest.mark.slow
def test_what_an_encoding_lacks_is_written_out(root, tmp_path):
    """Also in files, and the help, in a locale of ASCII."""
    values = np.random.default_rng(0).random((60, 2))
    pd.DataFrame(values, columns=["µ", "Größe"]).to_csv(tmp_path / "c.csv", index=False)
    command = "cluster c.csv --clusters 2 --steps 2 --out out --transform none"
    for words, said in ((command.split(), "Gr\\xf6\\xdfe"), (["cluster", "--help"], "usage: ")):
        done = subprocess.run(
            [sys.executable, "-m", "moesimvae.cli", *words],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(root / "src")} | ASCII,
            capture_output=True,
            encoding="ascii",
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    assert (tmp_path / "out/labels.csv").exists()


# ---------------------------------------------------------------------- as a user meets them


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a b", "it's $HOME;#&[x]"])
def test_a_clone_may_lie_in_any_folder(root, tmp_path, name):
    """With its own .venv there, whose path Snakemake writes into commands."""
    (tmp_path / name).mkdir()
    clone = Checkout(root, tmp_path / name / "clone")
    venv = clone.folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    results = f"{name}/results"
    done = clone.snakemake(
        *("--config", f"results={results}", "--", f"{results}/data/digits/features.h5ad"),
        python=venv / "bin/python",
    )
    assert done.returncode == 0, done.stdout
    assert (clone.folder / results / "data/digits/dataset.json").exists()


def test_braces_in_the_path_of_a_clone_are_one_sentence(root, tmp_path):
    (tmp_path / "{a}").mkdir()
    done = Checkout(root, tmp_path / "{a}" / "clone").snakemake("--dry-run", "demo")
    assert done.returncode != 0
    assert done.stdout.count("error: the clone is in ") == 1
    assert "Traceback" not in done.stdout


@pytest.mark.slow
def test_it_runs_in_a_locale_of_ascii(checkout):
    done = checkout.snakemake("results/data/digits/features.h5ad", **ASCII)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def make(root, tmp_path):
    """make in a folder with the Makefile, and a .venv that stands for the one of the tests."""
    shutil.copy(root / "Makefile", tmp_path)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    python = tmp_path / ".venv/bin/python"
    python.write_text(f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    python.chmod(0o755)

    def run(*arguments, **environment):
        return subprocess.run(
            ["make", "-o", "setup", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(root / "src")} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_make_tells_of_a_home_that_cannot_be_written(make):
    done = make("demo", HOME=NOWHERE, XDG_CACHE_HOME="")
    assert done.returncode != 0
    assert "error: Snakemake keeps files in /proc/nowhere/.cache/snakemake" in done.stderr
    assert "Traceback" not in done.stderr
    assert "bin/snakemake" not in done.stderr


@pytest.mark.parametrize("target", ["table1", "supplement"])
def test_make_hands_over_a_mirror_as_one_word(make, target):
    printed = make("--dry-run", target, "MIRROR=/a b/it's").stdout
    words = next(line for line in printed.splitlines() if "--config" in line).partition("--config")
    said = subprocess.check_output(["sh", "-c", f"printf '%s|' {words[2]}"], text=True)
    assert said == "mirror=/a b/it's|"
