"""The command line: what it writes, says and refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib

import anndata
import flowio
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

import moesimvae
from moesimvae.cli import main

MARKERS = ["CD3", "CD4", "CD8", "CD19", "CD20", "CD45"]
rng = np.random.default_rng(0)
GROUP = np.arange(90) % 3
VALUES = np.eye(3)[GROUP].repeat(2, axis=1) * 80 + rng.gamma(2, 2, (90, 6))
COUNTS = rng.poisson(VALUES / 20).astype(np.float32)
TINY = ["--steps", "12", "--device", "cpu"]


@pytest.fixture
def run(capsys):
    """Run the command line in this process; returns (exit code, stdout, stderr)."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(run):
    """Run what must end with one sentence on stderr, exit code 1 and nothing else."""

    def refused(*arguments):
        code, _, err = run(*arguments)
        assert code == 1, err
        sentences = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(sentences) == 1, err
        assert err.rstrip().endswith(sentences[0])
        return sentences[0]

    return refused


@pytest.fixture(scope="module")
def fcs(tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "cells.fcs"
    with open(path, "wb") as file:
        values = np.column_stack([np.arange(90), VALUES])
        flowio.create_fcs(file, values.ravel(), ["Time", *MARKERS])
    return path


@pytest.fixture(scope="module")
def h5ad(tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    known = np.where(np.arange(90) < 30, GROUP.astype(str), "")
    obs = pd.DataFrame({"known": known}, index=[f"cell{i}" for i in range(90)])
    cells = anndata.AnnData(sp.csr_matrix(COUNTS), obs=obs, var=pd.DataFrame(index=MARKERS))
    cells.write_h5ad(path)
    return path


@pytest.fixture
def csv(tmp_path):
    def write(text):
        path = tmp_path / "cells.csv"
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="module")
def clustered(fcs, tmp_path_factory):
    """Results of `cluster`, once for all tests that only use them; and what it printed."""
    out = tmp_path_factory.mktemp("clustered") / "out"
    command = [sys.executable, "-m", "moesimvae.cli", "cluster", str(fcs), "--clusters", "3"]
    command += ["--out", str(out), "--features", "CD*", *TINY]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return out, done.stdout


# ---------------------------------------------------------------------- cluster


def test_cluster_writes_labels_cells_and_model(clustered):
    out, printed = clustered
    names = ["cells.h5ad", "fcs", "labels.csv", "methods.md", "model"]
    assert sorted(path.name for path in out.iterdir()) == names
    labels = pd.read_csv(out / "labels.csv")
    assert list(labels.columns) == ["cell", "cluster", "probability"]
    assert list(labels["cell"]) == list(range(90))
    assert labels["cluster"].between(0, 2).all()
    assert labels["probability"].between(1 / 3 - 1e-3, 1).all()
    cells = anndata.read_h5ad(out / "cells.h5ad")
    assert list(cells.obs["moesimvae"].astype(int)) == list(labels["cluster"])
    assert list(cells.var_names) == ["Time", *MARKERS]
    assert list(cells.var["moesimvae_clustered"]) == [False] + [True] * 6
    np.testing.assert_allclose(cells.X[:, 1:], VALUES, rtol=1e-5)
    assert cells.obsm["X_moesimvae"].shape[0] == 90
    assert cells.uns["moesimvae"]["params"]["steps"] == 12
    stored = json.loads((out / "model" / "preprocessing.json").read_text())
    assert stored["features"] == MARKERS
    assert stored["steps"] == [{"step": "arcsinh", "cofactor": 5.0}]
    for words in ("90 cells × 7 features", "arcsinh(x / 5)", "of 3 clusters in", "labels.csv ("):
        assert words in printed
    sizes = labels["cluster"].value_counts()
    for cluster, size in sizes.items():
        assert f"{cluster:>7}{size:>9}" in printed


@pytest.mark.slow
def test_nothing_needs_to_be_said(fcs, tmp_path, run):
    path = tmp_path / "mine.fcs"
    path.write_bytes(fcs.read_bytes())
    code, printed, _ = run("cluster", path, *TINY)
    assert code == 0
    for words in (
        "left out   Time (",
        "features   6:",
        "arcsinh(x / 5)",
        "estimated without labels (",
    ):
        assert words in printed
    assert f"moesimvae report {tmp_path / 'mine_clustered'}" in printed
    assert run("report", tmp_path / "mine_clustered")[0] == 0
    page = (tmp_path / "mine_clustered" / "report.html").read_text()
    assert page.count('<img src="data:image/webp') == 3
    assert "CD45" in page
    assert "estimated without labels (" in page


def test_report_takes_nothing_else(tmp_path, refused):
    assert "has no cells.h5ad" in refused("report", tmp_path)
    anndata.AnnData(COUNTS).write_h5ad(tmp_path / "cells.h5ad")
    assert "has no clusters" in refused("report", tmp_path)


@pytest.mark.slow
def test_genes_have_a_page_too(tmp_path, run):
    genes = rng.poisson(np.eye(3)[GROUP].repeat(50, axis=1) * 4 + 0.3).astype(np.float32)
    names = pd.DataFrame(index=[f"GENE{i}" for i in range(150)])
    cells = anndata.AnnData(sp.csr_matrix(genes), var=names)
    cells.obs["donor"] = np.where(np.arange(90) < 45, "a", "b")
    cells.write_h5ad(tmp_path / "cells.h5ad")
    arguments = ["--clusters", 3, "--sample", "donor", "--also", "seurat", *TINY]
    assert run("cluster", tmp_path / "cells.h5ad", *arguments)[0] == 0
    out = tmp_path / "cells_clustered"
    table = pd.read_csv(out / "abundance.csv")
    assert table.groupby("sample")["cells"].sum().to_dict() == {"a": 45, "b": 45}
    assert run("report", out)[0] == 0
    assert "Clusters by sample" in (out / "report.html").read_text()
    assert (out / "seurat.h5ad").exists()


def test_several_files_with_their_own_matrices(tmp_path, run, refused):
    spill = np.array([[1, 0.2, 0.03], [0.1, 1, 0.15], [0.01, 0.08, 1]])
    text = ",".join(map(str, [3, *MARKERS[:3], *spill.ravel()]))
    measured = np.column_stack([VALUES[:, :3] @ spill, VALUES[:, 3:], np.arange(90)])
    paths = [tmp_path / "day1.fcs", tmp_path / "day2.fcs"]
    for i, path in enumerate(paths):
        with open(path, "wb") as file:
            names = [*MARKERS, "FSC-A"]
            flowio.create_fcs(file, measured[i::2].ravel(), names, names, {"SPILL": text})
    arguments = ["--clusters", 3, "--drop", "FSC-A", "--also", "csv", *TINY]
    assert run("cluster", *paths, "--compensate", "file", *arguments)[0] == 0
    out = tmp_path / "clustered"
    labels = pd.read_csv(out / "labels.csv")
    assert list(labels.columns) == ["sample", "cell", "cluster", "probability"]
    assert list(labels["sample"]) == ["day1"] * 45 + ["day2"] * 45
    cells = anndata.read_h5ad(out / "cells.h5ad")
    np.testing.assert_allclose(cells.X[:45, :3], VALUES[::2, :3], rtol=1e-3)
    assert len(cells.uns["moesimvae_colors"]) == cells.obs["moesimvae"].nunique()
    found = pd.read_csv(out / "abundance.csv")
    assert found["cells"].sum() == 90
    assert found.groupby("sample")["share"].sum().round(4).tolist() == [1, 1]
    for i, name in enumerate(["day1", "day2"]):
        written = flowio.FlowData(out / "fcs" / f"{name}.fcs")
        events = written.as_array()
        np.testing.assert_array_equal(events[:, :7], measured[i::2].astype(np.float32))
        mine = labels[labels["sample"] == name]
        np.testing.assert_array_equal(events[:, 7], mine["cluster"])
    assert len(pd.read_csv(out / "cells.csv").columns) == 1 + 7 + 4
    # new cells are compensated as those of the model were
    assert (
        "compensated with its own $SPILL"
        in run("predict", out, paths[0], "--out", tmp_path / "p.csv")[1]
    )
    note = run("cluster", paths[0], *arguments, "--out", tmp_path / "raw")[1]
    assert "contains a compensation matrix ($SPILL) that is not used" in note
    assert "is not a compensation matrix" in refused(
        "cluster", paths[0], "--compensate", out / "labels.csv", "--out", tmp_path / "x"
    )


def test_the_entry_point(root):
    scripts = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"moesimvae": "moesimvae.cli:main"}


def test_an_h5ad_with_prior_and_seed(h5ad, tmp_path, run):
    arguments = ["cluster", h5ad, "--clusters", 3, "--prior", "known", "--preset", "paper", *TINY]
    code, printed, err = run(*arguments, "--out", tmp_path / "a", "--seed", 5)
    assert code == 0, err
    assert "counts" in printed
    assert run(*arguments, "--out", tmp_path / "b", "--seed", 5, "--quiet") == (0, "", "")
    a, b = ((tmp_path / name / "labels.csv").read_bytes() for name in "ab")
    assert a == b
    cells = anndata.read_h5ad(tmp_path / "a" / "cells.h5ad")
    assert sp.issparse(cells.X)
    np.testing.assert_array_equal(cells.X.toarray(), COUNTS)
    assert cells.uns["moesimvae"]["preset"] == "paper"
    assert cells.uns["moesimvae"]["params"]["random_state"] == 5


@pytest.mark.slow
def test_backed_as_in_memory_but_without_the_values(h5ad, tmp_path, run):
    arguments = ["cluster", h5ad, "--clusters", 3, "--drop", "CD45", *TINY]
    assert run(*arguments, "--out", tmp_path / "a")[0] == 0
    code, printed, _ = run(*arguments, "--out", tmp_path / "b", "--backed")
    assert code == 0
    assert "stay on disk" in printed
    a, b = ((tmp_path / name / "labels.csv").read_bytes() for name in "ab")
    assert a == b
    cells = anndata.read_h5ad(tmp_path / "b" / "cells.h5ad")
    assert cells.X is None
    assert cells.shape == (90, 6)
    assert len(cells.obs["moesimvae"]) == 90
    assert not list((tmp_path / "b").glob(".moesimvae-*"))


def test_a_csv_with_a_prior_of_its_own(csv, tmp_path, run, refused):
    table = pd.DataFrame(VALUES, [f"c{i}" for i in range(90)], MARKERS)
    path = csv(table.assign(type=GROUP.astype(str)).assign(type=lambda t: "g" + t["type"]).to_csv())
    prior = tmp_path / "known.csv"
    prior.write_text("cell,group\nc3,A\nc4,B\nc5,\n")
    arguments = ["cluster", path, "--clusters", 3, "--transform", "arcsinh", *TINY]
    every = [*arguments, "--features", "*", "--out", tmp_path / "a"]
    assert "not numeric (type;" in refused(*every)
    arguments += ["--drop", "type"]
    assert run(*arguments, "--out", tmp_path / "a", "--prior", prior)[0] == 0
    assert "neither a text column" in refused(
        *arguments, "--out", tmp_path / "b", "--prior", "organ"
    )
    prior.write_text("cell,group\nc3,A\nx9,B\n")
    sentence = refused(*arguments, "--out", tmp_path / "b", "--prior", prior)
    assert "names cells that" in sentence
    assert "x9" in sentence
    prior.write_text("cell\nc3\n")
    assert "expected two" in refused(*arguments, "--out", tmp_path / "b", "--prior", prior)
    assert "cannot be read" in refused(
        *arguments, "--out", tmp_path / "b", "--prior", tmp_path / "no.csv"
    )
    assert not (tmp_path / "b").exists()
    # a column of the table is no feature then
    code, printed, _ = run(*arguments[:-2], "--out", tmp_path / "c", "--prior", "type")
    assert code == 0
    assert "features   6:" in printed


def test_a_number_of_clusters_from_the_cells(fcs, tmp_path, run, monkeypatch, refused):
    from moesimvae.model import stability

    arguments = ["cluster", fcs, "--clusters", "auto", "--features", "CD*", *TINY]
    code, printed, err = run(*arguments, "--out", tmp_path / "out")
    assert code == 0, err
    (n,) = re.findall(r"clusters   (\d+), estimated", printed)
    assert f"of {n} clusters" in printed
    none = stability.Evidence(1, (1, 1), 0.0, [])
    monkeypatch.setattr(stability, "estimate", lambda *a, **k: none)
    assert "no structure was found" in refused(*arguments, "--out", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_columns_whose_names_an_h5ad_cannot_hold(csv, tmp_path, run):
    names = ["organ/part", "organ_part", "..", "."]
    text = pd.DataFrame([["x", "y", "z", "w"]] * 90, columns=names)
    table = pd.concat([pd.DataFrame(VALUES, columns=MARKERS), text], axis=1)
    path = csv(table.to_csv(index=False))
    arguments = ["cluster", path, "--clusters", 3, "--out", tmp_path / "out", *TINY]
    assert run(*arguments, "--features", "CD*")[0] == 0
    obs = anndata.read_h5ad(tmp_path / "out" / "cells.h5ad").obs
    assert list(obs)[:4] == ["organ_part_0", "organ_part_1", ".._2", "._3"]
    assert list(obs.iloc[0, :4]) == ["x", "y", "z", "w"]


def test_names_from_a_file(fcs, tmp_path, refused):
    (tmp_path / "names.txt").write_text("CD3\n\nCD99\n")
    arguments = ["cluster", fcs, "--clusters", 3, "--out", tmp_path / "out"]
    sentence = refused(*arguments, "--features", f"@{tmp_path / 'names.txt'}")
    assert "no feature 'CD99'" in sentence
    assert "cannot be read" in refused(*arguments, "--features", "@none.txt")


def test_nothing_is_overwritten_without_force(clustered, fcs, tmp_path, run, refused):
    out = tmp_path / "out"
    out.mkdir()
    (out / "labels.csv").write_text("mine")
    (out / "notes.txt").write_text("mine")
    (out / "model").mkdir()
    (out / "model" / "old").write_text("old")
    arguments = ["cluster", fcs, "--clusters", 3, "--out", out, "--features", "*", *TINY]
    assert "labels.csv already exists; use --force" in refused(*arguments)
    assert (out / "labels.csv").read_text() == "mine"
    assert run(*arguments, "--force")[0] == 0
    assert (out / "labels.csv").read_text() != "mine"
    assert (out / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in (out / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessing.json",
    ]


def test_what_is_refused_leaves_nothing_behind(fcs, csv, tmp_path, run, refused):
    out = tmp_path / "out"
    arguments = ["--out", out, "--features", "CD*", *TINY]
    assert "clusters, at least 2" in refused("cluster", fcs, "--clusters", 1, *arguments)
    assert "90 cells for 91 clusters" in refused("cluster", fcs, "--clusters", 91, *arguments)
    assert "does not exist" in refused("cluster", "none.fcs", "--clusters", 3, *arguments)
    assert "no similarity 'magic'" in refused(
        "cluster", fcs, "--clusters", 3, "--similarity", "magic", *arguments
    )
    text = "cell,CD3,CD4\na,1,2\nb,nan,2\nc,1,2\n"
    sentence = refused("cluster", csv(text), "--clusters", 2, *arguments)
    assert "cell 'b' has the value nan in feature 'CD3'" in sentence
    assert "looks like" in sentence or "look like" in refused(
        "cluster", fcs, "--clusters", 3, "--out", out, "--drop", "CD3"
    )
    assert not out.exists()


def test_a_folder_that_cannot_be_written(fcs, tmp_path, refused):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "out", "/proc/nowhere/out"):
        sentence = refused("cluster", fcs, "--clusters", 3, "--out", out, "--features", "CD*")
        assert "cannot be used" in sentence


def test_a_failure_while_writing_leaves_the_old_results(fcs, tmp_path, run, monkeypatch, refused):
    arguments = ["cluster", fcs, "--clusters", 3, "--out", tmp_path / "out", "--features", "CD*"]
    assert run(*arguments, *TINY)[0] == 0
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}

    def full(*arguments, **more):
        raise OSError(28, "No space left on device", "labels.csv")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    assert "No space left" in refused(*arguments, *TINY, "--force", "--seed", 3)
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == before


@pytest.mark.slow
def test_labels_and_model_stay_where_the_cells_cannot_be_written(
    fcs, tmp_path, run, monkeypatch, refused
):
    out = tmp_path / "out"
    arguments = ["cluster", fcs, "--clusters", 3, "--out", out, "--features", "CD*", *TINY]
    whole = tmp_path / "whole"
    assert run(*arguments[:5], whole, *arguments[6:])[0] == 0
    write = anndata.AnnData.write_h5ad
    for wrong in (
        OSError(28, "No space left on device"),
        TypeError("Can't implicitly convert"),
        MemoryError(),
    ):

        def fail(cells, path, *more, wrong=wrong, **rest):
            if "tried" not in str(path):
                raise wrong
            write(cells, path, *more, **rest)

        monkeypatch.setattr(anndata.AnnData, "write_h5ad", fail)
        sentence = refused(*arguments, "--force")
        assert f"{out / 'labels.csv'} and {out / 'model'} were; `moesimvae" in sentence
        assert sorted(path.name for path in out.iterdir()) == ["labels.csv", "model"]
        assert (out / "labels.csv").read_bytes() == (whole / "labels.csv").read_bytes()
        sentence = refused("predict", out, fcs, "--out", tmp_path / "new.h5ad", "--force")
        assert f"the clusters of the cells are in {tmp_path / 'new.csv'}" in sentence
        assert (tmp_path / "new.csv").read_bytes() == (out / "labels.csv").read_bytes()
        (tmp_path / "new.csv").unlink()
    monkeypatch.undo()
    assert run("predict", out, fcs, "--out", tmp_path / "new.h5ad")[0] == 0


def test_labels_stay_where_the_model_cannot_be_written(fcs, tmp_path, monkeypatch, refused):
    from moesimvae.model.estimator import MoESimVAE

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MoESimVAE, "save", full)
    out = tmp_path / "out"
    sentence = refused("cluster", fcs, "--clusters", 3, "--out", out, "--features", "CD*", *TINY)
    assert f"No space left on device), but {out / 'labels.csv'} was" in sentence
    assert len(pd.read_csv(out / "labels.csv")) == 90


def test_memory_that_ends_while_training_leaves_nothing(fcs, tmp_path, monkeypatch, refused):
    from moesimvae.model.estimator import MoESimVAE

    def full(*arguments, **more):
        raise MemoryError

    monkeypatch.setattr(MoESimVAE, "fit", full)
    out = tmp_path / "out"
    sentence = refused("cluster", fcs, "--clusters", 3, "--out", out, "--features", "CD*", *TINY)
    assert "not enough memory" in sentence
    assert "nothing was written" in sentence
    assert not out.exists()


def test_whether_the_result_can_be_written_is_known_before_training(
    h5ad, clustered, tmp_path, monkeypatch, refused
):
    from moesimvae.model.estimator import MoESimVAE

    def late(*arguments, **more):
        raise AssertionError("trained before the file was tried")

    for name in ("fit", "predict_proba"):
        monkeypatch.setattr(MoESimVAE, name, late)

    def fail(*arguments, **more):
        raise TypeError("Can't implicitly convert 'donor'")

    monkeypatch.setattr(anndata.AnnData, "write_h5ad", fail)
    sentence = refused("cluster", h5ad, "--clusters", 3, "--out", tmp_path / "out", *TINY)
    assert "cannot be written as an h5ad (Can't implicitly convert 'donor')" in sentence
    assert not (tmp_path / "out").exists()
    arguments = ["predict", clustered[0], h5ad, "--out", tmp_path / "new.h5ad"]
    assert "cannot be written as an h5ad" in refused(*arguments)
    assert not list(tmp_path.iterdir())


def test_annotation_of_newer_and_other_programs_is_written_again(tmp_path, run):
    obs = pd.DataFrame({"donor": pd.array(["x", None, "y"] * 30, "string")}).assign(
        n=pd.array([1, None, 3] * 30, "Int64"), known=pd.array([True, None, False] * 30, "boolean")
    )
    obs.index = pd.Index([f"c{i}" for i in range(90)], dtype="string")
    cells = anndata.AnnData(COUNTS, obs, pd.DataFrame(index=pd.Index(MARKERS, dtype="string")))
    cells.raw = cells.copy()
    with anndata.settings.override(allow_write_nullable_strings=True):
        cells.write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "a") as file:  # as SeuratDisk
        var = file["raw/var"]
        var.move("_index", "_row")
        var.attrs["_index"] = "_row"
        var.attrs["column-order"] = np.array(["_index"], object)
        anndata.io.write_elem(var, "_index", np.array(MARKERS, object))
    for more in ([], ["--backed"]):
        out = tmp_path / f"out{len(more)}"
        arguments = ["cluster", tmp_path / "cells.h5ad", "--clusters", 3, *TINY, *more]
        code, printed, err = run(*arguments, "--prior", "donor", "--out", out)
        assert code == 0, err
        assert ("raw/var: the column '_index'" in printed) == (not more)
        found = anndata.read_h5ad(out / "cells.h5ad")
        assert list(found.obs["donor"][:3]) == ["x", np.nan, "y"]
        assert list(found.obs["known"][:3]) == [True, pd.NA, False]
        assert found.obs["n"].iloc[2] == 3
    arguments = ["predict", out, tmp_path / "cells.h5ad", "--out", tmp_path / "new.h5ad"]
    assert run(*arguments)[0] == 0
    new = anndata.read_h5ad(tmp_path / "new.h5ad")
    assert list(new.obs["moesimvae"]) == list(found.obs["moesimvae"])


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(fcs, tmp_path, sent):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "moesimvae.cli", "cluster", fcs, "--clusters", "3"]
    command += ["--out", out, "--features", "CD*", "--steps", "1000000", "--device", "cpu"]
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a background job of a shell without job control is born deaf to Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    try:
        while not out.exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(sent)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("interrupted; ")
    assert "Traceback" not in err
    assert not list(out.glob("[!.]*"))
    assert not list(out.glob(".moesimvae-*"))


def test_an_interrupt_inside_a_callback_is_not_lost():
    """Python ignores what is raised while an object is collected."""
    code = """if True:
        import os, signal, time
        from moesimvae import cli

        class Collected:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0)

        cli._hear_every_interrupt()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        Collected()
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            print("heard")
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("heard\n", "")


@pytest.mark.slow
def test_the_same_command_goes_on_after_an_interrupt(fcs, tmp_path, run, monkeypatch):
    from moesimvae.model import fitting, storage

    arguments = ["cluster", fcs, "--clusters", 3, "--features", "CD*", *TINY, "--steps", 330]
    assert run(*arguments, "--out", tmp_path / "whole")[0] == 0
    monkeypatch.setattr(fitting, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    write, times = storage.write_checkpoint, []

    def interrupt(*arguments):
        write(*arguments)
        times.append(1)
        if len(times) == 3:  # two in each phase: one in 50 steps
            raise KeyboardInterrupt

    monkeypatch.setattr(storage, "write_checkpoint", interrupt)
    code, _, err = run(*arguments, "--out", tmp_path / "out")
    assert code == 130
    assert f"resumes from {tmp_path / 'out' / '.checkpoint'}" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".checkpoint"]
    code, _, err = run(*arguments, "--seed", 1, "--out", tmp_path / "out")
    assert code == 1
    assert "belongs to other cells or parameters" in err
    assert run(*arguments, "--out", tmp_path / "out")[0] == 0  # refused, and not removed
    assert len(times) == 6
    labels = [(tmp_path / name / "labels.csv").read_bytes() for name in ("whole", "out")]
    assert labels[0] == labels[1]
    assert not (tmp_path / "out" / ".checkpoint").exists()


# ---------------------------------------------------------------------- predict, generate


def test_predict_gives_the_clusters_of_fit(clustered, fcs, tmp_path, run):
    out, _ = clustered
    code, printed, err = run("predict", out, fcs, "--out", tmp_path / "new.csv")
    assert code == 0, err
    assert "90 cells to" in printed
    assert (tmp_path / "new.csv").read_bytes() == (out / "labels.csv").read_bytes()
    code, _, _ = run("predict", out / "model", fcs, "--out", tmp_path / "new.h5ad", "--quiet")
    assert code == 0
    new, old = anndata.read_h5ad(tmp_path / "new.h5ad"), anndata.read_h5ad(out / "cells.h5ad")
    assert list(new.obs["moesimvae"]) == list(old.obs["moesimvae"])
    np.testing.assert_allclose(
        new.obsm["X_moesimvae"], old.obsm["X_moesimvae"], rtol=1e-4, atol=1e-5
    )


def test_predict_finds_markers_by_name(clustered, csv, tmp_path, run, refused):
    out, _ = clustered
    table = pd.DataFrame(VALUES, columns=MARKERS)
    path = csv(table[MARKERS[::-1]].assign(other="x").to_csv(index=False))
    assert run("predict", out, path, "--out", tmp_path / "new.csv")[0] == 0
    assert (tmp_path / "new.csv").read_bytes() == (out / "labels.csv").read_bytes()
    path = csv(table.drop(columns=["CD8", "CD20"]).to_csv(index=False))
    sentence = refused("predict", out, path, "--out", tmp_path / "b.csv")
    assert "lacks 2 of the 6 features" in sentence
    assert "CD8, CD20" in sentence


def test_predict_and_generate_refuse(clustered, fcs, tmp_path, refused):
    out, _ = clustered
    new = tmp_path / "new.csv"
    assert ".csv or .h5ad" in refused("predict", out, fcs, "--out", tmp_path / "new.txt")
    assert "not a folder" in refused("predict", tmp_path / "none", fcs, "--out", new)
    assert "cannot be read" in refused("predict", tmp_path, fcs, "--out", new)
    arguments = ["generate", out, "--n", 5, "--out"]
    assert "no cluster 7" in refused(*arguments, new, "--cluster", 7)
    assert "at least 1" in refused("generate", out, "--n", 0, "--out", new, "--cluster", 0)
    new.write_text("mine")
    assert "already exists" in refused(*arguments, new, "--cluster", 0)
    assert "already exists" in refused("predict", out, fcs, "--out", new)
    assert new.read_text() == "mine"


@pytest.mark.parametrize("damage", ["config", "weights", "version", "preprocessing"])
def test_a_damaged_model(clustered, fcs, tmp_path, refused, damage):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (clustered[0] / "model").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = folder / "config.json"
    if damage == "config":
        config.write_text("{")
    elif damage == "version":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"format_version": 999}))
    elif damage == "preprocessing":
        (folder / "preprocessing.json").write_text('{"format": "other"}')
    else:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-50])
    assert str(folder) in refused("predict", folder, fcs, "--out", tmp_path / "new.csv")


@pytest.mark.parametrize("ending", ["csv", "h5ad"])
def test_generated_cells_are_in_the_units_of_the_file(clustered, tmp_path, run, ending):
    out, _ = clustered
    path = tmp_path / f"generated.{ending}"
    cluster = pd.read_csv(out / "labels.csv")["cluster"].mode()[0]
    arguments = ["generate", out, "--cluster", cluster, "--n", 7, "--out", path]
    code, printed, err = run(*arguments, "--seed", 1)
    assert code == 0, err
    assert "7 cells" in printed
    if ending == "csv":
        cells = pd.read_csv(path, index_col="cell")
        assert list(cells.columns) == MARKERS
        values = cells.to_numpy()
    else:
        cells = anndata.read_h5ad(path)
        assert list(cells.obs["moesimvae"]) == [str(cluster)] * 7
        values = cells.X
    assert values.shape == (7, 6)
    assert values.min() >= VALUES.min() - 1e-2
    assert values.max() <= VALUES.max() + 1e-2
    assert values.max() > np.arcsinh(VALUES.max() / 5) + 1
    assert run("predict", out, path, "--out", tmp_path / "again.csv")[0] == 0


def test_a_model_that_has_not_learned_to_draw_gives_means(tmp_path, run):
    settings = {"steps": 12, "refinements": 0, "progress": False, "device": "cpu"}
    model = moesimvae.MoESimVAE(3, **settings).fit(VALUES, drawing=False)
    arguments = ["generate", tmp_path, "--cluster", 0, "--n", 3, "--force", "--out"]
    for learned in (False, True):
        model.save(tmp_path)
        code, printed, err = run(*arguments, tmp_path / "new.csv")
        assert code == 0, err
        assert ("note       means" in printed) != learned
        model.learn_to_draw(VALUES)


def test_a_model_saved_by_the_library(tmp_path, csv, run, refused):
    settings = {"steps": 12, "refinements": 0, "progress": False, "device": "cpu"}
    model = moesimvae.MoESimVAE(3, **settings).fit(pd.DataFrame(VALUES, columns=MARKERS))
    model.save(tmp_path / "saved")
    path = csv(pd.DataFrame(VALUES, columns=MARKERS).to_csv(index=False))
    assert run("predict", tmp_path / "saved", path, "--out", tmp_path / "new.csv")[0] == 0
    assert list(pd.read_csv(tmp_path / "new.csv")["cluster"]) == list(model.labels_)
    path = csv(pd.DataFrame(VALUES[:, :5], columns=MARKERS[:5]).to_csv(index=False))
    assert "lacks 1" in refused("predict", tmp_path / "saved", path, "--out", tmp_path / "b.csv")


# ---------------------------------------------------------------------- the rest


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--clusters", "three", "give a whole number of at least 2, or auto"),
        ("--clusters", "3.5", "give a whole number of at least 2, or auto"),
        ("--seed", "x", "give a whole number of at least 0"),
        ("--seed", "-1", "give a whole number of at least 0"),
        ("--steps", "2.5", "give a whole number of at least 1"),
        ("--steps", "0", "give a whole number of at least 1"),
        ("--cofactor", "5,5", "give a positive number, with a decimal point"),
    ],
)
def test_options_of_another_kind_are_told_in_one_sentence(tmp_path, run, option, value, words):
    arguments = ["cluster", "none.csv", "--clusters", 3, "--out", tmp_path / "out"]
    code, printed, err = run(*arguments, f"{option}={value}")
    assert (code, printed) == (2, "")
    more = "see `moesimvae cluster --help`.\n"
    assert err == f"error: {option}: '{value}' is not valid; {words}; {more}"


def test_numbers_of_generate_are_told_likewise(tmp_path, run):
    for option, words in (("--n", "a whole number of cells"), ("--cluster", "counted from 0")):
        given = {"--n": 3, "--cluster": 0} | {option: "many"}
        more = [part for pair in given.items() for part in pair]
        code, _, err = run("generate", tmp_path, "--out", "a.csv", *more)
        assert code == 2
        assert err.startswith(f"error: {option}: 'many' is not valid; give ")
        assert words in err


@pytest.mark.parametrize("option", ["--drop", "--features"])
def test_a_file_behind_the_names_of_features_is_the_file(csv, tmp_path, run, refused, option):
    path = csv(pd.DataFrame(VALUES, columns=MARKERS).to_csv(index=False))
    arguments = ["cluster", "--clusters", 3, "--out", tmp_path / "out", *TINY, option]
    code, printed, err = run(*arguments, "CD3", "CD4", path)
    assert code == 0, err
    taken = MARKERS[2:] if option == "--drop" else MARKERS[:2]
    assert f"features   {len(taken)}: {', '.join(taken)}" in printed
    assert "none.csv does not exist" in refused(*arguments, "CD3", "none.csv", "--force")
    for names in (["CD3"], [path], ["@names.csv", "CD3"]):
        code, _, err = run(*arguments, *names)
        assert code == 2
        assert err.startswith(
            "error: the file with the cells is missing; give it before the options"
        )
        assert err.count("\n") == 1


def test_cells_in_columns(csv, tmp_path, run, refused):
    table = pd.DataFrame(VALUES, [f"cell{i}" for i in range(90)], MARKERS)
    arguments = ["--clusters", 3, *TINY, "--out"]
    rows = csv(table.T.to_csv(index_label="GENE"))
    assert "use --transpose if its columns are cells" in refused(
        "cluster", rows, *arguments, "none"
    )
    assert run("cluster", rows, "--transpose", *arguments, tmp_path / "a")[0] == 0
    assert "--transpose" in refused("predict", tmp_path / "a", rows, "--out", tmp_path / "p.csv")
    assert run("predict", tmp_path / "a", rows, "--transpose", "--out", tmp_path / "p.csv")[0] == 0
    _, printed, _ = run("cluster", rows, "--no-transpose", *arguments, tmp_path / "c")
    assert "6 cells × 90 features" in printed
    cells = csv(table.to_csv())
    assert run("cluster", cells, *arguments, tmp_path / "b")[0] == 0
    a, b = ((tmp_path / name / "labels.csv").read_bytes() for name in "ab")
    assert a == b == (tmp_path / "p.csv").read_bytes()


def test_how_a_table_was_read_is_said(csv, tmp_path, run):
    rows = np.random.default_rng(0).permutation(500)[:90]
    path = csv(pd.DataFrame(VALUES, rows, MARKERS).to_csv(index_label="X"))
    arguments = ["cluster", path, "--clusters", 3, *TINY, "--out", tmp_path / "a"]
    code, printed, err = run(*arguments)
    assert code == 0, err
    assert "note       the column 'X' numbers the lines; it is used as cell names" in printed
    assert f"features   6: {', '.join(MARKERS)}" in printed
    assert list(pd.read_csv(tmp_path / "a" / "labels.csv")["cell"]) == list(rows)


def test_predict_tells_of_decimal_commas_as_cluster_does(csv, clustered, tmp_path, refused):
    path = csv(pd.DataFrame(VALUES, columns=MARKERS).to_csv(index=False, sep=";", decimal=","))
    sentence = refused("predict", clustered[0], path, "--out", tmp_path / "new.csv")
    assert "has a decimal comma in CD3, CD4, CD8, CD19, CD20, CD45 (cell number 0" in sentence
    assert sentence == refused("cluster", path, "--clusters", 3, "--out", tmp_path / "out")


def test_version_and_help(run):
    assert run("--version") == (0, f"moesimvae {moesimvae.__version__}\n", "")
    for arguments in (["--help"], ["cluster", "--help"], ["predict", "-h"], ["generate", "-h"]):
        code, printed, _ = run(*arguments)
        assert code == 0
        assert printed.startswith("usage: moesimvae")
    assert run()[0] == 2
    assert run("fit")[0] == 2


def test_a_reader_that_stops_reading(fcs, tmp_path):
    command = [sys.executable, "-m", "moesimvae.cli", "cluster", str(fcs), "--clusters", "3"]
    command += ["--out", str(tmp_path / "out"), "--features", "CD*", *TINY]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_only_cells_of_a_raw_matrix_and_one_sample_of_several(tmp_path, run, refused):
    folder = tmp_path / "GSE1"
    folder.mkdir()
    raw = np.vstack([np.zeros((210, 6)), COUNTS + 5])
    for sample in ("GSM1_a", "GSM2_b"):
        scipy.io.mmwrite(folder / f"{sample}_matrix.mtx", sp.coo_matrix(raw.T))
        genes = [f"E{name}\t{name}" for name in "ABCDEF"]
        lines = {"barcodes": [f"c{i}" for i in range(300)], "genes": genes}
        for part, rows in lines.items():
            text = "".join(f"{row}\n" for row in rows)
            (folder / f"{sample}_{part}.tsv").write_text(text)
    arguments = ["--clusters", 3, "--out", tmp_path / "out", *TINY]
    assert f"GSM2_b); name one of them, as in {folder / 'GSM1_a'}" in refused(
        "cluster", folder, *arguments
    )
    code, printed, err = run("cluster", folder / "GSM2_b", *arguments)
    assert code == 0, err
    assert "note       210 of 300 cells have fewer than 10 counts" in printed
    assert "--min-counts 500" in printed
    arguments += ["--force", "--min-counts", 20]
    code, printed, _ = run("cluster", folder / "GSM2_b_matrix.mtx", *arguments)
    assert code == 0
    assert "cells      90 of 300 with 20 counts or more" in printed
    assert "note" not in printed
    assert list(pd.read_csv(tmp_path / "out" / "labels.csv")["cell"]) == lines["barcodes"][210:]
    assert anndata.read_h5ad(tmp_path / "out" / "cells.h5ad").n_obs == 90
    arguments += ["--genome", "mm10"]
    assert "names no genome" in refused("cluster", folder / "GSM1_a", *arguments)


@pytest.mark.slow
def test_how_sure_clusters_are_and_joining_them_without_another_fit(
    fcs, tmp_path, run, monkeypatch
):
    arguments = ["cluster", fcs, "--clusters", 3, "--features", "CD*", "--steps", 200]
    code, printed, err = run(*arguments, "--out", tmp_path / "out")
    assert code == 0, err
    assert re.search(r"stability  \d of 3 clusters are recovered", printed)
    predicted = tmp_path / "new.csv"
    code, printed, err = run("predict", tmp_path / "out", fcs, "--clusters", 2, "--out", predicted)
    assert code == 0, err
    assert "of 2 clusters" in printed
    monkeypatch.setattr("moesimvae.model.stability.STABLE", 1.01)  # nothing is as sure
    assert run("report", tmp_path / "out")[0] == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(
        f">{k}?</th>" in page for k in set(pd.read_csv(tmp_path / "out/labels.csv")["cluster"])
    )
    assert "?: hardly a cluster" in page
    assert set(pd.read_csv(predicted)["cluster"]) <= {0, 1}
    code, printed, _ = run(*arguments, "--resamples", 0, "--out", tmp_path / "quick")
    assert code == 0
    assert "stability" not in printed


@pytest.mark.slow
def test_cells_unlike_all_that_were_seen_are_told(csv, tmp_path, run):
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(300, 6)), columns=[f"CD{i}" for i in range(6)])
    table.iloc[::2, :3] += 6
    arguments = ["--transform", "none", "--resamples", 0, "--steps", 300]
    cells = csv(table.to_csv(index=False))
    code, _, err = run("cluster", cells, "--clusters", 2, "--out", tmp_path / "out", *arguments)
    assert code == 0, err
    for shift, told in ((0, False), (20, True)):
        strange = tmp_path / f"new_{shift}.csv"
        (table + shift).to_csv(strange, index=False)
        out = tmp_path / f"out_{shift}.csv"
        code, printed, err = run("predict", tmp_path / "out", strange, "--out", out)
        assert code == 0, err
        assert ("of a kind unknown to it" in printed) is told
