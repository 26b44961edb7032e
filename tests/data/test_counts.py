"""Readers of counts, the split, signature genes, and what can be wrong with each."""

import hashlib
import json
import re
import zipfile

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from moesimvae import registry
from moesimvae.data import catalogue, counts, dataset, readers, signature
from moesimvae.data.prepare import prepare
from moesimvae.data.split import same_as_paper, split, training
from moesimvae.errors import UserError
from moesimvae.files import read_json, sha256
from moesimvae.nouns import DataSet
from sentences import error

GENES = ["Hpx", "Dntt", "ERCC-00002", "Ercc1", "Actb"]
TABLES = {
    "Liver": (["L1", "L2", "L3"], [[9, 0, 8], [0, 0, 0], [5, 5, 5], [0, 1, 0], [1, 4, 0]]),
    "Thymus": (["T1", "T2"], [[0, 0], [7, 0], [5, 0], [0, 0], [3, 20]]),
}
PREPROCESSING = [
    {"step": "keep", "layer": "counts"},
    {"step": "library_size", "target": 1e6},
    {"step": "log1p"},
    {"step": "gene_filter", "quantile": 0.2},
    {"step": "keep", "layer": "lognorm"},
    {"step": "minmax"},
]


def read(block, raw_files):
    return readers.read(DataSet.of(block), raw_files)


def table(cells, rows, genes=GENES):
    lines = [("", *cells), *((gene, *row) for gene, row in zip(genes, rows, strict=True))]
    return "".join(",".join(map(str, line)) + "\n" for line in lines)


def archive(path, tables=TABLES, **texts):
    """A zip of tables; texts: population → content in place of its table."""
    contents = {name: table(*given) for name, given in tables.items()} | texts
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as members:
        for name, text in contents.items():
            members.writestr(f"FACS/{name}-counts.csv", text)
        members.writestr("__MACOSX/FACS/._Liver-counts.csv", "hidden")
    return {"counts": path}


def block(**settings):
    own = {
        "populations": ["Thymus", "Liver"],
        "member": "FACS/{population}-counts.csv",
        "spike_ins": "ERCC-",
    }
    return {"title": "T", "reader": "count_tables", "counts": own | settings}


# ---------------------------------------------------------------------- tables in an archive


@pytest.mark.parametrize("rows", [1, 2, 256])
def test_tables_are_read_in_the_wanted_order_without_spike_ins(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(counts, "ROWS", rows)
    cells, labels = read(block(), archive(tmp_path / "FACS.zip"))
    assert sp.isspmatrix_csr(cells.X)
    assert cells.X.dtype == np.float32
    np.testing.assert_array_equal(
        cells.X.toarray(),
        [[0, 7, 0, 3], [0, 0, 0, 20], [9, 0, 0, 1], [0, 0, 1, 4], [8, 0, 0, 0]],
    )
    assert list(cells.obs_names) == list(labels["cell"]) == ["T1", "T2", "L1", "L2", "L3"]
    assert list(cells.var_names) == ["Hpx", "Dntt", "Ercc1", "Actb"]
    assert list(labels["label"]) == ["Thymus"] * 2 + ["Liver"] * 3
    assert labels["scored"].all()
    assert json.loads(cells.uns["counts"]) == {"spike_ins": 1, "empty_cells": 0}
    assert not len(cells.obs.columns)
    assert [path.name for path in tmp_path.iterdir()] == ["FACS.zip"]


@given(
    st.lists(
        st.lists(st.integers(0, 10**6) | st.just(0), min_size=3, max_size=3),
        min_size=1,
        max_size=9,
    )
)
def test_any_counts_come_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("zip") / "FACS.zip"
    genes = [f"g{i}" for i in range(len(rows))]
    raw = archive(path, {"A": (["a", "b", "c"], rows, genes)})
    wanted = block(populations=["A"], empty_cells="kept")
    cells, _ = read(wanted, raw)
    np.testing.assert_array_equal(cells.X.toarray().T, rows)


def test_names_in_quotes_and_line_ends_of_windows(tmp_path):
    quoted = '"","T1","T2"\r\n' + "".join(f'"{gene}",1,2\r\n' for gene in GENES)
    cells, _ = read(block(), archive(tmp_path / "FACS.zip", Thymus=quoted))
    assert list(cells.obs_names[:2]) == ["T1", "T2"]
    np.testing.assert_array_equal(cells.X[:2].toarray(), [[1] * 4, [2] * 4])


def test_whole_numbers_of_any_form_and_lines_without_anything(tmp_path):
    text = ",T1,T2\n\nHpx,1.0,2e1\nDntt,007,0\nERCC-00002,0,0\nErcc1,16777216,-0\nActb,0, 3\n\n"
    cells, _ = read(block(), archive(tmp_path / "FACS.zip", Thymus=text))
    np.testing.assert_array_equal(cells.X[:2].toarray(), [[1, 7, 2**24, 0], [20, 0, 0, 3]])


def rows_with(value):
    return table(["T1", "T2"], [[0, 0], [7, value], [5, 0], [0, 0], [3, 20]])


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ({"Thymus": rows_with(-2)}, "gene Dntt has -2 in cell T2, a negative value"),
        ({"Thymus": rows_with(0.5)}, "gene Dntt has 0.5 in cell T2, not an integer"),
        ({"Thymus": rows_with("x")}, "gene Dntt has 'x' in cell T2"),
        ({"Thymus": rows_with("nan")}, "gene Dntt has nan in cell T2, not an integer"),
        ({"Thymus": rows_with("1_0")}, "gene Dntt has '1_0' in cell T2"),
        ({"Thymus": rows_with("")}, "gene Dntt has '' in cell T2"),
        ({"Thymus": rows_with("1,2")}, "gene Dntt has 3 fields for 2 cells"),
        ({"Thymus": ""}, "begins with '', expected"),
        ({"Thymus": "gene,T1,T2\n"}, "begins with 'gene,T1,T2'"),
        ({"Thymus": ",T1,T2\n"}, "Thymus-counts.csv has no genes"),
        ({"Thymus": table(["T1", "T1"], TABLES["Thymus"][1])}, "the cell name 'T1' occurs twice"),
        ({"Thymus": table(["L1", "T1"], TABLES["Thymus"][1])}, "the cell name 'L1' occurs twice"),
        (
            {"Thymus": table(*TABLES["Thymus"], [*GENES[:4], "Hpx"])},
            "the gene symbol 'Hpx' occurs twice",
        ),
        (
            {"Liver": table(*TABLES["Liver"], ["Hpx", "Dntt", "ERCC-00002", "Actb", "Ercc1"])},
            "Liver-counts.csv and .*Thymus-counts.csv differ in their genes: 5 instead of 5, and "
            "row 4 is Actb instead of Ercc1",
        ),
        (
            {"Liver": table(TABLES["Liver"][0], TABLES["Liver"][1][:4], GENES[:4])},
            "4 instead of 5, and row 5 is none instead of Actb",
        ),
        (
            {"Thymus": table(["T1", "T2"], [[0, 0], [7, 0], [5, 9], [0, 0], [3, 0]])},
            r"of 5 cells, 1 \(T2\) have no counts for any gene",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_told(tmp_path, texts, told):
    raw = archive(tmp_path / "FACS.zip", **texts)
    sentence = error(read, block(), raw)
    assert re.search(told, sentence), sentence


def test_a_table_that_is_missing_is_told_with_the_nearest(tmp_path):
    raw = archive(tmp_path / "FACS.zip", Thymos="x")
    sentence = error(read, block(populations=["Liver", "Thymuz"]), raw)
    assert "contains no FACS/Thymuz-counts.csv" in sentence
    assert "FACS/Thymus-counts.csv" in sentence


def test_a_damaged_archive_is_told(tmp_path):
    raw = archive(tmp_path / "FACS.zip")
    content = raw["counts"].read_bytes()
    for spoilt in (content[: len(content) // 2], b"", b"\0" * 50 + content[50:]):
        raw["counts"].write_bytes(spoilt)
        assert "not a readable zip archive" in error(read, block(), raw)
    middle = bytearray(content)
    middle[55:75] = bytes(20)
    raw["counts"].write_bytes(middle)
    assert "FACS.zip" in error(read, block(), raw)


def test_an_archive_that_unpacks_to_too_much_is_not_read(tmp_path, monkeypatch):
    raw = archive(tmp_path / "FACS.zip")
    monkeypatch.setattr(counts, "UNPACKED", 50)
    assert "more than the limit of 50" in error(read, block(), raw)


def test_an_encrypted_table_is_told(tmp_path):
    raw = archive(tmp_path / "FACS.zip")
    content = bytearray(raw["counts"].read_bytes())
    place = content.index(b"PK\1\2")  # the first entry of the directory: Liver's
    content[place + 8] |= 1
    raw["counts"].write_bytes(content)
    assert "Liver-counts.csv is encrypted" in error(read, block(), raw)


def test_empty_cells_are_kept_when_the_block_says_so(tmp_path):
    empty = table(["T1", "T2"], [[0, 0], [7, 0], [5, 9], [0, 0], [3, 0]])
    raw = archive(tmp_path / "FACS.zip", Thymus=empty)
    cells, _ = read(block(empty_cells="kept"), raw)
    assert json.loads(cells.uns["counts"])["empty_cells"] == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"organs": []}, "has the unknown key 'organs'"), (None, "lacks populations")],
)
def test_wrong_settings_are_told(tmp_path, settings, told):
    wanted = block(**settings) if settings else block() | {"counts": {}}
    assert told in error(read, wanted, archive(tmp_path / "FACS.zip"))


# ---------------------------------------------------------------------- h5ad


def h5ad(path, values=((1, 0, 3), (0, 2, 0)), dense=False, **columns):
    values = np.array(values, dtype=np.float32)
    obs = pd.DataFrame({"subpop": ["B", "T"]} | columns, index=["c1", "c2"])
    var = pd.DataFrame({"symbol": ["CD19", "CD3D", "CD14"]}, index=["E1", "E2", "E3"])
    cells = anndata.AnnData(values if dense else sp.csr_matrix(values), obs=obs, var=var)
    cells.obsm["X_pca"], cells.uns["said"] = values, "anything"
    cells.write_h5ad(path)
    return {"counts": path}


def h5ad_block(**settings):
    own = {"label": "subpop", "symbols": "symbol"} | settings
    return {"title": "T", "reader": "h5ad_counts", "counts": own}


@pytest.mark.parametrize("dense", [False, True])
def test_an_h5ad_keeps_counts_and_symbols_and_nothing_else(tmp_path, dense):
    cells, labels = read(h5ad_block(), h5ad(tmp_path / "a.h5ad", dense=dense))
    np.testing.assert_array_equal(cells.X.toarray(), [[1, 0, 3], [0, 2, 0]])
    assert list(cells.var["symbol"]) == ["CD19", "CD3D", "CD14"]
    assert list(labels["label"]) == ["B", "T"]
    assert not len(cells.obs.columns)
    assert not len(cells.obsm)
    assert list(cells.uns) == ["counts"]


def test_cells_without_a_label_are_not_scored(tmp_path):
    raw = h5ad(tmp_path / "a.h5ad", subpop=pd.Categorical(["B", None]))
    _, labels = read(h5ad_block(), raw)
    assert list(labels["label"]) == ["B", ""]
    assert list(labels["scored"]) == [True, False]


@pytest.mark.parametrize(
    ("values", "settings", "told"),
    [
        (((1, 0, -3), (0, 2, 0)), {}, "gene E3 has -3 in cell c1, a negative value"),
        (((1, 0, 3), (0, 2.5, 0)), {}, "gene E2 has 2.5 in cell c2, not an integer"),
        (((1, 0, 3), (0, np.nan, 0)), {}, "has nan in cell c2, not an integer"),
        (((1, 0, 3), (0, 0, 0)), {}, "of 2 cells, 1 (c2) have no counts"),
        (((1, 0, 3), (0, 2, 0)), {"label": "subpopp"}, "no obs column 'subpopp'; did you mean"),
        (((1, 0, 3), (0, 2, 0)), {"symbols": "name"}, "no var column 'name'"),
    ],
)
def test_what_is_wrong_with_an_h5ad_is_told(tmp_path, values, settings, told):
    sentence = error(read, h5ad_block(**settings), h5ad(tmp_path / "a.h5ad", values))
    assert told in sentence


def test_an_h5ad_without_values_is_told(tmp_path):
    names = pd.DataFrame({"subpop": ["B", "T"]}, index=["c1", "c2"])
    anndata.AnnData(obs=names).write_h5ad(tmp_path / "a.h5ad")
    wanted = h5ad_block()
    del wanted["counts"]["symbols"]
    sentence = error(read, wanted, {"counts": tmp_path / "a.h5ad"})
    assert "has no values in X" in sentence


# ---------------------------------------------------------------------- split


def test_the_split_is_the_papers_permutation():
    parts = split(17_218, test=0.2, seed=123456)
    assert (parts == "test").sum() == 3444
    assert list(np.flatnonzero(parts == "test")[:6]) == [2, 4, 11, 13, 19, 23]
    labels = pd.DataFrame({"label": "A", "split": parts})
    hashes = {
        "indices_test": "b152dd5473c017a451399a75f9e7e32a43094594b221f4703412d909df5873bd",
        "indices_train": "cc83b3706e4f012f2b9d98832768ecee15b9b9d5b8c4de3a46bc6b72e8afb61c",
    }
    assert same_as_paper(labels, hashes) == {"indices_test": True, "indices_train": True}
    other = labels.assign(split=split(17_218, test=0.2, seed=1))
    assert same_as_paper(other, hashes) == {"indices_test": False, "indices_train": False}


def test_labels_are_compared_line_by_line():
    labels = pd.DataFrame({"label": ["Liver", "Lung"], "split": ["train", "test"]})
    value = hashlib.sha256(b"Liver\nLung\n").hexdigest()
    assert same_as_paper(labels, {"labels": value}) == {"labels": True}
    assert same_as_paper(labels[::-1], {"labels": value}) == {"labels": False}


@given(st.integers(1, 500), st.integers(0, 10))
def test_every_cell_is_in_one_part(n, seed):
    parts = split(n, test=0.2, seed=seed)
    assert set(parts) <= {"train", "test"}
    assert (parts == "test").sum() == round(0.2 * n)


# ---------------------------------------------------------------------- signature genes


def two_groups():
    """Cells 0 to 3 are of group a, 4 to 7 of b; cells 3 and 7 are test cells, 3 of enormous x."""
    values = np.array(
        [
            [9, 0, 1],
            [8, 0, 2],
            [0, 0, 10],
            [1000, 0, 0],
            [0, 6, 4],
            [0, 0, 10],
            [36, 64, 0],
            [0, 9, 1],
        ]
    )
    parts = np.array(["train", "train", "train", "test"] * 2)
    cells = anndata.AnnData(
        sp.csr_matrix(values.astype(np.float32)),
        obs=pd.DataFrame({"split": parts}, index=[f"c{i}" for i in range(8)]),
        var=pd.DataFrame({"symbol": ["x", "y", "z"]}, index=["E1", "E2", "E3"]),
    )
    return cells, np.repeat(["a", "b"], 4), parts


def test_the_average_is_that_of_shares_in_training_cells():
    cells, _, _ = two_groups()
    above = signature.above_average(cells, {"a": "x", "b": "E2"}, "T")
    # shares of x in training: .9 .8 0 0 0 .36, mean .343 (.383 with the test cells, which do not
    # count); of y: 0 0 0 .6 0 .64, mean .207
    assert list(above[:, 0]) == [True, True, False, True, False, False, True, False]
    assert list(above[:, 1]) == [False, False, False, False, True, False, True, True]
    more = cells.copy()
    more.X = sp.csr_matrix(more.X.toarray() * np.arange(1, 9, dtype=np.float32)[:, None])
    np.testing.assert_array_equal(
        signature.above_average(more, {"a": "x", "b": "y"}, "T"), above
    )  # the depth of a cell says nothing


def test_the_accuracy_of_signature_genes():
    cells, labels, parts = two_groups()
    genes = {"a": "x", "b": "y"}
    table = signature.accuracy(signature.above_average(cells, genes, "T"), genes, labels, parts)
    assert list(table.columns) == [
        *("group", "gene", "split", "n_cells", "accuracy", "balanced_accuracy")
    ]
    assert list(table["split"]) == ["train"] * 3 + ["test"] * 3
    assert list(table["group"]) == ["a", "b", "mean"] * 2
    assert list(table["gene"]) == ["x", "y", ""] * 2
    assert list(table["n_cells"]) == [6] * 3 + [2] * 3
    np.testing.assert_allclose(table["accuracy"], [4 / 6, 5 / 6, 0.75, 1, 1, 1])
    np.testing.assert_allclose(table["balanced_accuracy"], [4 / 6, 5 / 6, 0.75, 1, 1, 1])


def test_plain_and_balanced_accuracy_differ_where_groups_do():
    above = np.array([[True], [False], [False], [False], [False]])
    labels = np.array(["a", "a", "b", "b", "b"])
    table = signature.accuracy(above, {"a": "x"}, labels, np.full(5, "train"))
    assert table.loc[0, "accuracy"] == pytest.approx(0.8)
    assert table.loc[0, "balanced_accuracy"] == pytest.approx(0.75)
    alone = signature.accuracy(above, {"c": "x"}, labels, np.full(5, "train"))
    assert alone["balanced_accuracy"].isna().all()


def test_labels_that_do_not_match_the_signature_are_told():
    sentence = error(signature.accuracy, np.zeros((3, 1), bool), {"a": "x"}, ["a"], ["train"])
    assert "shape (3, 1) for 1 groups, 1 labels" in sentence


def test_a_signature_gene_that_is_missing_is_told_with_the_nearest():
    cells, _, _ = two_groups()
    cells.var["symbol"] = ["Cd79a", "Cd79b", "Lpl"]
    sentence = error(signature.above_average, cells, {"a": "CD79"}, "the data set T")
    assert "the data set T has no gene 'CD79'" in sentence
    assert "did you mean Cd79a, Cd79b" in sentence or "did you mean Cd79b, Cd79a" in sentence


def test_a_signature_gene_that_stands_twice_is_told():
    cells, _, _ = two_groups()
    cells.var["symbol"] = ["x", "x", "z"]
    sentence = error(signature.above_average, cells, {"a": "x"}, "the data set T")
    assert "has 2 genes with the symbol 'x' (E1, E2)" in sentence
    assert signature.above_average(cells, {"a": "E1"}, "T").any()


# ---------------------------------------------------------------------- the whole


def whole(tmp_path, **settings):
    raw = archive(tmp_path / "FACS.zip")
    described = dict.fromkeys(DataSet.required(), "x") | block() | {"n_clusters": 2}
    described |= {
        "files": {"counts": {"name": "FACS.zip", "hash": "unknown"}},
        "split": {"test": 0.2, "seed": 123456},
        "signature": {"Liver": "Hpx", "Thymus": "Dntt"},
        "paper": {"labels": hashlib.sha256(b"Thymus\n" * 2 + b"Liver\n" * 3).hexdigest()},
        "preprocessing": PREPROCESSING,
    }
    return described | settings, raw


def check(folder):
    """Contract 1 of a data set of counts with a split and a signature."""
    cells = dataset.load_features(folder / "features.h5ad")
    labels = dataset.load_labels(folder / "labels.parquet")
    facts = read_json(folder / "dataset.json")
    assert list(cells.obs.columns) == ["split"]
    assert list(cells.obs["split"]) == list(labels["split"])
    assert facts["n_train"] == (labels["split"] == "train").sum()
    assert facts["n_test"] == (labels["split"] == "test").sum()
    for matrix in (cells.X, cells.layers["counts"], cells.layers["lognorm"]):
        assert sp.isspmatrix_csr(matrix)
        assert matrix.dtype == np.float32
    assert (cells.layers["counts"].data % 1 == 0).all()
    assert cells.X.data.min() >= 0
    assert cells.X[training(cells)].max() == cells.X.max() == 1
    assert cells.obsm["signature"].dtype == bool
    assert cells.obsm["signature"].shape == (cells.n_obs, facts["n_clusters"])
    assert json.loads(cells.uns["signature"]) == facts["signature"]
    return cells, labels, facts


def test_a_data_set_with_a_split_and_a_signature(tmp_path):
    described, raw = whole(tmp_path)
    prepare(described, "organs", raw, tmp_path / "one")
    prepare(described, "organs", raw, tmp_path / "two")
    assert sha256(tmp_path / "one/features.h5ad") == sha256(tmp_path / "two/features.h5ad")
    cells, _, facts = check(tmp_path / "one")
    assert facts["paper"] == {"labels": True}
    assert facts["counts"] == {"spike_ins": 1, "empty_cells": 0}
    assert facts["n_test"] == 1
    # Hpx is above its average in L1 and L3, Dntt in T1
    np.testing.assert_array_equal(cells.obsm["signature"][:, 0], [0, 0, 1, 0, 1])
    np.testing.assert_array_equal(cells.obsm["signature"][:, 1], [1, 0, 0, 0, 0])


def test_methods_see_two_thousand_genes_at_most_of_each_registered_data_set(root):
    blocks = registry.load(root / "workflow/registry/datasets.yaml")
    many = {name: b for name, b in blocks.items() if b.get("expects", {}).get("genes", 0) > 2000}
    assert {"tabula_muris", "tabula_muris_semisynthetic", "pbmc_facs"} <= set(many)
    for name, block in many.items():
        assert {"step": "mark_features", "n_top": 2000} in block["preprocessing"], name


def test_genes_that_methods_see_are_told_and_signature_genes_marked_besides(tmp_path):
    steps = [*PREPROCESSING[:3], {"step": "mark_features", "n_top": 1}, *PREPROCESSING[4:]]
    described, raw = whole(tmp_path, preprocessing=steps)
    facts = prepare(described, "organs", raw, tmp_path / "out")
    cells = anndata.read_h5ad(tmp_path / "out/features.h5ad")
    chosen = list(cells.var_names[cells.var["selected"]])
    assert facts["genes"]["names"] == chosen
    assert (len(chosen), facts["genes"]["of"]) == (1, cells.n_vars)
    assert "largest variance" in facts["genes"]["chosen_by"]
    assert list(cells.var_names[cells.var["signature"]]) == ["Hpx", "Dntt"]
    assert list(dataset.load_features(tmp_path / "out/features.h5ad").var_names) == chosen


def test_a_signature_gene_may_be_filtered_out(tmp_path):
    steps = [*PREPROCESSING[:3], {"step": "gene_filter", "quantile": 0.9}, *PREPROCESSING[4:]]
    described, raw = whole(tmp_path, preprocessing=steps)
    prepare(described, "organs", raw, tmp_path / "out")
    cells, _, _ = check(tmp_path / "out")
    assert cells.n_vars < 3
    assert "Dntt" not in cells.var_names
    np.testing.assert_array_equal(cells.obsm["signature"][:, 1], [1, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"signature": {"Liver": "Hpy"}}, "data set organs has no gene 'Hpy'.*did you mean Hpx"),
        ({"signature": {"Livr": "Hpx"}}, "names the group 'Livr'.*did you mean Liver"),
        ({"expects": {"genes": 5}}, "contain 4 genes instead of 5"),
    ],
)
def test_what_is_wrong_with_a_block_is_told(tmp_path, settings, told):
    described, raw = whole(tmp_path, **settings)
    with pytest.raises(UserError, match=told):
        prepare(described, "organs", raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_that_do_not_match_the_cells_are_told(tmp_path, monkeypatch):
    def short(block, raw_files):
        cells, labels = counts.count_tables(block, raw_files)
        return cells, labels[1:]

    monkeypatch.setitem(readers.READERS, "count_tables", short)
    described, raw = whole(tmp_path)
    sentence = error(prepare, described, "organs", raw, tmp_path / "out")
    assert "the labels of the data set organs name 4 cells, expected the 5 cells" in sentence


def test_only_the_split_may_stand_in_obs(tmp_path):
    described, raw = whole(tmp_path)
    prepare(described, "organs", raw, tmp_path)
    cells = dataset.load_features(tmp_path / "features.h5ad")
    cells.obs["organ"] = "Liver"
    cells.write_h5ad(tmp_path / "annotated.h5ad")
    with pytest.raises(UserError, match="column 'organ' in obs, expected only 'split'"):
        dataset.load_features(tmp_path / "annotated.h5ad")


# ---------------------------------------------------------------------- real files


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", ["tabula_muris_semisynthetic", "pbmc_facs"])
def test_real_counts(root, shared_data, tmp_path, name):
    blocks = catalogue.resolve(registry.load(root / "workflow/registry/datasets.yaml"), {})
    wanted = blocks[name]
    raw = {role: shared_data / name / f["name"] for role, f in wanted["files"].items()}
    # what is written is tested above: here the time goes into reading
    cells, labels = read(wanted, raw)
    assert (cells.n_obs, cells.n_vars) == (wanted["cells"], wanted["expects"]["genes"])
    labels["split"] = split(cells.n_obs, **wanted["split"])
    cells.obs["split"] = labels["split"].to_numpy()
    above = signature.above_average(cells, wanted["signature"], name)
    signature.require_groups(wanted["signature"], labels, name)
    table = signature.accuracy(above, wanted["signature"], labels["label"], labels["split"])
    means = table[table["group"] == "mean"].set_index("split")
    if name == "pbmc_facs":
        assert means.loc["test", "accuracy"] > 0.85
        return
    assert json.loads(cells.uns["counts"]) == {"spike_ins": 92, "empty_cells": 0}
    assert same_as_paper(labels, wanted["paper"]) == dict.fromkeys(wanted["paper"], True)
    for file, part in (("indices_test.csv", "test"), ("indices_train.csv", "train")):
        paper = np.loadtxt(shared_data / "tabula_muris" / file, dtype=int)
        np.testing.assert_array_equal(np.flatnonzero(labels["split"] == part), paper)
    known = pd.read_csv(shared_data / "tabula_muris/cells_17218.csv.gz", low_memory=False)
    assert list(known["cell"]) == list(cells.obs_names)
    assert list(known["organ"]) == list(labels["label"])
    assert means.loc["train", "accuracy"] == pytest.approx(0.908, abs=0.005)
    assert means.loc["train", "balanced_accuracy"] == pytest.approx(0.726, abs=0.005)
