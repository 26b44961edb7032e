"""How cells scatter around what an expert decodes: the observation models behind `generate`.

A decoder gives means, around which real cells scatter. What is learned here comes after the
training, with encoder, gate and clusters fixed, so that no label depends on it.

- `Markers`, for panels: normal scores of a cluster's markers scatter around the expert's output
  with the cluster's own covariance, and are mapped back to values by its own distribution of each
  marker, whose steps (a mass at zero or at the floor) are kept.
- `Counts`, for molecules: a negative binomial for each gene, with the library size as in scVI
  (Lopez et al. 2018), from experts of its own that are trained on the counts.
- Images are what the experts decode; `train_experts` lets these learn what else the codes hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.special import ndtr, ndtri
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn

from moesimvae.model import cells
from moesimvae.model.experts import Experts
from moesimvae.model.generation import root
from moesimvae.model.losses import EPSILON, reconstruction
from moesimvae.model.module import Module
from moesimvae.model.training import train

MOST_MARKERS = 200  # of a panel: the covariances of a cluster are D × D
MOST_CELLS = 10_000  # of a cluster, that its noise is learned from
# knots of the distribution functions, equally spaced in normal scores, and both ends
SCORES = np.linspace(-3.5, 3.5, 199)
KNOTS = np.array([0.0, *ndtr(SCORES), 1.0])
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
DRAWS = 4000  # of a cluster's scores, whose distribution is matched to that of its cells
STEPS, BATCH_SIZE, LEARNING_RATE = 600, 128, 4e-3  # of the experts for counts
USUAL_DISPERSION = 10.0  # θ of a gene with too little data to learn it from
# of the experts for images
IMAGE_EPOCHS, IMAGE_STEPS, IMAGE_BATCH, IMAGE_RATE = 15, (300, 2000), 512, 2e-3
COUNT_LAYERS = (64,)  # of the experts for counts; thousands of genes make larger hidden layers slow


class Markers(nn.Module):
    """Noise of D markers in K clusters, around the logits e of the cluster's expert.

    u = b_k + e A_k + ε, ε ~ N(0, R_k); x_d = F⁻¹_kd(G_kd(u_d)), F_kd the distribution function of
    marker d in the cells of k, and G_kd that of its scores u. So every marker of a cluster has the
    distribution that it has in the cluster's cells, whatever that is, and markers depend on each
    other through the expert's output and R_k. Cells of equal value, as in a mass at zero, get its
    scores in random order, which makes the dependence there weaker than it is.
    """

    slope: Tensor
    offset: Tensor
    noise: Tensor
    scores: Tensor
    values: Tensor

    def __init__(self, n_clusters: int, n_markers: int):
        super().__init__()
        square, knots = (n_clusters, n_markers, n_markers), (n_clusters, n_markers, len(KNOTS))
        self.register_buffer("slope", torch.zeros(square))
        self.register_buffer("offset", torch.zeros(square[:2]))
        self.register_buffer("noise", torch.zeros(square))
        self.register_buffer("scores", torch.zeros(knots))
        self.register_buffer("values", torch.zeros(knots))

    def learn(
        self,
        values: Callable[[np.ndarray], np.ndarray],
        decode: Callable[[np.ndarray, int], np.ndarray],
        codes: np.ndarray,
        labels: np.ndarray,
        draw: Callable[[int, int, np.random.Generator], np.ndarray],
        random: np.random.Generator,
    ) -> None:
        """Learn each cluster's noise from its cells; one of fewer than two takes after all cells.

        values: rows of cells (n,) → (n, D) in [0, 1]; decode: codes (n, d), cluster → logits
        (n, D); codes: (n_cells, d); labels: (n_cells,); draw: (cluster, n, random) → codes.
        """
        for k in range(len(self.offset)):
            own = np.flatnonzero(labels == k)
            own = own if len(own) > 1 else np.arange(len(labels))
            own = np.sort(random.permutation(own)[:MOST_CELLS])
            x, decoded = values(own), decode(codes[own], k)
            u = normal_scores(x, random)
            linear = RidgeCV(PENALTIES).fit(decoded, u)
            left = u - linear.predict(decoded).reshape(u.shape)  # of one marker: no column axis
            noise = root(ledoit_wolf(left, assume_centered=True)[0])
            for name, learned in (
                ("slope", np.atleast_2d(linear.coef_).T),
                ("offset", linear.intercept_),
                ("noise", noise),
                ("values", np.quantile(x, KNOTS, axis=0).T),
            ):
                getattr(self, name)[k] = torch.from_numpy(np.atleast_1d(learned))
            drawn = self._scores(k, decode(draw(k, DRAWS, random), k), random)
            self.scores[k] = torch.from_numpy(np.quantile(drawn, KNOTS, axis=0).T)

    def draw(self, cluster: int, logits: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Cells (n, D) in [0, 1] of a cluster, for its expert's logits (n, D)."""
        u = self._scores(cluster, logits, random)
        scores, values = self.scores[cluster].numpy(), self.values[cluster].numpy()
        columns = [np.interp(a, b, c) for a, b, c in zip(u.T, scores, values, strict=True)]
        return np.column_stack(columns).astype(np.float32)

    def _scores(self, cluster: int, logits: np.ndarray, random: np.random.Generator) -> np.ndarray:
        slope, offset, noise = (v[cluster].numpy() for v in (self.slope, self.offset, self.noise))
        scatter = random.standard_normal(logits.shape, dtype=np.float32)
        return offset + logits @ slope + scatter @ noise.T


def train_experts(
    module: Module,
    rows: Callable[[Tensor], Tensor],
    codes: np.ndarray,
    labels: np.ndarray,
    generator: torch.Generator,
    **settings: Any,
) -> dict[str, list[float]]:
    """Minimise Eq 4 over the experts alone, with fixed codes; return its history as `train` does.

    While the clusters are trained, codes change and images are altered at random, and the experts
    decode what all of these have in common. rows: index (n,) → the images (n, n_features) in
    [0, 1]; codes: (n_cells, n_latent); labels: (n_cells,); settings: further ones of `train`.
    """
    parameters = list(module.experts.parameters())
    device = parameters[0].device
    z, k = torch.from_numpy(codes).to(device), torch.from_numpy(labels.astype(np.int64)).to(device)

    def loss(index: Tensor, step: int | Tensor) -> dict[str, Tensor]:
        return {"reconstruction": reconstruction(module.decode(z[index], k[index]), rows(index))}

    return train(
        loss,
        parameters,
        len(codes),
        int(np.clip(IMAGE_EPOCHS * len(codes) // IMAGE_BATCH, *IMAGE_STEPS)),
        batch_size=IMAGE_BATCH,
        learning_rate=IMAGE_RATE,
        generator=generator,
        schedule="cosine",
        **settings,
    )


def normal_scores(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Φ⁻¹ of each column's ranks, (n, D); equal values get their ranks in random order."""
    order = random.permutation(len(values))
    ranks = np.empty(values.shape)
    by_value = order[np.argsort(values[order], axis=0, kind="stable")]
    np.put_along_axis(ranks, by_value, np.arange(len(values))[:, None] + 0.5, axis=0)
    return ndtri(ranks / len(values))


class Counts(nn.Module):
    """x_g ~ NB(mean l ρ_g, dispersion θ_kg), ρ = softmax(expert k's output), l the library size.

    The variance is mean + mean² / θ. Given the code z, log l is drawn from N(a + z b, s²), with a,
    b and s of the cluster.
    """

    slope: Tensor
    offset: Tensor
    spread: Tensor

    def __init__(
        self, n_clusters: int, sizes: Sequence[int], activation: str = "relu", shared: bool = False
    ):
        """sizes: [n_latent, *hidden, n_genes]; shared: one decoder for all clusters."""
        super().__init__()
        self.experts = Experts(1 if shared else n_clusters, sizes, activation, every=1)
        self.log_dispersion = nn.Parameter(torch.zeros(n_clusters, sizes[-1]))
        self.register_buffer("slope", torch.zeros(n_clusters, sizes[0]))
        self.register_buffer("offset", torch.zeros(n_clusters))
        self.register_buffer("spread", torch.zeros(n_clusters))

    def shares(self, z: Tensor, assignment: Tensor) -> Tensor:
        """ρ (n, n_genes), rows sum to 1, for codes z (n, n_latent) of the clusters (n,)."""
        shared = self.experts.n_experts == 1
        return self.experts(z, torch.zeros_like(assignment) if shared else assignment).softmax(1)

    def learn(
        self,
        counts: cells.Matrix,
        codes: np.ndarray,
        labels: np.ndarray,
        generator: torch.Generator,
        progress: str = "",
    ) -> dict[str, list[float]]:
        """Minimise `negative_log_likelihood`; return its history as `train` does.

        counts: (n_cells, n_genes); codes: (n_cells, n_latent); labels: (n_cells,). Cells without
        counts carry no information and are left out.
        """
        device = self.log_dispersion.device
        counted = np.flatnonzero(np.asarray(counts.sum(axis=1)).ravel() > 0)
        counts, codes, labels = counts[counted], codes[counted], labels[counted]
        library = np.asarray(counts.sum(axis=1), dtype=np.float32).reshape(-1, 1)
        self._start(counts, labels)
        self._learn_library(np.log(library.ravel()), codes, labels)
        z, k, sizes = (torch.from_numpy(v).to(device) for v in (codes, labels.astype(int), library))

        def loss(index: Tensor, step: int) -> dict[str, Tensor]:
            rows = counts[index.cpu().numpy()]
            rows = rows.toarray() if sparse.issparse(rows) else rows
            x = torch.from_numpy(np.asarray(rows, dtype=np.float32)).to(device)
            mean = sizes[index] * self.shares(z[index], k[index])
            return {"counts": negative_log_likelihood(x, mean, self.log_dispersion[k[index]])}

        return train(
            loss,
            self.parameters(),
            len(codes),
            STEPS,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            generator=generator,
            progress=progress,
        )

    @torch.no_grad()
    def _start(self, counts: cells.Matrix, labels: np.ndarray) -> None:
        """Start outputs at each cluster's shares of counts, dispersions at moments around them."""
        counts = sparse.csr_matrix(counts, dtype=np.float64)
        library = np.asarray(counts.sum(axis=1)).ravel()
        total = np.asarray(counts.sum(axis=0)).ravel()
        everywhere = (total + 0.1) / (total + 0.1).sum()
        squares, extra = np.zeros_like(total), np.zeros_like(total)
        clusters = len(self.offset)
        for k in range(clusters):
            own = labels == k
            mine, sizes = counts[own], library[own]
            # shrunk a little towards all cells, from which a gene unseen here gets its share
            shares = np.asarray(mine.sum(axis=0)).ravel() + 10 * everywhere
            shares /= shares.sum()
            squared = shares**2 * (sizes**2).sum()
            squares += squared
            extra += np.asarray(mine.power(2).sum(axis=0)).ravel() + squared
            extra -= shares * (2 * (sizes @ mine) + sizes.sum())
            if self.experts.n_experts == clusters:
                self.experts.biases[-1][k] = torch.from_numpy(np.log(shares))
        if self.experts.n_experts == 1:
            self.experts.biases[-1][0] = torch.from_numpy(np.log(everywhere))
        self.experts.weights[-1].mul_(0.1)
        # from Σ (x − μ)² = Σ μ + Σ μ²/θ; a gene that is rarely seen stays near USUAL_DISPERSION
        dispersion = (squares + 1) / (extra.clip(min=0) + 1 / USUAL_DISPERSION)
        self.log_dispersion.copy_(torch.from_numpy(np.log(dispersion.clip(0.05, 100))))

    def _learn_library(self, library: np.ndarray, codes: np.ndarray, labels: np.ndarray) -> None:
        """library: (n_cells,) log sums of counts."""
        for k in range(len(self.offset)):
            own = labels == k if (labels == k).sum() > 1 else labels >= -1
            linear = RidgeCV(PENALTIES).fit(codes[own], library[own])
            self.slope[k] = torch.from_numpy(linear.coef_)
            self.offset[k] = float(linear.intercept_)
            self.spread[k] = float((library[own] - linear.predict(codes[own])).std())

    @torch.no_grad()
    def draw(
        self, cluster: int, codes: np.ndarray, random: np.random.Generator, mean: bool = False
    ) -> np.ndarray:
        """Counts (n, n_genes) int32 of a cluster for codes (n, n_latent), or float32 means."""
        noise = torch.from_numpy(random.standard_normal(len(codes), dtype=np.float32))
        z, device = torch.from_numpy(codes), self.slope.device
        log_size = (z.to(device) @ self.slope[cluster] + self.offset[cluster]).cpu()
        log_size = log_size + (0 if mean else noise) * self.spread[cluster].cpu()
        assignment = torch.full((len(z),), cluster, device=device)
        expected = self.shares(z.to(device), assignment).cpu() * log_size.exp()[:, None]
        if mean:
            return expected.numpy()
        dispersion = self.log_dispersion[cluster].exp().cpu().numpy()
        rates = random.standard_gamma(np.broadcast_to(dispersion, expected.shape)) / dispersion
        return random.poisson(rates * expected.numpy()).astype(np.int32)


def negative_log_likelihood(x: Tensor, mean: Tensor, log_dispersion: Tensor) -> Tensor:
    """−log NB(x; mean μ, dispersion θ), up to log x!: summed over genes, mean over cells.

    x, mean, log_dispersion: (n, n_genes). Most counts are 0, and have only the term
    θ log(1 + μ/θ); the other terms are computed only where they are not.
    """
    dispersion = log_dispersion.exp()
    loss = (dispersion * torch.log1p(mean / dispersion)).sum()
    found = x > 0
    some, mu, theta = x[found], mean[found], dispersion[found]
    gamma = torch.lgamma(some + theta) - torch.lgamma(theta)
    loss = loss - (some * ((mu + EPSILON).log() - (mu + theta).log()) + gamma).sum()
    return loss / len(x)
