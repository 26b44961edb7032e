"""What values are is told by what tells them apart, and the other reading is named."""

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from moesimvae.data import guess
from moesimvae.data import recipe as recipes
from moesimvae.data.cells import read_cells
from moesimvae.data.own_cells import as_config
from sentences import error

PANEL = ["CD3", "CD8", "CD16", "CD45RA", "CD45", "CD14", "CD19", "CD20", "HLA-DR", "CCR7", "IgD"]
GENES = ["CD3E", "CD4", "CD8A", "CD14", "CD19", "MS4A1", "LYZ", "NKG7", "CD34", "CD274", "ACTB"]
rng = np.random.default_rng(0)


def counts(n_cells=150, n_features=60, most=2.0):
    """Counts of cells of different depth, with genes of different height."""
    rate = rng.gamma(0.5, most, n_features) * rng.lognormal(0, 0.5, (n_cells, 1))
    return rng.poisson(rate).astype(np.float32)


def made(folder, values, names=None, said=recipes.as_options, suffix="h5ad", **more):
    names = names or [f"gene{i}" for i in range(values.shape[1])]
    if suffix == "npz":
        np.savez(folder / "a.npz", X=values, features=names)
    else:
        var = pd.DataFrame(more, index=names)
        anndata.AnnData(values, var=var).write_h5ad(folder / "a.h5ad")
    file = read_cells(folder / f"a.{suffix}")
    recipe, words = recipes.make(file, list(names), said=said)
    return [step["step"] for step in recipe.steps], words


def test_counts_with_fractions_are_noted_and_counts_offered(tmp_path):
    whole = counts(n_features=60, most=8)
    expected = {
        "of reads that fit several genes": whole * rng.uniform(0.7, 1, whole.shape),
        "of RSEM, most of which are whole": np.where(
            rng.random(whole.shape) < 0.3, whole * 0.87, whole
        ).clip(0, 12),
        "with an ambient profile taken away": np.maximum(whole - 0.3 * whole.mean(axis=0), 0),
    }
    for values in expected.values():
        for matrix in (values, sp.csr_matrix(values)):
            steps, words = made(tmp_path, matrix)
            assert steps == []
            assert "fractional counts" in words
            assert "use --transform counts" in words
            assert "already normalised, this is right" in words
        assert "use --transform counts" in made(tmp_path, values, suffix="npz")[1]
        assert "--config transform=counts" in made(tmp_path, values, said=as_config)[1]


def test_logarithms_scaled_values_and_points_are_not_taken_for_counts(tmp_path):
    whole = counts(most=300)
    share = whole / np.maximum(whole.sum(axis=1, keepdims=True), 1)
    others = {
        "log of 10,000": np.log1p(share * 1e4),
        "log2 of CPM": np.log2(share * 1e6 + 1),
        "log10 of counts": np.log10(whole + 1),
        "log2 of counts": np.log2(whole + 1),
        "some of them": np.log1p(share * 1e4)[:, :40],
        "scaled": share * 1e4 - (share * 1e4).mean(axis=0),
        "shares": share,
        "points": rng.normal(size=(150, 60)) * 30,
        "no zeros": whole + 0.5,
    }
    for name, values in others.items():
        steps, words = made(tmp_path, values.astype(np.float32))
        assert (name, steps, words) == (
            name,
            [],
            "none (automatic: values are taken as they are)",
        )


def test_tpm_are_noted(tmp_path):
    whole = counts(n_features=200)
    tpm = whole / np.maximum(whole.sum(axis=1, keepdims=True), 1) * 1e6
    steps, words = made(tmp_path, tpm.astype(np.float32))
    assert steps == []
    assert "each cell sums to 1,000,000, as with TPM and CPM: if so, use" in words
    assert "--transform log1p" in words


def test_a_panel_of_whole_numbers_is_mass_cytometry(tmp_path):
    values = counts(n_features=len(PANEL), most=30)
    for names in (
        PANEL,
        ["Ir191Di", "(Ir193)Di", *GENES[2:]],
        ["DNA1", "Event_length", *PANEL[2:]],
    ):
        steps, words = made(tmp_path, values, names)
        assert steps == ["arcsinh"]
        assert "arcsinh(x / 5) (automatic: integers in a panel of 11 features" in words
        assert "CITE-seq, use --transform counts" in words


@pytest.mark.parametrize(("most", "wanted"), [(30, ["arcsinh"]), (0.5, [])])
def test_whole_numbers_of_a_flow_cytometer(most, wanted, tmp_path):
    values = counts(n_features=6, most=most)
    values[0, 0] = 4000 if wanted else 1000
    steps, words = made(tmp_path, values, ["FSC-A", "SSC", "FL1-H", "FL2-H", "FL3-H", "FL4-H"])
    assert steps == wanted
    assert "FSC-A, SSC" in words
    assert ("arcsinh(x / 150)" in words) == bool(wanted)
    assert "--transform counts" in words


def test_a_column_that_is_left_out_says_nothing_of_the_others(tmp_path):
    values = counts(n_features=len(PANEL) + 1, most=30)
    values[:, -1] = np.nan
    np.savez(tmp_path / "a.npz", X=values, features=[*PANEL, "label"])
    file = read_cells(tmp_path / "a.npz")
    assert "all are integers" in recipes.make(file, PANEL)[1]


def test_genes_and_sequenced_antibodies_are_counts(tmp_path):
    values = counts(n_features=len(PANEL), most=30)
    for more in (
        {"names": GENES},
        {"names": [f"{name}_TotalSeqB" for name in PANEL]},
        {"names": PANEL, "feature_types": "Antibody Capture"},
        {"values": sp.csr_matrix(values), "names": PANEL},
    ):
        steps, words = made(tmp_path, **{"values": values} | more)
        assert steps == ["library_size", "log1p"]
        assert "so counts" in words
        assert "use --transform arcsinh" in words
    many = counts(n_features=400)
    assert "arcsinh" not in made(tmp_path, many)[1]


def test_features_of_several_kinds_are_noted(tmp_path):
    kinds = ["Gene Expression"] * 5 + ["Antibody Capture"]
    var = pd.DataFrame({"feature_types": kinds}, index=list("ABCDEF"))
    anndata.AnnData(counts(n_features=6), var=var).write_h5ad(tmp_path / "a.h5ad")
    for on_disk in (False, True):
        (note,) = read_cells(tmp_path / "a.h5ad", on_disk).notes
        assert "(5 of Gene Expression, 1 of Antibody Capture), and all are used" in note


def test_whole_numbers_in_a_table_name_both_readings(tmp_path):
    values = counts(n_features=len(PANEL), most=30)
    steps, words = made(tmp_path, values, PANEL, suffix="npz")
    assert steps == []
    assert "--transform counts; for a cytometry panel (features such as CD3, CD8, CD16)" in words
    assert "--transform arcsinh" in words
    measured = values * rng.uniform(0.9, 1, values.shape) * 20 - 1
    for suffix in ("npz", "h5ad"):
        assert "as measured by a cytometer" in made(tmp_path, measured, PANEL, suffix=suffix)[1]
    done = np.arcsinh(measured / 5)
    assert "as they are)" in made(tmp_path, done, PANEL)[1]


BARCODES = ["CD45BC1", "CD45_BC2", "BC1", "BC 3", "Pd102Di", "(Pd104)Di", "102Pd", "102Pd_BC1"]
BARCODES += ["Pd110Di", "B2M_BC4", "140Ce_Beads", "105Pd_105Pd", "Ir191Di", "193Ir"]


def test_sample_barcodes_and_dna_are_suspects(tmp_path):
    names = [*PANEL, *BARCODES, "ABC1", "104Pd_CD45", "BCL2", "Time", "cisplatin"]
    values = counts(n_features=len(names), most=30)
    suspects = [*BARCODES, "Time", "cisplatin"]
    anndata.AnnData(values, var=pd.DataFrame(index=names)).write_h5ad(tmp_path / "a.h5ad")
    pd.DataFrame(values, columns=names).to_csv(tmp_path / "a.csv", index=False)
    for name in ("a.h5ad", "a.csv"):
        file = read_cells(tmp_path / name)
        assert recipes.as_options("drop", suspects) in error(recipes.choose, file)
        taken = recipes.choose(file, drop=suspects)
        assert [name for name in names if name not in taken] == suspects


def test_genes_called_like_a_channel_are_no_suspects(tmp_path):
    anndata.AnnData(counts(n_features=3), var=pd.DataFrame(index=["Time", "BC1", "A"])).write_h5ad(
        tmp_path / "a.h5ad"
    )
    assert len(recipes.choose(read_cells(tmp_path / "a.h5ad"))) == 3


# ---------------------------------------------------------------------- barcodes without a cell


def raw(folder):
    """150 cells among 1,000 barcodes."""
    values = np.vstack([counts(150, 60, 5) + 1, rng.poisson(0.01, (850, 60))])[
        rng.permutation(1000)
    ]
    cells = anndata.AnnData(sp.csr_matrix(values.astype(np.float32)))
    cells.obs["total"] = values.sum(axis=1)
    cells.write_h5ad(folder / "raw.h5ad")
    return folder / "raw.h5ad"


def test_most_barcodes_without_a_cell_are_noted_and_can_be_left_out(tmp_path):
    for on_disk in (False, True):
        file = read_cells(raw(tmp_path), on_disk)
        recipe, _ = recipes.make(file, recipes.choose(file))
        assert "850 of 1,000 cells have fewer than 10 counts" in recipes.empty_barcodes(
            file, recipe
        )
        assert "--min-counts 500" in recipes.empty_barcodes(file, recipe)
    assert "stays on disk" in error(recipes.with_counts, file, 10)
    file = read_cells(tmp_path / "raw.h5ad")
    cells = recipes.with_counts(file, 20)
    assert cells.cells.n_obs == 150
    assert cells.cells.obs["total"].min() >= 20
    assert recipes.empty_barcodes(cells, recipe) == ""
    assert "the maximum is" in error(recipes.with_counts, file, 10**6)
    none, _ = recipes.make(file, recipes.choose(file), "none")
    assert recipes.empty_barcodes(file, none) == ""


@pytest.mark.parametrize("depth", [0.05, 1, 50])
def test_cells_of_any_depth_are_no_empty_barcodes(depth):
    assert guess.empty(counts(500, 60, depth).sum(axis=1) + 1) is None


def test_a_group_in_an_h5_is_no_value(tmp_path):
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        file.create_group("X")
    assert "not a readable h5ad" in error(read_cells, tmp_path / "a.h5ad")
    assert guess.look(np.array([["a"]])) is None
    assert guess.look(np.float32([[np.nan]])) is None
