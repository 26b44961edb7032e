"""Classifiers that judge what a model generates, independently of the model.

For images, a small convolutional network trained on real images with their true labels. It has seen
no generated image and no clustering, so a model that fools itself does not fool it. Its accuracy on
held-out real images is saved with its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from moesimvae import files
from moesimvae.errors import UserError

WEIGHTS, FACTS = "judge.safetensors", "judge.json"
CHANNELS = (16, 32, 64)
BATCH = 1000
LEAST_STEPS = 200  # small sets are trained on for more than `epochs` epochs


class Judge(nn.Module):
    """Three convolutions, each halving the image, a hidden layer, and one logit per class.

    classes: class names, in the order of the logits; image_shape: (rows, columns).
    """

    def __init__(
        self, classes: Sequence[str], image_shape: Sequence[int], n_hidden: int = 128
    ) -> None:
        super().__init__()
        self.classes = [str(name) for name in classes]
        self.image_shape = rows, columns = int(image_shape[0]), int(image_shape[1])
        layers: list[nn.Module] = [nn.Unflatten(1, (1, rows, columns))]
        for i, (n_in, n_out) in enumerate(pairwise((1, *CHANNELS))):
            width = 5 if i == 0 else 3
            layers += [
                nn.Conv2d(n_in, n_out, width, padding=width // 2, bias=False),
                nn.MaxPool2d(2, ceil_mode=True),  # first, to save work in the other layers
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
            ]
            rows, columns = (rows + 1) // 2, (columns + 1) // 2
        size = CHANNELS[-1] * rows * columns
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(size, n_hidden), nn.ReLU())
        self.head = nn.Linear(n_hidden, len(self.classes))

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, rows · columns) in [0, 1] → logits (n, number of classes)."""
        return self.head(functional.dropout(self.trunk(x), 0.3, self.training))

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """(n, rows · columns) in [0, 1] → (n, number of classes) float32, rows sum to 1."""
        return self._in_batches(images, lambda x: self(x).softmax(1))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Name of the most probable class of each image, (n,)."""
        if not len(images):
            return np.empty(0, dtype=str)
        return np.array(self.classes)[self.probabilities(images).argmax(1)]

    def features(self, images: np.ndarray) -> np.ndarray:
        """The last hidden layer, (n, n_hidden) float32, where similar-looking images are close."""
        return self._in_batches(images, self.trunk)

    @torch.no_grad()
    def _in_batches(self, images: np.ndarray, compute) -> np.ndarray:
        expected = self.image_shape[0] * self.image_shape[1]
        if images.ndim != 2 or images.shape[1] != expected:
            raise UserError(
                f"the images have shape {images.shape}, but the judge expects {expected} pixels "
                "per row, one image each; give images of the kind it was trained on."
            )
        self.eval()
        tensor = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
        return torch.cat([compute(part) for part in tensor.split(BATCH)]).numpy()


def train_judge(
    images: np.ndarray,
    labels: np.ndarray,
    image_shape: Sequence[int],
    *,
    seed: int = 0,
    epochs: int = 3,
    batch_size: int = 128,
    learning_rate: float = 5e-3,
) -> Judge:
    """Train a judge on real images; on one machine the same seed gives the same judge.

    images: (n, rows · columns) in [0, 1]; labels: (n,) class names. AdamW with a one-cycle
    learning rate, for at least LEAST_STEPS batches. Raises UserError for fewer than two classes.
    """
    classes, target = np.unique(np.asarray(labels).astype(str), return_inverse=True)
    if len(classes) < 2:
        raise UserError(f"a judge needs at least two classes, but the labels have {len(classes)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge(classes.tolist(), image_shape)
        x = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
        y = torch.from_numpy(target)
        steps = max(epochs * (len(x) // batch_size), LEAST_STEPS)
        optimiser = torch.optim.AdamW(judge.parameters(), learning_rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
        judge.train()
        batches: list[Tensor] = []
        for _ in range(steps):
            if not batches:
                order = torch.randperm(len(x)).split(batch_size)
                batches = [some for some in order if len(some) == min(batch_size, len(x))]
            some = batches.pop()
            loss = functional.cross_entropy(judge(x[some]), y[some])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
    return judge.eval()


def held_out(cells: Sequence[str], seed: int = 0) -> np.ndarray:
    """Which images the judge is tested on, (n,) bool: those named test_…, else a random fifth."""
    named = np.array([str(name).startswith("test") for name in cells])
    if named.any() and not named.all():
        return named
    return np.random.default_rng(seed).permutation(len(named)) < len(named) // 5


def save(judge: Judge, folder: str | Path, facts: dict) -> None:
    """Write judge.safetensors and judge.json (classes, image shape, `facts`) into `folder`."""
    folder = Path(folder)
    with files.atomic(folder / WEIGHTS) as temporary:
        safetensors.torch.save_file(judge.state_dict(), temporary)
    own = {
        "classes": judge.classes,
        "image_shape": list(judge.image_shape),
        "n_hidden": judge.head.in_features,
    }
    files.write_json(folder / FACTS, own | facts)


def load(folder: str | Path) -> tuple[Judge, dict]:
    """Read the judge that `save` wrote, and its facts; UserError for a missing or damaged file."""
    folder = Path(folder)
    try:
        facts = files.read_json(folder / FACTS)
        judge = Judge(facts["classes"], facts["image_shape"], facts["n_hidden"])
        judge.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
        raise UserError(
            f"{folder} contains no readable judge ({str(error).splitlines()[0]}); train it again."
        ) from error
    return judge.eval(), facts


def majority_names(labels: np.ndarray, clusters: np.ndarray, n_clusters: int) -> list[str]:
    """Majority label of each cluster's scored cells, "" for a cluster without any.

    labels: (n,) names, "" = unscored; clusters: (n,) in 0..n_clusters−1, −1 = noise. Two clusters
    may stand for the same class. Ties go to the alphabetically first name.
    """
    scored = (np.asarray(labels) != "") & (np.asarray(clusters) >= 0)
    counts = pd.crosstab(np.asarray(clusters)[scored], np.asarray(labels)[scored])
    return [str(counts.loc[k].idxmax()) if k in counts.index else "" for k in range(n_clusters)]
