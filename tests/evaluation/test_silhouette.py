"""The silhouette in one space for every method: against scikit-learn, by hand, and its rules."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.metrics import pairwise_distances, silhouette_score

from moesimvae.evaluation import silhouette as module
from moesimvae.evaluation.silhouette import components, read_space, silhouette


@pytest.mark.parametrize("seed", range(5))
def test_without_noise_it_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(80, 3))
    clusters = rng.choice([0, 3, 4, 900], p=[0.5, 0.3, 0.19, 0.01], size=80)
    clusters[:2] = [0, 3]
    distances = pairwise_distances(points)
    expected = silhouette_score(distances, clusters, metric="precomputed")
    assert silhouette(distances, clusters) == pytest.approx(expected)
    assert silhouette(distances.astype("float32"), clusters) == pytest.approx(expected, abs=1e-5)


def test_by_hand():
    # cells at 0, 1, 10, 12 on a line; clusters {0, 1} and {10, 12}:
    #   0: a 1, b 11 -> 10/11;  1: a 1, b 10 -> 9/10;  10: a 2, b 9.5 -> 7.5/9.5;  12: 2, 11.5
    distances = pairwise_distances([[0.0], [1.0], [10.0], [12.0]])
    widths = [10 / 11, 9 / 10, 7.5 / 9.5, 9.5 / 11.5]
    assert silhouette(distances, np.array([0, 0, 1, 1])) == pytest.approx(np.mean(widths))


def test_noise_counts_as_zero_and_is_no_cluster_to_others():
    points = np.array([[0.0], [1.0], [10.0], [12.0], [5.0], [-3.0]])
    clusters = np.array([0, 0, 1, 1, -1, -1])
    four = silhouette(pairwise_distances(points[:4]), clusters[:4])
    assert silhouette(pairwise_distances(points), clusters) == pytest.approx(4 / 6 * four)


@pytest.mark.parametrize("clusters", [[0, 0, 0], [-1, -1, -1], [5, -1, -1]])
def test_fewer_than_two_clusters_are_the_worst(clusters):
    assert silhouette(pairwise_distances([[0.0], [1.0], [9.0]]), np.array(clusters)) == -1


def test_cells_alone_and_cells_in_one_place_count_as_zero():
    assert silhouette(pairwise_distances([[0.0], [1.0], [9.0]]), np.arange(3)) == 0
    assert silhouette(np.zeros((4, 4)), np.array([0, 0, 1, 1])) == 0


def data_set(folder, n=120, d=70, train=90, **layers):
    rng = np.random.default_rng(3)
    cells = AnnData(rng.random((n, d)).astype("float32"))
    for name, values in layers.items():
        cells.layers[name] = values
    labels = pd.DataFrame({"cell": [f"c{i}" for i in range(n)], "split": "all"})
    if train:
        labels["split"] = np.where(np.arange(n) % 4 < train * 4 // n, "train", "test")
        cells.obs["split"] = labels["split"].to_numpy()
    cells.obs_names = labels["cell"]
    cells.write_h5ad(folder / "features.h5ad")
    return folder / "features.h5ad", labels, cells


def test_space_is_of_training_cells_on_the_layer_of_their_own_scale(tmp_path):
    own = sparse.random(120, 70, 0.3, format="csr", dtype="float32", random_state=0)
    path, labels, _ = data_set(tmp_path, lognorm=own, counts=own * 7)
    space = read_space(path, labels)
    train = np.flatnonzero(labels["split"] == "train")
    assert (space.split, list(space.cells)) == ("train", list(train))
    dense = own[train].toarray() - own[train].toarray().mean(axis=0)
    u, s, _ = np.linalg.svd(dense, full_matrices=False)
    points = (u * s)[:, :50]
    np.testing.assert_allclose(space.distances, cdist(points, points), atol=1e-3)


def test_without_split_or_layer_it_is_of_all_cells_and_of_x(tmp_path):
    path, labels, cells = data_set(tmp_path, d=40, train=0)
    space = read_space(path, labels)
    assert (space.split, len(space.cells)) == ("all", 120)
    np.testing.assert_allclose(space.distances, cdist(cells.X, cells.X), atol=1e-5)


def test_sample_is_fixed_and_of_training_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_CELLS", 30)
    path, labels, _ = data_set(tmp_path)
    one, two = read_space(path, labels), read_space(path, labels)
    assert len(one.cells) == 30
    assert (np.diff(one.cells) > 0).all()
    assert set(labels["split"].iloc[one.cells]) == {"train"}
    np.testing.assert_array_equal(one.cells, two.cells)
    np.testing.assert_array_equal(one.distances, two.distances)


def test_few_cells_of_many_sparse_genes_stay_as_they_are():
    values = sparse.random(20, 300, 0.1, format="csr", random_state=0)
    np.testing.assert_array_equal(components(values), values.toarray())
