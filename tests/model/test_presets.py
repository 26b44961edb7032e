"""The named settings, and that docs/model.md tells of them as they are."""

import inspect

import pytest

from moesimvae.errors import UserError
from moesimvae.model import similarity
from moesimvae.model.estimator import MoESimVAE
from moesimvae.model.presets import PRESETS

# of the data, or of the machine
NOT_OF_A_PRESET = {"n_clusters", "random_state", "device", "cache", "checkpoint", "progress"}


def table():
    """Every parameter in every preset, as docs/model.md shows it."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(MoESimVAE).parameters.items()
        if name not in NOT_OF_A_PRESET
    }
    lines = [f"| parameter | {' | '.join(PRESETS)} |", "|---" * (1 + len(PRESETS)) + "|"]
    for name, default in defaults.items():
        values = [settings.get(name, default) for settings in PRESETS.values()]
        lines.append(f"| `{name}` | {' | '.join(f'`{value!r}`' for value in values)} |")
    return "\n".join(lines)


def test_the_documented_table_is_that_of_the_code(root):
    text = (root / "docs" / "model.md").read_text(encoding="utf-8")
    assert table() in text, f"put this into docs/model.md:\n{table()}"


def test_every_kind_of_similarity_is_documented(root):
    text = (root / "docs" / "model.md").read_text(encoding="utf-8")
    section = text.split("## Kinds of similarity")[1].split("\n## ")[0]
    documented = {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}
    assert documented == set(similarity.KINDS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_settings_and_changes_to_them(name):
    assert set(PRESETS[name]) <= set(inspect.signature(MoESimVAE).parameters) - NOT_OF_A_PRESET
    model = MoESimVAE.preset(name, 7, n_latent=3, random_state=5)
    changed = {"n_clusters": 7, "n_latent": 3, "random_state": 5}
    assert model.get_params() == MoESimVAE().get_params() | PRESETS[name] | changed


def test_paper_and_released_have_nothing_of_ours():
    for name in ("paper", "released"):
        model = MoESimVAE.preset(name)
        assert (model.refinements, model.augmentation, model.deskew) == (0, 0, False)
        assert (model.encoder, model.similarity) == ("dense", "umap_knn")
    assert MoESimVAE.preset("paper").objective == "paper"


def test_an_unknown_preset_is_told():
    with pytest.raises(UserError, match="no preset 'best'; choose one of default, paper, released"):
        MoESimVAE.preset("best")
