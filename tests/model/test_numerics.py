"""Data at the edge of what numbers can bear: nothing that comes out is ever NaN or infinite."""

import anndata
import numpy as np
import pytest
from scipy import sparse
from tiny import blobs, tiny

from moesimvae.errors import UserError
from moesimvae.model.similarity import KINDS

pytestmark = pytest.mark.filterwarnings("ignore")


def few(n_cells=40):
    return blobs(n_cells)[0]


def with_huge_values(largest):
    X = few()
    return X / np.abs(X).max() * largest


def sparse_with_empty_rows():
    X = few() - few().min()
    X[X < 4] = 0
    X[[0, 7, 39]] = 0
    return sparse.csr_matrix(X)


def constant_but_one():
    X = np.full((40, 5), 3.5, dtype=np.float32)
    X[0, 0] = 4
    return X


# name → cells, changes to the settings
CASES = {
    "duplicated cells": (lambda: np.repeat(few(6), 7, axis=0), {}),
    "one cell is many times there": (lambda: np.vstack([few(10), np.ones((40, 6))]), {}),
    "all zero": (lambda: np.zeros((40, 6)), {}),
    "all the same": (lambda: np.full((40, 6), -7.0), {}),
    "constant but one value": (constant_but_one, {}),
    "empty experts": (few, {"n_clusters": 40}),
    "as many clusters as cells": (lambda: few(12), {"n_clusters": 12}),
    "three cells": (lambda: few(3), {"n_clusters": 3}),
    "one cell is left over": (few, {"batch_size": 39}),
    "pairs": (few, {"batch_size": 2}),
    "a batch larger than the data": (few, {"batch_size": 1000}),
    "huge values": (lambda: with_huge_values(1e30), {}),
    "as large as there are": (lambda: with_huge_values(1.6e38), {}),
    "tiny values": (lambda: with_huge_values(1e-30), {}),
    "tiny values scaled": (lambda: with_huge_values(1e-30), {"scale": "minmax"}),
    "as small as there are": (lambda: with_huge_values(1e-44), {"scale": "minmax"}),
    "huge beside tiny": (lambda: few() * np.logspace(-30, 30, 6), {}),
    "one feature": (lambda: few()[:, :1], {}),
    "one constant feature": (lambda: few()[:, 5:], {}),
    "sparse with empty rows": (sparse_with_empty_rows, {}),
    "sparse without any value": (lambda: sparse.csr_matrix((40, 6)), {}),
    "no standardisation": (lambda: with_huge_values(1e30), {"standardise": False}),
    "released": (lambda: np.repeat(few(6), 7, axis=0), {"objective": "released"}),
    "released, empty experts": (few, {"objective": "released", "n_clusters": 40}),
    "a high learning rate": (few, {"learning_rate": 1.0, "steps": 60}),
    "elu": (lambda: with_huge_values(1e30), {"activation": "elu"}),
}


IN_EACH_KIND = ["duplicated cells", "all zero", "empty experts", "three cells", "one feature"]
IN_EACH_KIND += ["huge values", "tiny values", "huge beside tiny", "sparse with empty rows"]


@pytest.mark.parametrize(
    ("name", "similarity"),
    [(name, "umap_knn") for name in CASES]
    + [(name, kind) for name in IN_EACH_KIND for kind in KINDS if kind != "umap_knn"],
)
def test_nothing_is_ever_nan(name, similarity):
    make, changes = CASES[name]
    X = make()
    settings = {"steps": 30, "refinements": 1, "similarity": similarity} | changes
    model = tiny(**settings).fit(X)
    n_clusters = model.n_clusters
    assert ((model.labels_ >= 0) & (model.labels_ < n_clusters)).all()
    np.testing.assert_allclose(model.probabilities_.sum(1), 1, atol=1e-5)
    results = {
        "embedding": model.embedding_,
        "means": model.cluster_means_,
        "reconstructed": model.reconstruct(X),
        "new cells": model.transform(X * 1.5),
        **{f"generated {k}": model.generate(k, 3) for k in range(n_clusters)},
        **model.history_,
    }
    broken = [name for name, values in results.items() if not np.isfinite(values).all()]
    assert broken == []
    assert model.reconstruct(X).shape == X.shape


def test_a_range_that_float32_cannot_hold_is_told():
    X = np.array([[-3e38, 0], [3e38, 0], [0, 1], [1, 2]])
    with pytest.raises(UserError, match=r"from -3e\+38 to 3e\+38, too widely for float32"):
        tiny(2, steps=3).fit(X)


@pytest.mark.slow
def test_experts_that_no_cell_goes_to_do_not_disturb_the_others():
    X, y = blobs()
    model = tiny(40, steps=300, refinements=0, similarity="communities").fit(X)
    assert model.facts_["experts_in_use"] < 40
    empty = np.setdiff1d(np.arange(40), model.labels_)
    assert np.isfinite(model.cluster_means_[empty]).all()
    # no population shares a cluster with another
    for k in np.unique(model.labels_):
        assert len(np.unique(y[model.labels_ == k])) == 1


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_units_do_not_matter(factor):
    X = blobs()[0][:60]
    settings = {"steps": 40, "refinements": 0, "scale": "minmax", "similarity": "umap_knn"}
    plain, scaled = (tiny(**settings).fit(x) for x in (X, X * np.float32(factor)))
    assert (plain.labels_ == scaled.labels_).mean() > 0.9
    back = scaled.reconstruct(X * np.float32(factor)) / factor
    np.testing.assert_allclose(back, plain.reconstruct(X), atol=1)
    np.testing.assert_allclose(back[:, 5], 2, rtol=1e-6)  # the marker that is constant


def test_new_cells_far_outside_the_fitted_range_are_assigned():
    X = few()
    model = tiny(steps=30, refinements=0).fit(X)
    for factor in (1e6, -1e30, 1e-30, 0):
        assert np.isfinite(model.predict_proba(X * np.float32(factor))).all()
    one = model.predict_proba(anndata.AnnData(X[:1]))
    np.testing.assert_allclose(one, model.probabilities_[:1], atol=1e-5)
