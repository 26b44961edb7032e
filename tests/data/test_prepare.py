"""Prepared data sets on disk: contract 1, for every set that needs no download and for MNIST."""

import gzip
import hashlib
import json
import re
import runpy
import struct
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from moesimvae import registry
from moesimvae.data import catalogue, dataset, readers
from moesimvae.data.download import fetch
from moesimvae.data.prepare import prepare
from moesimvae.errors import UserError
from moesimvae.files import read_json, sha256
from moesimvae.nouns import DataSet

EMBEDDED = ["digits", "simulated_gaussians", "simulated_cytof", "simulated_scrna"]


@pytest.fixture(scope="module")
def blocks(root):
    return registry.load(root / "workflow" / "registry" / "datasets.yaml")


def check_contract(block, name, folder):
    assert {path.name for path in folder.iterdir()} == {
        "features.h5ad",
        "labels.parquet",
        "dataset.json",
    }
    cells = dataset.load_features(folder / "features.h5ad")
    labels = dataset.load_labels(folder / "labels.parquet")
    facts = read_json(folder / "dataset.json")

    assert cells.X.dtype == np.float32
    assert cells.X.min() >= 0
    assert cells.X.max() == pytest.approx(1)
    assert cells.uns["dataset"] == name
    assert json.loads(cells.uns["preprocessing"]) == block["preprocessing"]
    assert list(labels["cell"]) == list(cells.obs_names)
    assert set(labels["split"]) == {"all"}
    assert (labels["label"][~labels["scored"]] == "").all()
    populations = labels["label"][labels["scored"]].nunique()
    assert populations == facts["n_populations"] == block["n_clusters"]

    assert facts["features_sha256"] == sha256(folder / "features.h5ad")
    assert (facts["name"], facts["title"]) == (name, block["title"])
    assert (facts["n_cells"], facts["n_features"]) == cells.shape
    assert facts["n_cells"] == block["cells"]
    assert facts["n_scored"] == labels["scored"].sum()
    return cells, labels, facts


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_embedded_set_is_prepared_twice_the_same(blocks, tmp_path, name):
    block = blocks[name]
    prepare(block, name, {}, tmp_path / "one")
    prepare(block, name, {}, tmp_path / "two")
    for file in ("features.h5ad", "labels.parquet", "dataset.json"):
        assert sha256(tmp_path / "one" / file) == sha256(tmp_path / "two" / file)
    cells, _, facts = check_contract(block, name, tmp_path / "one")
    assert facts["sources"] == []
    assert facts.get("simulate") == block.get("simulate")
    assert ("image_shape" in cells.uns) == (name == "digits")
    assert ("counts" in cells.layers) == (name in {"simulated_cytof", "simulated_scrna"})
    if "counts" in cells.layers:
        assert sp.isspmatrix_csr(cells.layers["counts"])


def test_every_block_of_the_registry_is_complete(blocks):
    lengths = {"sha256": 64, "git_blob_sha1": 40}
    for name, block in catalogue.resolve(blocks, {}).items():
        assert not set(DataSet.required()) - set(block), name
        assert block["simulated"] == bool(re.search("simulated|synthetic", name)), name
        assert block["simulated"] == bool(re.search("imulated|semi-synthetic", block["title"]))
        assert block["partial"] == bool(re.search(" subset| sample", block["title"])), name
        assert block["partial"] or not name.endswith("_subset")
        for file in (block.get("files") or {}).values():
            assert all(re.match(r"https?://\S+$", source) for source in file["sources"]), name
            if file["hash"] == "unknown":
                assert block["expects"], name
            else:
                assert {kind: len(value) for kind, value in file["hash"].items()}.items() <= (
                    lengths.items()
                )
            if "sha256" in file["hash"]:
                assert file["bytes"] > 0


@pytest.mark.slow
@pytest.mark.shared
def test_mnist_from_the_mirror(blocks, shared_data, tmp_path):
    block, raw = blocks["mnist"], {}
    for role, file in block["files"].items():
        raw[role] = tmp_path / "raw" / file["name"]
        offline = file | {"sources": []}
        fetch(offline, raw[role], mirror=shared_data, folder="mnist", progress=False)
    prepare(block, "mnist", raw, tmp_path / "mnist")
    cells, labels, facts = check_contract(block, "mnist", tmp_path / "mnist")
    assert cells.shape == (70_000, 784)
    assert list(cells.uns["image_shape"]) == [28, 28]
    assert labels["label"].head(5).tolist() == ["5", "0", "4", "1", "9"]
    assert labels["label"].value_counts()["5"] == 6313
    assert labels["cell"].iloc[[0, 60_000]].tolist() == ["train_00000", "test_00000"]
    assert cells.X[0].sum() == pytest.approx(27525 / 255)
    assert facts["sources"][0]["url_or_path"].startswith(str(shared_data))
    assert facts["sources"][0]["sha256"] == block["files"]["train_images"]["hash"]["sha256"]


# ---------------------------------------------------------------- what can go wrong


def images(tmp_path):
    """A small idx data set: its block and its raw files."""
    contents = {
        "train_images": struct.pack(">4B3I4B", 0, 0, 8, 3, 2, 1, 2, 0, 255, 0, 255),
        "train_labels": struct.pack(">4BI2B", 0, 0, 8, 1, 2, 0, 1),
    }
    raw, files = {}, {}
    for role, content in contents.items():
        raw[role] = tmp_path / f"{role}.gz"
        raw[role].write_bytes(gzip.compress(content))
        hashes = {"sha256": hashlib.sha256(content).hexdigest()}
        files[role] = {"name": raw[role].name, "hash": hashes, "bytes": len(content)}
    settings = dict.fromkeys(DataSet.required(), "x") | {
        "reader": "idx",
        "files": files,
        "n_clusters": 2,
    }
    return settings | {"preprocessing": [{"step": "divide", "by": 255}]}, raw


def test_a_file_of_ones_own_is_named_as_the_source(tmp_path):
    block, raw = images(tmp_path)
    facts = prepare(block, "small", raw, tmp_path / "out")
    assert [source["url_or_path"] for source in facts["sources"]] == list(map(str, raw.values()))
    assert facts["sources"][0]["bytes"] == block["files"]["train_images"]["bytes"]


def refused(block, raw, tmp_path, told):
    """Preparing fails with one sentence, and an earlier data set is left as it was."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "dataset.json").write_text("{}")
    with pytest.raises(UserError, match=told) as error:
        prepare(block, "small", raw, out)
    assert "\n" not in str(error.value)
    assert [path.name for path in out.iterdir()] == ["dataset.json"]


def test_a_raw_file_that_changed_since_its_download_is_refused(tmp_path):
    block, raw = images(tmp_path)
    raw["train_labels"].write_bytes(gzip.compress(struct.pack(">4BI2B", 0, 0, 8, 1, 2, 1, 1)))
    refused(block, raw, tmp_path, r"train_labels.gz has sha256 .* instead of")


def test_a_missing_raw_file_is_told(tmp_path):
    block, raw = images(tmp_path)
    raw["train_labels"].unlink()
    refused(block, raw, tmp_path, "small needs train_labels.gz for the role train_labels")


def test_values_outside_0_to_1_are_told(tmp_path):
    block, raw = images(tmp_path)
    refused(block | {"preprocessing": []}, raw, tmp_path, "range from 0 to 255")


def test_values_that_are_not_finite_are_told(tmp_path):
    block, raw = images(tmp_path)
    steps = [{"step": "divide", "by": 0}]
    with np.errstate(all="ignore"):
        refused(block | {"preprocessing": steps}, raw, tmp_path, "expected finite values")


def reversed_labels(cells, labels):
    labels[:] = labels[::-1].to_numpy()


def label_in_obs(cells, labels):
    cells.obs["label"] = "0"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [(reversed_labels, "in the same order"), (label_in_obs, "nothing else in obs")],
)
def test_a_reader_that_breaks_the_contract_is_told(tmp_path, monkeypatch, spoil, told):
    def reader(block, raw_files):
        cells, labels = readers.idx(block, raw_files)
        spoil(cells, labels)
        return cells, labels

    monkeypatch.setitem(readers.READERS, "idx", reader)
    block, raw = images(tmp_path)
    refused(block, raw, tmp_path, told)


def test_a_missing_key_of_the_block_is_told(tmp_path):
    block, raw = images(tmp_path)
    del block["licence"], block["title"]
    refused(block, raw, tmp_path, "small lacks title, licence")


def test_a_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    block, raw = images(tmp_path)

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("moesimvae.files.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(block, "small", raw, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_annotated_features_are_not_loaded(tmp_path):
    block, raw = images(tmp_path)
    prepare(block, "small", raw, tmp_path)
    cells = dataset.load_features(tmp_path / "features.h5ad")
    cells.obs["label"] = "0"
    cells.write_h5ad(tmp_path / "annotated.h5ad")
    with pytest.raises(UserError, match="column 'label' in obs"):
        dataset.load_features(tmp_path / "annotated.h5ad")


@pytest.mark.parametrize("load", [dataset.load_features, dataset.load_labels])
def test_files_that_cannot_be_loaded_are_told(tmp_path, load):
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "nothing")
    (tmp_path / "text").write_text("neither h5ad nor parquet")
    h5py.File(tmp_path / "hdf5", "w").close()
    with h5py.File(tmp_path / "other", "w") as other:
        other["X"] = [1, 2]
    for file in ("text", "hdf5", "other"):
        with pytest.raises(UserError, match="is not a readable"):
            load(tmp_path / file)


def test_labels_with_other_columns_are_not_loaded(tmp_path):
    block, raw = images(tmp_path)
    prepare(block, "small", raw, tmp_path)
    labels = dataset.load_labels(tmp_path / "labels.parquet")
    labels.drop(columns="scored").to_parquet(tmp_path / "other.parquet")
    with pytest.raises(UserError, match="has the columns cell, label, split, expected"):
        dataset.load_labels(tmp_path / "other.parquet")


# ---------------------------------------------------------------- the workflow's scripts


def test_the_scripts_go_from_a_mirror_to_a_data_set(root, tmp_path):
    block, raw = images(tmp_path)
    fetched = []
    for role, file in block["files"].items():
        fetched.append(tmp_path / "resources" / file["name"])
        job = SimpleNamespace(
            params=SimpleNamespace(block=file),
            config={"mirror": str(tmp_path)},
            log=[str(tmp_path / "log.txt")],
            output=SimpleNamespace(file=str(fetched[-1])),
            wildcards=SimpleNamespace(folder="small"),
        )
        runpy.run_path(str(root / "scripts/download.py"), {"snakemake": job})
        assert fetched[-1].read_bytes() == raw[role].read_bytes()
    job = SimpleNamespace(
        input={"raw": list(map(str, fetched))},
        params=SimpleNamespace(block=block),
        log=[str(tmp_path / "log.txt")],
        output=SimpleNamespace(facts=str(tmp_path / "out/dataset.json")),
        wildcards=SimpleNamespace(dataset="small"),
    )
    runpy.run_path(str(root / "scripts/prepare.py"), {"snakemake": job})
    facts = read_json(tmp_path / "out/dataset.json")
    assert facts["n_cells"] == 2
    assert facts["sources"][0]["url_or_path"] == str(raw["train_images"])


def test_a_script_ends_with_one_sentence(root, tmp_path, capsys):
    job = SimpleNamespace(
        params=SimpleNamespace(block={"name": "f", "hash": {"sha256": "0"}}),
        config={},
        log=[str(tmp_path / "log.txt")],
        output=SimpleNamespace(file=str(tmp_path / "f")),
        wildcards=SimpleNamespace(folder="small"),
    )
    with pytest.raises(SystemExit):
        runpy.run_path(str(root / "scripts/download.py"), {"snakemake": job})
    sentence = capsys.readouterr().err
    assert sentence.startswith("error: f is not published in this form")
    assert (tmp_path / "log.txt").read_text() == sentence
