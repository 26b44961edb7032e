"""Deep Embedded Clustering (Xie, Girshick and Farhadi 2016, ICML)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from moesimvae.methods.interface import Clustering, dense

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor


def soft_assignment(codes: Tensor, centres: Tensor) -> Tensor:
    """Eq 1 with α = 1: q_ij ∝ (1 + ‖z_i − μ_j‖²)⁻¹, rows sum to 1.

    codes: (n, n_latent); centres: (n_clusters, n_latent).
    """
    squared_distance = ((codes[:, None, :] - centres) ** 2).sum(dim=2)
    kernel = 1 / (1 + squared_distance)
    return kernel / kernel.sum(dim=1, keepdim=True)


def target_distribution(q: Tensor) -> Tensor:
    """Eq 3: p_ij ∝ q_ij² / f_j with soft cluster sizes f_j = Σ_i q_ij, rows sum to 1."""
    weight = q**2 / q.sum(dim=0)
    return weight / weight.sum(dim=1, keepdim=True)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Eq 2: KL(P ‖ Q) = Σ_i Σ_j p_ij log(p_ij / q_ij), averaged over cells i."""
    return (p.xlogy(p) - p * q.log()).sum(dim=1).mean()


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    *,
    hidden: Sequence[int] = (500, 500, 2000),
    n_latent: int = 10,
    pretraining_steps: int = 6000,
    steps: int = 4000,
    update_interval: int = 140,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    fine_tuning_rate: float = 1e-4,
    device: str = "auto",
) -> Clustering:
    """Autoencoder, k-means on its codes, then encoder and centres minimise KL(P ‖ Q).

    The decoder is dropped after pre-training. P is computed from all cells every
    `update_interval` steps. Adam replaces the paper's SGD, and a fixed number of steps
    its stopping rule (less than 0.1 % of the cells change cluster); the share that changed
    between the last two updates is in `facts`.

    labels: argmax of q. embedding: codes (n_cells, n_latent). probabilities: q.
    Raises UserError as `pretrained_autoencoder` does.
    """
    import torch
    from sklearn.cluster import KMeans

    from moesimvae.methods.autoencoder import pretrained_autoencoder
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
    )
    x, encoder = start.cells, start.network.encoder
    kmeans = KMeans(n_clusters, n_init=20, random_state=seed).fit(start.codes())
    centres = torch.nn.Parameter(
        torch.tensor(kmeans.cluster_centers_, dtype=x.dtype, device=x.device)
    )

    def assignment(index: Tensor) -> Tensor:
        return soft_assignment(encoder(x[index]).mean, centres)

    def all_cells() -> Tensor:
        return torch.from_numpy(encode_in_batches(assignment, len(x)))

    targets: list[Tensor] = []
    labels = [torch.from_numpy(kmeans.labels_).long()]

    def loss_terms(index: Tensor, step: int) -> dict[str, Tensor]:
        if step % update_interval == 0:
            q = all_cells()
            targets[:] = [target_distribution(q).to(x.device)]
            labels[:] = [labels[-1], q.argmax(dim=1)]
        return {"divergence": divergence(targets[0][index], assignment(index))}

    history = train(
        loss_terms,
        [*encoder.trunk.parameters(), *encoder.mean.parameters(), centres],
        len(x),
        steps,
        batch_size=batch_size,
        learning_rate=fine_tuning_rate,
        generator=start.generator,
        progress="DEC",
    )
    q = all_cells().numpy()
    changed = (labels[0] != labels[-1]).float().mean().item()
    return Clustering(
        q.argmax(axis=1),
        embedding=start.codes(),
        probabilities=q,
        history=start.history | history,
        facts=start.facts | {"changed_at_last_update": changed},
    )
