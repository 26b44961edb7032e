"""The deep peers: their equations against slow and sampled versions, and hard cases."""

import importlib
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import xlogy
from scipy.stats import norm
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import minmax_scale

from moesimvae.errors import UserError
from moesimvae.methods import clustpy_methods, dec, vade
from moesimvae.methods.autoencoder import negative_log_likelihood, pretrained_autoencoder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALL = {"hidden": [32], "batch_size": 32, "pretraining_steps": 150}
METHODS = {
    "ae_kmeans": SMALL | {"n_latent": 4},
    "dec": SMALL | {"n_latent": 4, "steps": 60, "update_interval": 20},
    "n2d": SMALL,
    "vade": SMALL | {"n_latent": 4, "steps": 150},
}
points, GROUPS = make_blobs(161, 12, centers=3, cluster_std=1.0, random_state=4)
POINTS = minmax_scale(points).astype(np.float32)


def cluster(name, matrix, n_clusters=3, seed=0, **params):
    method = importlib.import_module(f"moesimvae.methods.{name}")
    return method.cluster(anndata.AnnData(matrix), n_clusters, seed, **METHODS[name] | params)


# What all four must do


@pytest.mark.parametrize("name", METHODS)
def test_finds_three_groups_and_is_the_same_again(name):
    torch.manual_seed(1)
    result = cluster(name, POINTS)
    assert adjusted_rand_score(GROUPS, result.labels) > 0.95
    losses = result.history["pretraining_reconstruction"]
    assert losses[-1] < losses[0]
    torch.manual_seed(2)
    again = cluster(name, POINTS)
    np.testing.assert_array_equal(again.labels, result.labels)
    np.testing.assert_array_equal(again.embedding, result.embedding)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("hard", ["constant features", "one cell over", "one point", "two points"])
def test_hard_cells_give_finite_results(name, hard):
    matrix = {
        "constant features": np.hstack([POINTS, np.zeros((161, 2)), np.full((161, 2), 7.0)]),
        "one cell over": POINTS[:65],
        "one point": np.zeros((40, 5)),
        "two points": np.repeat(np.eye(2, 5), 20, axis=0),
    }[hard].astype(np.float32)
    result = cluster(name, matrix, n_clusters=4, pretraining_steps=40)
    assert result.labels.shape == (len(matrix),)
    assert 0 <= result.labels.min() <= result.labels.max() < 4
    assert np.isfinite(result.embedding).all()
    assert result.probabilities is None or np.isfinite(result.probabilities).all()
    for term, values in result.history.items():
        assert np.isfinite(values).all(), term


@pytest.mark.parametrize("name", METHODS)
def test_bad_input_is_told_in_a_sentence(name):
    with pytest.raises(UserError, match="2 cells cannot form 3 clusters"):
        cluster(name, POINTS[:2])
    broken = POINTS.copy()
    broken[3, 1] = np.nan
    with pytest.raises(UserError, match="NaN"):
        cluster(name, broken)


def test_auto_likelihood_follows_the_range():
    small = {"hidden": [4], "n_latent": 2, "steps": 1, "batch_size": 8}
    small |= {"learning_rate": 1e-3, "device": "cpu", "likelihood": "auto"}
    assert pretrained_autoencoder(POINTS, 3, 0, **small).likelihood == "bernoulli"
    assert pretrained_autoencoder(3 * POINTS, 3, 0, **small).likelihood == "gaussian"


# DEC


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_dec_equations_against_loops(seed):
    rng = np.random.default_rng(seed)
    z, centres = rng.normal(size=(7, 2)), rng.normal(size=(3, 2))
    q, p = np.zeros((7, 3)), np.zeros((7, 3))
    for i in range(7):
        for j in range(3):
            q[i, j] = (1 + np.sum((z[i] - centres[j]) ** 2)) ** -1
        q[i] /= q[i].sum()
    for i in range(7):
        for j in range(3):
            p[i, j] = q[i, j] ** 2 / q[:, j].sum()
        p[i] /= p[i].sum()
    ours = dec.soft_assignment(torch.tensor(z), torch.tensor(centres))
    np.testing.assert_allclose(ours, q, atol=1e-12)
    target = dec.target_distribution(ours)
    np.testing.assert_allclose(target, p, atol=1e-12)
    kl = np.sum(p * np.log(p / q)) / 7
    assert dec.divergence(target, ours).item() == pytest.approx(kl)
    assert dec.divergence(ours, ours).item() == pytest.approx(0, abs=1e-12)


def test_dec_sharpens_the_assignment():
    before = cluster("dec", POINTS, steps=0).probabilities.max(axis=1).mean()
    assert cluster("dec", POINTS).probabilities.max(axis=1).mean() > before


# VaDE


def random_vade(seed, n=6, d=2, k=3):
    """Posterior N(mean, exp(log_variance)) of n cells, log γ and a mixture, as float64 tensors."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    mixture = vade.Mixture(draw(k), draw(k, d), 0.5 * draw(k, d))
    return draw(n, d), draw(n, d) - 1, draw(n, k).log_softmax(dim=1), mixture


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_vade_terms_against_the_paper_in_loops(seed):
    """The ELBO as section 3.2 prints it, term by term and index by index."""
    mean, log_variance, log_gamma, mixture = random_vade(seed)
    m, s2, gamma = mean.numpy(), log_variance.exp().numpy(), log_gamma.exp().numpy()
    mu, sigma2 = mixture.means.numpy(), mixture.log_variances.exp().numpy()
    pi = np.exp(mixture.logits.numpy()) / np.exp(mixture.logits.numpy()).sum()
    elbo = np.zeros(len(m))
    for i in range(len(m)):
        for c in range(len(pi)):
            for j in range(m.shape[1]):
                inner = np.log(sigma2[c, j]) + s2[i, j] / sigma2[c, j]
                inner += (m[i, j] - mu[c, j]) ** 2 / sigma2[c, j]
                elbo[i] -= 0.5 * gamma[i, c] * inner
            elbo[i] += gamma[i, c] * np.log(pi[c] / gamma[i, c])
        elbo[i] += 0.5 * np.sum(1 + np.log(s2[i]))
    terms = vade.divergences(mean, log_variance, log_gamma, mixture)
    np.testing.assert_allclose(-(terms["latent"] + terms["cluster"]), elbo, rtol=1e-9)
    assert (terms["latent"] >= 0).all()
    assert (terms["cluster"] >= -1e-12).all()


def test_vade_responsibilities_are_bayes_rule():
    z, _, _, mixture = random_vade(5)
    density = mixture.logits.softmax(dim=0).numpy() * np.prod(
        norm.pdf(
            z.numpy()[:, None], mixture.means.numpy(), np.exp(0.5 * mixture.log_variances.numpy())
        ),
        axis=2,
    )
    gamma = vade.log_responsibilities(z, mixture).exp()
    np.testing.assert_allclose(gamma, density / density.sum(axis=1, keepdims=True), rtol=1e-9)


def tiny_decoder(z):
    """Logits of four pixels."""
    weight = torch.tensor([[1.0, -0.5, 0.3, 2.0], [0.2, 0.8, -1.0, 0.5]], dtype=z.dtype)
    return torch.tanh(z) @ weight


def log_density(z, mean, log_variance):
    """log N(z; mean, diag exp(log_variance)), summed over the last axis."""
    return torch.distributions.Normal(mean, (0.5 * log_variance).exp()).log_prob(z).sum(dim=-1)


def test_vade_elbo_against_monte_carlo():
    """E_q(z,c|x)[log p(x, z, c) − log q(z, c | x)] with 200,000 draws of z and c a cell."""
    mean, log_variance, log_gamma, mixture = random_vade(1, n=3)
    x = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 1], [1, 1, 0.25, 0]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    draws = 200_000
    for i in range(3):
        noise = torch.randn(draws, 2, generator=generator, dtype=torch.float64)
        z = mean[i] + (0.5 * log_variance[i]).exp() * noise
        c = torch.multinomial(log_gamma[i].exp(), draws, replacement=True, generator=generator)
        pixel = torch.sigmoid(tiny_decoder(z)).numpy()
        log_x = (xlogy(x[i].numpy(), pixel) + xlogy(1 - x[i].numpy(), 1 - pixel)).sum(axis=1)
        rest = (
            log_density(z, mixture.means[c], mixture.log_variances[c])
            + mixture.logits.log_softmax(dim=0)[c]
            - log_density(z, mean[i], log_variance[i])
            - log_gamma[i][c]
        )
        sampled = log_x + rest.numpy()
        cell = slice(i, i + 1)
        terms = vade.divergences(mean[cell], log_variance[cell], log_gamma[cell], mixture)
        loss = negative_log_likelihood(tiny_decoder(z), x[i].expand(draws, 4), "bernoulli").mean()
        elbo = -(loss + sum(terms.values())).item()
        error = sampled.std() / np.sqrt(draws)
        assert elbo == pytest.approx(sampled.mean(), abs=4 * error)
        assert error < 0.02


def test_vade_elbo_meets_the_evidence_for_the_exact_posterior():
    """One component, a linear decoder, unit noise: q = p(z | x) makes ELBO = log p(x)."""
    w, x = 1.7, torch.tensor([[0.9]], dtype=torch.float64)
    prior_mean, prior_variance = 0.4, 2.3
    mixture = vade.Mixture(
        torch.zeros(1, dtype=torch.float64),
        torch.tensor([[prior_mean]], dtype=torch.float64),
        torch.tensor([[np.log(prior_variance)]], dtype=torch.float64),
    )
    variance = 1 / (1 / prior_variance + w**2)
    mean = variance * (prior_mean / prior_variance + w * x)
    log_variance = torch.full_like(mean, np.log(variance))
    terms = vade.divergences(mean, log_variance, torch.zeros_like(mean), mixture)
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    z = mean + np.sqrt(variance) * torch.tensor(nodes)[:, None]
    loss = negative_log_likelihood(w * z, x.expand(20, 1), "gaussian").numpy()
    expected_loss = (weights * loss).sum() / weights.sum() + 0.5 * np.log(2 * np.pi)
    evidence = norm.logpdf(0.9, w * prior_mean, np.sqrt(1 + w**2 * prior_variance))
    assert -(expected_loss + sum(terms.values()).item()) == pytest.approx(evidence)


def test_vade_learns_and_its_model_can_be_read_back(tmp_path):
    result = cluster("vade", POINTS, steps=400)
    assert result.history["total"][-1] < result.history["total"][0]
    result.save(tmp_path)
    network, mixture = vade.load(tmp_path)
    with torch.no_grad():
        codes = network.encoder(torch.from_numpy(POINTS)).mean
        gamma = vade.log_responsibilities(codes, mixture).exp()
    np.testing.assert_allclose(codes, result.embedding, atol=1e-5)
    np.testing.assert_allclose(gamma, result.probabilities, atol=1e-4)


# ClustPy, whose environment the tests do not have


def test_clustpy_environment_file_and_lock_agree():
    lines = (ROOT / "envs" / "clustpy.lock").read_text().splitlines()
    lock = [line for line in lines if not line.startswith("#")]
    environment = yaml.safe_load((ROOT / "envs" / "clustpy.yaml").read_text())
    assert environment["dependencies"][-1]["pip"] == lock
    assert all("==" in pin for pin in lock)
    assert "clustpy==0.0.3" in lock


def test_clustpy_is_told_apart_from_its_misuse(monkeypatch):
    monkeypatch.setitem(sys.modules, "clustpy", type("clustpy", (), {"deep": None}))
    cells = anndata.AnnData(3 * POINTS)
    with pytest.raises(UserError, match=r"features in \[0, 1\] and found 0 to 3"):
        clustpy_methods.cluster(cells, 3, 0, algorithm="VaDE")
    with pytest.raises(UserError, match="unknown ClustPy algorithm 'IDEC'"):
        clustpy_methods.cluster(cells, 3, 0, algorithm="IDEC")
