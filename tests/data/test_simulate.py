"""The simulators: deterministic, as noisy as they promise, neither trivial nor hopeless."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from moesimvae import registry
from moesimvae.data import readers, simulate
from moesimvae.data.preprocessing import preprocess
from moesimvae.errors import UserError
from moesimvae.nouns import DataSet


@pytest.fixture(scope="module")
def blocks(root):
    return registry.load(root / "workflow" / "registry" / "datasets.yaml")


def dense(matrix) -> np.ndarray:
    return matrix.toarray() if sp.issparse(matrix) else matrix


@pytest.mark.parametrize("name", simulate.SIMULATORS)
def test_the_seed_decides(name):
    simulator = simulate.SIMULATORS[name]
    (cells, labels), (again, labels_again) = simulator(n_cells=300, seed=4), simulator(300, seed=4)
    np.testing.assert_array_equal(dense(cells.X), dense(again.X))
    assert labels.equals(labels_again)
    other, _ = simulator(n_cells=300, seed=5)
    assert (dense(cells.X) != dense(other.X)).any()


@pytest.mark.parametrize("name", simulate.SIMULATORS)
def test_cells_carry_no_label_and_stand_in_random_order(name):
    cells, labels = simulate.SIMULATORS[name](n_cells=400, seed=1)
    assert list(cells.obs.columns) == []
    assert list(labels["cell"]) == list(cells.obs_names)
    assert (labels["scored"] == (labels["label"] != "")).all()
    halves = [set(half) for half in np.array_split(labels["label"].to_numpy(), 2)]
    assert halves[0] == halves[1]


@pytest.mark.parametrize("name", ["simulated_gaussians", "simulated_cytof", "simulated_scrna"])
def test_kmeans_finds_much_but_not_all(blocks, name):
    """Between 0.6 and 0.9 of NMI, k-means being told the number of clusters."""
    block = blocks[name]
    cells, labels = readers.read(DataSet.of(block), {})
    values = dense(preprocess(cells, block["preprocessing"]).X)
    found = KMeans(block["n_clusters"], n_init=3, random_state=0).fit_predict(values)
    scored = labels["scored"].to_numpy()
    nmi = normalized_mutual_info_score(labels["label"][scored], found[scored])
    assert 0.6 < nmi < 0.9


def test_gaussians_have_the_imbalance_and_the_covariance_asked_for():
    cells, labels = simulate.gaussians(20_000, n_features=3, n_components=4, imbalance=5, seed=2)
    sizes = labels["label"].value_counts()
    assert sizes.max() / sizes.min() == pytest.approx(5, rel=0.01)
    first = cells.X[(labels["label"] == "component_1").to_numpy()]
    variances = np.linalg.eigvalsh(np.cov(first.T))
    assert variances[0] == pytest.approx(0.25, rel=0.1)  # two factors leave one of three axes
    assert variances[1] > 0.3


def test_cytof_counts_have_rare_and_ungated_cells_and_zeros():
    cells, labels = simulate.cytof(3000, rare_share=0.02, ungated_share=0.1, seed=3)
    gated = labels["label"][labels["scored"]]
    assert len(gated) == 2700
    assert gated.value_counts(normalize=True).min() == pytest.approx(0.02, abs=0.001)
    assert gated.value_counts(normalize=True).max() > 0.15
    counts = cells.layers["counts"].toarray()
    np.testing.assert_array_equal(counts, cells.X)
    assert (counts == np.round(counts)).all()
    assert counts.min() == 0
    assert (counts == 0).mean() > 0.3
    size = counts.sum(axis=1)
    ungated = ~labels["scored"].to_numpy()
    assert np.median(size[ungated & (size < np.median(size))]) < 0.3 * np.median(size)


def test_scrna_counts_are_overdispersed_sparse_and_of_unequal_depth():
    cells, labels = simulate.scrna(800, n_genes=400, n_types=3, seed=3)
    counts = cells.layers["counts"]
    assert counts.format == "csr"
    assert cells.shape == (800, 400)
    one_type = counts[(labels["label"] == "type_1").to_numpy()].toarray()
    mean, variance = one_type.mean(axis=0), one_type.var(axis=0)
    assert np.median((variance / np.maximum(mean, 1e-9))[mean > 1]) > 1.5  # 1 if Poisson
    zeros = (one_type == 0).mean(axis=0)
    assert zeros[mean < 0.2].mean() > 0.8
    assert (zeros > np.exp(-mean))[mean > 0.5].mean() > 0.95  # more than Poisson's
    depth = np.log(np.asarray(counts.sum(axis=1)).ravel())
    assert depth.std() == pytest.approx(0.35, abs=0.08)


def test_scrna_dropout_hits_low_means_most():
    (full, _), (lossy, _) = (
        simulate.scrna(800, n_genes=400, n_types=3, dropout_midpoint=midpoint, seed=3)
        for midpoint in (1e-9, 1.0)
    )
    mean = dense(full.X).mean(axis=0)
    kept = dense(lossy.X).astype(bool).sum(axis=0) / np.maximum(
        dense(full.X).astype(bool).sum(0), 1
    )
    assert kept[(mean > 0.1) & (mean < 0.3)].mean() < 0.3
    assert kept[mean > 5].mean() > 0.8


def test_scrna_marker_genes_differ_between_types():
    cells, labels = simulate.scrna(2000, n_genes=300, n_types=4, n_markers=20, seed=6)
    means = np.stack(
        [dense(cells.X)[(labels["label"] == f"type_{k}").to_numpy()].mean(0) for k in range(1, 5)]
    )
    assert 80 <= (means.max(axis=0) > 2 * means.min(axis=0) + 0.05).sum() <= 200


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: simulate.cytof(rare_share=0.2),
        lambda: simulate.cytof(rare_share=0.0),
        lambda: simulate.scrna(n_genes=50),
    ],
)
def test_impossible_parameters_are_told(wrong):
    with pytest.raises(UserError, match="give"):
        wrong()
