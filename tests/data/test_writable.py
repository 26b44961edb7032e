"""Annotation of every kind becomes what an h5ad holds and every version of anndata reads."""

import shutil
from datetime import date

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from moesimvae.data import writable
from sentences import error

NAMES = [f"cell{i}" for i in range(4)]
NEWER = ("nullable-string-array",)  # what anndata before 0.11 cannot read


def cells(obs=None, **more):
    obs = pd.DataFrame(index=NAMES) if obs is None else pd.DataFrame(obs, index=NAMES)
    var = pd.DataFrame(index=["A", "B", "C"])
    return anndata.AnnData(np.arange(12, dtype=np.float32).reshape(4, 3), obs, var, **more)


def written(adata, folder):
    """The cells as they are read again, and what was said of them."""
    notes = writable.make(adata)
    writable.require(folder, adata, {"moesimvae": "0"})
    assert not list(folder.iterdir())
    writable.write(adata, folder / "a.h5ad")
    kinds = []
    with h5py.File(folder / "a.h5ad") as file:
        file.visititems(lambda name, item: kinds.append(item.attrs.get("encoding-type")))
    assert not set(kinds).intersection(NEWER)
    return anndata.read_h5ad(folder / "a.h5ad"), notes


def plain(values):
    return ["-" if pd.isna(value) else value for value in values]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.array(["x", "y", "z", "w"], "string"), ["x", "y", "z", "w"]),
        (pd.array(["x", None, "z", "w"], "string"), ["x", "-", "z", "w"]),
        (pd.array([1, 2, 3, 4], "Int64"), [1, 2, 3, 4]),
        (pd.array([1, None, 3, 4], "Int32"), [1, "-", 3, 4]),
        (pd.array([1.5, None, 3.5, 4], "Float64"), [1.5, "-", 3.5, 4]),
        (pd.array([True, False, True, True], "boolean"), [True, False, True, True]),
        (pd.array([True, None, True, True], "boolean"), [True, "-", True, True]),
        ([None, pd.NA, np.nan, None], ["-"] * 4),
        ([1, "1", 2.5, None], ["1", "1", "2.5", "-"]),
        (pd.array(["x", None, "z", "w"], "string[pyarrow]"), ["x", "-", "z", "w"]),
        (pd.array([1, None, 3, 4], "int64[pyarrow]"), [1, "-", 3, 4]),
        (pd.array([2**63, 1, 2, 3], "UInt64"), [2**63, 1, 2, 3]),
        ([2**70, 1, 2, 3], [str(2**70), "1", "2", "3"]),
        ([b"x", b"y", b"x", b"z"], ["x", "y", "x", "z"]),
        ([1, 2, 3, None], [1, 2, 3, "-"]),
        (pd.arrays.SparseArray([0, 0, 1, 2]), [0, 0, 1, 2]),
        ([date(2024, 1, 2)] * 4, ["2024-01-02"] * 4),
        (pd.to_datetime(["2024-01-02"] * 4), ["2024-01-02 00:00:00"] * 4),
        (pd.Categorical([1, "1", "a", None]), ["1", "1", "a", "-"]),
        (pd.Categorical([1, "b", "a", None]), ["1", "b", "a", "-"]),
        (pd.Categorical([True, False, True, None]), [True, False, True, "-"]),
        (pd.Series(["x", "y", "x", None], dtype="string").astype("category"), ["x", "y", "x", "-"]),
        (pd.Series([1, 2, 1, None], dtype="Int64").astype("category"), [1, 2, 1, "-"]),
        (pd.cut([1, 2, 3, 4], [0, 2, 4]), ["(0, 2]", "(0, 2]", "(2, 4]", "(2, 4]"]),
    ],
)
def test_columns_of_every_kind(values, expected, tmp_path):
    values = pd.Series(values, dtype=object) if isinstance(values, list) else pd.Series(values)
    adata = cells({"a": values.set_axis(NAMES)})
    adata.var["a"] = adata.obs["a"].to_numpy(dtype=object)[:3]
    adata.obsm["table"] = adata.obs.copy()
    adata.uns["table"] = adata.obs.copy()
    adata.uns["array"] = adata.obs["a"].array
    found, _ = written(adata, tmp_path)
    assert plain(found.obs["a"]) == plain(found.obsm["table"]["a"]) == expected
    assert [str(value) for value in plain(found.var["a"])] == [str(v) for v in expected[:3]]


def test_names_of_the_newer_kind(tmp_path):
    adata = cells()
    adata.obs.index = pd.Index(NAMES, dtype="string")
    adata.var.index = pd.Index(["A", "B", "C"], dtype="string")
    found, notes = written(adata, tmp_path)
    assert (list(found.obs_names), list(found.var_names)) == (NAMES, ["A", "B", "C"])
    assert notes == []


@pytest.mark.parametrize("place", ["obs", "var", "raw/var"])
def test_the_reserved_name(place, tmp_path):
    adata = cells()
    table = adata.obs if place == "obs" else adata.var
    table["_index"] = table.index
    other = cells()
    table = other.obs if place == "obs" else other.var
    table["_index"], table["index_"] = range(len(table)), "x"
    for each, expected in ((adata, []), (other, ["index__0", "index__1"])):
        folder = tmp_path / str(len(expected))
        folder.mkdir()
        if place == "raw/var":
            each.raw = each.copy()
            del each.var[next(iter(each.var))]
        found, notes = written(each, folder)
        held = {"obs": found.obs, "var": found.var, "raw/var": found.raw and found.raw.var}
        assert list(held[place]) == expected
        assert any(note.startswith(f"{place}: ") and "_index" in note for note in notes)


def test_names_of_columns_that_are_places_numbers_or_the_rows(tmp_path):
    obs = pd.DataFrame(np.arange(16).reshape(4, 4), NAMES, [7, "a/b", "..", "cell"])
    adata = cells(obs)
    adata.obs.index.name = "cell"
    adata.obs.columns = [7, "a/b", "..", "cell"]
    found, notes = written(adata, tmp_path)
    assert list(found.obs) == ["7", "a_b", ".._2", "cell"]
    assert list(found.obs["cell"]) == [3, 7, 11, 15]
    assert list(found.obs_names) == NAMES
    assert "'a/b' is now 'a_b'" in notes[0]


def test_what_no_h5ad_holds_in_uns(tmp_path):
    adata = cells()
    uns = {("a", 1): 2, "a/b": 3, "none": None, "set": {"x"}, "odd": object(), "list": [1, "a"]}
    adata.uns = uns | {"deep": {5: {"f": print}}, "good": {"x": np.arange(3), "y": "text"}}
    found, notes = written(adata, tmp_path)
    assert found.uns["('a', 1)"] == 2
    assert found.uns["a_b"] == 3
    assert list(found.uns["good"]["x"]) == [0, 1, 2]
    assert list(found.uns["list"]) == ["1", "a"]
    assert "built-in" in found.uns["deep"]["5"]["f"]
    assert [note for note in notes if "uns/odd is written as text" in note]


def test_everything_else_is_kept(tmp_path):
    more = {
        "obsm": {"X_pca": np.ones((4, 2)), "a/b": np.zeros((4, 1))},
        "varm": {"PCs": np.ones((3, 2))},
        "obsp": {"near": sp.eye(4, format="csr")},
        "varp": {"near": np.eye(3)},
        "layers": {"counts": sp.csr_matrix(np.ones((4, 3)))},
    }
    adata = cells(**more)
    wide = anndata.AnnData(
        sp.csr_matrix(np.ones((4, 5))),
        obs=pd.DataFrame(index=NAMES),
        var=pd.DataFrame({"symbol": pd.array(list("abcde"), "string")}, index=list("VWXYZ")),
    )
    wide.varm["PCs"] = np.ones((5, 2))
    adata.raw = wide
    found, notes = written(adata, tmp_path)
    assert list(found.raw.var["symbol"]) == list("abcde")
    assert found.raw.varm["PCs"].shape == (5, 2)
    assert set(found.obsm) == {"X_pca", "a_b"}
    assert set(found.obsp) == set(found.varp) == {"near"}
    assert set(found.layers) - {None} == {"counts"}
    assert notes == ["obsm: 'a/b' is now 'a_b'"]
    np.testing.assert_array_equal(found.X, cells().X)


def test_an_empty_raw(tmp_path):
    adata = cells()
    adata.raw = adata[:, :0].copy()
    assert written(adata, tmp_path)[0].raw.shape == (4, 0)


def test_a_full_disk_and_what_cannot_be_written_are_told_before(tmp_path, monkeypatch):
    adata = cells()
    adata.obs["_index"] = "x"
    assert "'_index' is a reserved name" in error(writable.require, tmp_path, adata, {})
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    assert "0 MB of free space" in error(writable.require, tmp_path, cells(), {})
    assert not list(tmp_path.iterdir())
