import json
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from tiny import PARAMETERS, blobs, outcome, same_group, tiny, without_umap

from moesimvae.errors import UserError
from moesimvae.evaluation.metrics import evaluate
from moesimvae.methods import moe_sim_vae
from moesimvae.model import estimator, fitting, similarity, stability
from moesimvae.model.estimator import MoESimVAE
from moesimvae.model.fitting import Fit
from moesimvae.model.networks import ConvEncoder, Encoder, Gate

pytestmark = pytest.mark.filterwarnings("ignore")
MARKERS = ["CD3", "CD4", "CD8", "CD19", "CD45", "DNA"]
NOBODY = sparse.csr_matrix((180, 180))  # is similar to anybody


def named(X):
    return anndata.AnnData(X, var=pd.DataFrame(index=MARKERS))


@pytest.fixture(scope="module")
def fitted():
    """With the similarity of the cells, and once more with that of the gate's features."""
    return tiny(refinements=1).fit(blobs()[0])


@pytest.fixture(scope="module")
def fitted_by_name():
    X, y = blobs()
    return tiny(steps=40).fit(named(X), similarity=same_group(y))


# ---------------------------------------------------------------------- what a fit gives


def test_it_finds_separated_populations(fitted):
    assert adjusted_rand_score(blobs()[1], fitted.labels_) > 0.95
    assert fitted.facts_["experts_in_use"] == 4


def test_what_it_gives_has_the_promised_shapes_and_types(fitted):
    X = blobs()[0]
    assert (fitted.labels_.shape, fitted.labels_.dtype) == ((180,), np.int32)
    assert (fitted.embedding_.shape, fitted.embedding_.dtype) == ((180, 4), np.float32)
    assert (fitted.probabilities_.shape, fitted.probabilities_.dtype) == ((180, 4), np.float32)
    assert fitted.cluster_means_.shape == (4, 4)
    np.testing.assert_allclose(fitted.probabilities_.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(fitted.labels_, fitted.probabilities_.argmax(1))
    assert fitted.n_features_in_ == 6
    np.testing.assert_array_equal(fitted.predict(X), fitted.labels_)
    np.testing.assert_allclose(fitted.predict_proba(X), fitted.probabilities_, atol=1e-5)
    np.testing.assert_allclose(fitted.transform(X), fitted.embedding_, atol=1e-5)


def test_cluster_means_are_equation_6_over_all_cells(fitted):
    p, z = fitted.probabilities_.astype(float), fitted.embedding_.astype(float)
    np.testing.assert_allclose(fitted.cluster_means_, p.T @ z / p.sum(0)[:, None], rtol=1e-3)


def test_the_history_holds_every_term_of_every_phase(fitted):
    history = fitted.history_
    terms = {"reconstruction", "kl", "similarity", "depict"}
    assert set(history) == terms | {"total", "step"}
    # two phases of 120 steps, a record at least every 50
    assert history["step"] == [50, 100, 120, 170, 220, 240]
    assert {len(course) for course in history.values()} == {6}
    np.testing.assert_allclose(
        history["total"], np.sum([history[name] for name in terms], axis=0), rtol=1e-5
    )
    assert [facts["kind"] for facts in fitted.facts_["similarity"]] == ["communities"] * 2
    json.dumps([fitted.facts_, history])


def test_the_phases_share_the_steps_and_the_first_takes_the_rest(monkeypatch):
    without_umap(monkeypatch)
    model = tiny(steps=32, refinements=2).fit(blobs()[0])
    assert model.history_["step"] == [12, 22, 32]


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
    assert fitted.generate(0, 0).shape == (0, 6)


def test_codes_are_drawn_with_the_covariance_of_the_cluster(fitted, monkeypatch):
    drawn = []

    def record(codes, expert):
        drawn.append(codes)
        return torch.zeros(len(codes), 6)

    monkeypatch.setattr(fitted.module_, "decode", record)
    own = fitted.embedding_[fitted.labels_ == 1]
    wanted = {False: np.cov(own, rowvar=False), True: np.eye(own.shape[1])}
    for standard, covariance in wanted.items():
        fitted.generate(1, 40_000, standard=standard)
        codes = torch.cat(drawn).numpy()
        drawn.clear()
        np.testing.assert_allclose(np.cov(codes, rowvar=False), covariance, atol=0.05)
        mean = fitted.cluster_means_[1] if standard else own.mean(0)
        np.testing.assert_allclose(codes.mean(0), mean, atol=0.03)


def test_a_constant_marker_stays_what_it_is_and_does_not_count(fitted):
    X = blobs()[0]
    assert (X[:, 5] == 2).all()
    assert (fitted.reconstruct(X)[:, 5] == 2).all()
    assert (fitted.generate(1, 9)[:, 5] == 2).all()
    expected = fitted.predict_proba(X)
    X[:, 5] = np.linspace(-1e9, 1e9, 180)
    np.testing.assert_array_equal(fitted.predict_proba(X), expected)


def test_fit_transform_and_fit_predict_are_those_of_scikit_learn(monkeypatch):
    without_umap(monkeypatch)
    X, y = blobs()
    given = {"similarity": same_group(y)}
    model = tiny(steps=20).fit(X, **given)
    np.testing.assert_array_equal(tiny(steps=20).fit_predict(X, **given), model.labels_)
    np.testing.assert_allclose(
        tiny(steps=20).fit_transform(X, **given), model.embedding_, atol=1e-5
    )
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "labels_")


def test_every_form_of_cells_gives_the_same_fit():
    X, y = blobs()
    forms = [
        X,
        named(X),
        pd.DataFrame(X, columns=MARKERS),
        sparse.csr_matrix(X),
        sparse.csc_array(X),
    ]
    first, *others = (outcome(tiny(steps=20).fit(form, similarity=same_group(y))) for form in forms)
    assert all(other == first for other in others)


# ---------------------------------------------------------------------- what is known beforehand


def test_partly_known_groups_guide_the_clusters(monkeypatch):
    """Two populations are declared one group, and the model does as it is told."""
    without_umap(monkeypatch)
    X, y = blobs()
    prior = np.where(np.arange(180) % 3 == 0, np.minimum(y, 2), -1)
    taught = tiny(3, steps=450, refinements=2).fit(X, prior=prior.tolist())
    assert adjusted_rand_score(np.minimum(y, 2), taught.labels_) > 0.95


def test_a_prior_reaches_the_similarity_of_every_phase(monkeypatch):
    priors = []
    without_umap(monkeypatch)
    build = fitting.similarity.build

    def watched(spec, cells, *, prior, **others):
        priors.append(prior.tolist())
        return build(spec, cells, **others)

    monkeypatch.setattr(fitting.similarity, "build", watched)
    prior = np.arange(180) % 3 - 1
    tiny(steps=30, refinements=2).fit(blobs()[0], prior=prior)
    assert priors == [prior.tolist()] * 3


def test_released_with_a_prior_expert_k_is_group_k_and_unknown_cells_are_left_out():
    X, y = blobs()
    prior = np.where(np.arange(180) % 2 == 0, (y + 2) % 4, -1)
    # cells without a group are far from what they look like, so that training on them would show
    X[prior < 0] += 100 * np.sign(X[prior < 0])
    settings = PARAMETERS | {"refinements": 0, "steps": 300, "scale": "none"}
    X = np.clip((X + 15) / 30, 0, 1)
    model = MoESimVAE.preset("released", 4, **settings).fit(X, prior=prior)
    known = prior >= 0
    assert (model.labels_[known] == prior[known]).mean() > 0.95
    alone = MoESimVAE.preset("released", 4, **settings).fit(X[known], prior=prior[known])
    np.testing.assert_array_equal(alone.labels_, model.labels_[known])
    assert alone.history_ == model.history_


def test_a_similarity_of_the_user_s_takes_the_place_of_ours():
    X, y = blobs()
    shuffled = np.random.default_rng(0).permutation(180)
    pairs = y.copy()
    pairs[y == 3] = 2  # an opinion that the data do not share
    model = tiny(3).fit(X[shuffled], similarity=same_group(pairs[shuffled]))
    assert adjusted_rand_score(pairs[shuffled], model.labels_) > 0.95
    assert [facts["kind"] for facts in model.facts_["similarity"]] == ["matrix"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"prior": np.zeros(7, int)}, r"prior has shape \(7,\) .* each of the 180 cells"),
        ({"prior": np.zeros((180, 4), int)}, r"prior has shape \(180, 4\)"),
        ({"prior": np.zeros(180)}, "type float64; expected one whole number"),
        ({"prior": ["T cell"] * 180}, "expected one whole number"),
        ({"similarity": sparse.eye(7)}, "7 × 7, but there are 180 cells"),
        ({"similarity": sparse.csr_matrix((180, 6))}, "180 × 6, but there are 180 cells"),
        ({"similarity": sparse.eye(180) * 2}, r"in \[0, 1\]"),
        ({"similarity": -sparse.eye(180)}, r"in \[0, 1\]"),
        ({"similarity": sparse.eye(180) * np.nan}, "finite"),
        ({"similarity": np.eye(180)}, "scipy sparse matrix"),
        ({"similarity": "umap_knn"}, "scipy sparse matrix"),
    ],
)
def test_a_prior_or_similarity_that_does_not_fit_is_told(given, sentence):
    with pytest.raises(UserError, match=sentence):
        tiny(steps=3).fit(blobs()[0], **given)


@pytest.mark.parametrize(
    ("prior", "sentence"),
    [
        (np.full(180, -1), "no cell in the prior has a known group"),
        (np.arange(180) % 5, "group 4, but the model has only groups 0 to 3"),
    ],
)
def test_a_prior_that_the_released_objective_cannot_use_is_told(prior, sentence):
    with pytest.raises(UserError, match=sentence):
        tiny(steps=3, objective="released").fit(blobs()[0], prior=prior)


# ---------------------------------------------------------------------- images


def test_images_have_convolutions_and_are_augmented_where_the_shape_is_known(monkeypatch):
    without_umap(monkeypatch)
    moved = []
    monkeypatch.setattr(
        fitting, "random_affine", lambda x, shape, strength: moved.append((shape, strength)) or x
    )
    X = np.random.default_rng(0).random((40, 320)).astype(np.float32)
    settings = {"steps": 3, "refinements": 0, "channels": (2, 2)}
    images = anndata.AnnData(X, uns={"image_shape": np.array([16, 20])})
    model = tiny(**settings).fit(images)
    assert isinstance(model.module_.encoder, ConvEncoder)
    assert (model.image_shape_, model.facts_["encoder"]) == ((16, 20), "conv")
    assert moved == [((16, 20), model.augmentation)] * 3
    tiny(**settings, image_shape=(20, 16), augmentation=0.5).fit(X)
    assert moved[3:] == [((20, 16), 0.5)] * 3
    tiny(**settings, image_shape=(20, 16), augmentation=0).fit(X)
    assert len(moved) == 6
    for cells, others in ((images, {"encoder": "dense"}), (X, {})):
        plain = tiny(**settings, **others).fit(cells)
        assert type(plain.module_.encoder) is Encoder
        assert plain.facts_["encoder"] == "dense"


def test_the_first_similarity_of_images_is_that_of_deskewed_ones(monkeypatch):
    without_umap(monkeypatch)
    build = fitting.similarity.build
    seen = []

    def watched(spec, cells, **others):
        seen.append(cells)
        return build(spec, cells, **others)

    monkeypatch.setattr(fitting.similarity, "build", watched)
    monkeypatch.setattr(fitting, "deskew", lambda x, shape: 1 - x)
    X = np.random.default_rng(0).random((40, 320)).astype(np.float32)
    settings = {"steps": 3, "refinements": 0, "channels": (2,), "image_shape": (16, 20)}
    tiny(**settings).fit(X)
    tiny(**settings, deskew=False).fit(X)
    tiny(**settings | {"image_shape": None}).fit(X)
    np.testing.assert_allclose(seen[0], 1 - X, atol=1e-6)
    assert seen[1] is X
    assert seen[2] is X


def test_one_decoder_may_be_shared(monkeypatch, tmp_path):
    without_umap(monkeypatch)
    X = blobs()[0]
    model = tiny(steps=20, refinements=0, shared_decoder=True).fit(X)
    assert model.module_.experts.n_experts == 1
    assert model.cluster_means_.shape == (4, 4)
    assert model.generate(3, 2).shape == (2, 6)
    model.save(tmp_path)
    loaded = MoESimVAE.load(tmp_path, device="cpu")
    np.testing.assert_array_equal(loaded.reconstruct(X), model.reconstruct(X))


def test_small_images_are_left_to_dense_layers_unless_asked_for(monkeypatch):
    without_umap(monkeypatch)
    X = np.random.default_rng(0).random((40, 64)).astype(np.float32)
    settings = {"steps": 3, "refinements": 0, "image_shape": (8, 8)}
    assert tiny(**settings).fit(X).facts_["encoder"] == "dense"
    assert tiny(**settings, encoder="conv", channels=(2,)).fit(X).facts_["encoder"] == "conv"


# ---------------------------------------------------------------------- files


def test_a_saved_model_says_the_same(fitted, tmp_path):
    X = blobs()[0] + 0.1
    fitted.save(tmp_path / "model")
    loaded = MoESimVAE.load(tmp_path / "model", device="cpu")
    for way in ("predict", "predict_proba", "transform", "reconstruct"):
        np.testing.assert_array_equal(getattr(loaded, way)(X), getattr(fitted, way)(X))
    np.testing.assert_array_equal(loaded.generate(2, 5), fitted.generate(2, 5))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    # what concerns this machine only is not the model's
    parameters = json.loads((tmp_path / "model" / "config.json").read_text())["parameters"]
    assert not {"device", "cache", "checkpoint", "progress"} & set(parameters)
    loaded.save(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        written = [(tmp_path / folder / name).read_bytes() for folder in ("model", "again")]
        assert written[0] == written[1]


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"objective": "released", "activation": "tanh"}, (40, 6)),
        ({"image_shape": (16, 16), "channels": (2,)}, (40, 256)),
        (
            {"similarity": {"kind": "umap_knn", "n_neighbors": np.int64(7)}, "n_clusters": 16},
            (40, 6),
        ),
    ],
)
def test_every_kind_of_model_can_be_saved(settings, shape, tmp_path, monkeypatch):
    without_umap(monkeypatch)
    X = np.random.default_rng(0).random(shape).astype(np.float32)
    model = tiny(**{"steps": 3, "refinements": 0} | settings).fit(X)
    model.save(tmp_path)
    loaded = MoESimVAE.load(tmp_path, device="cpu")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    # its parameters are those of the model, so that it may be fitted again
    again = clone(loaded).set_params(device="cpu", progress=False).fit(X)
    np.testing.assert_array_equal(again.labels_, model.labels_)


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
        (lambda f: damage_config(f, format_version=99), "format version 99"),
        (lambda f: damage_config(f, n_features=7), "different models"),
        (lambda f: damage_config(f, n_features="six"), "does not describe a model"),
        (lambda f: damage_config(f, parameters={"K": 3}), "does not describe a model"),
        (lambda f: damage_config(f, parameters=None), "does not describe a model"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x08"), "cannot be read"),
        (drop_a_tensor, "'cluster_means' has shape None"),
    ],
)
def test_a_damaged_model_is_told(fitted, tmp_path, harm, sentence):
    fitted.save(tmp_path)
    harm(tmp_path)
    with pytest.raises(UserError, match=sentence):
        MoESimVAE.load(tmp_path)


# ---------------------------------------------------------------------- what is told


def with_a_hole(make):
    X = blobs()[0]
    X[7, 2] = np.nan
    return make(X)


@pytest.mark.parametrize(
    ("data", "settings", "sentence"),
    [
        (lambda: with_a_hole(np.array), {}, r"cell 7 \(counting from 0\), feature 2, is nan"),
        (lambda: with_a_hole(named), {}, r"cell '7' .*, feature 'CD8', is nan"),
        (lambda: blobs()[0], {"scale": "none"}, "use scale='minmax'"),
        (lambda: blobs()[0], {"scale": "z"}, "scale is 'z'"),
        (lambda: blobs()[0][:3], {}, "3 cells for 4 clusters"),
        (lambda: blobs()[0][:2], {"n_clusters": 2}, "at least 3 cells"),
        (
            lambda: blobs()[0],
            {"n_clusters": 1},
            "n_clusters is 1; use a whole number of clusters, at least 2",
        ),
        (lambda: blobs()[0], {"steps": 2, "refinements": 2}, "needs at least one step"),
        (lambda: blobs()[0], {"refinements": -1}, "refinements is -1; use"),
        (lambda: blobs()[0], {"batch_size": 1}, "batch_size is 1"),
        (lambda: blobs()[0], {"experts_every": 7}, "experts_every is 7; use a divisor of 50"),
        (lambda: blobs()[0], {"objective": "elbo"}, "objective is 'elbo'"),
        (lambda: blobs()[0], {"activation": "sine"}, "activation is 'sine'"),
        (lambda: blobs()[0], {"precision": "half"}, "precision is 'half'; use 'auto', 'float32'"),
        (lambda: blobs()[0], {"schedule": "steep"}, "schedule is 'steep'"),
        (lambda: blobs()[0], {"device": "abacus"}, "device 'abacus'"),
        (lambda: blobs()[0], {"similarity": "friends"}, "no similarity 'friends'"),
        (lambda: blobs()[0], {"similarity": {"kind": "umap_knn", "k": 3}}, "no parameter 'k'"),
        (lambda: blobs()[0], {"encoder": "deep"}, "encoder is 'deep'"),
        (lambda: blobs()[0], {"encoder": "conv"}, "image_shape is None, but the cells have 6"),
        (lambda: blobs()[0], {"image_shape": (20, 20)}, r"\(20, 20\), but the cells have 6"),
        (lambda: np.empty((0, 3)), {}, "expected cells × features"),
        (lambda: np.array([["a", "b"]]), {}, "must be numbers"),
    ],
)
def test_bad_input_is_told_in_one_sentence(data, settings, sentence):
    with pytest.raises(UserError, match=sentence) as told:
        tiny(**settings).fit(data())
    assert "\n" not in str(told.value)


def test_bad_use_of_a_fitted_model_is_told(fitted):
    with pytest.raises(UserError, match="X has 5 features, but MoESimVAE is expecting 6 features"):
        fitted.predict(blobs()[0][:, :5])
    for cluster in (4, -1):
        with pytest.raises(UserError, match=f"no cluster {cluster}; clusters run from 0 to 3"):
            fitted.generate(cluster, 1)
    with pytest.raises(UserError, match="cell 7"):
        fitted.predict(with_a_hole(np.array))


def test_a_model_that_is_not_fitted_says_so(tmp_path):
    X = blobs()[0]
    uses = [
        lambda model: model.predict(X),
        lambda model: model.transform(X),
        lambda model: model.reconstruct(X),
        lambda model: model.generate(0, 1),
        lambda model: model.save(tmp_path),
    ]
    for use in uses:
        with pytest.raises(NotFittedError):
            use(tiny())


def test_features_are_known_by_name(fitted_by_name, tmp_path):
    X = blobs()[0]
    cells = named(X)
    assert fitted_by_name.feature_names_in_.tolist() == MARKERS
    fitted_by_name.save(tmp_path)
    for model in (fitted_by_name, MoESimVAE.load(tmp_path, device="cpu")):
        np.testing.assert_array_equal(model.predict(cells), model.predict(X))
        table = pd.DataFrame(X, columns=MARKERS)
        np.testing.assert_array_equal(model.predict(table), model.predict(X))
        with pytest.raises(UserError, match=r"lack 2 of the model's 6 features \(first: 'CD4'\)"):
            model.predict(cells[:, ["CD3", "CD8", "CD19", "DNA"]])
        with pytest.raises(
            UserError, match=r"differ from the model's; select model.feature_names_in_"
        ):
            model.predict(cells[:, MARKERS[::-1]])
        more = pd.DataFrame(np.hstack([X, X[:, :1]]), columns=[*MARKERS, "CD56"])
        with pytest.raises(UserError, match="features of the cells, or their order, differ"):
            model.transform(more)
        selected = cells[:, MARKERS[::-1]][:, model.feature_names_in_]
        np.testing.assert_array_equal(model.predict(selected), model.predict(X))


# ---------------------------------------------------------------------- settings that must matter


def test_every_weight_reaches_its_term(monkeypatch):
    without_umap(monkeypatch)
    X = blobs()[0]
    settings = {"steps": 3, "refinements": 0, "warm_up": 0.0, "learning_rate": 1e-9}
    names = ("reconstruction_weight", "kl_weight", "similarity_weight", "depict_weight")
    plain = tiny(**settings, **dict.fromkeys(names, 1.0)).fit(X).history_
    changes = {
        "reconstruction_weight": 2.0,
        "kl_weight": 3.0,
        "similarity_weight": 4.0,
        "depict_weight": 5.0,
    }
    weighted = tiny(**settings, **changes).fit(X).history_
    for name, factor in changes.items():
        term = name.removesuffix("_weight")
        np.testing.assert_allclose(weighted[term], factor * np.array(plain[term]), rtol=1e-4)


@pytest.mark.slow
def test_all_terms_but_the_similarity_warm_up_in_the_first_phase_alone(monkeypatch):
    without_umap(monkeypatch)
    X = blobs()[0]
    settings = {"steps": 300, "refinements": 1, "learning_rate": 1e-9, "kl_weight": 1.0}
    cold = tiny(**settings, warm_up=1.0).fit(X).history_
    warm = tiny(**settings, warm_up=0.0).fit(X).history_
    # of 150 steps, means of the first, second and third 50
    expected = [24.5 / 150, 74.5 / 150, 124.5 / 150, 1, 1, 1]
    for term in ("reconstruction", "kl", "depict"):
        share = np.array(cold[term]) / np.array(warm[term])
        np.testing.assert_allclose(share, expected, rtol=0.1 if term == "kl" else 1e-2)
    np.testing.assert_allclose(cold["similarity"], warm["similarity"], rtol=1e-3)


@pytest.mark.parametrize(
    ("n_features", "image_shape", "kind", "phases"),
    [
        (100, None, "communities", 1),
        (101, None, "communities", 1),
        (64, (8, 8), "umap_knn", 1),
        (256, (16, 16), "umap_knn", 3),
    ],
)
def test_auto_is_communities_for_cells_and_umap_for_images(
    n_features, image_shape, kind, phases, monkeypatch
):
    without_umap(monkeypatch)
    build = fitting.similarity.build
    seen = []

    def watched(spec, cells, **others):
        seen.append(spec)
        return build(spec, cells, **others)

    monkeypatch.setattr(fitting.similarity, "build", watched)
    X = np.random.default_rng(0).random((40, n_features)).astype(np.float32)
    tiny(steps=6, channels=(2,), image_shape=image_shape).fit(X)
    assert [fitting.similarity.parse(spec)[0] for spec in seen] == [kind] * phases


def test_refinements_see_the_gate_s_features_and_not_the_cells(monkeypatch):
    without_umap(monkeypatch)
    build = fitting.similarity.build
    seen = []

    def watched(spec, cells, **others):
        seen.append((spec, cells.shape, others["cache"]))
        return build(spec, cells, **others)

    monkeypatch.setattr(fitting.similarity, "build", watched)
    spec = {"kind": "umap_knn", "metric": "canberra", "n_neighbors": 9}
    tiny(steps=30, refinements=2, similarity=spec, cache="somewhere").fit(blobs()[0])
    features = ({"kind": "umap_knn", "n_neighbors": 9}, (180, 16), None)
    assert seen == [(spec, (180, 6), "somewhere"), features, features]


def test_training_keeps_its_threads_whatever_the_similarity_sets(monkeypatch):
    build, threads = fitting.similarity.build, torch.get_num_threads()

    def greedy(*given, **named):
        torch.set_num_threads(threads + 1)
        return build(*given, **named)

    monkeypatch.setattr(fitting.similarity, "build", greedy)
    tiny(steps=4).fit(blobs()[0])
    assert torch.get_num_threads() == threads


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["dense", "conv"])
def test_bfloat16_is_for_the_encoder_in_training_alone(encoder, monkeypatch):
    X = np.random.default_rng(0).random((180, 256), dtype=np.float32)
    settings = {"steps": 20, "encoder": encoder, "image_shape": (16, 16), "channels": (2, 2)}
    seen = []
    forward = Encoder.forward

    def watched(self, x):
        trunk = self.trunk.register_forward_hook(
            lambda module, inputs, output: seen.append((torch.is_grad_enabled(), output.dtype))
        )
        code = forward(self, x)
        trunk.remove()
        assert {part.dtype for part in code} == {torch.float32}
        return code

    monkeypatch.setattr(Encoder, "forward", watched)
    models = {}
    for precision in ("float32", "bfloat16"):
        seen.clear()
        models[precision] = tiny(**settings, precision=precision).fit(X, similarity=NOBODY)
        assert models[precision].facts_["precision"] == precision
        in_training = {dtype for gradients, dtype in seen if gradients}
        assert in_training == {getattr(torch, precision)}
        models[precision].predict(X)
        assert seen[-1] == (False, torch.float32)
    again = tiny(**settings, precision="bfloat16").fit(X, similarity=NOBODY)
    assert (again.embedding_ == models["bfloat16"].embedding_).all()
    assert not np.array_equal(again.embedding_, models["float32"].embedding_)
    np.testing.assert_allclose(
        again.history_["total"], models["float32"].history_["total"], rtol=0.02
    )


@pytest.mark.parametrize(("units", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_the_precision_that_the_chip_has_units_for(units, precision, monkeypatch):
    told = {"amx_bf16": units}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    fitted = tiny(steps=1, precision="auto").fit(blobs()[0], similarity=NOBODY)
    assert fitted.facts_["precision"] == precision


def test_a_similarity_may_say_which_cells_are_drawn(monkeypatch):
    drawn = []

    def build(spec, cells, **_):
        def pairs(index):
            drawn.extend(index.tolist())
            return torch.zeros(len(index), len(index))

        sampling = np.where(np.arange(180) < 30, 1 / 30, 0)
        return fitting.similarity.Similarity(pairs, (), sampling=sampling)

    monkeypatch.setattr(fitting.similarity, "build", build)
    tiny(steps=6, refinements=1).fit(blobs()[0])
    assert len(drawn) == 6 * 64
    assert set(drawn) == set(range(30))


@pytest.mark.parametrize("second_is_better", [False, True])
def test_a_fit_that_loses_clusters_is_made_again_once_and_says_so(second_is_better, monkeypatch):
    runs = []

    class Counted(fitting.Fit):
        def run(self):
            fitted = super().run()
            runs.append(fitted)
            if len(runs) > 1:
                fitted.history["similarity"][-1] = -1 if second_is_better else np.inf
            return fitted

    monkeypatch.setattr(estimator, "Fit", Counted)
    X, y = blobs()
    plain = tiny(steps=100).fit(X, similarity=same_group(y))
    assert "restarted" not in plain.facts_
    assert len(runs) == 1
    runs.clear()
    built = fitting.similarity.build

    def with_more_groups(*arguments, **settings):
        similar = built(*arguments, **settings)
        similar.facts["groups"] = 100
        return similar

    monkeypatch.setattr(fitting.similarity, "build", with_more_groups)
    again = tiny(steps=100).fit(X, similarity=same_group(y))
    assert len(runs) == 2
    assert "of 100 groups" in again.facts_["restarted"]
    one, other = (outcome(model) | {"similarity": "not compared"} for model in (again, plain))
    assert (one == other) is not second_is_better


def test_a_similarity_is_kept_in_the_cache_and_found_again(tmp_path):
    X = blobs()[0]
    settings = {"steps": 3, "refinements": 0, "cache": tmp_path}
    first, second = (tiny(**settings).fit(X) for _ in range(2))
    assert [m.facts_["similarity"][0]["from_cache"] for m in (first, second)] == [False, True]
    assert outcome(first) == outcome(second)


def test_the_method_hands_over_all_there_is(tmp_path):
    cells = anndata.AnnData(blobs(60)[0])
    run = moe_sim_vae.cluster(cells, 4, 0, **PARAMETERS | {"steps": 20, "refinements": 0})
    assert run.labels.shape == (60,)
    assert run.embedding.shape == run.probabilities.shape == (60, 4)
    assert {"experts_in_use", "device", "seconds_similarity", "seconds_training"} <= set(run.facts)
    json.dumps([run.facts, run.history])
    run.save(tmp_path)
    np.testing.assert_array_equal(MoESimVAE.load(tmp_path).predict(cells), run.labels)


# ---------------------------------------------------------------------- how sure it is


@pytest.fixture(scope="module")
def assessed():
    X, _ = blobs()
    return tiny(similarity="communities", steps=60).fit(X).assess(X, resamples=4)


def test_how_sure_clusters_are(assessed, tmp_path):
    facts = assessed.facts_["stability"]
    assert assessed.stability_.shape == (4,)
    assert assessed.stability_.min() > stability.STABLE
    assert facts["structure"] is True
    assert len(facts["clusters"]) == 4
    json.dumps(facts)
    X = blobs()[0]
    np.testing.assert_allclose(assessed.predict_proba(X), assessed.probabilities_, atol=1e-5)
    np.testing.assert_array_equal(assessed.predict(X), assessed.labels_)
    assessed.save(tmp_path / "model")
    loaded = MoESimVAE.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.predict_proba(X), assessed.probabilities_, atol=1e-5)
    np.testing.assert_array_equal(loaded.predict(X, 2), assessed.predict(X, 2))
    assert (loaded.outside(X) == assessed.outside(X)).all()


def test_clusters_are_joined_without_another_fit(assessed):
    X = blobs()[0]
    joined = assessed.joined(2)
    assert set(joined) == {0, 1}
    np.testing.assert_array_equal(assessed.predict(X, 2), joined[assessed.labels_])
    p = assessed.predict_proba(X, 2)
    np.testing.assert_allclose(p[:, 0], assessed.probabilities_[:, joined == 0].sum(1), atol=1e-5)
    with pytest.raises(UserError, match="a whole number from 1 to 4"):
        assessed.joined(5)


def test_cells_of_a_population_that_was_not_seen_lie_outside(assessed):
    X = blobs()[0]
    assert assessed.outside(X).sum() <= 2
    strange = X.max(axis=0) + 10 * X.std(axis=0)
    assert assessed.outside(np.tile(strange, (20, 1)).astype(np.float32)).all()


def test_what_cannot_be_assessed_is_told(assessed, fitted, fitted_by_name, tmp_path):
    X = blobs()[0]
    with pytest.raises(UserError, match="fitted here to 180 cells, but X has 90"):
        assessed.assess(X[:90])
    with pytest.raises(UserError, match="other cells than those the model was fitted to"):
        assessed.assess(X[::-1])
    with pytest.raises(UserError, match="call assess"):
        fitted.predict(X, 2)
    with pytest.raises(UserError, match="not with 'matrix'"):
        fitted_by_name.assess(named(X))
    fitted.save(tmp_path / "model")
    with pytest.raises(UserError, match="fitted here to 0 cells"):
        MoESimVAE.load(tmp_path / "model").assess(X)


def test_a_gate_that_cuts_one_group_and_joins_two_is_set_to_the_groups():
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), [500, 150, 150])
    points = (random.normal(size=(800, 2)) + np.array([[0, 0], [30, 0], [30, 20]])[truth]) / 10
    points = points.astype(np.float32)
    gate = Gate(2, [], 3)
    # cluster 0 and 1: the halves of the first group; cluster 2: the two others
    weight, bias = torch.tensor([[0.0, 9.0], [0.0, -9.0], [30.0, 0.0]]), torch.tensor([0, 0, -30.0])
    with torch.no_grad():
        gate.layers[-1].weight.copy_(weight)
        gate.layers[-1].bias.copy_(bias)
    fit = Fit.__new__(Fit)
    fit.module, fit.n_cells = SimpleNamespace(gate=gate), 800
    fit.settings = SimpleNamespace(n_clusters=3, seed=0)
    clusters = fit._cluster_features(points)
    np.testing.assert_array_equal(clusters == 2, truth > 0)
    fit._set_gate(points, clusters, truth)
    labels = fit._cluster_features(points)
    assert evaluate(truth, labels, ["accuracy_hungarian"])["accuracy_hungarian"] == 1
    assert (labels[truth > 0] == 2).any()  # the expert of both stays with one of them


@pytest.mark.parametrize("better", ["groups", "clusters"])
def test_the_gate_is_set_where_groups_fit_better_than_its_clusters(better, monkeypatch):
    X, y = blobs()
    set_to = []
    monkeypatch.setattr(similarity, "_project", lambda _, cells, *__: (cells[:, :2].copy(), {}))
    monkeypatch.setattr(Fit, "_set_gate", lambda fit, *given: set_to.append(given[2]))
    monkeypatch.setattr(similarity, "find_groups", lambda *_: y)
    monkeypatch.setattr(
        similarity,
        "_take_better",
        lambda points, groups, clusters, *_: groups if better == "groups" else clusters,
    )
    spec = {"kind": "umap_knn", "batch_neighbors": "by_group"}
    model = tiny(steps=6, refinements=2, similarity=spec).fit(X)
    facts = [phase.get("gate_from_groups") for phase in model.facts_["similarity"]]
    assert facts == [None, better == "groups", better == "groups"]
    assert len(set_to) == (2 if better == "groups" else 0)
    assert all(groups is y for groups in set_to)
