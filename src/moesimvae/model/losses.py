"""The losses of MoE-Sim-VAE, equation by equation (Kopf et al. 2021, PLoS Comput Biol 17(6)).

Each is a pure function and a mean (over cells, features, dimensions or pairs), never a sum, so
that its weight means the same for any batch size and number of features: the normalisation for
which the paper gives weights near 1 for reconstruction and clustering, and near 0 for the KL.
Where an equation is printed without a sign or a term, the docstring says what was corrected.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

# keeps probabilities off 0 and 1, and variances off 0, without cutting off their gradient
EPSILON = 1e-6
VARIANCE_FLOOR = 1e-3


def reconstruction(logits: Tensor, x: Tensor) -> Tensor:
    """Eq 4: binary cross-entropy between x in [0, 1] and the experts' output.

    Printed as Σ x log x̂; here with its minus sign and its other term (1 − x) log(1 − x̂).
    logits, x: (n, n_features). Mean over cells and features: × n_features gives nats per cell.
    """
    return functional.binary_cross_entropy_with_logits(logits, x)


def cluster_kl(z: Tensor, assignment: Tensor, means: Tensor) -> Tensor:
    """Eq 3: KL( N(μ_k, I) ‖ N(μ_k, Σ_k) ), in Eq 3's direction, from N(μ_k, I).

    Σ_k is the diagonal second moment around μ_k of the batch's codes assigned to k, so that
    codes off their mean cost as well. Mean over dimensions; over clusters weighted by their
    share of the cells, so that a cluster of few cells, whose Σ_k is mostly chance, weighs little.
    Clusters with fewer than two cells count as 0.

    z: (n, n_latent) sampled codes; assignment: (n,) in 0..K−1; means: (K, n_latent).
    """
    member = functional.one_hot(assignment, len(means)).to(z.dtype)
    sizes = member.sum(0)
    # (n, K)ᵀ (n, d): a product instead of a scatter gives the same sums on every device
    second_moment = member.T @ (z - means[assignment]).square() / sizes.clamp(min=1)[:, None]
    variance = second_moment + VARIANCE_FLOOR
    divergence = 0.5 * (1 / variance - 1 + variance.log()).mean(1)
    weight = torch.where(sizes >= 2, sizes, 0) / max(len(z), 1)
    return (weight * divergence).sum()


def similarity(probabilities: Tensor, adjacency: Tensor) -> Tensor:
    """Eq 7: binary cross-entropy between P Pᵀ and the similarity S, mean over ordered pairs.

    Printed as Σ S log(P Pᵀ), whose negative one cluster for all cells would minimise; here with
    the minus sign and the other term, (1 − S) log(1 − P Pᵀ). The diagonal is left out: a cell is
    similar to itself, and p·p < 1 would only push every p to a corner. 0 for a batch of one.

    probabilities: (n, K), rows sum to 1; adjacency: (n, n) in [0, 1].
    """
    n = len(probabilities)
    together = EPSILON + (1 - 2 * EPSILON) * probabilities @ probabilities.T
    entropy = adjacency * together.log() + (1 - adjacency) * torch.log1p(-together)
    return -(entropy.sum() - entropy.diagonal().sum()) / max(n * (n - 1), 1)


def depict_target(probabilities: Tensor) -> Tensor:
    """Eq 9: q (n, K) from the clean p (n, K): p / √(its cluster's size), rows normalised to 1.

    It is a fixed target (Dizaji et al. 2017), hence without gradient.
    """
    p = probabilities.detach()
    balanced = p / p.sum(0).clamp(min=EPSILON).sqrt()
    return balanced / balanced.sum(1, keepdim=True)


def depict(probabilities: Tensor, noisy_logits: Tensor) -> Tensor:
    """Eq 8: cross-entropy −1/N Σ q log p̂ of the clean target q and the gate's noisy branch p̂.

    probabilities: (n, K) of the clean branch; noisy_logits: (n, K) of the branch with dropout.
    """
    return functional.cross_entropy(noisy_logits, depict_target(probabilities))


def em_means(probabilities: Tensor, z: Tensor) -> Tensor:
    """Eq 6: μ_k = Σ p_ik z_i / Σ p_ik, (K, n_latent).

    Printed with N_k as the number of cells whose p is largest for k; dividing by the sum of the
    weights makes μ_k a mean whatever the probabilities. A cluster without weight gets 0.
    """
    weight = probabilities.sum(0)
    return probabilities.T @ z / weight.clamp(min=EPSILON)[:, None]


def released_kl(z: Tensor, assignment: Tensor, centroids: Tensor) -> Tensor:
    """The released program's KL( N(μ_k, Σ_k) ‖ N(μ_k, I) ), the reverse of Eq 3.

    ½ Σ_d (σ² − 1 − ln σ²) with Σ_k as in `cluster_kl` but without a floor, mean over all K; an
    empty cluster and a variance of exactly 0 count as σ² = 1, hence 0.
    z: (n, n_latent); assignment: (n,) in 0..K−1; centroids: (K, n_latent), which get a gradient.
    """
    member = functional.one_hot(assignment, len(centroids)).to(z.dtype)
    sizes = member.sum(0).clamp(min=1)
    variance = member.T @ (z - centroids[assignment]).square() / sizes[:, None]
    variance = torch.where(variance == 0, 1.0, variance)
    return 0.5 * (variance - 1 - variance.log()).sum(1).mean()


class RunningMeans(nn.Module):
    """Eq 6 tracked over batches: moving averages of Σ p z and of Σ p, whose ratio is μ.

    A cluster to which no recent cell belongs keeps its mean, since both averages decay alike.
    """

    weighted_sum: Tensor
    weight: Tensor

    MEMORY = 0.9  # what the averages keep from one batch to the next

    def __init__(self, n_clusters: int, n_latent: int):
        super().__init__()
        self.register_buffer("weighted_sum", torch.zeros(n_clusters, n_latent))
        self.register_buffer("weight", torch.zeros(n_clusters))

    def update(self, probabilities: Tensor, z: Tensor) -> Tensor:
        """Take in a batch's p (n, K) and codes (n, n_latent); return the means (K, n_latent)."""
        p, z = probabilities.detach(), z.detach()
        # in place, as a captured CUDA graph requires
        self.weighted_sum.mul_(self.MEMORY).add_((1 - self.MEMORY) * p.T @ z)
        self.weight.mul_(self.MEMORY).add_((1 - self.MEMORY) * p.sum(0))
        return self.weighted_sum / self.weight.clamp(min=torch.finfo(z.dtype).tiny)[:, None]
