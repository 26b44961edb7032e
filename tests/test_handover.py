"""What goes into other programs."""

import re

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from moesimvae import handover, paragraph, registry


def test_columns_are_what_a_cytometry_program_can_draw():
    clusters, probability = np.array([0, 2, -1]), np.array([0.5, 1.0, 0.25])
    points = np.array([[-1.0, 0.0], [1.0, 1.0], [0.0, -1.0]])
    found = handover.columns("x", clusters, probability, points)
    assert list(found) == [f"x_{name}" for name in handover.NAMES]
    assert list(found["x_cluster"]) == [0, 2, 3]
    assert list(found["x_probability_percent"]) == [50, 100, 25]
    assert all(values.min() >= 0 for values in found.values())


def test_an_h5ad_for_seurat_has_what_its_reader_takes(tmp_path):
    """Groups in obs (categories), tables in obsm and nested uns are what SeuratDisk stops at."""
    obs = pd.DataFrame(
        {
            "cluster": pd.Categorical(["0", "1", "0"]),
            "sure": np.array([0.5, 0.7, 1], np.float32),
            "doublet": [True, False, False],
            "donor": pd.Categorical(["a", None, "b"]),
        },
        index=["c1", "c2", "c3"],
    )
    cells = anndata.AnnData(sp.csr_matrix(np.eye(3, 4, dtype=np.float32)), obs=obs)
    cells.obsm["X_moesimvae_map"] = np.zeros((3, 2))
    cells.obsm["table"] = pd.DataFrame({"a": [1, 2, 3]}, index=obs.index)
    cells.uns["moesimvae"] = {"params": {"steps": 3}}
    cells.layers["raw"] = cells.X.copy()
    handover.write_for_seurat(cells, tmp_path / "seurat.h5ad")
    with h5py.File(tmp_path / "seurat.h5ad") as stored:
        assert all(isinstance(stored["obs"][name], h5py.Dataset) for name in stored["obs"])
        assert [*stored["obs"]["donor"].asstr()] == ["a", "", "b"]
        assert [*stored["obs"]["doublet"].asstr()] == ["True", "False", "False"]
        assert list(stored["obsm"]) == ["X_moesimvaemap"]
        assert not [*stored["uns"], *stored["layers"]]
        assert stored["X"]["indptr"].dtype == np.int32
        assert isinstance(stored["var"]["name"], h5py.Dataset)


def test_abundance_tells_of_every_pair():
    table = handover.abundance(["b", "a", "a", "a"], np.array([1, 0, 0, 1]))
    assert table.to_numpy().tolist() == [
        ["a", 0, 2, 2 / 3], ["a", 1, 1, 1 / 3], ["b", 0, 0, 0.0], ["b", 1, 1, 1.0],
    ]  # fmt: skip


def test_citations_of_the_registries_become_bibtex(root):
    registries = [
        registry.load(root / f"workflow/registry/{n}.yaml") for n in ("methods", "datasets")
    ]
    for key, blocks in zip(("reference", "citation"), registries, strict=True):
        for name, block in blocks.items():
            text = block[key]
            entries = paragraph.bibtex([text])
            years = re.findall(r"\(((?:19|20)\d\d)\)\.? (?=\w)", text)
            assert len(entries) == len(years), (name, text, entries)
            for entry in entries:
                assert entry.count("{") == entry.count("}"), entry
    entries = "\n".join(paragraph.bibtex(b["reference"] for b in registries[0].values()))
    assert entries.count("@misc{kopf2021mixture,") == 1
    assert "author = {Kopf, A. and Fortuin, V. and Somnath, V. R. and Claassen, M.}" in entries
    assert "Van Gassen, S. and others" in entries
    assert "Guillaume, J.-L. and" in entries
    assert "@misc{traag2019from" in entries
    assert "@misc{schwammle2010simple" in entries
    assert "title = {{Least squares quantization in PCM}}" in entries
    assert "howpublished = {arXiv:1802.03426}" in entries
