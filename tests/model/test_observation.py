"""How cells scatter: mixtures of codes, noise of markers, counts; on data whose answer is known."""

import numpy as np
import pytest
import torch
from scipy import sparse, stats

from moesimvae import MoESimVAE
from moesimvae.errors import UserError
from moesimvae.model import generation
from moesimvae.model.generation import code_mixtures
from moesimvae.model.observation import (
    Counts,
    Markers,
    negative_log_likelihood,
    normal_scores,
)

TINY = {
    "similarity": "communities",
    "encoder_layers": [16],
    "expert_layers": [8],
    "gate_layers": [8],
    "n_latent": 2,
    "steps": 60,
    "batch_size": 50,
    "progress": False,
}


def test_a_cluster_of_two_bumps_gets_two_gaussians():
    random = np.random.default_rng(0)
    bumps = np.concatenate([random.normal(-4, 1, (300, 2)), random.normal(4, 1, (100, 2))])
    codes = np.concatenate([bumps, random.normal(0, 1, (200, 2)), [[9.0, 9.0]]]).astype(np.float32)
    labels = np.repeat([0, 1, 3], [400, 200, 1])
    means = np.full((4, 2), 7, np.float32)
    mixtures = code_mixtures(codes, labels, means, 16, seed=0)
    assert (mixtures.weights > 0).sum(axis=1).tolist() == [2, 1, 1, 1]
    np.testing.assert_allclose(mixtures.weights.sum(axis=1), 1, atol=1e-6)
    drawn = mixtures.draw(0, 8000, np.random.default_rng(1))
    assert (np.abs(drawn) < 1).all(axis=1).mean() < 0.01  # between the bumps
    assert (drawn[:, 0] < 0).mean() == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(bumps.T), rtol=0.1)
    # no cells, or a single one: its mean and the identity
    for k in (2, 3):
        drawn = mixtures.draw(k, 8000, np.random.default_rng(1))
        np.testing.assert_allclose(drawn.mean(axis=0), 7, atol=0.05)
        np.testing.assert_allclose(np.cov(drawn.T), np.eye(2), atol=0.06)
    one = code_mixtures(codes, labels, means, 1, seed=0)
    assert (one.weights > 0).sum(axis=1).tolist() == [1, 1, 1, 1]


def test_many_clusters_share_the_codes(monkeypatch):
    """So that a million cells in many clusters take no longer than a few clusters do."""
    monkeypatch.setattr(generation, "ALL_CODES", 200)  # 50 for each of four: enough for one
    bumps = np.repeat([[-4.0, 0.0], [4.0, 0.0]], 200, axis=0).astype(np.float32)
    codes = bumps + np.random.default_rng(0).normal(size=bumps.shape).astype(np.float32)
    labels = np.zeros(400, int)
    for clusters, gaussians in ((1, 2), (4, 1)):
        means = np.zeros((clusters, 2), np.float32)
        assert (code_mixtures(codes, labels, means, 16, 0).weights[0] > 0).sum() == gaussians


def test_normal_scores_share_ties_out():
    values = np.array([[0.0], [0.0], [0.0], [1.0]])
    scores = normal_scores(values, np.random.default_rng(0)).ravel()
    np.testing.assert_allclose(np.sort(scores), stats.norm.ppf([0.125, 0.375, 0.625, 0.875]))
    assert scores[3] == scores.max()


def test_markers_keep_distributions_and_dependence():
    """A marker with half of its cells at 0, one of two bumps, and a third that follows the first
    one's scores; the code says nothing."""
    random = np.random.default_rng(0)
    u = random.multivariate_normal(np.zeros(3), [[1, 0, 0.8], [0, 1, 0], [0.8, 0, 1]], 3000)
    x = np.stack([np.maximum(u[:, 0], 0) / 5, u[:, 1] > 0.5, stats.norm.cdf(u[:, 2])], axis=1)
    x[:, 1] = 0.6 * x[:, 1] + 0.1 * random.random(3000)
    codes = random.standard_normal((3000, 2)).astype(np.float32)

    def decode(z, cluster):
        return np.zeros((len(z), 3), np.float32)

    def draw(cluster, n, random):
        return random.standard_normal((n, 2), dtype=np.float32)

    markers = Markers(2, 3)
    markers.learn(lambda rows: x[rows], decode, codes, np.zeros(3000, int), draw, random)
    for cluster in (0, 1):  # the second has no cells, and takes after all
        made = markers.draw(cluster, decode(draw(0, 6000, random), 0), random)
        assert (made[:, 0] == 0).mean() == pytest.approx((x[:, 0] == 0).mean(), abs=0.03)
        for a, b in zip(x.T, made.T, strict=True):
            assert stats.ks_2samp(a, b).statistic < 0.04
        expected, found = (stats.spearmanr(v).statistic for v in (x, made))
        # cells that share a value share their scores out at random, which loosens what they follow
        np.testing.assert_allclose(found, expected, atol=0.16)
        assert found[0, 2] > 0.5


def test_markers_follow_what_the_expert_decodes():
    random = np.random.default_rng(0)
    codes = random.standard_normal((2000, 2)).astype(np.float32)
    x = stats.norm.cdf(codes @ [[1, 0, 1], [0, 1, 1]] + 0.3 * random.standard_normal((2000, 3)))

    def decode(z, cluster):
        return np.column_stack([z, z.sum(axis=1)])

    def draw(cluster, n, random):
        return random.standard_normal((n, 2), dtype=np.float32)

    markers = Markers(1, 3)
    markers.learn(lambda rows: x[rows], decode, codes, np.zeros(2000, int), draw, random)
    z = draw(0, 2000, random)
    made = markers.draw(0, decode(z, 0), random)
    assert stats.spearmanr(made[:, 2], z.sum(axis=1)).statistic > 0.9
    assert abs(stats.spearmanr(made[:, 0], z[:, 1]).statistic) < 0.1


def test_the_negative_binomial_is_scipys():
    x, mean, dispersion = np.array([[0.0, 1, 7]]), np.array([[0.3, 2, 5]]), np.array([[0.5, 3, 40]])
    expected = -stats.nbinom.logpmf(x, dispersion, dispersion / (dispersion + mean)).sum()
    without = float(torch.lgamma(torch.tensor(x) + 1).sum())
    given = (torch.tensor(v) for v in (x, mean, np.log(dispersion)))
    assert float(negative_log_likelihood(*given)) == pytest.approx(expected - without, rel=1e-4)


def molecules(n=600, genes=40, seed=0):
    random = np.random.default_rng(seed)
    kind = np.arange(n) % 2
    shares = random.dirichlet(np.full(genes, 2.0), 2)
    library = np.exp(random.normal(np.log([300, 900])[kind], 0.3))
    mean = library[:, None] * shares[kind]
    return random.poisson(mean * random.gamma(4, 0.25, mean.shape)).astype(np.float32), kind, shares


def test_counts_have_the_clusters_shares_sizes_and_dispersion():
    counts, kind, shares = molecules()
    codes = np.random.default_rng(1).standard_normal((600, 2)).astype(np.float32)
    model = Counts(2, [2, 8, 40])
    torch.manual_seed(0)
    history = model.learn(sparse.csr_matrix(counts), codes, kind, torch.Generator().manual_seed(0))
    # it begins near the best already; batches differ in their molecules
    assert history["counts"][-1] <= history["counts"][0] * (1 - 0.005)
    for k in (0, 1):
        made = model.draw(k, codes, np.random.default_rng(k))
        assert made.dtype == np.int32
        real = counts[kind == k]
        np.testing.assert_allclose(made.sum(0) / made.sum(), shares[k], atol=0.01)
        sizes = [np.quantile(v.sum(axis=1), [0.1, 0.5, 0.9]) for v in (real, made)]
        np.testing.assert_allclose(sizes[1], sizes[0], rtol=0.15)
        np.testing.assert_allclose(np.median(made.var(0) / real.var(0)), 1, atol=0.25)
        dispersion = model.log_dispersion[k].exp().detach().numpy()
        assert np.median(dispersion) == pytest.approx(4, rel=0.35)
        expected = model.draw(k, codes, np.random.default_rng(k), mean=True)
        assert expected.std(axis=0).mean() < made.std(axis=0).mean() / 2


@pytest.mark.parametrize("sort", [np.asarray, sparse.csr_matrix])
def test_a_model_of_counts_generates_counts_and_is_saved(tmp_path, sort):
    counts, _, _ = molecules(120, 12)
    x = np.log1p(counts)
    plain = MoESimVAE(2, **TINY).fit(x)
    model = MoESimVAE(2, **TINY).fit(x, counts=sort(counts))
    np.testing.assert_array_equal(plain.labels_, model.labels_)  # counts have no part in them
    assert (plain.draws_counts, model.draws_counts) == (False, True)
    assert plain.facts_["observation"] == "markers"
    k = int(model.labels_[0])
    made = model.generate(k, 20)
    assert made.dtype == np.int32
    assert made.min() >= 0
    for one in (plain, model):
        one.save(tmp_path)
        loaded = MoESimVAE.load(tmp_path)
        for how in ({}, {"mean": True}, {"standard": True}):
            np.testing.assert_array_equal(one.generate(k, 9, **how), loaded.generate(k, 9, **how))
    assert model.generate(k, 50, mean=True).std(0).mean() < made.std(0).mean()
    with pytest.raises(UserError, match="give the counts of the cells as well"):
        model.learn_to_draw(x)
    drawn = []
    for state in (1, 2):  # whatever was drawn before
        torch.manual_seed(state)
        drawn.append(model.learn_to_draw(x[:60], counts[:60]).generate(k, 30))
    assert drawn[0].shape == (30, 12)
    np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize("kind", ["markers", "counts", "images"])
def test_drawing_can_be_learned_after_the_fit(tmp_path, kind):
    """From the saved model too, and with the same result."""
    counts, _, _ = molecules(120, 12)
    x = {"X": np.log1p(counts), "counts": counts if kind == "counts" else None}
    settings = TINY
    if kind == "images":
        x["X"] = np.random.default_rng(0).random((120, 16)).astype(np.float32)
        settings = TINY | {"image_shape": (4, 4)}
    whole = MoESimVAE(2, **settings).fit(**x)
    later = MoESimVAE(2, **settings).fit(x["X"], drawing=False)
    assert later.observation_ is None
    np.testing.assert_array_equal(whole.labels_, later.labels_)
    k = int(whole.labels_[0])
    assert not np.array_equal(whole.generate(k, 9), later.generate(k, 9))
    assert (later.mixture_weights_ > 0).sum(axis=1).max() == 1
    later.save(tmp_path)
    described = MoESimVAE.load(tmp_path).describe_codes(x["X"])
    np.testing.assert_array_equal(described.mixture_roots_, whole.mixture_roots_)
    for model in (later, MoESimVAE.load(tmp_path)):
        np.testing.assert_array_equal(model.learn_to_draw(**x).generate(k, 9), whole.generate(k, 9))


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_papers_way_draws_means(preset):
    counts, _, _ = molecules(120, 12)
    model = MoESimVAE.preset(preset, 2, **TINY | {"steps": 30, "refinements": 0}).fit(
        np.log1p(counts), counts=counts
    )
    assert model.observation_ is None
    assert (model.mixture_weights_ > 0).sum(axis=1).max() == 1
    np.testing.assert_array_equal(model.generate(0, 5), model.generate(0, 5, mean=True))


def test_the_experts_of_images_go_on_alone():
    """With codes and clusters as they are, and until the images come out better."""
    random = np.random.default_rng(0)
    images = np.clip(random.random((400, 2)) @ random.random((2, 64)), 0, 1).astype(np.float32)
    settings = TINY | {"similarity": "communities", "image_shape": (8, 8), "steps": 40}
    plain = MoESimVAE(2, **settings, observation="none").fit(images)
    model = MoESimVAE(2, **settings).fit(images)
    np.testing.assert_array_equal(plain.labels_, model.labels_)
    np.testing.assert_array_equal(plain.embedding_, model.embedding_)
    before, after = (np.square(m.reconstruct(images) - images).mean() for m in (plain, model))
    assert after < 0.97 * before
    weights = [p.clone() for p in model.module_.experts.parameters()]
    model.learn_to_draw(images[:100])
    now = model.module_.experts.parameters()
    assert any((a != b).any() for a, b in zip(weights, now, strict=True))


def test_reconstruction_weighs_more_with_images():
    x = np.random.default_rng(0).random((60, 64)).astype(np.float32)
    settings = TINY | {"similarity": "communities", "steps": 3}
    for shape, weight in (((8, 8), 1.0), (None, 0.2)):
        default = MoESimVAE(2, **settings, image_shape=shape).fit(x)
        named = MoESimVAE(2, **settings, image_shape=shape, reconstruction_weight=weight).fit(x)
        assert default.history_["reconstruction"] == named.history_["reconstruction"]


@pytest.mark.parametrize(
    ("counts", "said"), [(np.ones((9, 2)), "shape"), (np.full((60, 4), 0.5), "fractional")]
)
def test_wrong_counts_are_told(counts, said):
    with pytest.raises(UserError, match=said):
        MoESimVAE(2, **TINY).fit(np.random.default_rng(0).random((60, 4)), counts=counts)
