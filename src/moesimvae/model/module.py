"""The networks of MoE-Sim-VAE together, and the two objectives that they are trained with.

A training step runs forward from here to `losses`, and backward in `training`: an objective takes
the indices of a batch's cells and gives the loss as named, weighted terms. `PaperObjective` is
Eq 11 with its misprints corrected (see `losses`). `ReleasedObjective` is what the authors' program
for the mouse organs computes instead (github.com/andkopf/MoESimVAE, read at commit 0b7c3b4), with
its deviations from the paper listed one by one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from moesimvae.model import losses
from moesimvae.model.experts import Experts, hidden_units
from moesimvae.model.networks import ConvEncoder, Encoder, Gate
from moesimvae.model.training import encode_in_batches


class Module(nn.Module):
    """Encoder, experts and gate; with the released program's free centroids, or Eq 6's means."""

    def __init__(
        self,
        encoder: Encoder,
        experts: Experts,
        gate: Gate,
        n_clusters: int,
        n_latent: int,
        free_centroids: bool = False,
    ):
        """experts: as many as clusters, or a single one that all clusters share."""
        super().__init__()
        self.encoder = encoder
        self.experts = experts
        self.gate = gate
        self.means = losses.RunningMeans(n_clusters, n_latent)
        if free_centroids:
            self.centroids = nn.Parameter(torch.empty(n_clusters, n_latent))
            nn.init.xavier_uniform_(self.centroids)

    def decode(self, z: Tensor, assignment: Tensor) -> Tensor:
        """Logits (n, n_features) of z (n, n_latent), sample i by the expert of its cluster."""
        shared = self.experts.n_experts == 1
        return self.experts(z, torch.zeros_like(assignment) if shared else assignment)

    def reconstruct(self, x: Tensor) -> Tensor:
        """x (n, n_features) in [0, 1] as decoded from the means of q(z | x), without sampling."""
        mean = self.encoder(x).mean
        return self.decode(mean, self.gate(mean).argmax(1)).sigmoid()

    def encode_cells(
        self, rows: Callable[[Tensor], Tensor], n_cells: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Means of q(z | x), (n_cells, n_latent), and the gate's p, (n_cells, K), of all cells.

        rows: index (n,) → the cells x (n, n_features) in [0, 1].
        """
        n_clusters: Any = self.gate.layers[-1].out_features
        probabilities = np.empty((n_cells, n_clusters), dtype=np.float32)

        def mean_and_probabilities(index: Tensor) -> Tensor:
            mean = self.encoder(rows(index)).mean
            probabilities[index.numpy()] = self.gate(mean).softmax(1).cpu().numpy()
            return mean

        return encode_in_batches(mean_and_probabilities, n_cells), probabilities


def build(
    parameters: Mapping[str, Any], n_features: int, image_shape: tuple[int, int] | None
) -> Module:
    """The networks, with fresh weights, that the parameters of a `MoESimVAE` describe.

    image_shape: (rows, columns) for convolutions, None for dense layers alone.
    """
    n_clusters, n_latent = parameters["n_clusters"], parameters["n_latent"]
    activation, layers = parameters["activation"], parameters["encoder_layers"]
    if image_shape is None:
        layers = (256, 256) if layers is None else layers
        encoder = Encoder(n_features, layers, n_latent, activation)
    else:
        layers = (128,) if layers is None else layers
        encoder = ConvEncoder(image_shape, parameters["channels"], layers, n_latent, activation)
    n_experts = 1 if parameters["shared_decoder"] else n_clusters
    hidden = parameters["expert_layers"]
    experts = Experts(
        n_experts,
        [n_latent, *((hidden_units(n_experts),) if hidden is None else hidden), n_features],
        activation,
        parameters["experts_every"],
    )
    gate = Gate(
        n_latent, parameters["gate_layers"], n_clusters, parameters["gate_dropout"], activation
    )
    released = parameters["objective"] == "released"
    return Module(encoder, experts, gate, n_clusters, n_latent, free_centroids=released)


# ---------------------------------------------------------------------- the objectives


@dataclass(frozen=True)
class Weights:
    """The weights of the four terms of Eq 11.

    warm_up: steps over which all but that of the similarity grow from 0; 0 means no warm-up.
    """

    reconstruction: float
    kl: float
    similarity: float
    depict: float
    warm_up: float = 0

    def weigh(self, terms: Mapping[str, Tensor], step: int | Tensor) -> dict[str, Tensor]:
        """The terms times their weights at a step, counted from 0; a tensor stays on its device."""
        passed = step / self.warm_up if self.warm_up else 1.0
        grown: float | Tensor
        grown = passed.clamp(max=1) if isinstance(passed, Tensor) else min(1.0, passed)
        weights = {
            "reconstruction": self.reconstruction * grown,
            "kl": self.kl * grown,
            "similarity": self.similarity,
            "depict": self.depict * grown,
        }
        return {name: weights[name] * term for name, term in terms.items()}


@dataclass(frozen=True)
class PaperObjective:
    """Eq 11: (cells of a batch, step) → its four terms (`paper_terms`), weighted.

    rows: index (n,) → the cells x (n, n_features) in [0, 1]; similar: index → S (n, n);
    augment: x → x changed at random, None to train on the cells as they are.
    """

    module: Module
    rows: Callable[[Tensor], Tensor]
    similar: Callable[[Tensor], Tensor]
    weights: Weights
    augment: Callable[[Tensor], Tensor] | None = None

    def __call__(self, index: Tensor, step: int | Tensor) -> dict[str, Tensor]:
        terms = paper_terms(self.module, self.rows(index), self.similar(index), self.augment)
        return self.weights.weigh(terms, step)


@dataclass(frozen=True)
class ReleasedObjective:
    """The released program's loss: (cells of a batch, step) → its four terms, weighted.

    rows: as in `PaperObjective`; similar: index → S (n, n), or None and `prior`: the groups
    (n_cells,) in 0..K−1 of all cells that `rows` knows.
    """

    module: Module
    rows: Callable[[Tensor], Tensor]
    similar: Callable[[Tensor], Tensor] | None
    prior: Tensor | None
    weights: Weights

    def __call__(self, index: Tensor, step: int | Tensor) -> dict[str, Tensor]:
        similar = None if self.similar is None else self.similar(index)
        prior = None if self.prior is None else self.prior[index]
        terms = released_terms(self.module, self.rows(index), similar, prior)
        return self.weights.weigh(terms, step)


def paper_terms(
    module: Module,
    x: Tensor,
    similar: Tensor,
    augment: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """The four parts of Eq 11, without weights.

    x: (n, n_features) in [0, 1]; similar: S, (n, n).

    The gate sees the mean of q(z | x), the experts a sample of it: noise in the gate would
    only blur S. The variance of q is learned, yet Eq 3 asks for unit variance of a cluster's
    codes as a whole, not of each cell's posterior (there is no KL of q(z | x) to a prior in the
    paper): reconstruction shrinks it towards 0 while the means spread to fill N(μ_k, I).

    With `augment`, all terms are those of the changed cells, while the target of DEPICT (Eq 9) is
    made from the cells as they are: DEPICT's noisy branch is then noisy from the input on.
    """
    changed = x if augment is None else augment(x)
    code = module.encoder(changed)
    p = module.gate(code.mean).softmax(1)
    if augment is None:
        clean = p
    else:
        with torch.no_grad():
            clean = module.gate(module.encoder(x).mean).softmax(1)
    assignment = p.argmax(1)
    z = code.mean + torch.randn_like(code.mean) * (0.5 * code.log_variance).exp()
    return {
        "reconstruction": losses.reconstruction(module.decode(z, assignment), changed),
        "kl": losses.cluster_kl(z, assignment, module.means.update(p, code.mean)),
        "similarity": losses.similarity(p, similar),
        "depict": losses.depict(clean, module.gate(code.mean, noisy=True)),
    }


def released_terms(
    module: Module, x: Tensor, similar: Tensor | None, prior: Tensor | None
) -> dict[str, Tensor]:
    """The same four parts as the released program computes them.

    x: (n, n_features) in [0, 1]; prior: (n,) groups in 0..K−1, or None and S as `similar`.

    - the posterior's scale is 1: z = enc(x) + N(0, I), and the gate sees z, not enc(x);
    - similarity: BCE(P, one-hot prior), so that expert k is group k; P Pᵀ against S, diagonal
      included, only where there is no prior;
    - DEPICT: target and prediction are the same P, without noise, and the target has a gradient;
    - KL: to N(μ, I) and not from it, ½ Σ_d (σ² − 1 − ln σ²), σ² the second moment of a cluster's
      codes in the batch around a centroid that is a free variable; the mean over all K counts
      empty clusters as 0; Eq 6 plays no part.
    """
    mean = module.encoder(x).mean
    z = mean + torch.randn_like(mean)
    p = module.gate(z).softmax(1)
    assignment = p.argmax(1)
    if prior is None:
        assert similar is not None
        together = (p @ p.T).clamp(losses.EPSILON, 1 - losses.EPSILON)
        # a cell is similar to itself, but the diagonal of S is 0
        alike = similar.clone().fill_diagonal_(1.0)
        similarity = functional.binary_cross_entropy(together, alike)
    else:
        target = functional.one_hot(prior, p.shape[1]).to(p.dtype)
        similarity = functional.binary_cross_entropy(p, target)
    q = p / p.sum(0).clamp(min=losses.EPSILON).sqrt()
    q = q / q.sum(1, keepdim=True)
    return {
        "reconstruction": losses.reconstruction(module.decode(z, assignment), x),
        "kl": losses.released_kl(z, assignment, module.centroids),
        "similarity": similarity,
        "depict": -(q * p.clamp(min=1e-30).log()).sum(1).mean(),
    }
