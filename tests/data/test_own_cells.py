"""A user's own file as a data set: any format, labels apart, number of clusters without them."""

import gzip
import json
import re

import anndata
import flowio
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

from moesimvae import handover, registry
from moesimvae.data import catalogue
from moesimvae.data.cells import read_cells
from moesimvae.data.own_cells import cells_of, existing_clusters, write_features, write_labels
from moesimvae.errors import UserError
from moesimvae.model.stability import Evidence
from sentences import error

N, GENES = 120, ["Alb", "Actb", "Cd3e", "Cd19", "Ins1", "Gcg"]
rng = np.random.default_rng(0)
COUNTS = rng.poisson(2.0, (N, len(GENES)))
COUNTS[:, 0] += 1  # no cell without any count
CELLS = [f"cell{i}" for i in range(N)]
TYPES = np.array(["B", "T", ""])[np.arange(N) % 3]


def h5ad(folder):
    cells = anndata.AnnData(
        sp.csr_matrix(COUNTS.astype(np.float32)),
        obs=pd.DataFrame({"type": pd.Categorical(np.where(TYPES == "", None, TYPES))}, CELLS),
        var=pd.DataFrame(index=GENES),
    )
    cells.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


def csv(folder):
    table = pd.DataFrame(COUNTS, CELLS, GENES).assign(type=TYPES)
    table.to_csv(folder / "cells.csv.gz", index_label="cell")
    return folder / "cells.csv.gz"


def npz(folder):
    np.savez(folder / "cells.npz", X=COUNTS, features=GENES, cells=CELLS, type=TYPES)
    return folder / "cells.npz"


def fcs(folder):
    values = np.column_stack([COUNTS, np.arange(N) % 3])
    with open(folder / "cells.fcs", "wb") as file:
        flowio.create_fcs(file, values.astype(float).ravel(), [*GENES, "type"])
    return folder / "cells.fcs"


def tenx_folder(folder, packed=True):
    folder = folder / "filtered"
    folder.mkdir()
    scipy.io.mmwrite(folder / "matrix.mtx", sp.coo_matrix(COUNTS.T))
    rows = {
        "barcodes.tsv": CELLS,
        "features.tsv": [f"ENS{i}\t{gene}\tGene Expression" for i, gene in enumerate(GENES)],
    }
    for name, lines in rows.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    if packed:
        for path in list(folder.iterdir()):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    return folder


def tenx_h5(folder, genome=""):
    counts = sp.csr_matrix(COUNTS)
    with h5py.File(folder / "cells.h5", "w") as file:
        group = file.create_group(genome or "matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(counts, name)
        group["shape"], group["barcodes"] = [len(GENES), N], np.array(CELLS, "S")
        if genome:
            group["genes"] = np.array([f"ENS{i}" for i in range(len(GENES))], "S")
            group["gene_names"] = np.array(GENES, "S")
        else:
            features = group.create_group("features")
            features["id"] = np.array([f"ENS{i}" for i in range(len(GENES))], "S")
            features["name"] = np.array(GENES, "S")
            features["feature_type"] = np.array(["Gene Expression"] * len(GENES), "S")
    return folder / "cells.h5"


def estimated(n_clusters):
    return Evidence(n_clusters, (1, n_clusters), 0.2, [])


def prepared(path, out, **settings):
    settings = {"estimate": lambda values: estimated(4)} | settings
    label = settings.get("label")
    write_features("own_cells", path, out, **settings)
    facts = write_labels(path, out, label, settings.get("genome", ""))
    cells = anndata.read_h5ad(out / "features.h5ad")
    return facts, cells, pd.read_parquet(out / "labels.parquet")


WRITERS = [h5ad, csv, npz, fcs, tenx_folder, tenx_h5]


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_gives_the_same_cells(write, tmp_path):
    path = write(tmp_path)
    drop = ["type"] if write in (fcs, csv) else []
    facts, cells, labels = prepared(path, tmp_path / "out", transform="counts", drop=drop)
    assert list(cells.var_names) == GENES
    expected = np.log1p(COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e4)
    if write is fcs:  # the library size is over all features of a file
        expected = np.log1p(COUNTS / (COUNTS.sum(axis=1) + np.arange(N) % 3)[:, None] * 1e4)
    lognorm = cells.layers["lognorm"]
    lognorm = lognorm.toarray() if sp.issparse(lognorm) else lognorm
    np.testing.assert_allclose(lognorm, expected, rtol=1e-4)
    np.testing.assert_array_equal(cells.layers["counts"].toarray(), COUNTS)
    assert cells.obs.columns.empty
    assert (facts["n_cells"], facts["n_clusters"], facts["n_populations"]) == (N, 4, 0)
    assert not labels["scored"].any()


@pytest.mark.parametrize("write", [h5ad, csv, npz, fcs])
def test_labels_are_split_off_and_do_not_enter_anything_else(write, tmp_path):
    path = write(tmp_path)
    seen = []

    def estimate(values):
        seen.append(values)
        return estimated(3)

    blind = ["type"] if write in (fcs, csv) else []
    facts, cells, labels = prepared(
        path, tmp_path / "a", label="type", transform="none", estimate=estimate
    )
    prepared(path, tmp_path / "b", transform="none", drop=blind, estimate=estimate)
    assert (tmp_path / "a/features.h5ad").read_bytes() == (
        tmp_path / "b/features.h5ad"
    ).read_bytes()
    assert "type" not in cells.var_names
    assert (seen[0] != seen[1]).sum() == 0
    expected = (np.arange(N) % 3).astype(str) if write is fcs else TYPES
    assert list(labels["label"]) == list(expected)
    assert labels["scored"].sum() == (expected != "").sum() == facts["n_scored"]


@pytest.mark.parametrize("kind", ["string", "boolean", "Int64", "category", "Float64"])
def test_labels_of_the_newer_kinds(kind, tmp_path):
    some = np.array([None if text == "" else text == "B" for text in TYPES], dtype=object)
    names = {"string": ["T", "B"], "category": ["T", "B"], "boolean": ["False", "True"]}
    expected = names.get(kind, ["0", "1"])
    if kind in ("string", "category"):
        values = pd.Series(np.where(TYPES == "", None, TYPES)).astype("string")
        values = values.astype("category") if kind == "category" else values
    else:
        values = pd.Series(pd.array(some, "boolean")).astype(kind)
    obs = pd.DataFrame({"type": values.to_numpy(object)}).assign(type=values)
    obs.index = pd.Index(CELLS, dtype="string")
    cells = anndata.AnnData(COUNTS.astype(np.float32), obs, pd.DataFrame(index=GENES))
    if kind == "Float64":
        cells.obs["type"] = cells.obs["type"].astype(float)  # none else is written
    with anndata.settings.override(allow_write_nullable_strings=True):
        cells.write_h5ad(tmp_path / "cells.h5ad")
    _, _, labels = prepared(tmp_path / "cells.h5ad", tmp_path / "out", label="type")
    assert list(labels["cell"]) == CELLS
    wanted = [{"T": expected[0], "B": expected[1], "": ""}[text] for text in TYPES]
    assert list(labels["label"]) == wanted
    assert list(labels["scored"]) == list(TYPES != "")


def test_a_label_that_no_table_has_is_told_before_its_other_columns(tmp_path):
    with pytest.raises(UserError, match="has no label column 'typ'; did you mean type"):
        prepared(csv(tmp_path), tmp_path / "out", label="typ")


@pytest.mark.parametrize("as_matrix", [np.asarray, sp.csr_matrix])
def test_values_that_tell_no_cell_from_another_are_refused(tmp_path, as_matrix):
    cells = anndata.AnnData(as_matrix(np.tile(np.float32([1.5, 0, 2]), (N, 1))))
    cells.write_h5ad(tmp_path / "same.h5ad")
    with pytest.raises(UserError, match="every feature is constant over all cells"):
        prepared(tmp_path / "same.h5ad", tmp_path / "out")


def test_counts_keep_the_genes_of_largest_variance(tmp_path):
    facts, cells, _ = prepared(h5ad(tmp_path), tmp_path / "out", genes=3)
    assert (facts["genes"]["of"], facts["genes"]["names"]) == (6, list(cells.var_names))
    assert cells.n_vars == 3
    assert cells.layers["counts"].shape == cells.layers["lognorm"].shape == (N, 3)
    steps = [step["step"] for step in json.loads(cells.uns["preprocessing"])]
    assert steps == ["library_size", "log1p", "select_features", "keep", "minmax"]


def test_values_that_somebody_normalised_keep_them_too_but_scaled_ones_are_all_kept(tmp_path):
    lognorm = np.log1p(COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e4)
    widest = np.sort(np.argsort(-lognorm.var(axis=0))[:3])
    for name, values, expected in (
        ("lognorm", lognorm, [GENES[i] for i in widest]),
        ("sparse", sp.csr_matrix(lognorm), [GENES[i] for i in widest]),
        ("scaled", lognorm - lognorm.mean(axis=0), GENES),
    ):
        cells = anndata.AnnData(values, var=pd.DataFrame(index=GENES))
        cells.write_h5ad(tmp_path / "cells.h5ad")
        facts, cells, _ = prepared(tmp_path / "cells.h5ad", tmp_path / name, genes=3)
        assert list(cells.var_names) == expected
        assert facts["note"].startswith(f"{len(expected)} of the file's 6 features")


def test_whole_numbers_in_a_table_are_taken_as_they_are_and_that_is_said(tmp_path):
    told = "all are integers: for counts of molecules, use --config transform=counts"
    for write in (csv, npz):
        facts, cells, _ = prepared(write(tmp_path), tmp_path / write.__name__, label="type")
        np.testing.assert_array_equal(cells.layers["values"], COUNTS)
        assert told in facts["note"]
    np.savez(tmp_path / "others.npz", X=COUNTS + 0.5)
    facts, _, _ = prepared(tmp_path / "others.npz", tmp_path / "others")
    assert told not in facts["note"]


def test_values_taken_as_they_are_keep_their_scale_for_methods_that_want_it(tmp_path):
    points = rng.normal(size=(N, 3)) * [10, 1, 0.1]
    np.savez(tmp_path / "pcs.npz", X=points)
    _, cells, _ = prepared(tmp_path / "pcs.npz", tmp_path / "out")
    np.testing.assert_allclose(cells.layers["values"], points, rtol=1e-5)
    assert (cells.X.min(), cells.X.max()) == (0, 1)


def test_an_older_10x_file_of_one_genome(tmp_path):
    file = read_cells(tenx_h5(tmp_path, genome="hg19"))
    np.testing.assert_array_equal(file.cells.X.toarray(), COUNTS)
    assert list(file.cells.var["gene_id"])[:2] == ["ENS0", "ENS1"]
    assert read_cells(tenx_h5(tmp_path, genome="hg19"), genome="hg19").cells.shape == (N, 6)
    with pytest.raises(UserError, match="not a 10x file"):
        read_cells(h5ad(tmp_path), genome="hg19")


def test_one_of_several_genomes_of_an_older_10x_file(tmp_path):
    path = tenx_h5(tmp_path, genome="hg19")
    with h5py.File(path, "a") as file:
        file.copy("hg19", "mm10")
        file["mm10/data"][:] = file["mm10/data"][:] * 2
    for genome, told in (("", "mm10"), ("GRCh38", "but not of 'GRCh38'")):
        with pytest.raises(UserError, match=r"several genomes \(hg19, mm10\)") as said:
            read_cells(path, genome=genome)
        assert told in str(said.value)
        assert "choose one with --genome NAME" in str(said.value)
    cells = read_cells(path, genome="mm10").cells
    np.testing.assert_array_equal(cells.X.toarray(), COUNTS * 2)
    facts, _, labels = prepared(path, tmp_path / "out", genome="mm10")
    assert facts["n_cells"] == len(labels) == N


def barnyard_h5(folder):
    path = tenx_h5(folder)
    with h5py.File(path, "a") as file:
        names = ["GRCh38"] * 2 + ["mm10"] * 3 + [""]
        file["matrix/features/genome"] = np.array(names, "S")
        kinds = ["Gene Expression"] * 5 + ["Antibody Capture"]
        del file["matrix/features/feature_type"]
        file["matrix/features/feature_type"] = np.array(kinds, "S")
    return path


def barnyard_folder(folder):
    folder = tenx_folder(folder, packed=False)
    origins = ["GRCh38_ENSG", "GRCh38_ENSG", *["mm10___ENSMUSG"] * 3]
    kinds = [f"{o}{i}\t{GENES[i]}\tGene Expression" for i, o in enumerate(origins)]
    text = "\n".join([*kinds, "A1\tGcg\tAntibody Capture", ""])
    (folder / "features.tsv").write_text(text)
    return folder


@pytest.mark.parametrize("write", [barnyard_h5, barnyard_folder])
def test_genes_of_several_genomes_are_noted_and_one_can_be_taken(write, tmp_path):
    path = write(tmp_path)
    file = read_cells(path)
    assert list(file.cells.var_names) == GENES[:5]
    kinds, genomes = file.notes
    assert kinds == "only the 5 features of Gene Expression are used, not 1 of Antibody Capture"
    assert "several genomes (GRCh38, mm10), and all are used" in genomes
    assert "--genome NAME" in genomes
    file = read_cells(path, genome="mm10")
    assert list(file.cells.var_names) == GENES[2:5]
    np.testing.assert_array_equal(file.cells.X.toarray(), COUNTS[:, 2:5])
    with pytest.raises(UserError, match=r"\(GRCh38, mm10\) but not of 'hg19'"):
        read_cells(path, genome="hg19")
    facts, _, _ = prepared(path, tmp_path / "out")
    assert genomes in facts["note"]
    facts, cells, _ = prepared(path, tmp_path / "one", genome="GRCh38")
    assert list(cells.var_names) == GENES[:2]


@pytest.mark.parametrize("packed", [False, True])
def test_samples_of_geo(packed, tmp_path):
    folder = tenx_folder(tmp_path, packed)
    for path in list(folder.iterdir()):
        path.rename(folder / f"GSM1_a_{path.name}")
    one = read_cells(folder).cells
    np.testing.assert_array_equal(one.X.toarray(), COUNTS)
    end = ".gz" * packed
    for part in ("matrix.mtx", "barcodes.tsv", "features.tsv"):
        content = (folder / f"GSM1_a_{part}{end}").read_bytes()
        (folder / f"GSM2.{part}{end}").write_bytes(content)
    with pytest.raises(
        UserError, match=r"several samples \(GSM1_a, GSM2\); name one of them, as in .*GSM1_a"
    ):
        read_cells(folder)
    for name in ("GSM1_a", "GSM1_a_", "GSM2", f"GSM2.matrix.mtx{end}"):
        np.testing.assert_array_equal(read_cells(folder / name).cells.X.toarray(), COUNTS)
    ((_, block),) = catalogue.resolve({}, {"data": str(folder / "GSM2")}).items()
    assert {path.rsplit("/", 1)[1].split(".")[0] for path in block["reads"]} == {"GSM2"}
    facts, _, _ = prepared(folder / "GSM2", tmp_path / "out")
    assert len(facts["sources"]) == 3
    (folder / f"GSM2.barcodes.tsv{end}").unlink()
    with pytest.raises(UserError, match=r"has no GSM2.barcodes.tsv \(or .gz\)"):
        read_cells(folder / "GSM2")
    with pytest.raises(UserError, match="does not exist"):
        read_cells(folder / "GSM3")


def test_a_matrix_that_has_another_name(tmp_path):
    folder = tenx_folder(tmp_path, packed=False)
    for path in list(folder.iterdir()):
        path.rename(folder / f"GSM1_{path.name}".replace("_matrix", ""))
    np.testing.assert_array_equal(read_cells(folder / "GSM1.mtx").cells.X.toarray(), COUNTS)


def test_barcodes_without_a_cell_are_noted_and_left_out(tmp_path):
    raw = np.vstack([np.zeros((300, len(GENES))), COUNTS * 30])
    names = [f"empty{i}" for i in range(300)] + CELLS
    obs = pd.DataFrame({"type": ["x"] * 300 + list(TYPES)}, names)
    cells = anndata.AnnData(sp.csr_matrix(raw), obs, pd.DataFrame(index=GENES))
    cells.write_h5ad(tmp_path / "raw.h5ad")
    facts, _, _ = prepared(tmp_path / "raw.h5ad", tmp_path / "all", label="type")
    assert "300 of 420 cells have fewer than" in facts["note"]
    assert "--config min_counts=500" in facts["note"]
    facts, kept, labels = prepared(
        tmp_path / "raw.h5ad", tmp_path / "some", label="type", min_counts=20
    )
    assert list(kept.obs_names) == list(labels["cell"]) == CELLS
    assert list(labels["label"]) == list(TYPES)
    assert "120 of 420 cells have 20 counts or more" in facts["note"]
    assert "fewer than" not in facts["note"]


def test_genes_whose_symbol_is_not_unique_are_called_by_their_id(tmp_path):
    folder = tenx_folder(tmp_path, packed=False)
    text = (folder / "features.tsv").read_text().replace("\tActb\t", "\tAlb\t")
    (folder / "features.tsv").write_text(text)
    assert list(read_cells(folder).cells.var_names)[:3] == ["ENS0", "ENS1", "Cd3e"]


def test_other_kinds_of_features_of_10x_are_left_out(tmp_path):
    folder = tenx_folder(tmp_path, packed=False)
    text = (folder / "features.tsv").read_text()
    (folder / "features.tsv").write_text(text.replace("Gcg\tGene Expression", "Gcg\tAntibody"))
    assert list(read_cells(folder).cells.var_names) == GENES[:-1]


def test_a_file_becomes_a_data_set_with_a_harmless_name(tmp_path):
    path = tmp_path / "My cells; $(rm -rf) 'é\".csv"
    path.write_text("CD3\n1\n")
    ((name, block),) = catalogue.resolve({}, {"data": str(path)}).items()
    assert re.fullmatch("own_my_cells_rm_rf_[0-9a-f]{6}", name)
    assert block["title"] == path.name
    other = tmp_path / "é.csv"
    other.write_text("CD3\n1\n")
    assert re.fullmatch("own_cells_[0-9a-f]{6}", *catalogue.resolve({}, {"data": str(other)}))


def test_files_of_one_name_are_data_sets_of_their_own(tmp_path, monkeypatch):
    def names(folder):
        (folder / "sample").mkdir(parents=True)
        found = []
        for file in ("cells.csv", "cells.tsv", "sample/cells.csv"):
            (folder / file).write_text("CD3\n1\n")
            monkeypatch.chdir(folder)
            found += catalogue.resolve({}, {"data": file})
            assert [*catalogue.resolve({}, {"data": str(folder / file)})] == found[-1:]
            monkeypatch.chdir("/")
            assert [*catalogue.resolve({}, {"data": str(folder / file)})] != found[-1:]
        return found

    before = names(tmp_path / "before")
    assert len(set(before)) == 3
    assert names(tmp_path / "moved") == before


def test_too_few_cells_and_no_gap_are_told(tmp_path):
    np.savez(tmp_path / "few.npz", X=COUNTS[:99])
    with pytest.raises(UserError, match="has 99 cells, too few for comparing methods"):
        prepared(tmp_path / "few.npz", tmp_path / "out")
    with pytest.raises(UserError, match="give the number of clusters: --config clusters=NUMBER"):
        prepared(
            h5ad(tmp_path), tmp_path / "out", estimate=lambda values: Evidence(1, (1, 1), 0.0, [])
        )
    assert not (tmp_path / "out").exists()
    facts, _, _ = prepared(h5ad(tmp_path), tmp_path / "out", clusters=7, estimate=None)
    assert facts["n_clusters"] == 7


@pytest.mark.parametrize("write", [h5ad, csv, fcs])
def test_a_column_is_a_finished_clustering_and_no_feature(write, tmp_path):
    path = write(tmp_path)
    out = tmp_path / "out"
    write_features(
        "own_cells", path, out, lambda _: estimated(4), transform="counts", existing=["type"]
    )
    assert list(anndata.read_h5ad(out / "features.h5ad").var_names) == GENES
    cells, clusters, names = existing_clusters(path, out / "features.h5ad", "type")
    assert len(cells) == N
    if write is fcs:
        assert names == ["0", "1", "2"]
        assert list(clusters) == [i % 3 for i in range(N)]
    else:
        assert names == ["B", "T"]
        assert list(clusters) == [[0, 1, -1][i % 3] for i in range(N)]
    assert "no" in error(existing_clusters, path, out / "features.h5ad", "leiden")


def test_columns_that_exist_become_methods(tmp_path):
    (path,) = registry.existing(["Leiden 0.5", "gates"], tmp_path)
    before = path.stat().st_mtime_ns
    assert registry.existing(["Leiden 0.5", "gates"], tmp_path) == [path]
    assert path.stat().st_mtime_ns == before
    blocks = registry.load(path)
    assert list(blocks) == ["existing_leiden_0_5", "existing_gates"]
    assert blocks["existing_gates"]["title"] == "gates (existing, not trained)"
    assert not blocks["existing_gates"]["stochastic"]
    assert registry.existing([], tmp_path) == []
    assert "differ only in" in error(registry.existing, ["a b", "A_b"], tmp_path)


@pytest.mark.parametrize("write", [h5ad, csv, fcs])
def test_clusterings_go_back_into_the_programs_of_the_file(write, tmp_path):
    path, out = write(tmp_path), tmp_path / "export"
    drop = [] if write is h5ad else ["type"]
    write_features(
        "own", path, tmp_path / "made", lambda _: estimated(4), transform="counts", drop=drop
    )
    file = cells_of(path, tmp_path / "made" / "features.h5ad", values=True)
    found = np.arange(N) % 4
    clusterings = {
        "moe_sim_vae": handover.Clustered(found, np.full(N, 0.5), rng.random((N, 3))),
        "hdbscan": handover.Clustered(found - 1, np.full(N, 0.7)),
    }
    handover.write_all(file, clusterings, "moe_sim_vae", out)
    labels = pd.read_csv(out / "labels.csv")
    assert list(labels.columns) == ["cell", "moe_sim_vae_cluster", "hdbscan_cluster"]
    assert list(labels["hdbscan_cluster"]) == list(found - 1)
    cells = anndata.read_h5ad(out / "cells.h5ad")
    assert list(cells.obs["hdbscan_cluster"].cat.categories) == ["-1", "0", "1", "2"]
    assert len(cells.uns["hdbscan_cluster_colors"]) == 4
    assert cells.obsm["X_moe_sim_vae_map"].shape == (N, 2)
    if write is h5ad:
        assert (out / "seurat.h5ad").exists()
        return
    if write is fcs:
        written = flowio.FlowData(out / "cells.fcs")
        names, values = written.pnn_labels, written.as_array()
    else:
        table = pd.read_csv(out / "cells.csv")
        names, values = list(table.columns), table.to_numpy()
    further = ["moe_sim_vae_cluster", "moe_sim_vae_probability_percent", "moe_sim_vae_map_1",
               "moe_sim_vae_map_2", "hdbscan_cluster"]  # fmt: skip
    assert names[-5:] == further
    np.testing.assert_array_equal(values[:, : len(GENES)], COUNTS)
    np.testing.assert_array_equal(values[:, -1], np.where(found == 0, 3, found - 1))
