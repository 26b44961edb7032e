"""What trained models generate: draws counted, thresholds kept, studies with known answers."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from moesimvae.errors import UserError
from moesimvae.evaluation import generation as compare
from moesimvae.evaluation.judge import train_judge
from moesimvae.methods import generators, moe_sim_vae, vade
from moesimvae.methods.generators import COMPONENT, FITTED, STANDARD, Generator
from moesimvae.model.estimator import MoESimVAE
from moesimvae.studies import generation as studies

ALWAYS = (0.0,)


def blobs(n=240, seed=0):
    """Images of 4 × 4 pixels in three groups, each with another row bright."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 3
    images = 0.2 * rng.random((n, 4, 4))
    images[np.arange(n), group] += 0.7 * rng.random((n, 1))
    names = np.array(["a", "b", "c"])[group]
    cells = anndata.AnnData(images.reshape(n, 16).astype(np.float32))
    cells.obs_names = [f"cell_{i}" for i in range(n)]
    return cells, names


def written(folder, method, cells, **params):
    """A run folder as the worker leaves it, as far as generators read it."""
    result = method.cluster(cells, 3, 0, **params)
    (folder / "model").mkdir(parents=True)
    result.save(folder / "model")
    table = pd.DataFrame({"cell": cells.obs_names, "label": np.asarray(result.labels, np.int32)})
    table.to_parquet(folder / "labels.parquet")
    np.save(folder / "embedding.npy", result.embedding)
    return folder


@pytest.fixture(scope="module")
def cells():
    return blobs()


@pytest.fixture(scope="module")
def vade_run(cells, tmp_path_factory):
    params = {"hidden": [32], "n_latent": 3, "pretraining_steps": 500, "steps": 500}
    folder = tmp_path_factory.mktemp("runs") / "blobs" / "vade" / "seed0"
    return written(folder, vade, cells[0], **params)


@pytest.fixture(scope="module")
def moe_run(cells, tmp_path_factory):
    params = {
        "similarity": "communities",
        "encoder_layers": [32],
        "expert_layers": [16],
        "gate_layers": [16],
        "n_latent": 3,
        "steps": 150,
        "batch_size": 60,
        "refinements": 0,
        "progress": False,
    }
    folder = tmp_path_factory.mktemp("runs") / "blobs" / "moe_sim_vae" / "seed0"
    return written(folder, moe_sim_vae, cells[0], **params)


@pytest.fixture(scope="module")
def judge(cells):
    return train_judge(cells[0].X, cells[1], (4, 4), epochs=3, batch_size=20)


def certain(share):
    """Two clusters in one dimension: |z| is the posterior, so that the shares are known."""

    def draw(cluster, n, random):
        return torch.rand(n, 1, generator=random)

    def posterior(z):
        return torch.cat([z, 1 - z], dim=1)

    return Generator(2, draw, posterior if share else None, lambda z, k: z.numpy(), None)


def test_draws_are_those_that_the_threshold_costs():
    drawn = generators.generate(certain(True), 0, 3000, (0.0, 0.5, 0.9, 0.99))
    assert drawn.draws[0.0] == 3000
    for threshold in (0.5, 0.9, 0.99):  # uniform posterior: one draw in 1 − φ is accepted
        assert drawn.draws[threshold] == pytest.approx(3000 / (1 - threshold), rel=0.1)
        some = drawn.cells[drawn.accepted[threshold]]
        assert len(some) == 3000
        assert some.min() > threshold
    assert drawn.seconds[0.99] >= drawn.seconds[0.5] > 0
    # each image is there once, whatever number of thresholds it serves
    rows = np.concatenate(list(drawn.accepted.values()))
    assert len(np.unique(rows)) == len(drawn.codes) < 4 * 3000


def test_a_higher_threshold_takes_later_draws_of_the_same_stream():
    both = generators.generate(certain(True), 0, 50, (0.0, 0.8))
    alone = generators.generate(certain(True), 0, 50, (0.8,))
    np.testing.assert_array_equal(both.codes[both.accepted[0.8]], alone.codes[alone.accepted[0.8]])
    assert both.draws[0.8] == alone.draws[0.8]
    other = generators.generate(certain(True), 0, 50, (0.8,), seed=1)
    assert not np.array_equal(other.codes, alone.codes)


def test_without_a_posterior_every_draw_counts_and_is_taken():
    drawn = generators.generate(certain(False), 1, 70, (0.0, 0.999))
    assert drawn.draws == {0.0: 70, 0.999: 70}
    assert len(drawn.cells) == 70


def test_a_threshold_out_of_reach_ends(monkeypatch):
    monkeypatch.setattr(generators, "MOST_DRAWS", 10)
    never = Generator(
        1,
        lambda k, n, random: torch.rand(n, 1, generator=random),
        lambda z: torch.full((len(z), 1), 0.4),
        lambda z, k: z.numpy(),
        None,
    )
    drawn = generators.generate(never, 0, 400, (0.0, 0.5))
    assert len(drawn.accepted[0.5]) == 0
    assert len(drawn.accepted[0.0]) == 400
    assert drawn.draws[0.5] >= 4000
    with pytest.raises(UserError, match="no cluster 1"):
        generators.generate(never, 1, 5)


def test_vade_draws_follow_their_component(vade_run):
    _network, mixture = vade.load(vade_run / "model")
    z = vade.draw(mixture, 1, 20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(z.mean(0), mixture.means[1], atol=0.1, rtol=0.1)
    torch.testing.assert_close(z.var(0), mixture.log_variances[1].exp(), atol=0.05, rtol=0.1)


def test_vade_as_a_generator(vade_run, cells):
    generator = generators.read(vade_run)[COMPONENT]
    clusters = pd.read_parquet(vade_run / "labels.parquet")["label"]
    np.testing.assert_array_equal(generator.assign(cells[0].X), clusters)
    drawn = generators.generate(generator, 0, 200, (0.0, 0.9))
    assert drawn.cells.shape[1] == 16
    assert 0 <= drawn.cells.min() <= drawn.cells.max() <= 1
    gamma = generator.posterior(torch.from_numpy(drawn.codes))[:, 0].numpy()
    assert gamma[drawn.accepted[0.9]].min() > 0.9
    np.testing.assert_allclose(
        generator.posterior(torch.from_numpy(drawn.codes)).sum(1), 1, atol=1e-5
    )


def test_moe_sim_vae_standard_is_what_the_paper_says(moe_run):
    """z ~ N(μ_k, I), by expert k."""
    model = MoESimVAE.load(moe_run / "model")
    generator = generators.read(moe_run)[STANDARD]
    z = generator.draw(2, 20_000, torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(z.mean(0), model.cluster_means_[2], atol=0.05)
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=0.06)
    new = generators.generate(generator, 2, 4000)
    np.testing.assert_allclose(
        new.cells.mean(0), model.generate(2, 4000, standard=True).mean(0), atol=0.03
    )


def test_moe_sim_vae_fitted_has_mean_and_covariance_of_the_clusters_codes(moe_run):
    codes = np.load(moe_run / "embedding.npy")
    clusters = pd.read_parquet(moe_run / "labels.parquet")["label"].to_numpy()
    generator = generators.read(moe_run)[FITTED]
    own = codes[clusters == 1]
    z = generator.draw(1, 40_000, torch.Generator().manual_seed(0)).numpy()
    scale = own.std()
    np.testing.assert_allclose(z.mean(0), own.mean(0), atol=0.05 * scale)
    np.testing.assert_allclose(np.cov(z.T), np.cov(own.T), atol=0.05 * scale**2)


def test_image_study(vade_run, moe_run, cells, judge):
    features, names = cells
    for run, gaussians in ((vade_run, ["component"]), (moe_run, ["standard", "fitted"])):
        study = studies.study_images(run, features, names, judge, n=150, thresholds=[0.0, 0.5])
        table = study.accuracy
        assert list(dict.fromkeys(table["gaussian"])) == gaussians
        assert set(table["threshold"]) == ({0.0, 0.5} if run is vade_run else {0.0})
        assert (table["n"] == 150).all()
        assert (table["draws"] >= 150).all()
        assert set(study.names) == {"a", "b", "c"}
        best = table[table["gaussian"] == gaussians[-1]]
        assert best["judge"].mean() > 0.8
        assert best["own"].mean() > 0.8
        counts = study.confusion.groupby(["gaussian", "threshold", "by", "asked"])["n"].sum()
        assert (counts == 150).all()
        right = study.confusion.query("by == 'judge' and asked == found").set_index(
            ["gaussian", "threshold", "asked"]
        )["n"]
        shares = table.set_index(["gaussian", "threshold", "digit"])["judge"]
        for key, share in shares.items():
            assert right.get(key, 0) / 150 == pytest.approx(share)
        assert study.examples[gaussians[0]].shape == (3, studies.EXAMPLES, 16)
        assert study.quality["precision_real"].between(0.5, 1).all()


def test_latent_distances(vade_run, cells):
    table = studies.latent_distances(vade_run, cells[1], cells[0], n=40)
    assert set(table["space"]) == {"encoded", "component"}
    apart = table["first"] != table["second"]
    assert table.loc[apart, "statistic"].min() > table.loc[~apart, "statistic"].max()
    assert (table.loc[~apart, "first_name"] == table.loc[~apart, "second_name"]).all()


def test_cell_study(moe_run, cells):
    study = studies.study_cells(moe_run, *cells)
    table = study.sources.set_index("source")
    assert list(table.index) == ["real", "observations", "means", "standard", "gaussian"]
    # cells scatter, and the means of a decoder do not
    assert table.loc["observations", "auc"] < table.loc["means", "auc"] - 0.1
    assert table.loc["observations", "auc"] < 0.75
    assert table.loc["observations", "slope"] == pytest.approx(1, abs=0.1)
    assert table.loc["observations", "trained_on"] > table.loc["real", "trained_on"] - 0.05
    assert (
        table.loc["observations", "nearest"] > 0.7 * table.loc["observations", "nearest_held_out"]
    )
    assert set(study.populations["source"]) == set(table.index)
    assert set(study.features["feature"]) == set(cells[0].var_names)
    made = study.generated
    assert made.obs["generated"].all()
    assert set(made.obs["name"]) == {"a", "b", "c"}
    assert made.n_obs == 3 * studies.GENERATED_CELLS
    assert made.uns["generated_by"] == "blobs/moe_sim_vae/seed0"
    assert made.obs_names.is_unique


@pytest.mark.slow
def test_cell_study_of_counts(tmp_path):
    """Counts of 250 genes, of two kinds of cells, beside what another model made of one half."""
    rng = np.random.default_rng(0)
    kind = np.arange(300) % 2
    rates = np.exp(rng.normal(0, 0.5, (2, 250)) + np.log(2))
    counts = rng.poisson(rates[kind] * rng.gamma(5, 0.2, (300, 1))).astype(np.float32)
    features = anndata.AnnData(np.log1p(counts) / np.log1p(counts).max())
    features.obs_names = [f"cell_{i}" for i in range(300)]
    features.layers["counts"] = counts
    params = {"encoder_layers": [32], "expert_layers": [16], "n_latent": 3, "steps": 100}
    folder = tmp_path / "molecules" / "moe_sim_vae" / "seed0"
    run = written(folder, moe_sim_vae, features, **params, batch_size=60, progress=False)
    half, _ = compare.halves(300, 0)
    copied = sparse.csr_matrix(counts[half])[
        :, compare.compared_genes(sparse.csr_matrix(counts[half]))
    ]
    study = studies.study_cells(run, features, kind.astype(str), copied)
    table = study.sources.set_index("source")
    assert table.loc["scvi", "nearest"] == pytest.approx(0, abs=1e-3)  # copies are told
    assert table.loc["observations", "nearest"] > 0.9 * table.loc["scvi", "nearest_held_out"]
    assert table.loc["observations", "auc"] < table.loc["means", "auc"]
    made = study.generated.X
    assert made.dtype.kind == "i"
    assert made.min() >= 0


def test_what_does_not_generate_is_said(tmp_path, vade_run, cells, judge):
    with pytest.raises(UserError, match="contains no generative model"):
        generators.read(tmp_path)
    (tmp_path / "model").mkdir()
    sizes = json.loads((vade_run / "model" / vade.SIZES).read_text())
    (tmp_path / "model" / vade.SIZES).write_text(json.dumps(sizes))
    with pytest.raises(UserError, match="no readable VaDE"):
        generators.read(tmp_path)
    with pytest.raises(UserError, match="lists other cells"):
        studies.study_images(vade_run, cells[0][::-1].copy(), cells[1], judge)
