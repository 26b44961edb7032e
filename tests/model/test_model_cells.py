"""What is accepted as cells, and how they reach the device."""

from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from tiny import same_group, tiny

from moesimvae.errors import UserError
from moesimvae.model import cells

pytestmark = pytest.mark.filterwarnings("ignore")


def values(n_cells=30, n_features=7, seed=0):
    """Mostly zeros; the first, the last and one other cell have nothing but zeros."""
    random = np.random.default_rng(seed)
    X = random.random((n_cells, n_features)).astype(np.float32)
    X[random.random(X.shape) < 0.6] = 0
    X[[0, n_cells // 3, -1]] = 0
    return X


def named(X):
    n_cells, n_features = X.shape
    return anndata.AnnData(
        X,
        obs=pd.DataFrame(index=[f"c{i}" for i in range(n_cells)]),
        var=pd.DataFrame(index=[f"m{i}" for i in range(n_features)]),
    )


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else matrix


FORMS = {
    "array": lambda X: X,
    "float64": lambda X: X.astype(np.float64),
    "columns first": np.asfortranarray,
    "a part": lambda X: np.hstack([X, X])[:, : X.shape[1]],
    "list": lambda X: X.tolist(),
    "DataFrame": pd.DataFrame,
    "AnnData": named,
    "CSR": sparse.csr_matrix,
    "CSC": sparse.csc_matrix,
    "COO": sparse.coo_matrix,
    "sparse array": sparse.csr_array,
    "AnnData, CSR": lambda X: named(sparse.csr_matrix(X)),
    "AnnData, CSC": lambda X: named(sparse.csc_matrix(X)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_float32_values(form):
    matrix = cells.matrix_of(FORMS[form](values()))
    assert matrix.dtype == np.float32
    assert sparse.issparse(matrix) == any(word in form for word in ("CS", "COO", "sparse"))
    if sparse.issparse(matrix):
        assert isinstance(matrix, sparse.csr_matrix)
    else:
        assert matrix.flags.c_contiguous
    np.testing.assert_array_equal(dense(matrix), values())


def test_float32_values_are_not_copied():
    X, table = values(), sparse.csr_matrix(values())
    assert np.shares_memory(cells.matrix_of(X), X)
    assert np.shares_memory(cells.matrix_of(named(X)), X)
    assert np.shares_memory(cells.matrix_of(table).data, table.data)


def backed(X, folder, **writing):
    path = folder / "cells.h5ad"
    named(X).write_h5ad(path, **writing)
    return anndata.read_h5ad(path, backed="r")


STORED = {
    "contiguous": (lambda X: X, {}),
    "float64": (lambda X: X.astype(np.float64), {}),
    "compressed": (lambda X: X, {"compression": "gzip"}),
    "CSR": (sparse.csr_matrix, {}),
    "CSR, compressed": (sparse.csr_matrix, {"compression": "gzip"}),
    "CSC": (sparse.csc_matrix, {}),
}


def lies_in_a_file(array):
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


@pytest.mark.parametrize("form", STORED)
def test_a_backed_file_is_mapped_and_equals_the_data(form, tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "BLOCK_BYTES", 64)  # a few rows at a time
    store, writing = STORED[form]
    matrix = cells.matrix_of(backed(store(values()), tmp_path, **writing))
    np.testing.assert_array_equal(dense(matrix), values())
    assert matrix.dtype == np.float32
    if form != "CSC":  # which must be turned around first
        parts = [matrix.data, matrix.indices] if sparse.issparse(matrix) else [matrix]
        assert all(lies_in_a_file(part) for part in parts)


def test_contiguous_values_are_mapped_where_they_lie(tmp_path):
    matrix = cells.matrix_of(backed(values(), tmp_path))
    while not isinstance(matrix, np.memmap):
        matrix = matrix.base
    assert str(matrix.filename) == str(tmp_path / "cells.h5ad")
    matrix[:] = 5  # what is written goes nowhere
    np.testing.assert_array_equal(anndata.read_h5ad(tmp_path / "cells.h5ad").X, values())


def resident_bytes(path):
    """Of the maps of this file in this process."""
    inside, found = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


def rows_of(matrix):
    low, span, _ = cells.find_offset_and_range(matrix, "minmax")
    return cells.rows_on_device(matrix, low, span, torch.device("cpu"))


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="needs Linux's /proc")
def test_pages_of_a_backed_file_do_not_stay_in_memory(tmp_path):
    X = np.random.default_rng(0).random((20_000, 40), dtype=np.float32)
    matrix = cells.matrix_of(backed(X, tmp_path))
    rows = rows_of(matrix)
    assert resident_bytes(tmp_path / "cells.h5ad") > X.nbytes / 2  # looking for the range read it
    index = torch.arange(len(X))
    np.testing.assert_array_equal(rows(index), rows_of(X)(index))
    assert resident_bytes(tmp_path / "cells.h5ad") < X.nbytes / 100


def test_what_a_user_wrote_to_a_copy_on_write_map_is_not_lost(tmp_path):
    np.save(tmp_path / "cells.npy", values())
    X = np.load(tmp_path / "cells.npy", mmap_mode="c")
    X[3] = 7
    rows_of(cells.matrix_of(X))(torch.arange(len(X)))
    assert (X[3] == 7).all()


@pytest.mark.parametrize("store", [lambda X: X, sparse.csr_matrix])
def test_a_selection_of_a_backed_file(store, tmp_path):
    some = backed(store(values()), tmp_path)[[3, 4, 20], :5]
    np.testing.assert_array_equal(dense(cells.matrix_of(some)), values()[[3, 4, 20], :5])


def test_a_backed_sparse_file_without_any_value(tmp_path):
    matrix = cells.matrix_of(backed(sparse.csr_matrix((9, 4), dtype=np.float32), tmp_path))
    np.testing.assert_array_equal(dense(matrix), np.zeros((9, 4)))


@pytest.mark.parametrize("form", ["contiguous", "compressed", "CSR"])
def test_a_fit_of_a_backed_file_is_that_of_the_data(form, tmp_path):
    store, writing = STORED[form]
    X = values(60)
    given = same_group(np.arange(60) % 3)
    model = tiny(3, steps=20).fit(backed(store(X), tmp_path, **writing), similarity=given)
    expected = tiny(3, steps=20).fit(X, similarity=given)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_array_equal(model.embedding_, expected.embedding_)
    assert model.feature_names_in_.tolist() == [f"m{i}" for i in range(7)]


# ---------------------------------------------------------------------- what is not accepted


def with_value(value):
    X = values()
    X[12, 5] = value
    return X


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_finite_is_told_with_its_place(form, value, monkeypatch):
    monkeypatch.setattr(cells, "BLOCK_BYTES", 100)  # not in the first block
    with pytest.raises(UserError) as told:
        cells.matrix_of(FORMS[form](with_value(value)))
    sentence = str(told.value)
    assert f"is {np.float32(value)}, but NaN and inf" in sentence
    if "AnnData" in form:
        assert "cell 'c12' (number 12 from 0), feature 'm5'," in sentence
    elif form == "DataFrame":
        assert "cell '12' (number 12 from 0), feature '5'," in sentence
    else:
        assert "cell 12 (counting from 0), feature 5," in sentence


@pytest.mark.parametrize("cell", [0, 1, 4, 5])
def test_the_first_value_of_a_sparse_cell_is_its_own(cell):
    X = np.zeros((6, 3))
    X[[0, 1, 4, 5]] = [1, 0, 2]  # cells 2 and 3 are empty
    X[cell, 0] = np.inf
    with pytest.raises(UserError, match=rf"cell {cell} \(counting from 0\), feature 0, is inf"):
        cells.matrix_of(sparse.csr_matrix(X))


@pytest.mark.parametrize("form", STORED)
def test_what_is_not_finite_in_a_file_is_told_with_its_place(form, tmp_path):
    store, writing = STORED[form]
    with pytest.raises(UserError, match=r"cell 'c12' \(number 12 from 0\), feature 'm5', is nan"):
        cells.matrix_of(backed(store(with_value(np.nan)), tmp_path, **writing))


@pytest.mark.parametrize(
    ("X", "sentence"),
    [
        (np.array([["a", "b"]]), "must be numbers"),
        (pd.DataFrame({"marker": ["high", "low"]}), "must be numbers"),
        ([[1, 2], [3]], "must be numbers"),
        (None, r"shape \(\)"),
        (np.arange(3), r"shape \(3,\); expected cells × features"),
        (np.empty((0, 3)), r"shape \(0, 3\)"),
        (np.empty((3, 0)), r"0 feature\(s\) \(shape=\(3, 0\)\)"),
        (np.empty((3, 2, 2)), r"shape \(3, 2, 2\)"),
        (sparse.csr_matrix((0, 4)), r"shape \(0, 4\)"),
        (anndata.AnnData(obs=pd.DataFrame(index=["a", "b"])), "expected cells × features"),
    ],
)
def test_what_are_not_cells_is_told(X, sentence):
    with pytest.raises(UserError, match=sentence):
        cells.matrix_of(X)


# ---------------------------------------------------------------------- names, range, batches


def test_names_come_from_anndata_and_data_frames_alone():
    X = values(2, 3)
    assert cells.feature_names(named(X)).tolist() == ["m0", "m1", "m2"]
    assert list(cells.cell_names(named(X))) == ["c0", "c1"]
    table = pd.DataFrame(X, columns=[*"abc"], index=["x", "y"])
    assert cells.feature_names(table).tolist() == ["a", "b", "c"]
    assert cells.feature_names(table.set_axis([1, 2, 3], axis=1)) is None
    assert list(cells.cell_names(table)) == ["x", "y"]
    for nameless in (X, X.tolist(), sparse.csr_matrix(X)):
        assert cells.feature_names(nameless) is None
        assert cells.cell_names(nameless) is None


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_range_of_each_feature(form):
    X = values()
    X[:, 2] = -1 - X[:, 2]  # never zero
    X[:, 3] = 0
    low, high = cells.column_range(form(X))
    np.testing.assert_array_equal(low, X.min(0))
    np.testing.assert_array_equal(high, X.max(0))
    assert low.dtype == high.dtype == np.float32


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("largest", [3e38, -1e30, 1e16, 1e-16, 1e-30, -1e-44])
def test_huge_and_tiny_values_are_multiplied_so_that_squares_bear_it(form, largest):
    X = (values() * largest).astype(np.float32)
    scaled = dense(cells.with_bearable_squares(form(X)))
    assert 1e-7 < np.abs(scaled).max() < 5
    factor = scaled[X != 0] / X[X != 0].astype(np.float64)
    assert (factor == factor[0]).all()
    assert np.log2(factor[0]) % 1 == 0


def test_other_values_are_left_alone():
    for X in (values(), values() * 0, values() * 1e14, sparse.csr_matrix(values())):
        assert cells.with_bearable_squares(X) is X


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_batches_are_scaled_and_cut_to_the_range(form):
    X = values() * 4 - 1
    low, span = np.full(7, -0.5, np.float32), np.linspace(1, 4, 7).astype(np.float32)
    span[3] = 0  # a feature that did not vary
    rows = cells.rows_on_device(form(X), low, span, torch.device("cpu"))
    index = torch.tensor([5, 5, 29, 2])
    expected = np.clip((X[[5, 5, 29, 2]] - low) / np.where(span > 0, span, 1), 0, 1)
    expected[:, 3] = 0
    np.testing.assert_allclose(rows(index), expected, rtol=1e-6)
    assert rows(index[:0]).shape == (0, 7)
    assert rows(index).dtype == torch.float32


def test_sparse_cells_are_never_dense_all_at_once(monkeypatch):
    n_cells = 4200  # more than are encoded together
    X = sparse.random(n_cells, 20, 0.1, "csr", random_state=0, dtype=np.float32)
    largest = 0

    def watched(to_dense):
        def toarray(self, *arguments, **settings):
            nonlocal largest
            largest = max(largest, self.shape[0])
            return to_dense(self, *arguments, **settings)

        return toarray

    for kind in (sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix):
        monkeypatch.setattr(kind, "toarray", watched(kind.toarray))
    model = tiny(3, steps=3).fit(named(X), similarity=sparse.eye(n_cells, format="csr"))
    model.predict(X)
    model.transform(X.tocsc())
    assert 0 < largest < n_cells


def test_a_file_that_is_gone_from_disk_leaves_no_copy_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(cells.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    matrix = cells.matrix_of(backed(values(), tmp_path, compression="gzip"))
    assert list((tmp_path / "temporary").iterdir()) == []
    np.testing.assert_array_equal(matrix, values())


def test_the_file_may_be_read_in_other_ways_meanwhile(tmp_path):
    matrix = cells.matrix_of(backed(values(), tmp_path))
    with h5py.File(tmp_path / "cells.h5ad") as file:
        np.testing.assert_array_equal(file["X"][:], matrix)
