"""Files of a model: complete, of this version, undamaged, or told in one sentence."""

import json

import pytest
import torch

from moesimvae import files
from moesimvae.errors import UserError
from moesimvae.model import storage

TENSORS = {"weight": torch.arange(6.0).view(2, 3), "mean": torch.zeros(0, 2)}
SHAPES = {"weight": (2, 3), "mean": (0, 2)}


@pytest.fixture
def folder(tmp_path):
    storage.write_model(tmp_path / "model", TENSORS, {"version": "0", "note": "Zellen – µ"})
    return tmp_path / "model"


def test_a_model_is_read_as_it_was_written(folder):
    assert sorted(path.name for path in folder.iterdir()) == [storage.CONFIG, storage.WEIGHTS]
    config = storage.read_config(folder)
    assert (config["version"], config["note"]) == ("0", "Zellen – µ")
    tensors = storage.read_weights(folder, SHAPES)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def change_config(folder, **changes):
    path = folder / storage.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def read_weights(folder):
    return storage.read_weights(folder, SHAPES)


def cut(folder):
    path = folder / storage.WEIGHTS
    path.write_bytes(path.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json cannot be read .*; save the model"),
        (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "config.json cannot be read"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json is not the configuration of"),
        (lambda f: (f / "config.json").write_text("{}"), "config.json is not the configuration of"),
        (lambda f: change_config(f, format_version=1), "format version 1, but this program reads"),
        (lambda f: change_config(f, format_version=None), "format version None"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors cannot be read"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x08"), "safetensors cannot be read"),
        (cut, "model.safetensors cannot be read"),
    ],
)
def test_a_damaged_model_or_one_of_another_version_is_told(folder, harm, sentence):
    harm(folder)
    read = storage.read_config if "config" in sentence or "format" in sentence else read_weights
    with pytest.raises(UserError, match=sentence) as told:
        read(folder)
    assert str(folder) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [
        (SHAPES | {"weight": (3, 2)}, r"'weight' has shape \(2, 3\), but .* \(3, 2\)"),
        (SHAPES | {"bias": (3,)}, r"'bias' has shape None, but .* \(3,\)"),
        ({"weight": (2, 3)}, r"'mean' has shape \(0, 2\), but .* None"),
    ],
)
def test_weights_of_another_model_are_told(folder, expected, sentence):
    with pytest.raises(UserError, match=sentence):
        storage.read_weights(folder, expected)


# ---------------------------------------------------------------------- checkpoints


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    values = {"fingerprint": "a", "step": 3, "history": {"kl": [0.1, 1e-300]}}
    storage.write_checkpoint(tmp_path, TENSORS | {"step": torch.tensor(7.0)}, values)
    tensors, found = storage.read_checkpoint(tmp_path, "a")
    assert found == values
    assert tensors["step"].shape == ()
    assert torch.equal(tensors["weight"], TENSORS["weight"])
    storage.remove_checkpoint(tmp_path)
    assert storage.read_checkpoint(tmp_path, "a") is None
    storage.remove_checkpoint(tmp_path)  # of nothing is no error


def test_a_folder_that_is_not_there_has_no_checkpoint(tmp_path):
    assert storage.read_checkpoint(tmp_path / "none", "a") is None


def test_a_checkpoint_of_something_else_is_told(tmp_path):
    storage.write_checkpoint(tmp_path, TENSORS, {"fingerprint": "a"})
    with pytest.raises(UserError, match="other cells or parameters; delete it to start over"):
        storage.read_checkpoint(tmp_path, "b")


@pytest.mark.parametrize("bytes_left", [0, 4, 40, -4])
def test_a_damaged_checkpoint_is_told(tmp_path, bytes_left):
    storage.write_checkpoint(tmp_path, TENSORS, {"fingerprint": "a"})
    path = tmp_path / storage.CHECKPOINT
    path.write_bytes(path.read_bytes()[:bytes_left])
    with pytest.raises(UserError, match=r"cannot be read .*; delete it to start over"):
        storage.read_checkpoint(tmp_path, "a")


def test_a_file_of_tensors_that_is_no_checkpoint_is_told(tmp_path):
    storage.write_model(tmp_path, TENSORS, {})
    (tmp_path / storage.WEIGHTS).rename(tmp_path / storage.CHECKPOINT)
    with pytest.raises(UserError, match="cannot be read"):
        storage.read_checkpoint(tmp_path, "a")


def test_a_stop_while_writing_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    storage.write_checkpoint(tmp_path, TENSORS, {"fingerprint": "a", "step": 1})

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        storage.write_checkpoint(tmp_path, TENSORS, {"fingerprint": "a", "step": 2})
    assert storage.read_checkpoint(tmp_path, "a")[1]["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == [storage.CHECKPOINT]


def test_parts_of_one_tensor_may_be_stored(tmp_path):
    whole = torch.arange(12.0).view(3, 4)
    storage.write_model(tmp_path, {"columns": whole.T}, {})
    read = storage.read_weights(tmp_path, {"columns": (4, 3)})
    assert torch.equal(read["columns"], whole.T)
