import json
import os
import subprocess
import sys

import anndata
import numpy as np
import pytest
import safetensors.torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score

from moesimvae.errors import UserError
from moesimvae.methods import moe_sim_vae
from moesimvae.model.estimator import MoESimVAE

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {
    "encoder_layers": (32,),
    "expert_layers": (16,),
    "gate_layers": (16,),
    "n_latent": 4,
    "steps": 240,
    "learning_rate": 3e-3,
    "batch_size": 64,
    "device": "cpu",
    "progress": False,
}


def blobs(n_cells=180):
    """Four well separated populations; one marker is constant."""
    X, y = make_blobs(n_cells, n_features=6, centers=4, cluster_std=0.5, random_state=4)
    X[:, 5] = 2.0
    return X.astype(np.float32), y


def small(n_clusters=4, **settings):
    return MoESimVAE(n_clusters, **SMALL | settings)


@pytest.fixture(scope="module")
def fitted():
    return small().fit(blobs()[0])


def test_it_finds_separated_populations(fitted):
    assert adjusted_rand_score(blobs()[1], fitted.labels_) > 0.95
    assert fitted.facts_["experts_in_use"] == 4


def test_what_it_gives_has_the_promised_shapes(fitted):
    X = blobs()[0]
    assert fitted.embedding_.shape == (180, 4)
    assert fitted.cluster_means_.shape == (4, 4)
    np.testing.assert_allclose(fitted.probabilities_.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(fitted.predict(X), fitted.labels_)
    np.testing.assert_allclose(fitted.transform(X), fitted.embedding_, atol=1e-5)
    assert fitted.history_["step"] == sorted(set(fitted.history_["step"]))
    assert fitted.history_["step"][-1] == 240
    assert set(fitted.history_) == {
        *("reconstruction", "kl", "similarity", "depict", "total", "step")
    }


def test_reconstructed_and_generated_cells_are_in_the_units_of_the_data(fitted):
    X, _ = blobs()
    error = np.abs(fitted.reconstruct(X) - X).mean()
    assert error < 0.5 * np.abs(X - X.mean(0)).mean()
    for cluster in range(4):
        made = fitted.generate(cluster, 50, random_state=1)
        centre = X[fitted.labels_ == cluster].mean(0)
        others = [X[fitted.labels_ == k].mean(0) for k in range(4) if k != cluster]
        distance = np.linalg.norm(made.mean(0) - centre)
        assert distance < min(np.linalg.norm(made.mean(0) - other) for other in others)
    np.testing.assert_array_equal(fitted.generate(0, 3), fitted.generate(0, 3))
    assert not np.array_equal(fitted.generate(0, 3), fitted.generate(0, 3, random_state=1))


def test_dense_sparse_and_anndata_are_the_same(fitted):
    X = blobs()[0]
    labels = small(steps=20).fit_predict(X)
    np.testing.assert_array_equal(small(steps=20).fit_predict(anndata.AnnData(X)), labels)
    table = sparse.csr_matrix(X)
    np.testing.assert_array_equal(fitted.predict(table), fitted.labels_)
    # UMAP sums distances between sparse rows in another order, so only nearly the same
    fit = small(steps=20).fit(sparse.csc_matrix(X))
    np.testing.assert_allclose(fit.embedding_, small(steps=20).fit(X).embedding_, atol=0.1)


SCRIPT = """
import sys; sys.path.insert(0, sys.argv[1])
import warnings; warnings.simplefilter("ignore")
from test_estimator import blobs, small
print(small(steps=60, random_state=int(sys.argv[2])).fit(blobs()[0]).labels_.tolist())
"""


def labels_of_a_new_process(seed):
    here = os.path.dirname(__file__)
    command = [sys.executable, "-c", SCRIPT, here, str(seed)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_labels_in_every_process():
    X = blobs()[0]
    labels = small(steps=60).fit_predict(X).tolist()
    assert small(steps=60).fit_predict(X).tolist() == labels
    assert labels_of_a_new_process(0) == labels
    assert small(steps=60, random_state=1).fit_predict(X).tolist() != labels


def test_a_saved_model_says_the_same(fitted, tmp_path):
    X = blobs()[0] + 0.1
    fitted.save(tmp_path / "model")
    loaded = MoESimVAE.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(loaded.generate(2, 5), fitted.generate(2, 5))
    np.testing.assert_array_equal(loaded.reconstruct(X), fitted.reconstruct(X))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def damage_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop_a_tensor(folder):
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    del tensors["cluster_means"]
    safetensors.torch.save_file(tensors, path)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda f: (f / "config.json").unlink(), "cannot be read"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "config.json").write_text("[]"), "not the configuration"),
        (lambda f: damage_config(f, format_version=99), "format version 99"),
        (lambda f: damage_config(f, n_features=7), "different models"),
        (lambda f: damage_config(f, parameters={"K": 3}), "does not describe a model"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x08"), "cannot be read"),
        (drop_a_tensor, "'cluster_means' has shape None"),
    ],
)
def test_a_damaged_model_is_told(fitted, tmp_path, harm, sentence):
    fitted.save(tmp_path)
    harm(tmp_path)
    with pytest.raises(UserError, match=sentence):
        MoESimVAE.load(tmp_path)


def with_a_hole(make):
    X = blobs()[0]
    X[7, 2] = np.nan
    return make(X)


@pytest.mark.parametrize(
    ("data", "settings", "sentence"),
    [
        (lambda: with_a_hole(np.array), {}, "cell 7, feature 2"),
        (lambda: with_a_hole(sparse.csr_matrix), {}, "cell 7, feature 2"),
        (lambda: with_a_hole(anndata.AnnData), {}, "cell 7, feature 2"),
        (lambda: blobs()[0], {"scale": "none"}, "use scale='minmax'"),
        (lambda: blobs()[0], {"scale": "z"}, "scale is 'z'"),
        (lambda: blobs()[0][:3], {}, "3 cells for 4 clusters"),
        (lambda: blobs()[0], {"n_clusters": 1}, "n_clusters is 1"),
        (lambda: blobs()[0], {"steps": 1}, "needs at least one step"),
        (lambda: blobs()[0], {"batch_size": 1}, "batch_size is 1"),
        (lambda: np.empty((0, 3)), {}, "expected cells × features"),
        (lambda: np.array([["a", "b"]]), {}, "must be numbers"),
    ],
)
def test_bad_input_is_told_in_one_sentence(data, settings, sentence):
    with pytest.raises(UserError, match=sentence):
        small(**settings).fit(data())


def test_bad_use_of_a_fitted_model_is_told(fitted):
    with pytest.raises(UserError, match="5 features, but the model was fitted on 6"):
        fitted.predict(blobs()[0][:, :5])
    with pytest.raises(UserError, match="no cluster 4"):
        fitted.generate(4, 1)
    with pytest.raises(NotFittedError):
        small().predict(blobs()[0])


def test_as_many_clusters_as_cells_and_duplicates_do_no_harm():
    X = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    for n_clusters in (2, 12):
        model = small(n_clusters, steps=20).fit(X)
        assert np.isfinite(model.embedding_).all()
        assert np.isfinite(model.generate(1, 2)).all()


def test_new_cells_far_outside_the_fitted_range_are_assigned(fitted):
    assert np.isfinite(fitted.predict_proba(blobs()[0] * 1e6)).all()


def test_it_is_a_scikit_learn_estimator(fitted):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "labels_")


def test_the_method_hands_over_all_there_is(tmp_path):
    cells = anndata.AnnData(blobs(60)[0])
    run = moe_sim_vae.cluster(cells, 4, 0, **SMALL | {"steps": 20, "refinements": 0})
    assert run.labels.shape == (60,)
    assert run.embedding.shape == run.probabilities.shape == (60, 4)
    assert {"experts_in_use", "device", "seconds_similarity", "seconds_training"} <= set(run.facts)
    json.dumps([run.facts, run.history])
    run.save(tmp_path)
    np.testing.assert_array_equal(MoESimVAE.load(tmp_path).predict(cells), run.labels)
