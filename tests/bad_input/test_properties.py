"""Whatever the bytes, names and values: cells come back as they were, or one sentence does."""

import contextlib
import struct
import tempfile
from pathlib import Path

import flowio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from moesimvae.data.catalogue import resolve
from moesimvae.data.cells import read_cells
from moesimvae.data.readers import read_idx
from moesimvae.errors import UserError
from moesimvae.evaluation import metrics
from moesimvae.methods import external
from moesimvae.methods.interface import Invalid

few = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
numbers = st.floats(-1e6, 1e6, width=32)
matrices = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 8), st.integers(1, 5)), elements=numbers
)
# what may stand in a field of a table that is quoted where it must be
words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)


def names(n):
    return st.lists(words, min_size=n, max_size=n, unique=True)


def once(name, write, read):
    """What a reader gives for a file that `write` makes in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        write(path)
        return read(path)


def tried(what, *arguments):
    """What it gives, and what it says where it refuses; any other error is none of these."""
    try:
        return what(*arguments), ""
    except UserError as error:
        return None, str(error)


@few
@given(matrices, st.data())
def test_a_table_comes_back_whatever_its_columns_are_called(values, data):
    columns = data.draw(names(values.shape[1]))

    def quoted(fields):
        return ",".join('"' + field.replace('"', '""') + '"' for field in fields)

    lines = [quoted(["cell", *columns])]
    lines += [
        quoted([f"c{i}", *(f"{v:.9g}" for v in row)]) for i, row in enumerate(values.tolist())
    ]
    text = "\n".join(lines) + "\n"
    file = once("a.csv", lambda path: path.write_text(text, encoding="utf-8"), read_cells)
    np.testing.assert_allclose(file.cells.X, values, rtol=1e-6)
    assert list(file.cells.var_names) == [column.strip() for column in columns]


@few
@given(matrices)
def test_arrays_come_back_bit_by_bit(values):
    file = once("a.npz", lambda path: np.savez(path, X=values), read_cells)
    np.testing.assert_array_equal(file.cells.X, values)


@few
@given(matrices.map(lambda values: np.where(np.abs(values) < 1e-9, 0, np.clip(values, -1e9, 1e9))))
def test_an_fcs_file_comes_back_bit_by_bit(values):
    def write(path):
        with open(path, "wb") as file:
            channels = [f"P{i}" for i in range(values.shape[1])]
            flowio.create_fcs(file, values.astype(float).ravel(), channels)

    np.testing.assert_array_equal(once("a.fcs", write, read_cells).cells.X, values)


@few
@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=3, max_dims=3, max_side=6)))
def test_images_come_back_bit_by_bit(images):
    content = struct.pack(">BBBBIII", 0, 0, 8, 3, *images.shape) + images.tobytes()
    found = once("a", lambda path: path.write_bytes(content), lambda path: read_idx(path, 3))
    np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.fcs", "a.npz", "a.h5", "a.h5ad", "a.csv.gz"])
@settings(few, max_examples=25)
@given(content=st.binary(max_size=300), start=st.sampled_from([b"", b"FCS3.1    ", b"PK\x03\x04"]))
def test_any_bytes_are_cells_or_one_sentence(name, content, start):
    def read(path):
        _, sentence = tried(read_cells, path)
        assert "\n" not in sentence

    once(name, lambda path: path.write_bytes(start + content), read)


@few
@given(st.text(max_size=40))
def test_any_output_of_a_command_is_labels_or_a_reason(text):
    def read(path):
        with contextlib.suppress(Invalid):
            assert len(external.read_labels(path, 3)) == 3

    once("labels", lambda path: path.write_text(text, "utf-8", errors="replace"), read)


@few
@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_the_name_of_a_file_never_gets_into_a_path(stem):
    def read(path):
        found, sentence = tried(resolve, {}, {"data": str(path)})
        assert "\n" not in sentence
        for name in found or ():
            assert name.isascii()
            assert name.replace("_", "").isalnum()
            assert name.lower() == name

    stem = stem.encode()[:200].decode(errors="ignore")
    once(f"{stem}.csv", lambda path: path.write_text("a\n1\n"), read)


labels = st.lists(st.integers(0, 4), min_size=5, max_size=40)


@few
@given(labels, st.data())
def test_metrics_stay_in_their_range_and_do_not_know_names_or_order(truth, data):
    n = len(truth)
    truth = np.array(truth)
    clusters = np.array(data.draw(st.lists(st.integers(-1, 5), min_size=n, max_size=n)))
    order = np.array(data.draw(st.permutations(range(n))))
    new = np.array(data.draw(st.permutations(range(6))))
    renamed = np.where(clusters < 0, -1, new[clusters])
    found = metrics.evaluate(truth, clusters)
    again = metrics.evaluate(np.array(list("abcde"))[truth][order], renamed[order])
    assert again == pytest.approx(found, abs=1e-9, nan_ok=True)
    for name in ("nmi_arithmetic", "accuracy_hungarian", "f_flowcap", "f1_mean_hungarian"):
        assert -1e-12 <= found[name] <= 1 + 1e-12
    assert found["ari"] <= 1 + 1e-12
    perfect = metrics.evaluate(truth, truth)
    assert perfect["accuracy_hungarian"] == perfect["f_flowcap"] == 1
