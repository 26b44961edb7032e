import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moesimvae.model.projection import umap_projection
from moesimvae.model.similarity import (
    knn_in_batch,
    neighbours_in_batch,
    within_distance,
)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 12), k=st.integers(1, 14), seed=st.integers(0, 99))
def test_knn_is_symmetric_without_diagonal_and_finds_the_nearest(n, k, seed):
    points = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    found = knn_in_batch(points, k)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag([np.inf] * n)
    slow = np.zeros((n, n))
    for i in range(n):
        for j in np.argsort(distance[i])[: min(k, n - 1)]:
            slow[i, j] = slow[j, i] = 1
    np.testing.assert_array_equal(found, slow)


def test_duplicates_are_neighbours_not_themselves():
    found = knn_in_batch(torch.full((40, 2), 7.3), 3)
    assert found.diagonal().sum() == 0
    assert (found.sum(1) >= 3).all()


def test_within_distance():
    points = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 2.5]])
    assert within_distance(points, 1.0).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_a_batch_is_taken_by_its_index():
    points = torch.randn(30, 2)
    index = torch.tensor([3, 8, 1, 20])
    torch.testing.assert_close(
        neighbours_in_batch(points, 2)(index), knn_in_batch(points[index], 2)
    )


@pytest.mark.filterwarnings("ignore")
def test_umap_depends_on_the_seed_alone_and_takes_few_cells():
    matrix = np.random.default_rng(0).random((60, 5)).astype(np.float32)
    first = umap_projection(matrix, seed=3)
    np.testing.assert_array_equal(first, umap_projection(matrix, seed=3))
    assert not np.array_equal(first, umap_projection(matrix, seed=4))
    assert umap_projection(matrix[:3]).shape == (3, 2)
