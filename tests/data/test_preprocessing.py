"""Each preprocessing step on dense and sparse values, and their dispatch by name."""

import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

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


def test_pca_keeps_the_cells_and_their_distances():
    cells = AnnData(COUNTS.astype(np.float32), uns={"image_shape": [2, 3]})
    reduced = preprocess(cells, [{"step": "pca", "n_components": 6}])
    assert list(reduced.obs_names) == list(cells.obs_names)
    assert list(reduced.var_names[:2]) == ["PC1", "PC2"]
    before = np.linalg.norm(COUNTS[0] - COUNTS[1])
    assert np.linalg.norm(reduced.X[0] - reduced.X[1]) == pytest.approx(before, rel=1e-4)


@pytest.mark.parametrize(
    ("step", "told"),
    [
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
