"""The autoencoder that AE → k-means, DEC, N2D and VaDE start from.

It uses the same layers and training loop as MoE-Sim-VAE, so that these peers
differ from it, and from each other, only in the objective. Layer sizes are those that DEC (Xie
et al. 2016) published and the others adopted: d-500-500-2000-10 and its mirror image.

Not a method itself: methods import it inside `cluster`, since it imports torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from moesimvae.errors import UserError
from moesimvae.model.networks import Encoder, mlp
from moesimvae.model.training import choose_device, encode_in_batches, seeded, train


class Autoencoder(nn.Module):
    """Features → code → features; the code is the mean of the encoder's Gaussian."""

    def __init__(self, n_features: int, hidden: Sequence[int], n_latent: int):
        super().__init__()
        self.encoder = Encoder(n_features, hidden, n_latent)
        self.decoder = mlp([n_latent, *reversed(hidden), n_features])


@dataclass
class Pretrained:
    """A trained autoencoder and what its caller continues with.

    cells: (n_cells, n_features) on the network's device.
    likelihood: "bernoulli" or "gaussian", as the network was trained.
    generator: state of the batch shuffling, for the next training.
    history, facts: as in `Clustering`; the loss is "pretraining_reconstruction".
    """

    network: Autoencoder
    cells: Tensor
    likelihood: str
    generator: torch.Generator
    history: dict[str, list[float]]
    facts: dict

    def codes(self) -> np.ndarray:
        """(n_cells, n_latent) float32, from the network's current state."""
        return encode_in_batches(
            lambda index: self.network.encoder(self.cells[index]).mean, len(self.cells)
        )


def negative_log_likelihood(output: Tensor, x: Tensor, likelihood: str) -> Tensor:
    """−log p(x | z) summed over features, one value per cell; `output` is from the decoder.

    bernoulli: −Σ x log σ(output) + (1 − x) log(1 − σ(output)), for x in [0, 1].
    gaussian: ½ Σ (x − output)², unit variance, without the constant ½ d log 2π.
    """
    if likelihood == "bernoulli":
        loss = functional.binary_cross_entropy_with_logits(output, x, reduction="none")
    else:
        loss = 0.5 * (output - x) ** 2
    return loss.sum(dim=1)


def pretrained_autoencoder(
    matrix: np.ndarray,
    n_clusters: int,
    seed: int,
    *,
    hidden: Sequence[int],
    n_latent: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    device: str,
    likelihood: str = "gaussian",
) -> Pretrained:
    """Train an autoencoder on `matrix` (n_cells, n_features) for `steps` batches.

    likelihood: "gaussian" is the squared error; "auto" uses "bernoulli" where all features lie
        in [0, 1].
    Raises UserError if there are fewer cells than clusters or a feature is not finite.
    """
    n_cells, n_features = matrix.shape
    if n_cells < n_clusters:
        raise UserError(f"{n_cells} cells cannot form {n_clusters} clusters; ask for fewer.")
    if not np.isfinite(matrix).all():
        raise UserError("the features contain NaN or infinite values; remove those cells.")
    if likelihood == "auto":
        unit_range = matrix.min() >= 0 and matrix.max() <= 1
        likelihood = "bernoulli" if unit_range else "gaussian"
    generator = seeded(seed)
    place = choose_device(device)
    network = Autoencoder(n_features, hidden, n_latent).to(place)
    cells = torch.from_numpy(matrix).to(place)

    def loss_terms(index: Tensor, step: int) -> dict[str, Tensor]:
        x = cells[index]
        output = network.decoder(network.encoder(x).mean)
        return {"reconstruction": negative_log_likelihood(output, x, likelihood).mean()}

    started = monotonic()
    history = train(
        loss_terms,
        network.parameters(),
        n_cells,
        steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        generator=generator,
        progress="pre-training",
    )
    facts = {
        "device": str(place),
        "likelihood": likelihood,
        "pretraining_seconds": round(monotonic() - started, 1),
    }
    kept = {f"pretraining_{term}": history[term] for term in ("reconstruction", "step")}
    return Pretrained(network, cells, likelihood, generator, kept, facts)
