"""MoE-Sim-VAE as an estimator: fit, predict, transform, generate, save and load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

from moesimvae import files
from moesimvae.errors import UserError
from moesimvae.model import losses
from moesimvae.model.networks import Encoder, Experts, Gate
from moesimvae.model.projection import principal_components, umap_projection
from moesimvae.model.similarity import Similarity, neighbours_in_batch
from moesimvae.model.training import choose_device, encode_in_batches, seeded, train

FORMAT = "moesimvae-model"
FORMAT_VERSION = 1
# share of the first phase's steps over which the KL and DEPICT terms grow to their full weight:
# at full weight from the start, DEPICT draws all cells into one cluster
WARM_UP = 0.4


class Module(nn.Module):
    """Encoder, experts and gate, and the loss they share."""

    def __init__(
        self,
        n_features: int,
        n_clusters: int,
        n_latent: int,
        encoder_layers: Sequence[int],
        expert_layers: Sequence[int],
        gate_layers: Sequence[int],
        gate_dropout: float,
    ):
        super().__init__()
        self.encoder = Encoder(n_features, encoder_layers, n_latent)
        self.experts = Experts(n_clusters, [n_latent, *expert_layers, n_features])
        self.gate = Gate(n_latent, gate_layers, n_clusters, gate_dropout)

    def loss_terms(
        self, x: Tensor, adjacency: Tensor, means: losses.RunningMeans
    ) -> dict[str, Tensor]:
        """The four parts of Eq 11, without weights, for a batch x (n, n_features) in [0, 1].

        The gate sees the mean of q(z | x), the experts a sample of it: noise in the gate would
        only blur S. The variance of q is learned, yet Eq 3 asks for unit variance of a cluster's
        codes together and not of each cell's posterior (there is no KL of q(z | x) to a prior
        in the paper): reconstruction shrinks it towards 0 while the means spread to fill N(μ_k, I).
        """
        code = self.encoder(x)
        p = self.gate(code.mean).softmax(1)
        assignment = p.argmax(1)
        z = code.mean + torch.randn_like(code.mean) * (0.5 * code.log_variance).exp()
        return {
            "reconstruction": losses.reconstruction(self.experts(z, assignment), x),
            "kl": losses.cluster_kl(z, assignment, means.update(p, code.mean)),
            "similarity": losses.similarity(p, adjacency),
            "depict": losses.depict(p, self.gate(code.mean, noisy=True)),
        }


class MoESimVAE(ClusterMixin, TransformerMixin, BaseEstimator):
    """Mixture-of-Experts Similarity Variational Autoencoder (Kopf et al. 2021).

    An encoder maps cells to a latent space, a gate assigns them to one of `n_clusters` experts,
    and each expert decodes its own cluster. The gate learns to reproduce, batch by batch, which
    cells are near neighbours in a UMAP projection of the data (Eq 7).

    `refinements=0` is the paper's model. With `refinements=1`, the default, the first half of
    the steps is the same; then the projection is computed again, now from the encoder's last
    hidden layer, and training goes on with the neighbours found there. No label plays a part.

    Parameters
    ----------
    n_clusters: K, number of clusters and of experts (some may end up empty).
    n_latent: dimensions of the latent space.
    encoder_layers, expert_layers, gate_layers: sizes of the hidden layers; the sizes of the
        experts are those of each one.
    n_neighbors, metric: of UMAP.
    n_pca: principal components that the first UMAP is made from; None takes all features. With
        hundreds of noisy features, such as genes, distances mean little without it.
    batch_neighbors: k of the nearest neighbours within a batch; None takes half of a cluster's
        even share of the batch.
    refinements: how often the similarity is computed again from the encoder.
    steps: training steps in all, shared evenly by the 1 + `refinements` phases.
    batch_size, learning_rate: of Adam, with a cosine schedule in each phase.
    reconstruction_weight, kl_weight, similarity_weight, depict_weight: of the terms of Eq 11,
        all of which are means (see `losses`).
    centred_start: start the encoder as if the features were centred and of unit spread; with many
        sparse features, such as genes, the gate takes long to tell cells apart without it.
    gate_dropout: in the noisy branch that DEPICT compares with (Eq 8).
    scale: "minmax" scales each feature to [0, 1] by its range at fit; "none" leaves the data,
        which must lie in [0, 1]; "auto" is "minmax" for data outside [0, 1], else "none".
    random_state: seed of everything. On one machine's CPU, with the same number of threads, the
        same seed gives the same labels.
    device: "auto", "cpu", "cuda", ….
    progress: show the course of training on stderr.

    Attributes after `fit`
    ----------------------
    labels_ (n_cells,) int32; embedding_ (n_cells, n_latent) float32, the posterior means;
    probabilities_ (n_cells, n_clusters) float32; cluster_means_ (n_clusters, n_latent), Eq 6
    over all cells; history_: term → weighted mean loss per record; n_features_in_; facts_.
    """

    def __init__(
        self,
        n_clusters: int = 10,
        *,
        n_latent: int = 20,
        encoder_layers: Sequence[int] = (512, 512),
        expert_layers: Sequence[int] = (256,),
        gate_layers: Sequence[int] = (128,),
        n_neighbors: int = 15,
        metric: str = "euclidean",
        n_pca: int | None = None,
        batch_neighbors: int | None = None,
        refinements: int = 1,
        steps: int = 5000,
        batch_size: int = 512,
        learning_rate: float = 1e-3,
        reconstruction_weight: float = 1.0,
        kl_weight: float = 0.02,
        similarity_weight: float = 1.0,
        depict_weight: float = 0.05,
        gate_dropout: float = 0.1,
        centred_start: bool = False,
        scale: str = "auto",
        random_state: int = 0,
        device: str = "auto",
        progress: bool = True,
    ):
        self.n_clusters = n_clusters
        self.n_latent = n_latent
        self.encoder_layers = encoder_layers
        self.expert_layers = expert_layers
        self.gate_layers = gate_layers
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.n_pca = n_pca
        self.batch_neighbors = batch_neighbors
        self.refinements = refinements
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.reconstruction_weight = reconstruction_weight
        self.kl_weight = kl_weight
        self.similarity_weight = similarity_weight
        self.depict_weight = depict_weight
        self.gate_dropout = gate_dropout
        self.centred_start = centred_start
        self.scale = scale
        self.random_state = random_state
        self.device = device
        self.progress = progress

    # ------------------------------------------------------------------ fitting

    def fit(self, X: Any, y: None = None) -> MoESimVAE:
        """Cluster the cells X: (n_cells, n_features) array, CSR matrix or AnnData; y is unused.

        Raises UserError for values that are not finite, data outside [0, 1] with scale="none",
        fewer cells than clusters, or parameters out of range.
        """
        matrix = _matrix(X)
        self._check_parameters(matrix)
        device = choose_device(self.device)
        generator = seeded(self.random_state)
        self.n_features_in_ = matrix.shape[1]
        self._fit_scale(matrix)
        self.module_ = self._new_module().to(device)
        rows = self._rows(matrix)
        if self.centred_start:
            self._centre(rows, matrix.shape[0])
        means = losses.RunningMeans(self.n_clusters, self.n_latent, device)
        self.history_: dict[str, list[float]] = {}
        seconds = {"similarity": 0.0, "training": 0.0}

        source = principal_components(matrix, self.n_pca, self.random_state)
        for phase in range(1 + self.refinements):
            started = monotonic()
            if phase > 0:
                source = encode_in_batches(
                    lambda index: self.module_.encoder(rows(index)).features, matrix.shape[0]
                )
            projection = umap_projection(
                source, self.n_neighbors, metric=self._metric(phase), seed=self.random_state
            )
            similarity = neighbours_in_batch(
                torch.from_numpy(projection).to(device), self._neighbours(len(projection))
            )
            trained = monotonic()
            self._train_phase(phase, rows, similarity, means, len(projection), generator)
            seconds["similarity"] += trained - started
            seconds["training"] += monotonic() - trained

        self.embedding_, self.probabilities_ = self._encode(matrix)
        self.labels_ = self.probabilities_.argmax(1).astype(np.int32)
        self.cluster_means_ = losses.em_means(
            torch.from_numpy(self.probabilities_), torch.from_numpy(self.embedding_)
        ).numpy()
        self.facts_ = {
            "experts_in_use": len(np.unique(self.labels_)),
            "device": str(device),
            "scaled": "minmax" if self.scaled_ else "none",
            "batch_neighbors": self._neighbours(matrix.shape[0]),
            "seconds_similarity": round(seconds["similarity"], 2),
            "seconds_training": round(seconds["training"], 2),
        }
        return self

    def _train_phase(
        self,
        phase: int,
        rows: Callable[[Tensor], Tensor],
        similarity: Similarity,
        means: losses.RunningMeans,
        n_cells: int,
        generator: torch.Generator,
    ) -> None:
        steps = self._steps_of_phase(phase)
        warm_up = WARM_UP * steps if phase == 0 else 0

        def loss_terms(index: Tensor, step: int) -> dict[str, Tensor]:
            terms = self.module_.loss_terms(rows(index), similarity(index), means)
            ramp = min(1.0, step / warm_up) if warm_up else 1.0
            weights = {
                "reconstruction": self.reconstruction_weight,
                "kl": self.kl_weight * ramp,
                "similarity": self.similarity_weight,
                "depict": self.depict_weight * ramp,
            }
            return {name: weights[name] * term for name, term in terms.items()}

        history = train(
            loss_terms,
            self.module_.parameters(),
            n_cells,
            steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            generator=generator,
            progress=f"phase {phase + 1} of {1 + self.refinements}" if self.progress else "",
        )
        done = self.history_.get("step", [0])[-1]
        history["step"] = [step + done for step in history["step"]]
        for name, values in history.items():
            self.history_.setdefault(name, []).extend(values)

    def _centre(self, rows: Callable[[Tensor], Tensor], n_cells: int) -> None:
        """Centre the encoder on the mean of at most 4,096 cells, over their mean spread."""
        x = rows(torch.randperm(n_cells)[:4096].to(self._device()))
        spread = x.var(dim=0, correction=0).mean().sqrt().clamp(min=1e-3)
        self.module_.encoder.centre(x.mean(dim=0), float(spread))

    def _new_module(self) -> Module:
        return Module(
            self.n_features_in_,
            self.n_clusters,
            self.n_latent,
            self.encoder_layers,
            self.expert_layers,
            self.gate_layers,
            self.gate_dropout,
        )

    def _steps_of_phase(self, phase: int) -> int:
        """The steps in even parts; the first phase takes what does not divide."""
        part, rest = divmod(self.steps, 1 + self.refinements)
        return part + (rest if phase == 0 else 0)

    def _metric(self, phase: int) -> str:
        """The metric asked for is one between cells, not between the encoder's features."""
        return self.metric if phase == 0 else "euclidean"

    def _neighbours(self, n_cells: int) -> int:
        if self.batch_neighbors is not None:
            return self.batch_neighbors
        return max(3, min(self.batch_size, n_cells) // (2 * self.n_clusters))

    def _check_parameters(self, matrix: np.ndarray | sparse.csr_matrix) -> None:
        if self.n_clusters < 2:
            raise UserError(f"n_clusters is {self.n_clusters}; ask for at least 2 clusters.")
        if matrix.shape[0] < self.n_clusters or matrix.shape[0] < 3:
            raise UserError(
                f"the data have {matrix.shape[0]} cells for {self.n_clusters} clusters; "
                "ask for fewer clusters (and give at least 3 cells)."
            )
        if self.refinements < 0 or self.steps < 1 + self.refinements:
            raise UserError(
                f"steps={self.steps} with refinements={self.refinements}: each of the "
                "1 + refinements phases needs at least one step."
            )
        if self.batch_size < 2:
            raise UserError(f"batch_size is {self.batch_size}; similarity needs at least 2 cells.")

    # ------------------------------------------------------------------ the cells as batches

    def _fit_scale(self, matrix: np.ndarray | sparse.csr_matrix) -> None:
        """Set scaled_, and offset_ and range_ (n_features,) such that x = (X − offset) / range."""
        if self.scale not in ("auto", "minmax", "none"):
            raise UserError(f"scale is '{self.scale}'; use 'auto', 'minmax' or 'none'.")
        low, high = _column_range(matrix)
        inside = low.min() >= 0 and high.max() <= 1
        if self.scale == "none" and not inside:
            raise UserError(
                f"the data reach from {low.min():.4g} to {high.max():.4g}, but the binary "
                "cross-entropy needs [0, 1]; use scale='minmax'."
            )
        self.scaled_ = self.scale == "minmax" or not inside
        if not self.scaled_:
            low, high = np.zeros_like(low), np.ones_like(high)
        constant = high <= low
        self.offset_ = low
        # a constant feature becomes 0 everywhere
        self.range_ = np.where(constant, 1, high - low).astype(np.float32)

    def _rows(self, matrix: np.ndarray | sparse.csr_matrix) -> Callable[[Tensor], Tensor]:
        """index → the cells' features in [0, 1], (len(index), n_features), on the device.

        Dense data lie on the device as a whole; of sparse data only the batch becomes dense.
        """
        device = self._device()
        offset = torch.from_numpy(self.offset_).to(device)
        span = torch.from_numpy(self.range_).to(device)

        def scaled(x: Tensor) -> Tensor:
            # new cells may lie outside the range of those that were fitted
            return ((x - offset) / span).clamp(0, 1)

        if sparse.issparse(matrix):
            return lambda index: scaled(
                torch.from_numpy(matrix[index.cpu().numpy()].toarray()).to(device)
            )
        everything = torch.from_numpy(matrix).to(device)
        return lambda index: scaled(everything[index])

    def _device(self) -> torch.device:
        return next(self.module_.parameters()).device

    # ------------------------------------------------------------------ using the fitted model

    def _encode(self, matrix: np.ndarray | sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
        """Posterior means (n, n_latent) and the gate's probabilities (n, n_clusters)."""
        rows = self._rows(matrix)

        def both(index: Tensor) -> Tensor:
            mean = self.module_.encoder(rows(index)).mean
            return torch.cat([mean, self.module_.gate(mean).softmax(1)], dim=1)

        encoded = encode_in_batches(both, matrix.shape[0])
        return (
            np.ascontiguousarray(encoded[:, : self.n_latent]),
            np.ascontiguousarray(encoded[:, self.n_latent :]),
        )

    def _known_cells(self, X: Any) -> np.ndarray | sparse.csr_matrix:
        self._require_fitted()
        matrix = _matrix(X)
        if matrix.shape[1] != self.n_features_in_:
            raise UserError(
                f"the cells have {matrix.shape[1]} features, but the model was fitted on "
                f"{self.n_features_in_}; give the same features in the same order."
            )
        return matrix

    def _require_fitted(self) -> None:
        if not hasattr(self, "cluster_means_"):
            raise NotFittedError("this MoESimVAE is not fitted yet; call fit or load first.")

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each cluster, (n_cells, n_clusters) float32, also for new cells."""
        return self._encode(self._known_cells(X))[1]

    def predict(self, X: Any) -> np.ndarray:
        """Most probable cluster, (n_cells,) int32, also for new cells."""
        return self.predict_proba(X).argmax(1).astype(np.int32)

    def transform(self, X: Any) -> np.ndarray:
        """Posterior means, (n_cells, n_latent) float32."""
        return self._encode(self._known_cells(X))[0]

    def reconstruct(self, X: Any) -> np.ndarray:
        """The cells as their most probable expert decodes their posterior mean, in units of X."""
        matrix = self._known_cells(X)
        rows = self._rows(matrix)

        def decoded(index: Tensor) -> Tensor:
            mean = self.module_.encoder(rows(index)).mean
            return self.module_.experts(mean, self.module_.gate(mean).argmax(1)).sigmoid()

        return self._unscaled(encode_in_batches(decoded, matrix.shape[0]))

    def generate(self, cluster: int, n: int, random_state: int = 0) -> np.ndarray:
        """n new cells (n, n_features) of a cluster: z ~ N(μ_k, I), decoded by expert k (Eq 1).

        Raises UserError when there is no such cluster.
        """
        self._require_fitted()
        if not 0 <= cluster < self.n_clusters:
            raise UserError(
                f"there is no cluster {cluster}; the model has 0 to {self.n_clusters - 1}."
            )
        noise = torch.randn(n, self.n_latent, generator=torch.Generator().manual_seed(random_state))
        z = (torch.from_numpy(self.cluster_means_[cluster]) + noise).to(self._device())

        def decoded(index: Tensor) -> Tensor:
            part = z[index]
            expert = torch.full((len(part),), cluster, device=part.device)
            return self.module_.experts(part, expert).sigmoid()

        return self._unscaled(encode_in_batches(decoded, n))

    def _unscaled(self, x: np.ndarray) -> np.ndarray:
        return x * self.range_ + self.offset_

    # ------------------------------------------------------------------ files

    def save(self, folder: str | Path) -> None:
        """Write model.safetensors and config.json into the folder. Nothing in them is pickled."""
        self._require_fitted()
        folder = Path(folder)
        tensors = self.module_.state_dict() | {
            "cluster_means": torch.from_numpy(self.cluster_means_),
            "offset": torch.from_numpy(self.offset_),
            "range": torch.from_numpy(self.range_),
        }
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        with files.atomic(folder / "model.safetensors") as temporary:
            safetensors.torch.save_file(tensors, temporary)
        parameters = self.get_params()
        files.write_json(
            folder / "config.json",
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "n_features": self.n_features_in_,
                "scaled": bool(self.scaled_),
                "parameters": {
                    name: list(value) if isinstance(value, tuple) else value
                    for name, value in parameters.items()
                },
            },
        )

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> MoESimVAE:
        """A model that `save` wrote, ready to predict, transform, reconstruct and generate.

        Raises UserError when a file is missing or damaged, or of another version.
        """
        folder = Path(folder)
        config = _read_config(folder / "config.json")
        try:
            model = cls(**config["parameters"] | {"device": device})
            model.n_features_in_, model.scaled_ = config["n_features"], config["scaled"]
            model.module_ = model._new_module()
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{folder / 'config.json'} does not describe a model ({error}); save it again."
            ) from error
        model._load_tensors(folder / "model.safetensors")
        model.module_.to(choose_device(device))
        return model

    def _load_tensors(self, path: Path) -> None:
        try:
            tensors = safetensors.torch.load_file(path)
        except (OSError, safetensors.SafetensorError) as error:
            raise UserError(f"{path} cannot be read ({error}); save the model again.") from error
        expected = {name: tuple(value.shape) for name, value in self.module_.state_dict().items()}
        expected |= {
            "cluster_means": (self.n_clusters, self.n_latent),
            "offset": (self.n_features_in_,),
            "range": (self.n_features_in_,),
        }
        found = {name: tuple(value.shape) for name, value in tensors.items()}
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise UserError(
                    f"{path}: '{name}' has shape {found.get(name)}, but config.json asks for "
                    f"{expected.get(name)}; the two files belong to different models."
                )
        self.cluster_means_ = tensors.pop("cluster_means").numpy()
        self.offset_ = tensors.pop("offset").numpy()
        self.range_ = tensors.pop("range").numpy()
        self.module_.load_state_dict(tensors)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = files.read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); save the model again.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise UserError(f"{path} is not the configuration of a MoE-Sim-VAE model.")
    if config.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {config.get('format_version')}, but this program reads "
            f"version {FORMAT_VERSION}; fit the model again or use the program that wrote it."
        )
    return config


def _matrix(X: Any) -> np.ndarray | sparse.csr_matrix:
    """The features of X as float32, a C-ordered array or a CSR matrix; UserError if not finite."""
    if hasattr(X, "obs_names"):  # AnnData, without importing it
        X = X.X
    try:
        if sparse.issparse(X):
            matrix = sparse.csr_matrix(X, dtype=np.float32)
            values = matrix.data
        else:
            values = matrix = np.ascontiguousarray(X, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"the data must be numbers, cells × features ({error}).") from error
    if matrix.ndim != 2 or matrix.shape[0] == 0 or matrix.shape[1] == 0:
        raise UserError(f"the data have shape {matrix.shape}; expected cells × features.")
    if not np.isfinite(values).all():
        cell, feature = _first_not_finite(matrix)
        raise UserError(
            f"the value of cell {cell}, feature {feature} (counted from 0) is not finite; "
            "remove or impute such values first."
        )
    return matrix


def _first_not_finite(matrix: np.ndarray | sparse.csr_matrix) -> tuple[int, int]:
    if sparse.issparse(matrix):
        stored = matrix.tocoo()
        first = np.flatnonzero(~np.isfinite(stored.data))[0]
        return int(stored.row[first]), int(stored.col[first])
    cell, feature = np.argwhere(~np.isfinite(matrix))[0]
    return int(cell), int(feature)


def _column_range(matrix: np.ndarray | sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest value of each feature, (n_features,) float32 each."""
    low, high = matrix.min(axis=0), matrix.max(axis=0)
    if sparse.issparse(matrix):
        low, high = low.toarray().ravel(), high.toarray().ravel()
    return low.astype(np.float32), high.astype(np.float32)
