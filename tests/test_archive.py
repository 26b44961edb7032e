"""An experiment archived and verified, made of two small runs."""

import json
import subprocess
import zipfile

import numpy as np
import pandas as pd
import pytest

from moesimvae import archive
from moesimvae.cli import main
from moesimvae.evaluation.scores import score_dataset, write_csv
from moesimvae.files import write_json
from moesimvae.methods.controls import write_controls
from moesimvae.methods.existing import write_run
from sentences import error

pytest.importorskip("rocrate", reason="needs the package rocrate of requirements.lock")
N = 120
TRUTH = np.arange(N) % 3


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, root):
    """A small checkout with a Git history."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("config.yaml", "requirements.lock", "LICENSE", "CITATION.cff"):
        (folder / name).write_bytes((root / name).read_bytes())
    git = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "results"
    data = folder / "data" / "tiny"
    data.mkdir(parents=True)
    cells = np.array([f"c{i}" for i in range(N)])
    labels = pd.DataFrame(
        {"cell": cells, "label": TRUTH.astype(str), "scored": True, "split": "all"}
    )
    labels.to_parquet(data / "labels.parquet")
    (data / "features.h5ad").write_bytes(b"features")
    source = {
        "file": "tiny.fcs",
        "url_or_path": "https://a.org/tiny.fcs",
        "sha256": "ab",
        "bytes": 9,
    }
    facts = {"name": "tiny", "title": "Tiny", "citation": "A. (2000) B. C 1.", "sources": [source]}
    write_json(data / "dataset.json", facts)
    block = {"module": "existing", "existing": "leiden"}
    runs = [folder / "runs/tiny/existing_leiden/seed0", folder / "runs/tiny/existing_x/seed0"]
    for shift, run in enumerate(runs):
        found = np.where(np.arange(N) < 10 * shift, 0, TRUTH)
        write_run(cells, found, ["a", "b", "c"], block, data / "features.h5ad", run)
    (runs[0] / "embedding.npy").write_bytes(b"codes")
    write_controls(data / "labels.parquet", 3, [0], folder / "runs/tiny/controls")
    every = [*runs, *sorted((folder / "runs/tiny/controls").glob("*/seed0"))]
    scores = folder / "demo" / "scores"
    scores.mkdir(parents=True)
    metrics = ["ari", "f_flowcap", "stability"]
    tables = score_dataset(every, data / "labels.parquet", metrics, folder)
    for table, ending in zip(tables, ("", ".populations", ".runs"), strict=True):
        write_csv(table, scores / f"tiny{ending}.csv")
    (folder / "demo" / "report.html").write_text("<p>page</p>")
    return folder


@pytest.fixture(scope="module")
def packed(checkout, results, tmp_path_factory):
    (checkout / "config.yaml").write_text((checkout / "config.yaml").read_text() + "# mine\n")
    return archive.write("demo", results, checkout, tmp_path_factory.mktemp("out"))


def test_what_an_archive_holds(packed, checkout):
    folder = packed.with_suffix("")
    run = folder / "results/runs/tiny/existing_leiden/seed0"
    assert sorted(p.name for p in run.iterdir()) == ["labels.parquet", "log.txt", "status.json"]
    assert not (folder / "results/data/tiny/features.h5ad").exists()
    left = pd.read_csv(folder / "left_out.csv").set_index("file")
    assert {"data/tiny/features.h5ad", "tiny.fcs"} < set(left.index)
    assert left.loc["tiny.fcs", "source"] == "https://a.org/tiny.fcs"
    assert left.loc["runs/tiny/existing_leiden/seed0/embedding.npy", "bytes"] == 5
    with zipfile.ZipFile(folder / "code.zip") as code:
        assert "# mine" not in code.read("config.yaml").decode()  # as at the commit
    assert "+# mine" in (folder / "changes.patch").read_text()
    commit = subprocess.check_output(
        ["git", "-C", checkout, "rev-parse", "HEAD"], text=True
    ).strip()
    assert commit in (folder / "README.md").read_text()
    zenodo = json.loads((folder / ".zenodo.json").read_text())
    assert zenodo["title"] == "Demo on embedded and simulated data"
    crate = json.loads((folder / "ro-crate-metadata.json").read_text())
    graph = {entity["@id"]: entity for entity in crate["@graph"]}
    assert graph["ro-crate-metadata.json"]["conformsTo"]["@id"] == "https://w3id.org/ro/crate/1.1"
    parts = {part["@id"] for part in graph["./"]["hasPart"]}
    assert {"code.zip", "left_out.csv", "results/demo/report.html", "results/runs/"} <= parts
    assert all((folder / part).exists() for part in parts)


def test_the_scores_follow_from_the_labels(packed, capsys):
    found = archive.verify(packed)
    assert (found.different, found.skipped) == ([], [])
    assert found.scores == 5 * 2  # one seed alone has no stability
    assert main(["verify", str(packed.with_suffix(""))]) == 0
    assert "verified   10 scores follow" in capsys.readouterr().out


def test_what_differs_is_told(packed, tmp_path, capsys):
    with zipfile.ZipFile(packed) as whole:
        whole.extractall(tmp_path)
    folder = tmp_path / "moesimvae-demo"
    path = folder / "results/runs/tiny/existing_x/seed0/labels.parquet"
    labels = pd.read_parquet(path)
    labels.assign(label=0).to_parquet(path)
    (folder / "config.yaml").unlink()
    with pytest.raises(SystemExit):
        main(["verify", str(folder)])
    printed = capsys.readouterr().out
    assert "existing_x/seed0/labels.parquet is not the file that was archived" in printed
    assert "config.yaml is missing" in printed
    assert "tiny existing_x seed 0 (all), ari: " in printed
    assert "its labels give 0" in printed
    assert "existing_leiden seed 0 (all), ari" not in printed


def test_what_cannot_be_archived_or_verified(results, checkout, tmp_path):
    assert "no finished experiment" in error(archive.write, "table1", results, checkout, tmp_path)
    said = error(archive.write, "demo", results, tmp_path, tmp_path / "out")
    assert "is not a checkout" in said
    assert not [*(tmp_path / "out").iterdir()]
    (tmp_path / "a.txt").write_text("x")
    assert "neither a folder nor a zip" in error(archive.verify, tmp_path / "a.txt")
    assert "contains no scores" in error(archive.verify, tmp_path)
