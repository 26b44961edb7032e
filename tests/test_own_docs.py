"""Your own data, your own methods, this workflow as a module: as docs/own_*.md tell it.

The code blocks of the two pages are taken out and run. What takes minutes is planned; one small
run, from another folder through another Snakefile, is real.
"""

import os
import re
import shlex
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml

from fences import code_blocks
from moesimvae import cli
from moesimvae.files import read_json

pytestmark = pytest.mark.slow

N = 150
TYPES = np.array(["a", "b", "c"])[np.arange(N) % 3]
POINTS = np.random.default_rng(0).normal(size=(N, 5)) + 5 * np.eye(5)[np.arange(N) % 3]


def blocks(root, page, language):
    found = code_blocks((root / "docs" / page).read_text(encoding="utf-8"), language)
    assert found, (page, language)
    return found


def commands(root, page, program):
    """Commands of the sh blocks that start this program, as words."""
    text = "".join(blocks(root, page, "sh")).replace("\\\n", " ")
    lines = [shlex.split(line) for line in text.splitlines() if program in line.split(" ")[0]]
    return [words[1:] for words in lines]


def write_cells(folder):
    columns = pd.DataFrame({"cell_type": TYPES}, [f"c{i}" for i in range(N)])
    anndata.AnnData(POINTS.astype(np.float32), columns).write_h5ad(folder / "cells.h5ad")
    np.savez(folder / "cells.npz", X=POINTS, type=TYPES)
    names = ["Time", "DNA1", "CD3", "CD4", "CD8"]
    pd.DataFrame(POINTS, columns=names).to_csv(folder / "cells.csv", index=False)


def snakemake(folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE")}
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(folder)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=500,
        check=False,
    )
    return done.returncode, done.stdout


def test_every_command_on_own_data_can_be_planned(root, checkout):
    write_cells(checkout.folder)
    elsewhere = checkout.folder.parent / "elsewhere"
    elsewhere.mkdir()
    write_cells(elsewhere)
    shown = commands(root, "own_data.md", "snakemake")
    page = (root / "docs" / "own_data.md").read_text(encoding="utf-8")
    assert len(shown) >= 4
    for words in shown:
        folder = elsewhere if "--snakefile" in words else checkout.folder
        clone = str(checkout.folder / "Snakefile")
        words = [word.replace("moesimvae/Snakefile", clone) for word in words]  # noqa: PLW2901
        code, printed = snakemake(folder, "--dry-run", *words)
        assert code == 0, printed
        assert "results/own/report.html" in printed
        if "data=cells.h5ad" in words:
            (runs,) = re.findall(r"`(results/runs/\w+)/", page)
            assert f"{runs}/kmeans/seed0" in printed
        jobs = [job for job in re.split(r"\nrule ", printed) if job.startswith("cluster_own:")]
        assert jobs
        for job in jobs:
            (inputs,) = (line for line in job.splitlines() if line.strip().startswith("input:"))
            assert "labels" not in inputs


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "the target 'own' needs your cells; give them as --config data=FILE."),
        (["data=none.h5ad"], "config key 'data': none.h5ad does not exist"),
        (["data=cells.h5ad", "own_methods=nowhere"], "nowhere is not a folder with the block"),
        (
            ["data=cells.h5ad", "methods=[kmens]"],
            "method 'kmens' is unknown; did you mean 'kmeans'",
        ),
        (["data=cells.h5ad", "transform=log"], "config key 'transform': 'log' is unknown"),
        (
            ["data=cells.h5ad", "compensate=no.csv"],
            "config key 'compensate': no.csv does not exist",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(checkout, given, sentence):
    write_cells(checkout.folder)
    more = ["--config", *given] if given else []
    code, printed = snakemake(checkout.folder, "--dry-run", "own", *more)
    assert code != 0
    lines = [line for line in printed.splitlines() if "error: " in line]
    assert len(lines) == 1, printed
    assert sentence in lines[0]
    assert "Traceback" not in printed


def test_own_methods_in_a_module_of_another_workflow(root, checkout, tmp_path, monkeypatch, capsys):
    user = tmp_path / "user"
    user.mkdir()
    monkeypatch.chdir(user)
    write_cells(user)
    write_methods(root, user)
    assert "own_methods=my_methods" in capsys.readouterr().out

    (snakefile,) = blocks(root, "own_data.md", "python")
    (words,) = commands(root, "own_method.md", "snakemake")
    settings = dict(word.split("=", 1) for word in words[words.index("--config") + 1 :])
    settings |= {"methods": ["kmeans"], "seeds": [0, 1], "clusters": 3, "existing": ["type"]}
    snakefile = snakefile.replace("moesimvae/Snakefile", str(checkout.folder / "Snakefile"))
    snakefile = re.sub(r"config: {.*}", f"config: {settings}", snakefile)
    (user / "Snakefile").write_text(snakefile)

    code, printed = snakemake(user, "--cores", "2", "own")
    assert code == 0, printed
    assert not (checkout.folder / "results").exists(), "it wrote beside the module"
    table = pd.read_csv(user / "results/own/table.csv")
    own = table[table["metric"] == "agreement"].set_index("title")["n"]
    assert (own["k-means"], own["Nearest cell"], own["By size (awk)"], own["Too short"]) == (
        *(2, 2, 1),
        0,
    )
    assert not table["metric"].str.startswith(("accuracy", "nmi", "f_", "f1_", "ari")).any()
    assert set(table[table["kind"] == "control"]["title"]) == {
        "Random labels",
        "All cells in one cluster",
    }
    (runs,) = (user / "results/runs").glob("own_cells_*")
    assert read_json(runs / "nearest/seed0/status.json")["params"] == {"n_tries": 5}
    assert read_json(runs / "nearest_once/seed0/status.json")["params"] == {"n_tries": 1}
    assert read_json(runs / "short/seed0/status.json")["reason"] == (
        f"the command wrote 1 labels for {N} cells."
    )
    labels = pd.read_parquet(runs / "by_size/seed0/labels.parquet")
    scaled = (POINTS[:, 0] - POINTS[:, 0].min()) / np.ptp(POINTS[:, 0])
    assert list(labels["label"]) == list(np.minimum((scaled * 3).astype(int), 2))
    assert not (runs / "by_size/seed0/exchange").exists()
    already = pd.read_parquet(runs / "existing_type/seed0/labels.parquet")["label"]
    assert list(already) == [i % 3 for i in range(N)]
    page = (user / "results/own/report.html").read_text()
    assert "type (existing, not trained)" in page
    exported = pd.read_csv(user / "results/own/export/labels.csv")
    assert list(exported["existing_type_cluster"]) == list(already)
    assert "type (existing, not trained)." in (user / "results/own/methods.md").read_text()
    assert "By size (awk)" in page
    assert "Own data: cells.npz" in page

    code, printed = snakemake(user, "--cores", "2", "own")
    assert "Nothing to be done" in printed, printed
    (user / "Snakefile").write_text(snakefile.replace("'clusters'", "'label': 'type', 'clusters'"))
    _, printed = snakemake(user, "--dry-run", "own")
    assert re.search(r"^labels_own +1$", printed, re.MULTILINE), printed
    assert not re.search(r"^(cluster|prepare)_own ", printed, re.MULTILINE), printed
    (user / "Snakefile").write_text(snakefile)
    with open("my_methods/by_size.sh", "a") as script:
        script.write("# changed\n")
    _, printed = snakemake(user, "--dry-run", "own")
    assert re.search(r"^cluster_own +1$", printed, re.MULTILINE), printed


def write_methods(root, user):
    """What the page shows, in the files that `new-method` makes; and a method that fails."""
    for words in commands(root, "own_method.md", "moesimvae"):
        assert cli.main(words) == 0
    folder = user / "my_methods"
    first = yaml.safe_load((folder / "nearest.yaml").read_text())
    assert first["nearest"]["module"] == "nearest.py"
    (module,) = blocks(root, "own_method.md", "python")
    (folder / "nearest.py").write_text(module)
    nearest, by_size, _in_r, once = blocks(root, "own_method.md", "yaml")
    (folder / "nearest.yaml").write_text(nearest + once)
    (folder / "by_size.yaml").write_text(by_size)
    script = next(b for b in blocks(root, "own_method.md", "sh") if "awk" in b)
    (folder / "by_size.sh").write_text(script)
    (folder / "short.yaml").write_text(
        "short: {title: Too short, stochastic: false, command: 'sh short.sh {features} {labels}'}"
    )
    (folder / "short.sh").write_text('echo 1 > "$2"\n')
