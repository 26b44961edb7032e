"""The independent judge: it learns real images, and comes back from its files the same."""

import numpy as np
import pytest
import torch

from moesimvae.errors import UserError
from moesimvae.evaluation import judge


def stripes(n, seed=0):
    """8 × 8 images with a horizontal or a vertical bar somewhere, and noise."""
    rng = np.random.default_rng(seed)
    images = 0.2 * rng.random((n, 8, 8))
    vertical = rng.random(n) < 0.5
    for image, upright, at in zip(images, vertical, rng.integers(8, size=n), strict=True):
        image[(slice(None), at) if upright else (at, slice(None))] = 1
    return images.reshape(n, 64).astype(np.float32), np.where(vertical, "|", "-")


@pytest.fixture(scope="module")
def trained():
    return judge.train_judge(*stripes(400), (8, 8), seed=1, epochs=1, batch_size=20)


def test_it_learns_what_is_to_be_seen_and_not_the_noise(trained):
    images, labels = stripes(200, seed=5)
    assert (trained.predict(images) == labels).mean() > 0.95
    probabilities = trained.probabilities(images)
    assert probabilities.shape == (200, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert trained.features(images).shape == (200, 128)


def test_shuffled_labels_cannot_be_judged():
    images, labels = stripes(300)
    wrong = np.random.default_rng(3).permutation(labels)
    guess = judge.train_judge(images, wrong, (8, 8), epochs=1, batch_size=20)
    new, truth = stripes(200, seed=5)
    assert 0.25 < (guess.predict(new) == truth).mean() < 0.75


def test_same_seed_same_judge_and_the_global_seed_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    images, labels = stripes(100)
    first, second = (
        judge.train_judge(images, labels, (8, 8), seed=2, epochs=1, batch_size=10) for _ in range(2)
    )
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(first.probabilities(images), second.probabilities(images))


def test_files(trained, tmp_path):
    judge.save(trained, tmp_path, {"test_accuracy": 0.99})
    images, _ = stripes(30, seed=9)
    again, facts = judge.load(tmp_path)
    np.testing.assert_array_equal(again.probabilities(images), trained.probabilities(images))
    assert facts["test_accuracy"] == 0.99
    assert again.classes == ["-", "|"]
    (tmp_path / judge.WEIGHTS).write_bytes(b"not tensors")
    with pytest.raises(UserError, match="no readable judge"):
        judge.load(tmp_path)
    with pytest.raises(UserError, match="no readable judge"):
        judge.load(tmp_path / "nowhere")


def test_images_of_another_kind_and_labels_of_one_class_are_said(trained):
    with pytest.raises(UserError, match=r"\(3, 784\).*64"):
        trained.predict(np.zeros((3, 784)))
    with pytest.raises(UserError, match="two classes"):
        judge.train_judge(np.zeros((5, 64)), np.array(["1"] * 5), (8, 8))


def test_held_out_images_are_the_official_ones_where_they_are_named():
    named = judge.held_out(["train_1", "test_1", "train_2"])
    assert named.tolist() == [False, True, False]
    drawn = judge.held_out([f"digit_{i}" for i in range(100)], seed=1)
    assert drawn.sum() == 20
    assert (drawn != judge.held_out([f"digit_{i}" for i in range(100)], seed=2)).any()


def test_a_cluster_is_named_after_most_of_its_scored_cells():
    labels = np.array(["7", "7", "1", "", "", "1", "1"])
    clusters = np.array([0, 0, 0, 0, 3, 2, -1])
    assert judge.majority_names(labels, clusters, 4) == ["7", "", "1", ""]
