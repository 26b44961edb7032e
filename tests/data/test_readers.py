"""idx files, good and damaged, and the registry's readers."""

import gzip
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from moesimvae.data import readers
from moesimvae.errors import UserError
from moesimvae.nouns import DataSet

ANY_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def read(block, raw_files):
    return readers.read(DataSet.of(block), raw_files)


def idx_bytes(values: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return head + values.astype(np.uint8).tobytes()


@ANY_FOLDER
@given(
    values=st_numpy.arrays(np.uint8, st_numpy.array_shapes(min_dims=1, max_dims=3)),
    packed=st.booleans(),
)
def test_idx_is_read_back(tmp_path, values, packed):
    path = tmp_path / "values"
    path.write_bytes(gzip.compress(idx_bytes(values)) if packed else idx_bytes(values))
    np.testing.assert_array_equal(readers.read_idx(path, values.ndim), values)


@ANY_FOLDER
@given(
    head=st.sampled_from(
        [b"", b"\0\0", b"\0\0\x08\x01", b"\0\0\x08\x03", b"\x1f\x8b", b"\x1f\x8b\x08\0"]
    ),
    rest=st.binary(max_size=40),
    packed=st.booleans(),
    n_dimensions=st.sampled_from([1, 3]),
)
def test_any_bytes_give_an_array_or_one_sentence(tmp_path, head, rest, packed, n_dimensions):
    path = tmp_path / "any"
    path.write_bytes(gzip.compress(head + rest) if packed else head + rest)
    with suppress(UserError):
        assert readers.read_idx(path, n_dimensions).ndim == n_dimensions


GOOD = idx_bytes(np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "does not start like an idx file"),
        (b"<html>", "does not start like an idx file"),
        (idx_bytes(np.arange(3)), "0x08 in 1 dimensions, expected 0x08"),
        (b"\0\0\x0d" + GOOD[3:], "0x0d in 3 dimensions"),
        (GOOD[:9], "ends within its idx header"),
        (GOOD[:-1], "2 × 3 × 4 = 24 values in its header but holds 23"),
        (GOOD + b"\0", "but holds more"),
        (GOOD[:4] + b"\xff" * 12 + GOOD[16:], "but holds 24"),
        (gzip.compress(GOOD, mtime=0)[:-9], "truncated or damaged gzip"),
    ],
)
def test_a_damaged_idx_file_is_told(tmp_path, content, told):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(UserError, match=told):
        readers.read_idx(path, 3)


@pytest.fixture
def parts(tmp_path):
    """Raw files of a data set of two parts, 3 and 2 images of 2 × 4 pixels."""
    random = np.random.default_rng(0)
    raw = {}
    for part, n in (("train", 3), ("test", 2)):
        for role, shape in (("images", (n, 2, 4)), ("labels", (n,))):
            raw[f"{part}_{role}"] = tmp_path / f"{part}_{role}"
            values = random.integers(0, 256, shape)
            raw[f"{part}_{role}"].write_bytes(idx_bytes(values))
    return raw


def test_the_parts_are_put_one_after_the_other(parts):
    cells, labels = read({"reader": "idx", "title": "T"}, parts)
    names = ["train_00000", "train_00001", "train_00002", "test_00000", "test_00001"]
    assert list(cells.obs_names) == list(labels["cell"]) == names
    assert cells.shape == (5, 8)
    assert cells.var_names[5] == "row01_column01"
    assert cells.uns["image_shape"] == [2, 4]
    third = readers.read_idx(parts["train_images"], 3)[2].ravel()
    np.testing.assert_array_equal(cells.X[2], third)
    digits = [readers.read_idx(parts[f"{part}_labels"], 1) for part in ("train", "test")]
    assert list(labels["label"]) == [str(digit) for digit in np.concatenate(digits)]
    assert labels["scored"].all()
    assert set(labels["split"]) == {"all"}


def test_labels_that_do_not_fit_the_images_are_told(parts):
    parts["test_labels"] = parts["train_labels"]
    with pytest.raises(UserError, match="test part of T has 3 labels"):
        read({"reader": "idx", "title": "T"}, parts)


def test_missing_roles_are_told(parts):
    del parts["test_labels"]
    with pytest.raises(UserError, match="test_labels"):
        read({"reader": "idx", "title": "T"}, parts)


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ({"reader": "fcs9"}, "unknown reader 'fcs9'"),
        ({"reader": "simulated", "simulate": {"simulator": "x"}}, "unknown simulator 'x'"),
        (
            {"reader": "simulated", "simulate": {"simulator": "scrna", "n_cell": 9}},
            "simulator 'scrna'.*'n_cell'",
        ),
    ],
)
def test_unknown_names_in_a_block_are_told(block, told):
    with pytest.raises(UserError, match=told):
        read({"title": "T", **block}, {})
