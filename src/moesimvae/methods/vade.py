"""Variational Deep Embedding (Jiang et al. 2017, IJCAI; arXiv:1611.05148)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from moesimvae.errors import UserError
from moesimvae.files import atomic, write_json
from moesimvae.methods.interface import Clustering, dense

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Generator, Tensor

    from moesimvae.methods.autoencoder import Autoencoder

# files of a saved model
WEIGHTS, SIZES = "weights.safetensors", "sizes.json"
# the posterior starts with this share of the within-cluster variance, whatever the codes' scale
INITIAL_POSTERIOR_SHARE = 0.1
# of the codes' mean variance: a mixture component never starts with less in any dimension
SMALLEST_VARIANCE_SHARE = 1e-3


class Mixture(NamedTuple):
    """The prior p(z) = Σ_c π_c N(z; μ_c, diag σ_c²) of K components in D dimensions.

    logits: (K,), log π up to a constant. means, log_variances: (K, D), μ and log σ².
    """

    logits: Tensor
    means: Tensor
    log_variances: Tensor


def log_responsibilities(z: Tensor, mixture: Mixture) -> Tensor:
    """log γ_c = log p(c | z) = log π_c N(z; μ_c, σ_c²) − log Σ_c' π_c' N(z; μ_c', σ_c'²), eq 16.

    z: (n, D) → (n, K).
    """
    difference = z[:, None, :] - mixture.means
    squared = difference**2 / mixture.log_variances.exp()
    log_density = -0.5 * (math.log(2 * math.pi) + mixture.log_variances + squared).sum(dim=2)
    return (mixture.logits + log_density).log_softmax(dim=1)


def divergences(
    mean: Tensor, log_variance: Tensor, log_gamma: Tensor, mixture: Mixture
) -> dict[str, Tensor]:
    """The two terms of the ELBO besides the reconstruction, one value per cell, both ≥ 0.

    mean, log_variance: (n, D) of q(z | x) = N(μ̃, diag σ̃²); log_gamma: (n, K), log q(c | x).

    latent: Σ_c γ_c KL(q(z | x) ‖ p(z | c))
        = ½ Σ_c γ_c Σ_j (log σ_cj² + σ̃_j²/σ_cj² + (μ̃_j − μ_cj)²/σ_cj²) − ½ Σ_j (1 + log σ̃_j²)
    cluster: KL(q(c | x) ‖ p(c)) = −Σ_c γ_c log(π_c / γ_c)

    ELBO = E_q(z|x)[log p(x | z)] − latent − cluster: section 3.2 of the paper, its terms in pairs.
    """
    gamma = log_gamma.exp()
    difference = mean[:, None, :] - mixture.means
    scaled = (log_variance.exp()[:, None, :] + difference**2) / mixture.log_variances.exp()
    to_component = 0.5 * (mixture.log_variances + scaled).sum(dim=2)
    log_pi = mixture.logits.log_softmax(dim=0)
    return {
        "latent": (gamma * to_component).sum(dim=1) - 0.5 * (1 + log_variance).sum(dim=1),
        "cluster": (gamma * (log_gamma - log_pi)).sum(dim=1),
    }


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    *,
    hidden: Sequence[int] = (500, 500, 2000),
    n_latent: int = 10,
    pretraining_steps: int = 5000,
    steps: int = 5000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    likelihood: str = "auto",
    device: str = "auto",
) -> Clustering:
    """Autoencoder, Gaussian mixture of its codes, then joint training on the ELBO.

    One sample z of q(z | x) serves both the reconstruction and γ (L = 1), and the gradient flows
    through both, as in the authors' program. The initial posterior variance is not in the paper:
    here it is a tenth of the mean within-cluster variance. The learning rate follows a
    cosine (theirs falls in steps). Pre-training starts from random weights (theirs from supplied
    ones).

    likelihood: "bernoulli" (features in [0, 1]), "gaussian", or "auto" for the one that fits.
    labels: argmax of γ at z = μ̃, hence deterministic. probabilities: that γ.
    embedding: μ̃, (n_cells, n_latent).
    Raises UserError as `pretrained_autoencoder` does.
    """
    import torch

    from moesimvae.methods.autoencoder import negative_log_likelihood, pretrained_autoencoder
    from moesimvae.model.training import encode_in_batches, train

    start = pretrained_autoencoder(
        dense(cells),
        n_clusters,
        seed,
        hidden=hidden,
        n_latent=n_latent,
        steps=pretraining_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        device=device,
        likelihood=likelihood,
    )
    x, network = start.cells, start.network
    mixture = _initial_mixture(start.codes(), n_clusters, seed, x.device)
    _start_posterior(network, mixture)

    def loss_terms(index: Tensor, step: int) -> dict[str, Tensor]:
        batch = x[index]
        _, mean, log_variance = network.encoder(batch)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        loss = negative_log_likelihood(network.decoder(z), batch, start.likelihood)
        terms = divergences(mean, log_variance, log_responsibilities(z, mixture), mixture)
        return {name: v.mean() for name, v in ({"reconstruction": loss} | terms).items()}

    history = train(
        loss_terms,
        [*network.parameters(), *mixture],
        len(x),
        steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        generator=start.generator,
        progress="VaDE",
    )
    codes = start.codes()
    gamma = encode_in_batches(
        lambda index: log_responsibilities(network.encoder(x[index]).mean, mixture).exp(), len(x)
    )
    sizes = {"n_features": x.shape[1], "hidden": list(hidden), "n_latent": n_latent}

    def save(folder: Path) -> None:
        _save(folder, network, mixture, sizes | {"likelihood": start.likelihood})

    return Clustering(
        gamma.argmax(axis=1),
        embedding=codes,
        probabilities=gamma,
        history=start.history | history,
        facts=start.facts,
        save=save,
    )


def _initial_mixture(codes: np.ndarray, n_clusters: int, seed: int, device) -> Mixture:
    """π, μ and σ² of a Gaussian mixture with diagonal covariances fitted to the codes."""
    import torch
    from sklearn.mixture import GaussianMixture

    floor = SMALLEST_VARIANCE_SHARE * float(codes.var(axis=0).mean()) + 1e-6
    fitted = GaussianMixture(
        n_clusters, covariance_type="diag", n_init=5, reg_covar=floor, random_state=seed
    ).fit(codes.astype(np.float64))
    values = (np.log(fitted.weights_), fitted.means_, np.log(fitted.covariances_))
    return Mixture(
        *(torch.tensor(v, dtype=torch.float32, device=device).requires_grad_() for v in values)
    )


def _start_posterior(network: Autoencoder, mixture: Mixture) -> None:
    """Set σ̃² of every cell to a share of the mean within-cluster variance."""
    import torch

    head = network.encoder.log_variance
    with torch.no_grad():
        weights = mixture.logits.softmax(dim=0)
        inside = (weights[:, None] * mixture.log_variances.exp()).sum(dim=0)
        head.weight.zero_()
        head.bias.copy_((INITIAL_POSTERIOR_SHARE * inside).log())


def _save(folder: Path, network: Autoencoder, mixture: Mixture, sizes: dict) -> None:
    """Save the network's and the mixture's (mixture.*) tensors, and what else `load` needs."""
    from safetensors.torch import save_file

    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    state |= {f"mixture.{name}": v.detach() for name, v in mixture._asdict().items()}
    with atomic(folder / WEIGHTS) as temporary:
        save_file({name: v.contiguous().cpu() for name, v in state.items()}, temporary)
    write_json(folder / SIZES, sizes)


def load(folder: Path) -> tuple[Autoencoder, Mixture]:
    """Load the network and the mixture that `Clustering.save` wrote into `folder`, on the CPU.

    Raises UserError if a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from moesimvae.files import read_json
    from moesimvae.methods.autoencoder import Autoencoder

    try:
        sizes = read_json(folder / SIZES)
        state = load_file(folder / WEIGHTS)
        network = Autoencoder(sizes["n_features"], sizes["hidden"], sizes["n_latent"])
        own = {n.removeprefix("network."): v for n, v in state.items() if n.startswith("network.")}
        # missing in older files; VaDE leaves them at 0 and 1, as in a new network
        unset = ("encoder.centre", "encoder.spread")
        own = {name: network.state_dict()[name] for name in unset} | own
        network.load_state_dict(own)
        mixture = Mixture(*(state[f"mixture.{name}"] for name in Mixture._fields))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{folder} contains no readable VaDE ({str(error).splitlines()[0]}); delete this run "
            "so that it is made again."
        ) from error
    return network, mixture


def likelihood_of(folder: Path) -> str:
    """What a saved model's decoder returns: pixel logits ("bernoulli") or values ("gaussian")."""
    from moesimvae.files import read_json

    return read_json(folder / SIZES)["likelihood"]


def draw(mixture: Mixture, component: int, n: int, generator: Generator) -> Tensor:
    """Draw z ~ N(μ_c, diag σ_c²) of one component c, (n, D): eq 3 of the paper."""
    import torch

    noise = torch.randn(n, mixture.means.shape[1], generator=generator)
    return mixture.means[component] + (0.5 * mixture.log_variances[component]).exp() * noise
