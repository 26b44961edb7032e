"""AnnData in, annotated AnnData out."""

import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import moesimvae
import sentences
from moesimvae.scverse import annotate, known_groups

TINY = {
    "steps": 12,
    "refinements": 0,
    "encoder_layers": (16,),
    "expert_layers": (16,),
    "n_latent": 3,
    "batch_size": 32,
    "progress": False,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    group = np.arange(60) % 3
    x = rng.poisson(np.eye(3)[group].repeat(2, axis=1) * 4 + 0.2).astype(np.float32)
    cells = anndata.AnnData(sp.csr_matrix(x))
    cells.obs_names = [f"cell{i}" for i in range(60)]
    cells.var_names = [f"gene{i}" for i in range(6)]
    cells.layers["half"] = sp.csr_matrix(x / 2)
    cells.obsm["X_pca"] = x[:, :2]
    cells.obs["known"] = pd.Series(
        np.where(np.arange(60) < 9, group.astype(str), ""), cells.obs_names
    )
    return cells


def error(cells, *arguments, **more):
    return sentences.error(moesimvae.cluster, cells, *(arguments or (3,)), **TINY | more)


def test_what_is_written_and_that_an_h5ad_keeps_it(cells, tmp_path):
    adata = cells.copy()
    model = moesimvae.cluster(adata, 3, key_added="mix", **TINY)
    assert list(adata.obs["mix"].astype(int)) == list(model.labels_)
    assert adata.obs["mix"].dtype == "category"
    assert all(isinstance(name, str) for name in adata.obs["mix"].cat.categories)
    np.testing.assert_array_equal(adata.obsm["X_mix"], model.embedding_)
    np.testing.assert_array_equal(adata.obsm["mix_probabilities"], model.probabilities_)
    np.testing.assert_allclose(adata.obs["mix_probability"], model.probabilities_.max(axis=1))
    assert sp.issparse(adata.X)
    assert list(model.feature_names_in_) == list(adata.var_names)
    adata.write_h5ad(tmp_path / "a.h5ad")
    stored = anndata.read_h5ad(tmp_path / "a.h5ad").uns["mix"]
    assert stored["preset"] == "default"
    assert stored["version"] == moesimvae.__version__
    assert stored["params"]["steps"] == 12
    assert stored["n_clusters"] == 3
    assert stored["experts_in_use"] == len(np.unique(model.labels_))
    assert stored["facts"]["device"] == "cpu"


def test_a_copy_leaves_the_cells_alone(cells):
    before = cells.copy()
    annotated, model = moesimvae.cluster(cells, 3, copy=True, layer="half", preset="paper", **TINY)
    assert list(cells.obs) == list(before.obs)
    assert not cells.uns
    assert annotated.uns["moesimvae"]["layer"] == "half"
    assert annotated.uns["moesimvae"]["preset"] == "paper"
    assert list(annotated.obs["moesimvae"].astype(int)) == list(model.labels_)


def test_a_representation_and_known_groups(cells):
    adata = cells.copy()
    model = moesimvae.cluster(adata, 3, use_rep="X_pca", prior="known", **TINY)
    assert model.n_features_in_ == 2
    assert adata.uns["moesimvae"]["use_rep"] == "X_pca"
    assert model.facts_["similarity"]


def test_errors_of_one_sentence(cells):
    assert "has no 'counts'; it has: half" in error(cells, layer="counts")
    assert "has no 'pca'; it has: X_pca" in error(cells, use_rep="pca")
    assert "give only one" in error(cells, layer="half", use_rep="X_pca")
    assert "no column 'groups'" in error(cells, prior="groups")
    assert "2 values for 60 cells" in error(cells, prior=["a", "b"])
    assert "no known group" in error(cells, prior=[""] * 60)
    assert "no preset 'best'" in error(cells, preset="best")
    assert "number of clusters, at least 2" in error(cells, 1)
    assert "60 cells for 61 clusters" in error(cells, 61)
    assert "needs an AnnData" in error(cells.X)
    empty = anndata.AnnData(obs=cells.obs[[]], var=cells.var)
    assert "has no X" in error(empty)
    wrong = cells.copy()
    wrong.X.data[0] = np.nan
    sentence = error(wrong)
    assert "'cell0'" in sentence
    assert "'gene0'" in sentence


def test_clusters_not_in_use_are_no_categories():
    adata = anndata.AnnData(np.zeros((4, 1), np.float32))
    p = np.eye(12, dtype=np.float32)[[11, 2, 2, 10]]
    annotate(adata, p, np.zeros((4, 2), np.float32), "k", {})
    assert list(adata.obs["k"]) == ["11", "2", "2", "10"]
    assert list(adata.obs["k"].cat.categories) == ["2", "10", "11"]


def test_known_groups():
    assert list(known_groups(["b", None, "a", np.nan, " ", "b"])) == [1, -1, 0, -1, -1, 1]
    assert list(known_groups(pd.Categorical(["x", None]))) == [0, -1]
    assert list(known_groups([2.0, np.nan, 1.0])) == [1, -1, 0]


def test_a_backed_anndata(cells, tmp_path):
    cells.write_h5ad(tmp_path / "a.h5ad")
    adata = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    assert "cannot be copied" in error(adata, copy=True)
    model = moesimvae.cluster(adata, 3, **TINY)
    assert list(adata.obs["moesimvae"].astype(int)) == list(model.labels_)
    in_memory, again = moesimvae.cluster(cells, 3, copy=True, **TINY)
    assert list(in_memory.obs["moesimvae"]) == list(adata.obs["moesimvae"])
    np.testing.assert_array_equal(again.probabilities_, model.probabilities_)


def test_import_stays_quick():
    code = (
        "import sys, moesimvae, moesimvae.cli; "
        "print([m for m in ('torch', 'anndata', 'pandas', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
