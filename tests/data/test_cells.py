"""Reading a user's own cells, choosing features, transforming them."""

import contextlib
import gzip
import json

import anndata
import flowio
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from moesimvae.data import hdf5
from moesimvae.data import recipe as recipes
from moesimvae.data.cells import read_cells
from moesimvae.errors import UserError
from sentences import error

MARKERS = ["CD3", "CD4", "CD8", "CD19"]
rng = np.random.default_rng(0)
COUNTS = rng.poisson(1.0, (30, 5)).astype(np.float32)


def write_fcs(path, values, detectors, markers=None, **text):
    with open(path, "wb") as file:
        flowio.create_fcs(
            file, np.asarray(values, float).ravel(), detectors, markers, metadata_dict=text
        )
    return path


def write_h5ad(path, matrix, names=None, **more):
    cells = anndata.AnnData(matrix, **more)
    cells.var_names = names or [f"gene{i}" for i in range(matrix.shape[1])]
    cells.obs_names = [f"cell{i}" for i in range(matrix.shape[0])]
    cells.write_h5ad(path)
    return path


def write_csv(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def as_clustered(file, transform="none", **more):
    recipe, _ = recipes.make(file, recipes.choose(file), transform, **more)
    return recipes.prepared(file, recipe)


# ---------------------------------------------------------------------- tables


def test_a_csv_with_named_cells(tmp_path):
    file = read_cells(write_csv(tmp_path / "a.csv", "cell,CD3,CD4\n007,1,2.5\n008,3,4\n"))
    assert list(file.cells.obs_names) == ["007", "008"]
    assert list(file.cells.var_names) == ["CD3", "CD4"]
    np.testing.assert_array_equal(file.cells.X, np.float32([[1, 2.5], [3, 4]]))


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        (",CD3\na,1\nb,2\n", ["a", "b"]),
        ("name,CD3\na,1\nb,2\n", ["a", "b"]),
        ("CD3,CD4\n1,2\n3,4\n", ["0", "1"]),
        ("CD3\tCD4\na\t1\t2\nb\t3\t4\n", ["a", "b"]),  # as R writes it
        ("Cell_ID;CD3\na;1\nb;2\n", ["a", "b"]),
        ("\ufeffcell,CD3\na,1\nb,2\n", ["a", "b"]),
        ('cell,"CD3, total"\r\na,1\r\nb,2\r\n', ["a", "b"]),
    ],
)
def test_the_names_of_the_cells(tmp_path, text, cells):
    file = read_cells(write_csv(tmp_path / "a.csv", text))
    assert list(file.cells.obs_names) == cells
    assert file.cells.var_names[0].startswith("CD3")


def test_gzip_and_tab(tmp_path):
    path = tmp_path / "a.tsv.GZ"
    path.write_bytes(gzip.compress(b"CD3\tCD4\n1\t2\n3\t4\n"))
    np.testing.assert_array_equal(read_cells(path).cells.X, np.float32([[1, 2], [3, 4]]))


def test_columns_of_text_are_told_and_can_be_left_out(tmp_path):
    text = "cell,CD3,type,CD4,donor\na,1,T,2,x\nb,3,B,4,x\n"
    file = read_cells(write_csv(tmp_path / "a.csv", text))
    sentence = error(recipes.choose, file)
    assert "type, donor" in sentence
    assert "--drop type donor" in sentence
    assert "'T' in type" in sentence
    assert recipes.choose(file, drop=["type", "donor"]) == ["CD3", "CD4"]
    assert recipes.choose(file, features=["CD4", "CD3"]) == ["CD3", "CD4"]
    assert list(file.cells.obs["type"]) == ["T", "B"]
    file.cells.write_h5ad(tmp_path / "a.h5ad")
    assert list(anndata.read_h5ad(tmp_path / "a.h5ad").obs["donor"]) == ["x", "x"]


def test_a_value_that_is_no_number_does_not_make_names_of_cells(tmp_path):
    for odd in ("<LOD", "7,9", "CD3", "n.d."):
        text = f"CD3;CD4\n1.5;2\n{odd};3\n2.5;4\n"
        file = read_cells(write_csv(tmp_path / "a.csv", text))
        assert list(file.cells.obs) == ["CD3"]
        sentence = error(recipes.choose, file)
        assert f"cell number 1 has '{odd}' in CD3" in sentence
        assert ("decimal comma" in sentence) == (odd == "7,9")


@pytest.mark.parametrize("name", ["Unnamed: 0", "X", "id", "Cell ID", "row"])
def test_a_column_that_counts_the_cells_names_them(tmp_path, name):
    text = f"{name},CD3\n" + "".join(f"{i},{v}\n" for i, v in enumerate((0.5, 0.1, 0.7), 1))
    cells = read_cells(write_csv(tmp_path / "a.csv", text)).cells
    assert list(cells.obs_names) == ["1", "2", "3"]
    assert list(cells.var_names) == ["CD3"]


def test_names_that_count_the_features_are_names(tmp_path):
    cells = read_cells(write_csv(tmp_path / "a.csv", ",0,1,2\n0,5,5.5,7\n1,4,4,4\n")).cells
    assert (cells.shape, list(cells.var_names)) == ((2, 3), ["0", "1", "2"])
    assert "numbers in its first line" in error(
        read_cells, write_csv(tmp_path / "b.csv", "0.4,1,0\n1,2,3\n")
    )


@pytest.mark.parametrize("kind", ["coo", "csc", "csr", "bsr"])
def test_sparse_matrices_of_every_kind(tmp_path, kind):
    matrix = sp.random_array((9, 4), density=0.5, format="csr", rng=np.random.default_rng(0))
    sp.save_npz(tmp_path / "a.npz", sp.csr_matrix(matrix).asformat(kind))
    cells = read_cells(tmp_path / "a.npz").cells
    np.testing.assert_allclose(cells.X.toarray(), matrix.toarray(), rtol=1e-6)


def test_columns_that_are_no_markers_are_told(tmp_path):
    text = "Time,CD3,DNA-1,label,Event_length,file_number,CD45RA,timely\n" + "1,2,3,4,5,6,7,8\n" * 2
    file = read_cells(write_csv(tmp_path / "a.csv", text))
    assert "--drop Time DNA-1 label Event_length file_number," in error(recipes.choose, file)
    assert len(recipes.choose(file, features=["*"])) == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("cell,CD3\n", "has no cells"),
        ("cell,CD3,CD3\na,1,2\n", "column 'CD3' occurs twice"),
        ("cell,CD3\na,1\nb,2\na,3\n", "cell name 'a' occurs twice (numbers 0 and 2"),
        ("CD3,CD4\n1,2,3,4\n", "names 2 columns"),
        ("CD3,CD4\n1,2\n1,2,3\n", "correct that line"),
    ],
)
def test_bad_tables(tmp_path, text, words):
    assert words in error(read_cells, write_csv(tmp_path / "a.csv", text))


def test_damaged_bytes(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"cell,CD3\n\xff\xfe,1\n")
    assert "not encoded in UTF-8" in error(read_cells, tmp_path / "a.csv")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"cell,CD3\n" + b"a,1\n" * 999)[:-20])
    assert "truncated or damaged" in error(read_cells, tmp_path / "a.csv.gz")


def test_other_files(tmp_path):
    assert "does not exist" in error(read_cells, tmp_path / "none.csv")
    assert "has no matrix.mtx" in error(read_cells, tmp_path)
    assert "extensions" in error(read_cells, write_csv(tmp_path / "a.xlsx", "x"))
    assert "only format" in error(read_cells, write_csv(tmp_path / "a.csv", "x\n1"), on_disk=True)


def test_missing_and_infinite_values_are_named(tmp_path):
    file = read_cells(write_csv(tmp_path / "a.csv", "cell,CD3,CD4\na,1,2\nb,,4\n"))
    assert "cell 'b' has the value nan in feature 'CD3'" in error(as_clustered, file)
    file = read_cells(write_csv(tmp_path / "a.csv", "cell,CD3,CD4\na,1,1e300\nb,2,4\n"))
    assert "cell 'a' has the value inf in feature 'CD4'" in error(as_clustered, file)


# ---------------------------------------------------------------------- FCS


def test_fcs_names_and_values(tmp_path):
    values = rng.normal(0, 100, (7, 3)).astype(np.float32)
    path = write_fcs(tmp_path / "a.fcs", values, ["Yb171Di", "Ir191Di", "CD8"], ["CD3", "", ""])
    file = read_cells(path)
    assert list(file.cells.var_names) == ["CD3", "Ir191Di", "CD8"]
    assert list(file.cells.var["channel"]) == ["Yb171Di", "Ir191Di", "CD8"]
    np.testing.assert_allclose(file.cells.X, values, rtol=1e-6)
    assert not file.fluorescence
    recipe, words = recipes.make(file, ["CD3", "CD8"])
    assert "arcsinh(x / 5)" in words
    assert "mass cytometry" in words
    np.testing.assert_allclose(
        recipes.prepared(file, recipe).X, np.arcsinh(values[:, [0, 2]] / 5), rtol=1e-5
    )


def test_markers_of_the_same_name_keep_their_detectors(tmp_path):
    path = write_fcs(
        tmp_path / "a.fcs", np.ones((2, 3)), ["FSC-A", "FSC-H", "V1"], ["FSC"] * 2 + ["CD3"]
    )
    file = read_cells(path)
    assert list(file.cells.var_names) == ["FSC-A", "FSC-H", "CD3"]
    assert file.fluorescence
    recipe, words = recipes.make(file, ["CD3"])
    assert recipe.steps == [{"step": "arcsinh", "cofactor": 150.0}]
    assert "flow cytometer" in words


def test_fcs_whose_offset_is_one_too_long(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    path = write_fcs(tmp_path / "a.fcs", values, ["A", "B", "C"])
    content = path.read_bytes()
    stop = flowio.FlowData(str(path)).text["enddata"].encode()
    later = str(int(stop) + 1).encode()
    assert len(stop) == len(later)
    path.write_bytes(content.replace(stop, later) + b"\0")
    with pytest.raises(flowio.exceptions.FCSParsingError):
        flowio.FlowData(str(path))
    np.testing.assert_array_equal(read_cells(path).cells.X, values)


def test_fcs_of_no_cells_and_damaged_ones(tmp_path):
    path = write_fcs(tmp_path / "a.fcs", np.ones((50, 3)), ["A", "B", "C"])
    content = path.read_bytes()
    for damaged in (b"", b"FCS3.1", content[:300], content[:-100], b"no FCS at all" * 99):
        path.write_bytes(damaged)
        assert "not a readable FCS" in error(read_cells, path)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_an_fcs_with_any_byte_changed_is_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzzed.fcs"
    write_fcs(path, np.ones((5, 3)), ["A", "B", "C"])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        assert read_cells(path).cells.n_vars > 0


# ---------------------------------------------------------------------- h5ad


def test_counts_are_recognised_and_stay_sparse(tmp_path):
    file = read_cells(write_h5ad(tmp_path / "a.h5ad", sp.csr_matrix(COUNTS)))
    recipe, words = recipes.make(file, ["gene1", "gene4"])
    assert "counts" in words
    cells = recipes.prepared(file, recipe)
    assert isinstance(cells.X, sp.csr_matrix)
    assert cells.X.dtype == np.float32
    # of all genes, not of the chosen ones
    sums = np.maximum(COUNTS.sum(axis=1, keepdims=True), 1)
    expected = np.log1p(COUNTS / sums * 10_000)[:, [1, 4]]
    np.testing.assert_allclose(cells.X.toarray(), expected, rtol=1e-5)
    np.testing.assert_array_equal(file.cells.X.toarray(), COUNTS)


@pytest.mark.parametrize("matrix", [COUNTS + 0.5, COUNTS - 3, np.minimum(COUNTS, 1)])
def test_what_is_not_counts_is_left(tmp_path, matrix):
    file = read_cells(write_h5ad(tmp_path / "a.h5ad", matrix))
    recipe, words = recipes.make(file, recipes.choose(file))
    assert recipe.steps == []
    assert "as they are" in words
    np.testing.assert_array_equal(recipes.prepared(file, recipe).X, matrix)


def test_layers_and_representations(tmp_path):
    more = {"layers": {"counts": sp.csr_matrix(COUNTS)}, "obsm": {"X_pca": COUNTS[:, :2] - 1}}
    path = write_h5ad(tmp_path / "a.h5ad", COUNTS + 0.5, **more)
    for on_disk in (False, True):
        file = read_cells(path, on_disk)
        recipe, words = recipes.make(file, recipes.choose(file), layer="counts")
        assert "counts" in words
        names = recipes.choose(file, use_rep="X_pca")
        assert names == ["X_pca_0", "X_pca_1"]
        recipe, _ = recipes.make(file, names, use_rep="X_pca")
        (piece,) = recipes.pieces(file, recipe)
        np.testing.assert_array_equal(piece.X, COUNTS[:, :2] - 1)
        recipe, _ = recipes.make(file, ["gene0"], "none", layer="no")
        assert "no 'no' in layers; it has: counts" in error(list, recipes.pieces(file, recipe))
        assert "X_pca" in error(recipes.choose, file, use_rep="no")
        assert "omit one" in error(recipes.choose, file, ["gene0"], use_rep="X_pca")


def test_names_twice(tmp_path):
    path = write_h5ad(tmp_path / "a.h5ad", COUNTS, names=["A", "B", "A", "C", "D"])
    assert "feature name 'A' occurs twice (numbers 0 and 2" in error(read_cells, path)


def test_not_an_h5ad(tmp_path):
    path = tmp_path / "a.h5ad"
    for content in (b"", b"no h5ad", write_h5ad(tmp_path / "b.h5ad", COUNTS).read_bytes()[:3000]):
        path.write_bytes(content)
        assert "not a readable h5ad" in error(read_cells, path)
        assert "not a readable h5ad" in error(read_cells, path, on_disk=True)


def test_an_h5ad_without_x_or_with_text(tmp_path):
    path = tmp_path / "a.h5ad"
    anndata.AnnData(obs=pd.DataFrame(index=["a", "b"]), var=pd.DataFrame(index=["x"])).write(path)
    for on_disk in (False, True):
        file = read_cells(path, on_disk)
        assert "has no X" in error(recipes.make, file, ["x"])


@pytest.mark.parametrize("matrix", [COUNTS, sp.csr_matrix(COUNTS)], ids=["dense", "sparse"])
@pytest.mark.parametrize("transform", ["none", "counts", "arcsinh"])
def test_from_disk_piece_by_piece_as_from_memory(tmp_path, monkeypatch, matrix, transform):
    monkeypatch.setattr(recipes, "PIECE_VALUES", 40)  # 8 cells of 5 features
    path = write_h5ad(tmp_path / "a.h5ad", matrix)
    inside, outside = read_cells(path), read_cells(path, on_disk=True)
    assert outside.cells.X is None
    chosen = recipes.choose(inside, drop=["gene2"])
    recipe, words = recipes.make(inside, chosen, transform)
    assert recipes.make(outside, chosen, transform) == (recipe, words)
    assert [piece.n_obs for piece in recipes.pieces(outside, recipe)] == [8, 8, 8, 6]
    recipes.write_prepared(outside, recipe, tmp_path / "b.h5ad")
    expected, found = recipes.prepared(inside, recipe), anndata.read_h5ad(tmp_path / "b.h5ad")
    assert sp.issparse(found.X) == sp.issparse(matrix)
    assert list(found.obs_names) == list(expected.obs_names)
    assert list(found.var_names) == chosen
    dense = [x.toarray() if sp.issparse(x) else x for x in (found.X, expected.X)]
    np.testing.assert_array_equal(*dense)
    assert found.X.dtype == np.float32
    if not sp.issparse(matrix):
        with h5py.File(tmp_path / "b.h5ad") as stored:
            assert stored["X"].chunks is None  # so that it can be mapped


def test_columns_stored_by_column_cannot_stay_on_disk(tmp_path):
    path = write_h5ad(tmp_path / "a.h5ad", sp.csc_matrix(COUNTS))
    file = read_cells(path)
    assert as_clustered(file).X.format == "csr"
    assert "csc_matrix" in error(recipes.make, read_cells(path, on_disk=True), ["gene0"])


@pytest.mark.parametrize("sparse", [False, True])
def test_an_h5ad_of_anndata_0_5(tmp_path, sparse):
    path, names = tmp_path / "a.h5ad", [("index", "S8"), ("louvain", "i1")]
    with h5py.File(path, "w") as file:
        file["obs"] = np.array([(f"c{i}".encode(), i % 2) for i in range(30)], names)
        file["var"] = np.array([(f"g{i}".encode(),) for i in range(5)], names[:1])
        file.create_group("uns")["louvain_categories"] = np.array([b"a", b"b"])
        file["raw.X"], file["raw.var"] = COUNTS, file["var"][:]
        if sparse:
            matrix = sp.csr_matrix(COUNTS)
            group = file.create_group("X")
            group.attrs.update(h5sparse_format="csr", h5sparse_shape=matrix.shape)
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(matrix, name)
        else:
            file["X"] = COUNTS
    for on_disk in (False, True):
        file = read_cells(path, on_disk)
        assert list(file.cells.obs["louvain"][:3]) == ["a", "b", "a"]
        assert list(file.cells.var_names) == [f"g{i}" for i in range(5)]
        recipe, _ = recipes.make(file, recipes.choose(file), "none")
        (piece,) = recipes.pieces(file, recipe)
        values = piece.X.toarray() if sparse else piece.X
        np.testing.assert_array_equal(values, COUNTS)


def test_not_finite_in_a_sparse_matrix_is_named(tmp_path):
    wrong = COUNTS.copy()
    wrong[17, 3] = np.nan
    for matrix in (wrong, sp.csr_matrix(wrong)):
        file = read_cells(write_h5ad(tmp_path / "a.h5ad", matrix))
        assert "cell 'cell17' has the value nan in feature 'gene3'" in error(as_clustered, file)


# ---------------------------------------------------------------------- choice and transform


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "a.csv"
    pd.DataFrame(COUNTS[:, :4] - 1, columns=MARKERS).to_csv(path, index=False)
    return read_cells(path)


def test_patterns(table):
    assert recipes.choose(table, ["CD1*", "CD3"]) == ["CD3", "CD19"]
    assert recipes.choose(table, ["CD?"], drop=["CD8"]) == ["CD3", "CD4"]
    assert "no feature 'CD33'; did you mean one of: CD3" in error(recipes.choose, table, ["CD33"])
    assert "is left" in error(recipes.choose, table, drop=["*"])


def test_a_name_that_looks_like_a_pattern_is_a_name(tmp_path):
    file = read_cells(write_csv(tmp_path / "a.csv", "CD3[1],CD31\n1,2\n2,3\n"))
    assert recipes.choose(file, ["CD3[1]"]) == ["CD3[1]"]


def test_settings_that_do_not_fit(table):
    assert "applies only to the transform" in error(recipes.make, table, MARKERS, "log1p", 5)
    assert "as they are" in error(recipes.make, table, MARKERS, "auto", 5)
    assert "positive" in error(recipes.make, table, MARKERS, "arcsinh", 0)
    assert "positive" in error(recipes.make, table, MARKERS, "arcsinh", float("nan"))
    assert "unknown transform" in error(recipes.make, table, MARKERS, "sqrt")
    assert "not an h5ad file" in error(recipes.make, table, MARKERS, "counts", use_rep="X_pca")
    sentence = error(as_clustered, table, "log1p")
    assert "has the value -1 in feature 'CD" in sentence
    assert "at least 0" in sentence


def test_new_cells_are_found_by_name_whatever_their_order(table, tmp_path):
    recipe, _ = recipes.make(table, ["CD3", "CD8"], "arcsinh", 2)
    recipe.save(tmp_path)
    assert recipes.load(tmp_path) == recipe
    new = read_cells(write_csv(tmp_path / "b.csv", "cell,type,CD8,CD5,CD3\na,T,8,5,3\n"))
    np.testing.assert_allclose(
        recipes.prepared(new, recipe).X, np.arcsinh(np.float32([[1.5, 4]])), rtol=1e-6
    )
    new = read_cells(write_csv(tmp_path / "b.csv", "CD8,CD5\n8,5\n"))
    assert "lacks 1 of the 2 features that the model needs (CD3)" in error(
        recipes.prepared, new, recipe
    )


def test_recipes_that_cannot_be_used(tmp_path):
    assert recipes.load(tmp_path) is None
    for text in ("", "[]", "{}", json.dumps({"format": recipes.FORMAT, "format_version": 99})):
        (tmp_path / recipes.FILE).write_text(text)
        assert "cannot be used" in error(recipes.load, tmp_path)


@pytest.mark.parametrize("transform", ["none", "arcsinh", "log1p"])
def test_inverted(tmp_path, transform):
    file = read_cells(write_h5ad(tmp_path / "a.h5ad", COUNTS + 0.5))
    recipe, _ = recipes.make(file, recipes.choose(file), transform)
    back = recipes.inverted(recipe, recipes.prepared(file, recipe).X)
    np.testing.assert_allclose(back, COUNTS + 0.5, rtol=1e-5)


def test_the_shape_of_images_goes_along(tmp_path):
    path = write_h5ad(tmp_path / "a.h5ad", COUNTS[:, :4] / 10, uns={"image_shape": [2, 2]})
    for on_disk in (False, True):
        file = read_cells(path, on_disk)
        recipe, _ = recipes.make(file, recipes.choose(file))
        assert list(next(recipes.pieces(file, recipe)).uns["image_shape"]) == [2, 2]
        recipe, _ = recipes.make(file, ["gene0"])
        assert "image_shape" not in next(recipes.pieces(file, recipe)).uns


# ---------------------------------------------------------------------- real files


@pytest.mark.shared
@pytest.mark.parametrize(
    ("path", "shape", "example"),
    [
        ("levine_32dim/Levine_32dim_notransform.subset60000.fcs", (60000, 41), "CD45RA"),
        ("samusik_01/Samusik_01_notransform.subset10000.fcs", (10000, 54), "CD16_32"),
        ("bodenmiller/Staurosporine_cd14+hladr-_H01.fcs", (91, 35), "pNFkB"),
        ("pbmc_facs/pbmc_facs.h5ad", (3774, 16791), "ENSG00000187634"),
        ("levine_13dim/Levine_13dim.zscored.subset40000.csv.gz", (40000, 14), "CD90"),
    ],
)
def test_real_files(shared_data, path, shape, example):
    file = read_cells(shared_data / path)
    assert file.cells.shape == shape
    assert example in file.cells.var_names
    names = recipes.choose(file, [example])
    recipe, words = recipes.make(file, names)
    kind = {"fcs": "mass cytometry", "h5ad": "counts", "table": "as they are"}[file.kind]
    assert kind in words
    assert np.isfinite(recipes.prepared(file, recipe).X.sum())


@pytest.mark.shared
def test_what_no_cytometrist_clusters_in_real_files(shared_data):
    file = read_cells(shared_data / "levine_32dim/Levine_32dim_notransform.subset60000.fcs")
    told = error(recipes.choose, file).partition("--drop ")[2].partition(",")[0].split()
    assert len(recipes.choose(file, drop=told)) == 32
    file = read_cells(shared_data / "samusik_01/Samusik_01_notransform.subset10000.fcs")
    told = error(recipes.choose, file).partition("--drop ")[2].partition(",")[0].split()
    assert len(recipes.choose(file, drop=told)) == 39
    file = read_cells(shared_data / "bodenmiller/Staurosporine_cd4+_H05.fcs")
    told = error(recipes.choose, file).partition("--drop ")[2].partition(",")[0].split()
    assert len(recipes.choose(file, drop=told)) == 24


def test_more_values_than_memory_are_refused_unless_they_stay_on_disk(tmp_path, monkeypatch):
    path = write_h5ad(tmp_path / "a.h5ad", COUNTS)
    monkeypatch.setattr(hdf5, "memory_bytes", lambda: 100)
    assert "more than the 100 bytes of memory" in error(read_cells, path)
    assert read_cells(path, on_disk=True).cells.n_obs == len(COUNTS)


def test_a_sentence_about_a_table_is_not_wrapped_into_another(tmp_path):
    (tmp_path / "cells.csv").write_text("")
    assert error(read_cells, tmp_path / "cells.csv").count("cells.csv") == 1
