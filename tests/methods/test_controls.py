import jsonschema
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from moesimvae.files import read_json
from moesimvae.methods import runner
from moesimvae.methods.controls import random_labels, write_controls
from moesimvae.nouns import Status


@pytest.fixture
def labels_path(tmp_path):
    path = tmp_path / "data" / "toy" / "labels.parquet"
    path.parent.mkdir(parents=True)
    label = ["b", "a", "", "b"] * 100
    cells = [f"cell{i}" for i in range(400)]
    pd.DataFrame({"cell": cells, "label": label, "scored": [x != "" for x in label]}).to_parquet(
        path
    )
    return path


def labels(folder):
    return pd.read_parquet(folder / "labels.parquet")["label"].to_numpy()


def test_controls_are_runs_like_any_other(labels_path, tmp_path):
    out = tmp_path / "runs"
    write_controls(labels_path, 4, [3, 5], out)
    runs = sorted(path.relative_to(out).as_posix() for path in out.glob("*/*"))
    assert runs == [
        *("one_cluster/seed3", "random_labels/seed3", "random_labels/seed5", "true_labels/seed3"),
    ]
    for run in runs:
        status = read_json(out / run / "status.json")
        assert list(status) == list(runner.blank_status("", "", 0, {}, 0, 0))
        jsonschema.validate(status, Status.schema())
        assert (status["status"], status["dataset"]) == ("ok", "toy")
        assert pd.read_parquet(out / run / "labels.parquet")["cell"].tolist()[-1] == "cell399"

    assert set(labels(out / "one_cluster/seed3")) == {0}
    assert labels(out / "true_labels/seed3").tolist() == [1, 0, -1, 1] * 100
    drawn = labels(out / "random_labels/seed3")
    assert np.bincount(drawn, minlength=4).min() > 60
    assert drawn.max() == 3
    assert (drawn != labels(out / "random_labels/seed5")).any()


def test_random_labels_repeat_with_their_seed(labels_path, tmp_path):
    for name in ("one", "two"):
        write_controls(labels_path, 4, [7], tmp_path / name)
    first, second = (labels(tmp_path / n / "random_labels/seed7") for n in ("one", "two"))
    assert (first == second).all()


def drawn_by_a_user(seed, n_clusters, n):
    """Labels as people simulate them."""
    random, old = np.random.default_rng(seed), np.random.RandomState(seed)
    even = np.arange(n) % n_clusters
    yield random.integers(n_clusters, size=n)
    yield np.random.default_rng(seed).integers(0, n_clusters, n, dtype=np.int32)
    yield np.random.default_rng(seed).choice(n_clusters, n)
    yield np.random.default_rng(seed).permutation(even)
    yield np.floor(np.random.default_rng(seed).random(n) * n_clusters)
    yield np.random.default_rng(np.random.SeedSequence(seed)).integers(n_clusters, size=n)
    yield old.randint(n_clusters, size=n)
    yield np.random.RandomState(seed).choice(n_clusters, n)
    yield np.random.RandomState(seed).permutation(even)


@pytest.mark.parametrize("n_clusters", [3, 10])
def test_random_labels_are_none_that_a_user_simulates_with_the_same_seed(n_clusters):
    """A benchmark of such labels is refused where the control meets them."""
    for seed in range(21):
        control = random_labels(n_clusters, 400, seed)
        for other in range(seed, seed + 2):
            for truth in drawn_by_a_user(other, n_clusters, 400):
                assert abs(adjusted_rand_score(truth, control)) < 0.05
