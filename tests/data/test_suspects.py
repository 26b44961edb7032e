"""Which columns look like results of earlier programs, and which genes and markers do not."""

import numpy as np
import pytest

from moesimvae.data import recipe as recipes
from moesimvae.data.cells import read_cells
from moesimvae.data.suspects import codes, earlier
from sentences import error


def words(text):
    return text.split()


EARLIER = words("""
tSNE1 tSNE_2 t-SNE-1 TSNE.1 FItSNE1 FIt-SNE_1 opt-SNE_1 viSNE1 UMAP1 UMAP_1 umap-2 X_umap1 wnnUMAP_1
PC_1 PC-2 X_pca_1 DC_1 MST_1 mst_x phate_1 PHATE1 TriMap_1 Harmony_1 X_scVI_3 EmbedSOM1 PaCMAP_1
leiden louvain seurat_clusters RNA_snn_res.0.8 cluster Cluster_ID ClusterID clusters metacluster
meta20 som100 FlowSOM FlowSOM_metacluster phenograph Rphenograph kmeans k_means hdbscan X_shift
nCount_RNA nFeature_RNA percent.mt percentMito pct_counts_mt n_genes n_genes_by_counts total_counts
n_counts log1p_total_counts nUMI nGene UMI_count S.Score G2M.Score doublet_score sizeFactor Phase
SampleID Sample.ID Sample sampleid sample_no Batch batch_1 Donor donor_id PatientNo patient FileNo
file_id plate well Well_ID day Day Day_7 condition replicate event_number EventNumber group Age
gate gates gate_id label labels manual_label Cell_type celltype CellType_code cell_id orig.ident
rownames row index X Y x_centroid time_point pseudotime ...1 Time
""")
MARKERS = words("""
PC PC1 PCNA CLU DC-SIGN DC2 MST1 MST1R MSTN STIM1 POP4 ICA1 Dpt CD3 CD4 CD45RA HLA-DR FLOCK CD16_32
PERCC1 DNAJB1 DNAH5 IgD F480 Ly6G pNFkB Ki67 TCRgd CD11c PD-1 FAP SOX2 XIST ZFX YBX1 AGER Tim-3
Perforin Granzyme_B FSC-A SSC-A CXCR3 IL-17A T-bet CTV pERK COL1A1 CENPE NCAM1 E-cadherin ICOS NO66
CLUAP1 CLUL1 FLOT1 MAPK1 gene1 feature_1 f1 V1 Class_II KRT5 EVENTIN SAMD11 LABEL2B TIMELESS TIMP1
""")


@pytest.mark.parametrize("name", EARLIER)
def test_results_of_earlier_programs_are_suspects(name):
    assert earlier(["CD3", name]) | codes(["CD3", name]) == {name}


@pytest.mark.parametrize("name", MARKERS)
def test_genes_and_markers_are_none(name):
    assert earlier(["CD3", name]) | codes(["CD3", name]) == set()


def test_a_number_right_behind_makes_a_series_and_no_gene():
    assert earlier(["CD3", "PC1", "PC2", "DC1"]) == {"PC1", "PC2"}
    assert earlier(["Ica1", "ICA1"]) == set()


def test_all_suspects_are_named_to_be_dropped(tmp_path):
    names = ["CD3", *EARLIER[:20], "DNA1", "CD4"]
    path = tmp_path / "a.csv"
    path.write_text("\n".join([",".join(names)] + [",".join(["1"] * len(names))] * 3))
    assert f"--drop {' '.join([*EARLIER[:20], 'DNA1'])}, or" in error(
        recipes.choose, read_cells(path)
    )


def test_a_code_has_no_fractions(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("CD3,treatment,batch\n1.5,1,0.25\n2.5,2,1.75\n0.5,1,2.5\n")
    assert "leave them out with --drop treatment, or" in error(recipes.choose, read_cells(path))
    assert recipes.choose(read_cells(path), drop=["treatment"]) == ["CD3", "batch"]


def test_of_many_genes_those_called_like_channels_stay(tmp_path):
    genes = [f"Gene{i}" for i in range(600)]
    names = ["DNA2", "BC004004", *genes, "cluster", "nCount_RNA"]
    values = np.random.default_rng(0).integers(0, 9, (12, len(names)))
    path = tmp_path / "a.csv"
    np.savetxt(path, values, "%d", ",", header=",".join(names), comments="")
    file = read_cells(path)
    assert "--drop cluster nCount_RNA, or" in error(recipes.choose, file)
    assert len(recipes.choose(file, drop=["cluster", "nCount_RNA"])) == 602
