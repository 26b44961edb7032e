"""Each loss against a slow, obvious NumPy version, finite differences, and at the edge."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moesimvae.model import losses


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def slow_reconstruction(logits, x):
    probability = 1 / (1 + np.exp(-logits))
    cells, features = x.shape
    total = 0.0
    for i in range(cells):
        for d in range(features):
            total -= x[i, d] * np.log(probability[i, d])
            total -= (1 - x[i, d]) * np.log(1 - probability[i, d])
    return total / (cells * features)


def slow_kl(z, assignment, means):
    total = 0.0
    for k in range(len(means)):
        cells = z[assignment == k]
        if len(cells) < 2:
            continue
        sigma = np.mean((cells - means[k]) ** 2, axis=0) + losses.VARIANCE_FLOOR
        dimensions = z.shape[1]
        kl = 0.5 * (np.trace(np.linalg.inv(np.diag(sigma))) - dimensions + np.log(np.prod(sigma)))
        total += len(cells) / len(z) * kl / dimensions
    return total


def slow_similarity(p, s):
    n = len(p)
    total = 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                together = p[i] @ p[j]
                total -= s[i, j] * np.log(together) + (1 - s[i, j]) * np.log(1 - together)
    return total / (n * (n - 1))


def slow_depict(p, noisy_logits):
    noisy = softmax(noisy_logits)
    n, n_clusters = p.shape
    total = 0.0
    for i in range(n):
        weights = [p[i, k] / p[:, k].sum() ** 0.5 for k in range(n_clusters)]
        for k in range(n_clusters):
            total -= weights[k] / sum(weights) * np.log(noisy[i, k])
    return total / n


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def tensor(array, grad=False):
    return torch.tensor(array, dtype=torch.float64, requires_grad=grad)


def test_reconstruction_is_the_binary_cross_entropy_with_both_terms(rng):
    logits, x = rng.normal(size=(5, 4)), rng.random((5, 4))
    fast = losses.reconstruction(tensor(logits), tensor(x)).item()
    assert fast == pytest.approx(slow_reconstruction(logits, x), rel=1e-9)


def test_cluster_kl_is_equation_3_with_its_direction(rng):
    z, means = rng.normal(size=(12, 3)) * 2, rng.normal(size=(4, 3))
    assignment = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2])  # 2 is single, 3 is empty
    fast = losses.cluster_kl(tensor(z), torch.tensor(assignment), tensor(means)).item()
    assert fast == pytest.approx(slow_kl(z, assignment, means), rel=1e-9)


def test_cluster_kl_is_least_for_unit_variance(rng):
    z = rng.normal(size=(5000, 2))
    z = z / np.sqrt((z**2).mean(0))
    at = {
        scale: losses.cluster_kl(
            tensor(scale * z), torch.zeros(5000, dtype=torch.long), torch.zeros(1, 2).double()
        ).item()
        for scale in (0.5, 1.0, 2.0)
    }
    assert at[1.0] == pytest.approx(0, abs=1e-5)
    # ½(1/4 − 1 + ln 4) and ½(4 − 1 − ln 4): the printed direction, not its reverse
    assert at[2.0] == pytest.approx(0.318, abs=0.01)
    assert at[0.5] == pytest.approx(0.807, abs=0.02)


def test_similarity_is_equation_7_with_both_terms_without_the_diagonal(rng):
    p = softmax(rng.normal(size=(7, 3)))
    s = np.triu(rng.integers(0, 2, (7, 7)), 1).astype(float)
    s = s + s.T
    fast = losses.similarity(tensor(p), tensor(s)).item()
    assert fast == pytest.approx(slow_similarity(p, s), rel=1e-4)
    on_diagonal = losses.similarity(tensor(p), tensor(s + np.eye(7))).item()
    assert on_diagonal == pytest.approx(fast, rel=1e-12)


def test_similarity_prefers_the_right_clusters_to_a_single_one():
    s = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3))
    right = torch.eye(2).repeat_interleave(3, 0)
    single = torch.eye(2)[torch.zeros(6, dtype=torch.long)]
    assert losses.similarity(right, s) < 1e-4 < losses.similarity(single, s)


def test_depict_is_equations_8_and_9(rng):
    p, noisy = softmax(rng.normal(size=(6, 4))), rng.normal(size=(6, 4))
    fast = losses.depict(tensor(p), tensor(noisy)).item()
    assert fast == pytest.approx(slow_depict(p, noisy), rel=1e-9)


def test_depict_target_has_no_gradient(rng):
    clean, noisy = tensor(rng.normal(size=(6, 4)), True), tensor(rng.normal(size=(6, 4)), True)
    losses.depict(clean.softmax(1), noisy).backward()
    assert clean.grad is None
    assert noisy.grad.abs().sum() > 0


def test_em_means_are_weighted_means(rng):
    p, z = softmax(rng.normal(size=(8, 3))), rng.normal(size=(8, 2))
    slow = np.array([np.average(z, axis=0, weights=p[:, k]) for k in range(3)])
    np.testing.assert_allclose(losses.em_means(tensor(p), tensor(z)), slow, rtol=1e-9)


def test_running_means_settle_on_em_means_and_outlive_an_empty_cluster(rng):
    p = torch.tensor(softmax(rng.normal(size=(50, 3))), dtype=torch.float32)
    z = torch.tensor(rng.normal(size=(50, 2)), dtype=torch.float32)
    running = losses.RunningMeans(3, 2)
    for _ in range(50):
        means = running.update(p, z)
    torch.testing.assert_close(means, losses.em_means(p, z), rtol=1e-4, atol=1e-5)
    only_first = torch.eye(3)[torch.zeros(50, dtype=torch.long)]
    for _ in range(2000):
        later = running.update(only_first, z)
    assert torch.isfinite(later).all()
    torch.testing.assert_close(running.update(p, z)[0], later[0], rtol=0.2, atol=0.2)


def test_running_means_are_kept_with_the_weights(rng):
    p = torch.tensor(softmax(rng.normal(size=(5, 3))), dtype=torch.float32)
    first, second = losses.RunningMeans(3, 2), losses.RunningMeans(3, 2)
    first.update(p, torch.ones(5, 2))
    second.load_state_dict(first.state_dict())
    z = torch.zeros(5, 2)
    assert torch.equal(first.update(p, z), second.update(p, z))


def slow_released_kl(z, assignment, centroids):
    total = 0.0
    for k in range(len(centroids)):
        for d in range(z.shape[1]):
            cells = z[assignment == k, d]
            variance = np.mean((cells - centroids[k, d]) ** 2) if len(cells) else 0
            if variance > 0:
                total += 0.5 * (variance - 1 - np.log(variance))
    return total / len(centroids)


def test_released_kl_is_a_sum_over_dimensions_and_a_mean_over_all_clusters(rng):
    z, centroids = rng.normal(size=(9, 3)) * 2, rng.normal(size=(4, 3))
    assignment = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])  # 3 is empty
    centroids[2] = z[8]  # its only cell lies on it: a variance of exactly 0
    fast = losses.released_kl(tensor(z), torch.tensor(assignment), tensor(centroids)).item()
    assert fast == pytest.approx(slow_released_kl(z, assignment, centroids), rel=1e-9)


def test_gradients_agree_with_finite_differences(rng):
    logits = tensor(rng.normal(size=(6, 3)), True)
    s = tensor((rng.random((6, 6)) < 0.4) * 1.0)
    x, z = tensor(rng.random((6, 3))), tensor(rng.normal(size=(6, 3)), True)
    assignment, means = torch.tensor([0, 0, 1, 1, 1, 2]), tensor(rng.normal(size=(3, 3)))
    p = tensor(softmax(rng.normal(size=(6, 3))))
    check = torch.autograd.gradcheck
    assert check(lambda a: losses.reconstruction(a, x), (logits,))
    assert check(lambda a: losses.similarity(a.softmax(1), s), (logits,))
    assert check(lambda a: losses.depict(p, a), (logits,))
    assert check(lambda a: losses.cluster_kl(a, assignment, means), (z,))
    free = means.clone().requires_grad_()
    assert check(lambda a, m: losses.released_kl(a, assignment, m), (z, free))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 9),
    n_clusters=st.integers(2, 9),
    scale=st.sampled_from([0.0, 1e-30, 1e-4, 1.0, 1e4, 1e9]),
    seed=st.integers(0, 99),
)
def test_no_loss_or_gradient_is_ever_nan(n, n_clusters, scale, seed):
    """One cell, K = n, duplicates (scale 0), empty clusters, huge and tiny values, float32."""
    generator = torch.Generator().manual_seed(seed)
    a = (scale * torch.randn(n, n_clusters, generator=generator)).requires_grad_()
    z = (scale * torch.randn(n, 2, generator=generator)).requires_grad_()
    p = a.softmax(1)
    means = losses.em_means(p, z).detach()
    values = [
        losses.reconstruction(a, torch.full((n, n_clusters), 0.5)),
        losses.cluster_kl(z, p.argmax(1), means),
        losses.similarity(p, torch.ones(n, n)),
        losses.similarity(p, torch.zeros(n, n)),
        losses.depict(p, a),
        losses.released_kl(z, p.argmax(1), means),
    ]
    sum(values).backward()
    assert all(torch.isfinite(value) for value in values)
    assert torch.isfinite(a.grad).all()
    assert torch.isfinite(z.grad).all()
