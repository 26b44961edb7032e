"""The registry's blocks of MoE-Sim-VAE say in full what the library's presets are."""

import json

import pytest

from moesimvae import registry
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
    assert json.loads(json.dumps(blocks[block]["params"])) == settings(preset)


def test_the_cytometry_block_differs_from_the_paper_in_its_distance(blocks):
    params = blocks["moe_sim_vae_paper_cytof"]["params"]
    similarity = {"kind": "umap_knn", "metric": "canberra"}
    assert params == blocks["moe_sim_vae_paper"]["params"] | {"similarity": similarity}
    MoESimVAE(2, **params)


def test_an_ablation_differs_from_the_default_in_what_its_name_says(blocks):
    default = settings("default")
    ablations = {n: b for n, b in blocks.items() if b["reference"].startswith("Ablation")}
    assert len(ablations) >= 7
    for name, block in ablations.items():
        changed = {key for key, value in block["params"].items() if value != default[key]}
        assert block["params"].keys() == default.keys(), name
        assert 1 <= len(changed) <= 4, name
