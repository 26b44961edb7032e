"""Each preprocessing step on dense and sparse values, and their dispatch by name."""

import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from moesimvae.data import preprocessing
from moesimvae.data.preprocessing import preprocess
from moesimvae.errors import UserError

COUNTS = np.random.default_rng(0).poisson(1.0, (40, 6)) * np.arange(6)


def result(steps: list[dict], values: np.ndarray = COUNTS, sparse: bool = False) -> np.ndarray:
    cells = AnnData(sp.csr_matrix(values.astype(np.float32)) if sparse else values.copy())
    cells = preprocess(cells, steps)
    assert cells.X.dtype == np.float32
    return cells.X.toarray() if sp.issparse(cells.X) else cells.X


TOTALS = COUNTS.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"step": "divide", "by": 16}, COUNTS / 16),
        ({"step": "arcsinh", "cofactor": 5}, np.arcsinh(COUNTS / 5)),
        ({"step": "log1p"}, np.log1p(COUNTS)),
        ({"step": "library_size", "target": 100}, 100 * COUNTS / np.maximum(TOTALS, 1)),
        ({"step": "minmax"}, COUNTS / np.maximum(COUNTS.max(axis=0), 1)),
        (
            {"step": "select_features", "n_top": 2},
            COUNTS[:, 4:],
        ),
    ],
)
def test_steps_do_what_their_names_say(step, expected, sparse):
    np.testing.assert_allclose(result([step], sparse=sparse), expected, rtol=1e-5)


def test_steps_are_taken_in_order():
    steps = [{"step": "arcsinh", "cofactor": 5}, {"step": "divide", "by": 2}]
    np.testing.assert_allclose(result(steps), np.arcsinh(COUNTS / 5) / 2, rtol=1e-6)


@given(
    st_numpy.arrays(
        np.float32, (5, 3), elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
    )
)
def test_minmax_spans_0_to_1_and_keeps_the_order(values):
    for sparse in (False, True):
        scaled = result([{"step": "minmax"}], values, sparse)
        assert scaled.min() >= 0
        assert scaled.max() <= 1
        for before, after in zip(values.T, scaled.T, strict=True):
            assert (np.diff(after[np.argsort(before)]) >= 0).all()
            if np.ptp(before) > 0:
                assert (after.min(), after.max()) == (0, pytest.approx(1))
            else:
                assert not after.any()


def test_sparse_values_stay_sparse():
    cells = AnnData(sp.csr_matrix(COUNTS.astype(np.float32)))
    steps = [{"step": "library_size", "target": 10}, {"step": "log1p"}, {"step": "minmax"}]
    assert sp.issparse(preprocess(cells, steps).X)


def test_layers_keep_the_raw_counts():
    cells = AnnData(COUNTS.astype(np.float32), layers={"counts": sp.csr_matrix(COUNTS)})
    prepared = preprocess(cells, [{"step": "log1p"}, {"step": "select_features", "n_top": 3}])
    np.testing.assert_array_equal(prepared.layers["counts"].toarray(), COUNTS[:, 3:])


def test_marked_features_are_those_that_a_selection_keeps():
    cells = AnnData(COUNTS.astype(np.float32))
    marked = preprocess(cells.copy(), [{"step": "log1p"}, {"step": "mark_features", "n_top": 3}])
    kept = preprocess(cells, [{"step": "log1p"}, {"step": "select_features", "n_top": 3}])
    assert marked.n_vars == COUNTS.shape[1]
    assert list(marked.var_names[marked.var["selected"]]) == list(kept.var_names)


def test_pca_keeps_the_cells_and_their_distances():
    cells = AnnData(COUNTS.astype(np.float32), uns={"image_shape": [2, 3]})
    reduced = preprocess(cells, [{"step": "pca", "n_components": 6}])
    assert list(reduced.obs_names) == list(cells.obs_names)
    assert list(reduced.var_names[:2]) == ["PC1", "PC2"]
    before = np.linalg.norm(COUNTS[0] - COUNTS[1])
    assert np.linalg.norm(reduced.X[0] - reduced.X[1]) == pytest.approx(before, rel=1e-4)


# ---------------------------------------------------------------- training and test cells


def with_split(values: np.ndarray, sparse: bool, n_test: int = 10) -> AnnData:
    """The last cells are test cells."""
    cells = AnnData(sp.csr_matrix(values) if sparse else values.copy())
    cells.obs["split"] = ["train"] * (len(values) - n_test) + ["test"] * n_test
    return cells


STEPS_THAT_FIT = [
    {"step": "minmax"},
    {"step": "gene_filter", "quantile": 0.4},
    {"step": "select_features", "n_top": 2},
    {"step": "pca", "n_components": 2},
]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("step", STEPS_THAT_FIT)
def test_nothing_is_fitted_on_test_cells(step, sparse):
    values = COUNTS.astype(np.float32)
    others = values.copy()
    others[-10:] = np.random.default_rng(1).poisson(50, (10, 6))[:, ::-1] * np.arange(6)[::-1]
    one, two = (preprocess(with_split(v, sparse), [dict(step)]) for v in (values, others))
    assert list(one.var_names) == list(two.var_names)
    assert list(one.obs["split"]) == ["train"] * 30 + ["test"] * 10
    train, other = (c.X.toarray() if sp.issparse(c.X) else c.X for c in (one, two))
    np.testing.assert_array_equal(train[:30], other[:30])
    alone = result([dict(step)], values[:30], sparse)
    np.testing.assert_allclose(np.abs(alone), np.abs(train[:30]), atol=1e-4)


@pytest.mark.parametrize("sparse", [False, True])
def test_test_cells_beyond_those_of_training_are_clipped(sparse):
    values = np.array([[2, 0, 7], [4, 1, 7], [9, 3, 8], [0, 0, 0], [3, 1, 7]], dtype=np.float32)
    cells = preprocess(with_split(values, sparse, n_test=3), [{"step": "minmax"}])
    assert sp.issparse(cells.X) == sparse
    scaled = cells.X.toarray() if sparse else cells.X
    np.testing.assert_allclose(scaled, [[0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0], [0.5, 1, 0]])


@given(
    st_numpy.arrays(np.float32, (9, 4), elements=st.sampled_from([0.0, 0.0, 1.0, 2.5, 7.0])),
    st.integers(1, 5),
)
def test_sparse_and_dense_values_are_scaled_alike(values, piece):
    previous, preprocessing.PIECE = preprocessing.PIECE, piece
    try:
        one, two = (
            preprocess(with_split(values, sparse, n_test=4), [{"step": "minmax"}])
            for sparse in (False, True)
        )
    finally:
        preprocessing.PIECE = previous
    np.testing.assert_array_equal(one.X, two.X.toarray())


@pytest.mark.parametrize("sparse", [False, True])
def test_the_gene_filter_is_the_union_of_two_rules(sparse, monkeypatch):
    monkeypatch.setattr(preprocessing, "PIECE", 7)
    rng = np.random.default_rng(0)
    values = np.column_stack(
        [
            np.zeros(40),
            np.full(40, 9),  # a large sum without variance
            np.where(np.arange(40) == 3, 20, 0),  # a large variance with a small sum
            rng.poisson(0.05, 40),
            rng.poisson(4, 40),
            np.where(np.arange(40) >= 30, 50, 0),  # test cells only
        ]
    ).astype(np.float32)
    cells = with_split(values, sparse)
    cells.layers["counts"] = cells.X.copy()
    kept = preprocess(cells, [{"step": "gene_filter", "quantile": 0.6}])
    train = values[:30]
    sums, variances = train.sum(axis=0), train.var(axis=0)
    union = (sums > np.quantile(sums, 0.6)) | (variances > np.quantile(variances, 0.6))
    assert list(np.flatnonzero(union)) == [1, 2, 4]
    assert list(kept.var_names) == ["1", "2", "4"]
    layer = kept.layers["counts"].toarray() if sparse else kept.layers["counts"]
    np.testing.assert_array_equal(layer, values[:, union])


# ---------------------------------------------------------------- what can go wrong


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"step": "gene_filter", "quantile": 1}, "has quantile 1; give a number of at least 0"),
        ({"step": "log2"}, "unknown step 'log2'.*log1p"),
        ({}, "unknown step 'None'"),
        ({"step": "divide"}, "step 'divide'.*'by'"),
        ({"step": "log1p", "base": 2}, "step 'log1p'.*'base'"),
        ({"step": "pca", "n_components": 7}, "give a number from 1 to 6"),
        ({"step": "select_features", "n_top": 0}, "give a number from 1 to 6"),
    ],
)
def test_what_is_wrong_with_a_step_is_told(step, told):
    with pytest.raises(UserError, match=told):
        result([step])
