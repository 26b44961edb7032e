"""Trained models as generators: draw a cluster's codes, accept them by the posterior, decode.

Not a method. MoE-Sim-VAE and VaDE share this module so that the cost of generation is
counted in one unit: draws of a latent code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from moesimvae.errors import UserError
from moesimvae.methods import vade
from moesimvae.model import storage
from moesimvae.model.estimator import MoESimVAE

BATCH = 2000
# draws per accepted code above which a threshold counts as out of reach
MOST_DRAWS = 2000
STANDARD, FITTED = "standard", "fitted"
COMPONENT = "component"  # VaDE's own mixture component, the counterpart of these two


@dataclass(frozen=True)
class Generator:
    """What a trained model can do with its clusters, on the CPU.

    draw: (cluster, n, torch generator) → codes (n, n_latent) from the cluster's Gaussian.
    posterior: codes → (n, n_clusters), p(cluster | code); None where the model accepts every draw.
    decode: (codes, cluster) → cells (n, n_features) float32, in the units of the features.
    assign: cells → (n,) clusters, the model's own clustering.
    """

    n_clusters: int
    draw: Callable[[int, int, torch.Generator], Tensor]
    posterior: Callable[[Tensor], Tensor] | None
    decode: Callable[[Tensor, int], np.ndarray]
    assign: Callable[[np.ndarray], np.ndarray]


@dataclass
class Drawn:
    """What one cluster generated at several thresholds; a cell may serve several of them.

    cells: (u, n_features); codes: (u, n_latent). For each threshold, accepted: (n,) rows of both,
    the first n draws that pass it; draws: how many codes that took; seconds: to draw, test and
    decode them. A threshold not reached within MOST_DRAWS · n draws has fewer than n rows.
    """

    cells: np.ndarray
    codes: np.ndarray
    accepted: dict[float, np.ndarray] = field(default_factory=dict)
    draws: dict[float, int] = field(default_factory=dict)
    seconds: dict[float, float] = field(default_factory=dict)


def read_model(run: str | Path) -> MoESimVAE:
    """Load the MoE-Sim-VAE of a run folder onto the CPU; UserError for a run without one."""
    return MoESimVAE.load(Path(run) / "model", device="cpu")


def read(
    run: str | Path, prepare: Callable[[MoESimVAE], object] | None = None
) -> dict[str, Generator]:
    """The generators of a run folder (contract 3) whose method saved its model, by name.

    VaDE has one, "component", its own mixture. MoE-Sim-VAE has two: "standard" draws codes from
    N(μ_k, I), as the paper says; "fitted" from Gaussians fitted to the cluster's codes. Its model
    is first given to `prepare`, to learn what a run that only clusters leaves out.
    Raises UserError for a run without a generative model.
    """
    folder = Path(run) / "model"
    if (folder / storage.CONFIG).is_file():
        model = read_model(run)
        if prepare is not None:
            prepare(model)
        return {name: _moe_sim_vae(model, name) for name in (STANDARD, FITTED)}
    if (folder / vade.SIZES).is_file():
        return {COMPONENT: _vade(folder)}
    raise UserError(
        f"{folder} contains no generative model; use a run of MoE-Sim-VAE or VaDE that ended ok."
    )


def generate(
    generator: Generator, cluster: int, n: int, thresholds: Sequence[float] = (0.0,), seed: int = 0
) -> Drawn:
    """Generate n cells of a cluster for each threshold φ on the posterior of its component.

    Codes are drawn in one stream; each φ takes the first n of them with p(cluster | code) > φ
    (φ = 0: all). Without a posterior, each φ takes the first n draws. Codes shared by
    thresholds are decoded once, and each threshold is charged for its part.
    """
    if not 0 <= cluster < generator.n_clusters:
        raise UserError(
            f"there is no cluster {cluster}; clusters run from 0 to {generator.n_clusters - 1}."
        )
    random = torch.Generator().manual_seed(int(seed) * 1_000_003 + cluster)
    taken: dict[float, list[np.ndarray]] = {threshold: [] for threshold in thresholds}
    draws: dict[float, int] = {}
    seconds: dict[float, float] = {}
    kept, positions = [], []
    start, began = 0, perf_counter()
    while len(draws) < len(taken):
        z = generator.draw(cluster, max(n, BATCH), random)
        sure = (
            np.ones(len(z))
            if generator.posterior is None
            else generator.posterior(z)[:, cluster].numpy()
        )
        wanted = np.zeros(len(z), dtype=bool)
        for threshold in taken.keys() - draws.keys():
            missing = n - sum(map(len, taken[threshold]))
            passed = np.flatnonzero(sure > threshold) if threshold > 0 else np.arange(len(z))
            passed = passed[:missing]
            taken[threshold].append(start + passed)
            wanted[passed] = True
            if len(passed) == missing:
                draws[threshold] = start + int(passed[-1]) + 1 if missing else start
            elif start + len(z) >= MOST_DRAWS * n:
                draws[threshold] = start + len(z)
            if threshold in draws:
                seconds[threshold] = perf_counter() - began
        positions.append(start + np.flatnonzero(wanted))
        kept.append(z[torch.from_numpy(wanted)])
        start += len(z)
    codes, at = torch.cat(kept), np.concatenate(positions)
    began = perf_counter()
    cells = generator.decode(codes, cluster)
    each = (perf_counter() - began) / max(len(codes), 1)
    rows = {t: np.searchsorted(at, np.concatenate(parts)) for t, parts in taken.items()}
    return Drawn(
        cells,
        codes.numpy(),
        accepted={t: rows[t] for t in thresholds},
        draws={t: draws[t] for t in thresholds},
        seconds={t: seconds[t] + each * len(rows[t]) for t in thresholds},
    )


def _moe_sim_vae(model: MoESimVAE, gaussian: str) -> Generator:
    scale, offset = model.range_, model.offset_

    def draw(cluster: int, n: int, random: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**62, (1,), generator=random))
        codes = model.draw_codes(cluster, n, np.random.default_rng(seed), gaussian == STANDARD)
        return torch.from_numpy(codes)

    def decode(z: Tensor, cluster: int) -> np.ndarray:
        expert = torch.full((BATCH,), cluster)
        decoded = _in_batches(
            lambda part: model.module_.decode(part, expert[: len(part)]).sigmoid(), z
        )
        return decoded * scale + offset

    return Generator(model.n_clusters, draw, None, decode, model.predict)


def _vade(folder: Path) -> Generator:
    network, mixture = vade.load(folder)
    bernoulli = vade.likelihood_of(folder) == "bernoulli"

    @torch.no_grad()
    def posterior(z: Tensor) -> Tensor:
        return torch.cat([vade.log_responsibilities(p, mixture).exp() for p in z.split(20_000)])

    def decode(z: Tensor, cluster: int) -> np.ndarray:
        return _in_batches(
            lambda part: network.decoder(part).sigmoid() if bernoulli else network.decoder(part), z
        )

    def assign(cells: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(cells, dtype=np.float32))
        return _in_batches(
            lambda part: vade.log_responsibilities(network.encoder(part).mean, mixture), x
        ).argmax(1)

    def draw(cluster: int, n: int, random: torch.Generator) -> Tensor:
        return vade.draw(mixture, cluster, n, random)

    return Generator(len(mixture.means), draw, posterior, decode, assign)


@torch.no_grad()
def _in_batches(compute: Callable[[Tensor], Tensor], rows: Tensor) -> np.ndarray:
    return torch.cat([compute(part) for part in rows.split(BATCH)]).numpy()
