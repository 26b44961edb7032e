"""The estimator keeps scikit-learn's contract."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import ClassifierTags, estimator_checks, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny import blobs, outcome, same_group, tiny

from moesimvae import scverse
from moesimvae.errors import UserError, WrongType
from moesimvae.model.estimator import MoESimVAE
from moesimvae.model.parameters import ALLOWED

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {
    "encoder_layers": (16,),
    "expert_layers": (8,),
    "gate_layers": (8,),
    "n_latent": 2,
    "steps": 100,
    "batch_size": 32,
    "device": "cpu",
    "progress": False,
}
# check → why it cannot be passed as it stands
ONE_CLUSTER = "it sets n_clusters=1; a mixture of one expert clusters nothing and is refused"
SPARSE = "it takes whatever has predict_proba for a classifier, whose tags a clusterer has not"
CANNOT_BE = {
    "check_dont_overwrite_parameters": ONE_CLUSTER,
    "check_methods_subset_invariance": ONE_CLUSTER,
    "check_fit2d_1feature": ONE_CLUSTER,
    "check_fit2d_predict1d": ONE_CLUSTER,
    "check_estimator_sparse_array": SPARSE,
    "check_estimator_sparse_matrix": SPARSE,
}


@parametrize_with_checks([MoESimVAE(3, **SMALL)], expected_failed_checks=lambda _: CANNOT_BE)
def test_checks_of_scikit_learn(estimator, check):
    if "clustering" not in str(check):  # what is found is not looked at
        estimator = clone(estimator).set_params(steps=10)
    check(estimator)


class Helped(MoESimVAE):
    """Of one cluster it makes two, and it has the tags of a classifier."""

    n_clusters = property(
        lambda self: max(2, self.__dict__["k"]), lambda self, k: self.__dict__.update(k=k)
    )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags = ClassifierTags()
        return tags


@pytest.mark.slow
@pytest.mark.parametrize("name", CANNOT_BE)
def test_the_reasons_why_checks_cannot_be_passed_are_the_whole_ones(name):
    getattr(estimator_checks, name)("MoESimVAE", Helped(4, **SMALL))


# ---------------------------------------------------------------------- what is given and taken


def given():
    return {"similarity": same_group(blobs()[1])}


def quick(**settings):
    return tiny(**{"steps": 5} | settings)


@pytest.fixture(scope="module")
def named():
    return quick().fit(pd.DataFrame(blobs()[0], columns=[*"abcdef"]), **given())


@pytest.fixture(scope="module")
def nameless():
    return quick().fit(blobs()[0], **given())


def test_tags_say_what_is_taken():
    tags = get_tags(MoESimVAE())
    assert tags.estimator_type == "clusterer"
    assert tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert not tags.target_tags.required


def test_latent_codes_have_names_in_the_container_asked_for(named):
    X = pd.DataFrame(blobs()[0], columns=[*"abcdef"], index=[f"c{i}" for i in range(180)])
    names = [f"moesimvae{i}" for i in range(4)]
    assert named.get_feature_names_out().tolist() == names
    codes = named.transform(X)
    model = quick().set_output(transform="pandas")
    table = model.fit_transform(X, **given())
    assert (table.columns.tolist(), table.index.tolist()) == (names, X.index.tolist())
    np.testing.assert_allclose(table, codes, atol=1e-5)
    chain = make_pipeline(StandardScaler(), quick()).set_output(transform="pandas")
    assert chain.fit_transform(X).columns.tolist() == names


def test_names_of_features_are_kept_where_they_are_text(named, tmp_path):
    X = blobs()[0]
    named.save(tmp_path)
    for model in (named, MoESimVAE.load(tmp_path)):
        assert model.feature_names_in_.dtype == object
        assert model.feature_names_in_.tolist() == [*"abcdef"]
    model = quick().fit(pd.DataFrame(X, columns=[*"abcdef"]), **given())
    for cells in (X, pd.DataFrame(X), sparse.csr_array(X)):
        model.fit(cells, **given())
        assert not hasattr(model, "feature_names_in_")
    model.save(tmp_path)
    assert not hasattr(MoESimVAE.load(tmp_path), "feature_names_in_")
    with pytest.raises(WrongType, match="the column names mix strings and other types, such as 1;"):
        quick().fit(pd.DataFrame(X[:, :2], columns=["a", 1]))


def test_names_on_one_side_alone_are_warned_of_as_scikit_learn_does(named, nameless):
    X = blobs()[0]
    with pytest.warns(UserWarning, match="X does not have valid feature names, but MoESimVAE was"):
        named.predict(X)
    with pytest.warns(UserWarning, match="X has feature names, but MoESimVAE was fitted without"):
        nameless.transform(pd.DataFrame(X, columns=[*"abcdef"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nameless.predict(anndata.AnnData(X))  # names its features by their numbers
        named.predict(pd.DataFrame(X, columns=[*"abcdef"]))


def complex_h5ad(folder, X):
    import h5py

    anndata.AnnData(X).write_h5ad(folder / "c.h5ad")
    with h5py.File(folder / "c.h5ad", "r+") as file:
        attributes = dict(file["X"].attrs)
        del file["X"]
        file["X"] = X + 1j
        file["X"].attrs.update(attributes)
    return anndata.read_h5ad(folder / "c.h5ad", backed="r")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda X, _: X + 1j, "Complex data not supported"),
        (lambda X, _: sparse.csr_matrix(X + 1j), "Complex data not supported"),
        (lambda X, _: (X + 1j).astype(object), "Complex data not supported"),
        (lambda X, folder: complex_h5ad(folder, X), "Complex data not supported"),
        (lambda X, _: X.astype(str), "the data are text, but must be numbers"),
        (lambda X, _: X.astype(str).astype(object), "the data are text, but must be numbers"),
        (lambda X, _: X.astype("M8[s]"), "datetime64.*must be numbers"),
        (lambda X, _: [[{}]], "must be numbers, .*argument must be"),
        (lambda X, _: X[:, 0], "X.reshape"),
        (lambda X, _: X[:, :0], "0 feature"),
    ],
)
def test_what_would_lose_its_meaning_as_numbers_is_refused(change, sentence, nameless, tmp_path):
    data = change(blobs()[0], tmp_path)
    for use in (quick().fit, nameless.predict):
        with pytest.raises(UserError, match=sentence) as told:
            use(data)
        assert "\n" not in str(told.value)


def test_objects_that_are_numbers_are_taken(named):
    X = blobs()[0]
    np.testing.assert_array_equal(named.predict(X.astype(object)), named.predict(X))


# ---------------------------------------------------------------------- seeds


def test_a_random_state_of_every_kind():
    X = blobs()[0]

    def fitted(random_state):
        return quick(random_state=random_state).fit(X)

    state = np.random.RandomState(0)
    first, second = fitted(state), fitted(state)
    assert first.seed_ != second.seed_
    assert outcome(first) == outcome(fitted(np.random.RandomState(0)))
    assert outcome(first) == outcome(fitted(first.seed_))
    assert outcome(first) != outcome(second)
    assert outcome(fitted(np.int64(3))) == outcome(fitted(3))
    np.random.seed(5)  # noqa: NPY002 - what None draws from
    drawn = fitted(None).seed_
    np.random.seed(5)  # noqa: NPY002
    assert fitted(None).seed_ == drawn
    assert not np.array_equal(first.generate(0, 3, None), first.generate(0, 3, None))


def test_a_model_knows_the_seed_that_was_drawn(tmp_path):
    cells = anndata.AnnData(blobs()[0])
    settings = tiny(steps=5, random_state=np.random.RandomState(1)).get_params()
    model = scverse.cluster(cells, settings.pop("n_clusters"), **settings)
    assert cells.uns["moesimvae"]["params"]["random_state"] == model.seed_
    model.save(tmp_path)
    assert MoESimVAE.load(tmp_path).random_state == model.seed_
    with pytest.raises(UserError, match="give random_state as a whole number"):
        model.set_params(checkpoint=tmp_path).fit(cells)


# ---------------------------------------------------------------------- parameters


BAD = {
    "n_clusters": (1, 0, -3, 2.0, 2.5, "3", True, None),
    "similarity": (5, None, ["umap_knn"], "friends", {"kind": "umap_knn", "k": 3}),
    "refinements": (-1, 1.5),
    "n_latent": (0, 2.5, None),
    "encoder": ("deep", None, 1),
    "image_shape": (6, (2, 3, 1), (0, 6), (2.0, 3.0), "23"),
    "channels": ((), 8, (0, 8), (8, 2.5), None),
    "encoder_layers": ((0,), 16, (2.5,)),
    "expert_layers": ((-1,), 16),
    "shared_decoder": (1, "yes", None),
    "experts_every": (7, 0, True, 2.0),
    "gate_layers": ((0,), 16, None, "16"),
    "activation": ("sine", None),
    "augmentation": (-3, np.nan, np.inf, "0.6", None),
    "deskew": (0, "no"),
    "objective": ("elbo", None),
    "reconstruction_weight": (-1, np.nan, np.inf),
    "kl_weight": (-1, np.nan, "0.02"),
    "similarity_weight": (-0.1, np.inf),
    "depict_weight": (-1e-9, None),
    "warm_up": (7, -0.1, np.nan, True),
    "gate_dropout": (1, -0.1, 1.5),
    "steps": (0, -5, 2.5, 20.0, "20"),
    "batch_size": (1, 0, 64.0),
    "learning_rate": (0, -1e-3, np.inf, np.nan, "3e-3"),
    "schedule": ("steep", None),
    "max_seconds": (0, -1, np.inf, "60"),
    "adam_betas": ((0.9,), (0.9, 1), (-0.1, 0.9), 0.9, None),
    "precision": ("half", None),
    "standardise": (2, None),
    "scale": ("z", None),
    "random_state": (-1, 2**32, 1.5, "0", True, np.random.default_rng(0)),
    "observation": ("poisson", None),
    "code_components": (0, 99, 2.0),
    "device": ("abacus", 0, None),
    "cache": (5, True),
    "checkpoint": (5, b"folder"),
    "progress": (1, None),
}


def test_every_parameter_has_its_range():
    assert ALLOWED.keys() == MoESimVAE().get_params().keys()
    assert BAD.keys() == ALLOWED.keys()
    for name in ("default", "paper", "released"):
        for parameter, value in MoESimVAE.preset(name).get_params().items():
            assert ALLOWED[parameter].holds(value)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_a_parameter_out_of_range_is_told_in_one_sentence(name, value):
    with pytest.raises(UserError) as told:
        quick(**{name: value}).fit(blobs()[0])
    sentence = str(told.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    if name not in ("similarity", "device"):  # those have sentences of their own, too
        assert sentence.startswith(f"{name} is ")
        assert f"; use {ALLOWED[name].words}." in sentence


def test_what_is_at_the_edge_of_its_range_is_taken():
    edges = {
        "encoder_layers": [],
        "expert_layers": np.array([], dtype=int),
        "gate_layers": [np.int64(3)],
        "augmentation": 0,
        "kl_weight": 0,
        "warm_up": 1,
        "gate_dropout": 0,
        "adam_betas": [0, 0.5],
        "steps": np.int32(1),
        "n_latent": 1,
        "random_state": 2**32 - 1,
    }
    model = quick(**edges).fit(blobs()[0])
    assert model.labels_.shape == (180,)


@pytest.mark.parametrize("n", [-1, 2.5, "3"])
def test_a_number_of_cells_to_generate_that_is_none_is_told(named, n):
    with pytest.raises(UserError, match=r"n is .*; use a whole number of at least 0\."):
        named.generate(0, n)


def test_a_user_error_is_a_value_error():
    assert issubclass(UserError, ValueError)
    assert issubclass(WrongType, TypeError)
