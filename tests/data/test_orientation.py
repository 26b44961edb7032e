"""Genes in rows are refused, and transposed where that is asked for."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from moesimvae.data.cells import read_cells
from moesimvae.data.orientation import genes_in_rows
from moesimvae.data.own_cells import write_features, write_labels
from sentences import error

BASES = np.array(list("ACGT"))
BARCODES = [
    "".join(BASES[np.random.default_rng(i).integers(4, size=16)]) + "-1" for i in range(120)
]
SYMBOLS = ["ACTB", "GAPDH", "CD3E", "MS4A1", "NKG7", "LYZ"]
ENSEMBL = [f"ENSG{i:011}" for i in range(6)]
OTHERS = ["A1BG", "AAAS", "ZYX", "ZZEF1", "ABCA1", "NAT1"]
VALUES = np.random.default_rng(0).poisson(3.0, (120, 6)).astype(np.float32)
SAMPLES = [f"S{i}_x{i % 7}" for i in range(120)]


@pytest.mark.parametrize(
    ("rows", "columns", "first"),
    [
        (OTHERS, SAMPLES, "GENE"),
        (OTHERS, SAMPLES, "gene_id"),
        (OTHERS, SAMPLES, "Gene Symbol"),
        (OTHERS, SAMPLES, "symbol"),
        (["7157", "672"], SAMPLES, "entrez_id"),
        (OTHERS, BARCODES, "Unnamed: 0"),
        (OTHERS, [f"s1_{name}" for name in BARCODES], ""),
        (OTHERS, [name.replace("-", ".") for name in BARCODES], ""),
        (OTHERS, [f"AAAC{i:04}-1" for i in range(9)], ""),
        (OTHERS, [f"Cell{i}" for i in range(9)], ""),
        (OTHERS, [f"cell_{i}" for i in range(9)], ""),
        (OTHERS, [f"GSM{i}" for i in range(1000, 1009)], ""),
        (OTHERS, [f"{row}{i}" for row in "ABCDEFGH" for i in range(1, 13)], ""),
        (OTHERS, [f"plate1_{row}{i:02}" for row in "AB" for i in range(1, 13)], ""),
        (SYMBOLS, SAMPLES, ""),
        (ENSEMBL, SAMPLES, "id"),
        (["MT-CO1", "MT-ND1", *OTHERS], SAMPLES, ""),
        (["CD3", "CD4", "CD19"], [str(i) for i in range(50)], ""),
    ],
)
def test_genes_in_rows(rows, columns, first):
    assert genes_in_rows(rows, columns, first)
    assert not genes_in_rows(columns, rows, "cell")


@pytest.mark.parametrize(
    ("rows", "columns", "first"),
    [
        (BARCODES, OTHERS, ""),
        (BARCODES, SYMBOLS, "cell"),
        (SAMPLES, ENSEMBL, ""),
        ([str(i) for i in range(99)], ["CD3", "CD4", "FSC-A", "Time"], ""),
        ([str(i) for i in range(99)], [f"M{i}" for i in range(1, 9)], ""),
        ([str(i) for i in range(99)], [f"V{i}" for i in range(1, 30)], ""),
        ([str(i) for i in range(99)], ["cell_area", "cell_length", "cell_width"], ""),
        (SAMPLES, ["CD3-CTCATTGTAACTCCT", "CD4-TGTTCCCGCTCAACT", "CD8-GCTGCGCTTTCCATT"], ""),
        (["GSM1", "GSM2"], SYMBOLS, "sample"),
        (["CD4 T", "B", "NK"], ["CD3", "CD4", "CD19"], "population"),
        (["gene_1", "gene_2"], ["gene_1", "gene_2"], ""),
    ],
)
def test_cells_in_rows(rows, columns, first):
    assert not genes_in_rows(rows, columns, first)


def table(folder, rows=OTHERS, first="GENE", **more):
    path = folder / "rows.csv"
    pd.DataFrame(VALUES.T, rows, BARCODES).assign(**more).to_csv(path, index_label=first)
    return path


def h5ad(folder):
    path = folder / "rows.h5ad"
    cells = anndata.AnnData(
        sp.csr_matrix(VALUES.T),
        obs=pd.DataFrame({"length": range(6)}, SYMBOLS),
        var=pd.DataFrame({"type": np.array(["a", "b"])[np.arange(120) % 2]}, BARCODES),
        layers={"twice": 2 * VALUES.T},
        varm={"X_pca": VALUES[:, :2]},
    )
    cells.write_h5ad(path)
    return path


def npz(folder):
    np.savez(folder / "rows.npz", X=VALUES.T, cells=np.array(SYMBOLS), features=np.array(BARCODES))
    return folder / "rows.npz"


@pytest.mark.parametrize(("made", "genes"), [(table, OTHERS), (h5ad, SYMBOLS), (npz, SYMBOLS)])
def test_a_file_with_genes_in_rows_is_refused_or_transposed(tmp_path, made, genes):
    path = made(tmp_path)
    sentence = error(read_cells, path)
    assert "seems to have genes in rows and cells in columns" in sentence
    assert "6 genes would be clustered as cells" in sentence
    for option in ("--transpose", "--no-transpose", "transpose=true", "transpose=false"):
        assert option in sentence
    cells = read_cells(path, transpose=True).cells
    assert list(cells.obs_names) == BARCODES
    assert list(cells.var_names) == genes
    np.testing.assert_array_equal(cells.X.toarray() if sp.issparse(cells.X) else cells.X, VALUES)
    assert read_cells(path, transpose=False).cells.shape == (6, 120)


def test_what_belongs_to_cells_is_transposed_with_them(tmp_path):
    cells = read_cells(h5ad(tmp_path), transpose=True).cells
    assert list(cells.obs["type"][:3]) == ["a", "b", "a"]
    assert list(cells.var["length"]) == list(range(6))
    np.testing.assert_array_equal(cells.layers["twice"], 2 * VALUES)
    np.testing.assert_array_equal(cells.obsm["X_pca"], VALUES[:, :2])
    assert "genes in rows" in error(read_cells, h5ad(tmp_path), on_disk=True)
    assert "cannot be transposed" in error(read_cells, h5ad(tmp_path), True, transpose=True)


def test_genes_that_stand_twice_are_refused_as_features(tmp_path):
    path = table(tmp_path, ["A", "A", *OTHERS[2:]], "Symbol")
    assert "genes in rows" in error(read_cells, path)
    assert "the feature name 'A' occurs twice" in error(read_cells, path, transpose=True)


def test_columns_that_are_no_cells_are_not_made_cells(tmp_path):
    path = table(tmp_path, Length=range(6), gene_name=OTHERS)
    assert "genes in rows" in error(read_cells, path)
    assert "would not be cells when transposed (gene_name, Length:" in error(
        read_cells, path, transpose=True
    )


def test_cells_in_rows_are_not_transposed(tmp_path):
    path = tmp_path / "a.csv"
    pd.DataFrame(VALUES, BARCODES, SYMBOLS).to_csv(path)
    np.testing.assert_array_equal(read_cells(path).cells.X, VALUES)
    assert "has its genes in columns (ACTB, GAPDH" in error(read_cells, path, transpose=True)


def test_own_cells_in_columns(tmp_path):
    path, out = h5ad(tmp_path), tmp_path / "out"
    assert "genes in rows" in error(write_features, "own", path, out, None, clusters=3)
    facts = write_features("own", path, out, None, clusters=3, transpose=True, transform="none")
    assert (facts["n_cells"], facts["n_features"]) == (120, 6)
    assert write_labels(path, out, "type", transpose=True)["n_populations"] == 2
    labels = pd.read_parquet(out / "labels.parquet")
    assert list(labels["cell"]) == BARCODES
    assert list(labels["label"][:2]) == ["a", "b"]
