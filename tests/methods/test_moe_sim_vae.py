"""The registry's blocks of MoE-Sim-VAE are what the library's presets are."""

import json

import anndata
import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import make_blobs

from moesimvae import registry
from moesimvae.errors import UserError
from moesimvae.methods import moe_sim_vae
from moesimvae.model.estimator import MoESimVAE
from moesimvae.model.presets import PRESETS


def settings(preset):
    parameters = MoESimVAE.preset(preset)._plain_parameters()
    del parameters["n_clusters"], parameters["random_state"]
    return parameters


@pytest.fixture(scope="module")
def blocks(root):
    return registry.load(root / "workflow" / "registry" / "methods.yaml")


@pytest.mark.parametrize(
    ("block", "preset"), [("moe_sim_vae", "default"), ("moe_sim_vae_paper", "paper")]
)
def test_a_block_is_its_preset(blocks, block, preset):
    assert preset in PRESETS
    assert json.loads(json.dumps(blocks[block]["params"])) == settings(preset) | {"resamples": 0}


def test_the_cytometry_block_differs_from_the_paper_in_its_distance(blocks):
    params = blocks["moe_sim_vae_paper_cytof"]["params"]
    similarity = {"kind": "umap_knn", "metric": "canberra"}
    assert params == blocks["moe_sim_vae_paper"]["params"] | {"similarity": similarity}
    MoESimVAE(2, **{name: value for name, value in params.items() if name != "resamples"})


def test_an_ablation_differs_from_the_default_in_what_its_name_says(blocks):
    default = settings("default") | {"resamples": 0}
    ablations = {n: b for n, b in blocks.items() if b["reference"].startswith("Ablation")}
    assert len(ablations) >= 7
    for name, block in ablations.items():
        changed = {key for key, value in block["params"].items() if value != default[key]}
        assert block["params"].keys() == default.keys(), name
        assert 1 <= len(changed) <= 4, name


@pytest.mark.parametrize(
    ("block", "preset"),
    [
        ("moe_sim_vae_prior", "default"),
        ("moe_sim_vae_paper_prior", "paper"),
        ("moe_sim_vae_released", "released"),
    ],
)
def test_a_block_with_prior_is_its_preset_and_says_so(blocks, block, preset):
    params = json.loads(json.dumps(blocks[block]["params"]))
    assert params.pop("prior") == "signature"
    assert params.pop("resamples") == 0
    if preset == "released":
        assert params.pop("library_size") == 1e6
        assert blocks[block]["input"] == "counts"
    own = {"refinements": 0} if params.pop("spread_prior", False) else {}  # it stays what it is
    assert params == settings(preset) | own


def test_only_methods_that_use_the_prior_are_given_one(blocks):
    for name, block in blocks.items():
        if block["module"] == "moe_sim_vae":
            assert block["uses_prior"] == (block["params"].get("prior") is not None), name


def test_only_the_papers_presets_see_more_genes_than_other_methods(blocks):
    every = {name for name, block in blocks.items() if block["all_genes"]}
    presets = ("moe_sim_vae_paper", "moe_sim_vae_released")
    assert every == {name for name in blocks if name.startswith(presets)}


def test_further_blocks_differ_from_theirs_in_one_setting(blocks):
    for block, of, change in (
        ("moe_sim_vae_auto", "moe_sim_vae", {"estimate_clusters": True}),
        ("moe_sim_vae_paper_distance", "moe_sim_vae_paper", {"similarity": "umap_distance"}),
    ):
        assert blocks[block]["params"] == blocks[of]["params"] | change


def test_the_number_of_clusters_is_estimated_from_the_cells():
    points, _ = make_blobs(300, 6, centers=5, cluster_std=0.3, random_state=0)
    cells = anndata.AnnData(points.astype(np.float32))
    quick = {"steps": 2, "encoder_layers": [8], "refinements": 0, "progress": False}
    result = moe_sim_vae.cluster(cells, 2, 0, estimate_clusters=True, **quick)
    assert result.facts["clusters_estimated"] == 5
    assert result.probabilities.shape == (300, 5)
    one = anndata.AnnData(np.full((40, 4), 0.5, dtype=np.float32))
    result = moe_sim_vae.cluster(one, 7, 0, estimate_clusters=True, **quick)
    assert result.probabilities.shape == (40, 2)


def test_how_sure_clusters_are_is_told_where_it_is_asked_for_and_can_be():
    points, _ = make_blobs(300, 6, centers=3, cluster_std=0.3, random_state=0)
    cells = anndata.AnnData(points.astype(np.float32))
    quick = {"steps": 60, "encoder_layers": [8], "refinements": 0, "progress": False}
    told = moe_sim_vae.cluster(cells, 3, 0, resamples=3, **quick)
    stability = told.facts["stability"]
    assert stability["structure"] is True
    assert len(stability["clusters"]) == 3
    assert (stability["resamples"], stability["stable_from"]) == (3, 0.6)
    assert np.shape(stability["merges"]) == (2, 4)
    # the probabilities are calibrated, those of cells that are assigned later too
    assert stability["temperature"] != 1
    np.testing.assert_allclose(told.assign(cells).probabilities, told.probabilities, atol=1e-5)
    untold = moe_sim_vae.cluster(cells, 3, 0, **quick)
    assert "stability" not in untold.facts
    assert not np.allclose(untold.probabilities, told.probabilities)
    other = moe_sim_vae.cluster(cells, 3, 0, resamples=3, similarity="umap_knn", **quick)
    assert "stability" not in other.facts


def signed_cells(seed=0, n_cells=60):
    random = np.random.default_rng(seed)
    cells = anndata.AnnData(random.random((n_cells, 4), dtype=np.float32))
    cells.obsm["signature"] = random.random((n_cells, 3)) < 0.4
    return cells


def test_the_group_of_a_cell_is_that_of_its_one_signature():
    cells = signed_cells()
    groups = moe_sim_vae.groups_by_signature(cells, "signature")
    for row, group in zip(cells.obsm["signature"], groups, strict=True):
        assert group == (list(row).index(True) if sum(row) == 1 else -1)
    assert set(groups) == {-1, 0, 1, 2}


def test_the_estimator_is_given_the_groups(monkeypatch):
    given = []
    fit = MoESimVAE.fit

    def record(self, X, y=None, *, prior=None, **others):
        given.append(prior)
        return fit(self, X, y, prior=prior, **others)

    monkeypatch.setattr(MoESimVAE, "fit", record)
    cells = signed_cells()
    quick = {"steps": 2, "encoder_layers": [8], "refinements": 0, "progress": False}
    told = moe_sim_vae.cluster(cells, 3, 0, prior="signature", **quick)
    untold = moe_sim_vae.cluster(cells, 3, 0, **quick)
    np.testing.assert_array_equal(given[0], moe_sim_vae.groups_by_signature(cells, "signature"))
    assert given[1] is None
    assert told.facts["cells_of_known_group"] == (given[0] >= 0).sum()
    assert "cells_of_known_group" not in untold.facts


def test_a_prior_that_is_not_there_is_told():
    cells = signed_cells()
    with pytest.raises(UserError, match="prior is 'organ', expected 'signature' or null"):
        moe_sim_vae.cluster(cells, 3, 0, prior="organ")
    del cells.obsm["signature"]
    with pytest.raises(UserError, match="the cells have no signatures; give the data set a"):
        moe_sim_vae.cluster(cells, 3, 0, prior="signature")


def test_counts_are_scaled_to_the_library_size_before_fit_and_prediction():
    counts = np.random.default_rng(0).poisson(4, (40, 6)).astype(np.float32)
    counts[3] = 0
    scaled = moe_sim_vae.of_library_size(anndata.AnnData(csr_matrix(counts)), 1e4).X.toarray()
    totals = counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scaled, 1e4 * counts / np.maximum(totals, 1), rtol=1e-6)
    quick = {
        "steps": 4,
        "batch_size": 20,
        "encoder_layers": [8],
        "expert_layers": [8],
        "progress": False,
    }
    shares = anndata.AnnData(scaled)
    told = moe_sim_vae.cluster(anndata.AnnData(counts), 2, 0, library_size=1e4, **quick)
    other = moe_sim_vae.cluster(shares, 2, 0, **quick)
    np.testing.assert_array_equal(told.probabilities, other.probabilities)
    again = told.assign(anndata.AnnData(counts)).probabilities
    np.testing.assert_array_equal(again, other.assign(shares).probabilities)
