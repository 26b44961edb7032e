"""MoE-Sim-VAE as an estimator: fit, predict, transform, generate, save and load."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.special import expit
from sklearn import base
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags
from torch import Tensor

import moesimvae
from moesimvae.errors import UserError
from moesimvae.model import calibration, cells, losses, parameters, stability, storage
from moesimvae.model.calibration import MEASURED_CELLS, SEEN_CELLS, Seen
from moesimvae.model.fitting import Data, Fit, Fitted, Settings
from moesimvae.model.generation import COMPONENTS, Mixtures, code_mixtures
from moesimvae.model.images import find_image_shape
from moesimvae.model.module import build
from moesimvae.model.observation import COUNT_LAYERS, MOST_MARKERS, Counts, Markers, train_experts
from moesimvae.model.presets import PRESETS
from moesimvae.model.similarity import BY_GROUP, parse
from moesimvae.model.training import choose_device, encode_in_batches, seeded, uses_bfloat16

GENERATED = {"n": parameters.whole(0), "random_state": parameters.RANDOM_STATE}
# what is saved besides the networks' weights, each the attribute of that name with a trailing _
ARRAYS = (
    *("cluster_means", "offset", "range"),
    *("mixture_weights", "mixture_means", "mixture_roots"),
)
ASSESSED = ("stability", "merges", "temperature")  # and these, where `assess` was called
BATCH = 1024  # cells made dense at once
SCATTERED = 128  # the same for cells from all over the data
OBSERVATION, SEEN = "observation.", "seen."  # prefixes of their tensors' names


class MoESimVAE(
    base.ClassNamePrefixFeaturesOutMixin,
    base.ClusterMixin,
    base.TransformerMixin,
    base.BaseEstimator,
):
    """Mixture-of-Experts Similarity Variational Autoencoder (Kopf et al. 2021).

    An encoder maps cells to a latent space, a gate assigns each code to one of `n_clusters`
    experts, and each expert decodes its own cluster. The gate learns, batch by batch, which cells
    are similar (Eq 7). No labels are used, except those of a `prior` where one is given.

    The defaults are our best settings without labels; `preset` gives the paper's model and the
    released program's. docs/model.md goes through all three, equation by equation.

    Parameters
    ----------
    n_clusters: K, the number of clusters and of experts; some may end up empty.
    similarity: the name of one of `similarity.KINDS`, or a mapping of "kind" and that kind's
        parameters. "auto" is "communities" for cells, whose groups differ widely in size, and
        "umap_knn" for images, with as many neighbours as suit the size of their group.
    refinements: how often the similarity is recomputed, from the gate's last hidden layer; the
        1 + `refinements` phases share the steps evenly. None means 2 for UMAP's similarities of
        images that go through convolutions; else 0, as for "communities", where rare groups do not
        survive a refinement. A given matrix is never refined.
    n_latent: dimensions of the latent space.
    encoder: "dense"; "conv" for images; "auto" is "conv" where the shape of the images is known,
        from `image_shape` or an AnnData's uns["image_shape"], and is at least 16 × 16.
    image_shape: (rows, columns) of an image, None for cells. channels: of the convolutions.
    encoder_layers: sizes of dense layers; None means (128,) after convolutions, else (256, 256).
    expert_layers, gate_layers: sizes of the hidden layers of each expert, and of the gate; None,
        for experts only, means (256,) for up to 16 of them; more share 4,096 units
        (`experts.hidden_units`).
    shared_decoder: one decoder for all clusters instead of an expert for each (an ablation).
    experts_every: after how many batches the experts' weights change; None means 1 below K = 16 and
        about K / 8 from there on, for speed (see `experts.updates_every`).
    activation: "relu", "elu" or "tanh".
    augmentation: how far images are turned, shifted, stretched and sheared at random, as a factor
        on the amplitudes in `images`; 0 means not at all.
    deskew: compute the first similarity from images that are centred and freed of their slant.
    objective: "paper" or "released" (see `module`).
    reconstruction_weight, kl_weight, similarity_weight, depict_weight: of the terms of Eq 11, all
        of which are means (see `losses`). None, for the first, means 1 for images, 0.2 for cells.
    warm_up: share of the first phase over which all weights but that of the similarity grow from
        0: at full weight from the start, DEPICT draws all cells into one cluster.
    gate_dropout: dropout in the noisy branch that DEPICT compares with (Eq 8).
    steps: batches in total, or an upper limit; batch_size: cells in each, None means 256 for cells
        and up to 16 clusters, else 512.
    learning_rate, adam_betas: of Adam. schedule: "cosine" lowers the rate to 0 in each phase,
        "constant" keeps it, "settled" keeps it until nothing changes any more, lowers it to 0 over
        a third as many steps again, and ends. "auto" is "settled" for "communities", whose groups
        are learned in a few hundred steps, else "cosine".
    max_seconds: limit on the training time, kept by taking fewer steps where necessary; the result
        then depends on how fast the machine is.
    precision: of the encoder's products in training: "float32", "bfloat16", or "auto" for
        "bfloat16" where the chip has units for it. All else is float32, and so is a fitted model.
    observation: "auto" lets `generate` draw cells as they scatter around the experts' means (see
        `observation`): molecules where `fit` is given counts, marker values for panels of at most
        200 markers; not images, nor more features without counts. Instead, the experts of images
        are trained further on their own, on unaltered images with fixed codes. "none" does neither.
    code_components: the most Gaussians in the mixture that describes a cluster's codes.
    standardise: let the encoder see features centred and of unit mean spread.
    scale: "minmax" scales each feature to [0, 1] by its range at fit; "none" leaves the data,
        which must lie in [0, 1]; "auto" is "minmax" for data outside [0, 1], else "none".
    random_state: a whole number, which makes results reproducible on the CPU of one machine with
        the same number of threads; a RandomState, or None for NumPy's own, draws `seed_` anew for
        each fit.
    device: "auto", "cpu", "cuda", …. progress: show the course of training on stderr.
    cache: folder that keeps the cells' similarity for the next fit of the same cells.
    checkpoint: folder in which an interrupted fit leaves what it needs to resume; fit again with
        the same cells and parameters, and the result is as if it had not been interrupted.

    Attributes after `fit`
    ----------------------
    labels_ (n_cells,) int32; embedding_ (n_cells, n_latent) float32, the posterior means;
    probabilities_ (n_cells, n_clusters) float32; cluster_means_ (n_clusters, n_latent), Eq 6
    over all cells; mixture_weights_, mixture_means_ and mixture_roots_, the `generation.Mixtures`
    of each cluster's codes, and observation_, a `Markers`, a `Counts` or None, which `generate`
    draws from; seen_, see `outside`;
    history_: term → its weighted mean in each record, and "step"; module_, the networks;
    n_features_in_; feature_names_in_, objects (n_features_in_,), only where the features have
    names that are text; seed_; facts_. After `assess` also stability_ (n_clusters,), merges_
    (n_clusters − 1, 4) and temperature_ (1,).
    """

    def __init__(
        self,
        n_clusters: int = 10,
        *,
        similarity: str | dict[str, Any] = "auto",
        refinements: int | None = None,
        n_latent: int = 20,
        encoder: str = "auto",
        image_shape: Sequence[int] | None = None,
        channels: Sequence[int] = (8, 32, 64),
        encoder_layers: Sequence[int] | None = None,
        expert_layers: Sequence[int] | None = None,
        shared_decoder: bool = False,
        experts_every: int | None = None,
        gate_layers: Sequence[int] = (128,),
        activation: str = "relu",
        augmentation: float = 0.6,
        deskew: bool = True,
        objective: str = "paper",
        reconstruction_weight: float | None = None,
        kl_weight: float = 0.02,
        similarity_weight: float = 1.0,
        depict_weight: float = 0.05,
        warm_up: float = 0.4,
        gate_dropout: float = 0.1,
        steps: int = 5000,
        batch_size: int | None = None,
        learning_rate: float = 3e-3,
        schedule: str = "auto",
        max_seconds: float | None = None,
        adam_betas: Sequence[float] = (0.9, 0.999),
        precision: str = "float32",
        observation: str = "auto",
        code_components: int = 16,
        standardise: bool = True,
        scale: str = "auto",
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
        cache: str | Path | None = None,
        checkpoint: str | Path | None = None,
        progress: bool = True,
    ):
        self.n_clusters = n_clusters
        self.similarity = similarity
        self.refinements = refinements
        self.n_latent = n_latent
        self.encoder = encoder
        self.image_shape = image_shape
        self.channels = channels
        self.encoder_layers = encoder_layers
        self.expert_layers = expert_layers
        self.shared_decoder = shared_decoder
        self.experts_every = experts_every
        self.gate_layers = gate_layers
        self.activation = activation
        self.augmentation = augmentation
        self.deskew = deskew
        self.objective = objective
        self.reconstruction_weight = reconstruction_weight
        self.kl_weight = kl_weight
        self.similarity_weight = similarity_weight
        self.depict_weight = depict_weight
        self.warm_up = warm_up
        self.gate_dropout = gate_dropout
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.max_seconds = max_seconds
        self.adam_betas = adam_betas
        self.precision = precision
        self.observation = observation
        self.code_components = code_components
        self.standardise = standardise
        self.scale = scale
        self.random_state = random_state
        self.device = device
        self.cache = cache
        self.checkpoint = checkpoint
        self.progress = progress

    @classmethod
    def preset(cls, name: str, n_clusters: int = 10, **changes: Any) -> MoESimVAE:
        """A model with the settings of "default", "paper" or "released", and changes by name.

        Raises UserError for another preset.
        """
        if name not in PRESETS:
            raise UserError(f"there is no preset '{name}'; choose one of {', '.join(PRESETS)}.")
        return cls(n_clusters, **PRESETS[name] | changes)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float32"]  # others become float32
        return tags

    @property
    def _n_features_out(self) -> int:
        """Number of outputs of `transform`, named moesimvae0, moesimvae1, …"""
        return self.cluster_means_.shape[1]

    # ------------------------------------------------------------------ fitting

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        prior: Any = None,
        similarity: sparse.spmatrix | None = None,
        counts: Any = None,
        drawing: bool = True,
    ) -> MoESimVAE:
        """Cluster the cells X: (n_cells, n_features) array, sparse matrix, DataFrame or AnnData.

        prior: (n_cells,) groups known beforehand, counted from 0, −1 where unknown: two cells of
            known groups are similar exactly when the groups are the same.
        similarity: (n_cells, n_cells) sparse matrix in [0, 1] that takes the place of the first
            phase's similarity. y is not used.
        counts: the molecule counts (n_cells, n_features) from which X was computed, array or
            sparse, for `generate` to draw such counts. They play no part in the clustering.
        drawing: False leaves out what only `generate` needs and `learn_to_draw` can add later: the
            mixtures of codes, of which a cluster gets one Gaussian, the observation model and, for
            images, further training of the experts.

        Raises UserError for values that are not finite, data outside [0, 1] with scale="none",
        fewer cells than clusters, a prior, similarity or counts of another size, parameters out of
        range.
        """
        names, matrix = cells.feature_names(X), cells.matrix_of(X)
        n_cells, n_features = matrix.shape
        parameters.check_together(self.get_params(deep=False), n_cells)
        prior = parameters.check_prior(prior, n_cells, self.n_clusters, self.objective)
        parameters.check_sparse(similarity)
        counts = None if counts is None else cells.counts_of(counts, matrix.shape)
        image_shape = find_image_shape(X, n_features, self.encoder, self.image_shape)
        device = choose_device(self.device)
        self.seed_ = parameters.take_seed(self.random_state)
        generator = seeded(self.seed_)
        self.images_ = self.image_shape is not None or "image_shape" in getattr(X, "uns", {})
        self.offset_, self.range_, self.scaled_ = cells.find_offset_and_range(matrix, self.scale)
        self._set_networks(n_features, image_shape, names)
        self.module_.to(device)
        settings = self._make_settings()
        data = Data(matrix, self._make_rows(matrix), prior, similarity)
        fitted = Fit(self.module_, settings, data, generator).run()
        self._set_clusters(matrix)
        if len(np.unique(self.labels_)) < fitted.groups:
            fitted = self._fit_again(fitted, settings, data)
        self.history_ = fitted.history
        started = monotonic()
        components = self.code_components if drawing else 1
        self._describe_codes(self.embedding_, self.labels_, components)
        self.observation_: Markers | Counts | None = None
        if drawing:
            self._learn_to_draw(matrix, counts, self.embedding_, self.labels_)
        self.facts_: dict[str, Any] = {
            "experts_in_use": len(np.unique(self.labels_)),
            "device": str(device),
            "scaled": "minmax" if self.scaled_ else "none",
            "encoder": "dense" if image_shape is None else "conv",
            "precision": "bfloat16" if settings.bfloat16 else "float32",
            "observation": self._name_observation(),
            "seconds_observation": round(monotonic() - started, 2),
        } | fitted.facts()
        return self

    def _fit_again(self, first: Fitted, settings: Settings, data: Data) -> Fitted:
        """Fit again from other weights, after a fit that lost clusters, and keep the better one.

        That is the one with more clusters, then with the lower similarity loss at the end.
        """
        weights = {name: t.clone() for name, t in self.module_.state_dict().items()}
        in_use = len(np.unique(self.labels_))
        generator = seeded(self.seed_ + 1)
        module = build(self.get_params(deep=False), self.n_features_in_, self.image_shape_)
        self.module_.load_state_dict(module.state_dict())
        settings = replace(settings, checkpoint=None)  # if stopped, it is not resumed but rerun
        second = Fit(self.module_, settings, data, generator, first.similar).run()
        self._set_clusters(data.matrix)
        rank = -len(np.unique(self.labels_)), second.history["similarity"][-1]
        better = rank < (-in_use, first.history["similarity"][-1])
        if not better:
            self.module_.load_state_dict(weights)
            self._set_clusters(data.matrix)
        fitted = second if better else first
        fitted.restarted = f"{in_use} of {first.groups} groups had a cluster"
        return fitted

    def _set_networks(
        self, n_features: int, image_shape: tuple[int, int] | None, names: np.ndarray | None
    ) -> None:
        self.n_features_in_, self.image_shape_ = n_features, image_shape
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):  # of an earlier fit
            del self.feature_names_in_
        self.module_ = build(self.get_params(deep=False), n_features, image_shape)

    def _make_settings(self) -> Settings:
        chosen: dict[str, Any] = {
            "image_shape": self.image_shape_,
            "bfloat16": uses_bfloat16(self.precision, self._find_device()),
            "seed": self.seed_,
            "identity": "" if self.checkpoint is None else json.dumps(self._plain_parameters()),
        }
        if self.batch_size is None:
            chosen["batch_size"] = 512 if self.images_ or self.n_clusters > 16 else 256
        if self.reconstruction_weight is None:
            chosen["reconstruction_weight"] = 1.0 if self.images_ else 0.2
        if self.similarity == "auto":
            of_images = {"kind": "umap_knn", "batch_neighbors": BY_GROUP}
            chosen["similarity"] = of_images if self.images_ else "communities"
        settings = Settings.of(self.get_params(deep=False) | chosen)
        if settings.schedule == "auto":
            kind = parse(settings.similarity)[0]
            schedule = "settled" if kind == "communities" else "cosine"
            settings = replace(settings, schedule=schedule)
        return settings

    def _set_clusters(self, matrix: cells.Matrix) -> None:
        self.embedding_, self.probabilities_ = self._encode(matrix)
        self.labels_ = self.probabilities_.argmax(1).astype(np.int32)
        self.cluster_means_ = losses.em_means(
            torch.from_numpy(self.probabilities_), torch.from_numpy(self.embedding_)
        ).numpy()
        self.seen_ = self._look_at_some(matrix)
        for name in ASSESSED:  # of an earlier fit
            if hasattr(self, f"{name}_"):
                delattr(self, f"{name}_")

    def _look_at_some(self, matrix: cells.Matrix) -> Seen:
        random = np.random.default_rng(self.seed_)
        most = min(matrix.shape[0], SEEN_CELLS + MEASURED_CELLS)
        some = random.choice(matrix.shape[0], most, replace=False)
        return Seen.of(self._take_rows(self._make_rows(matrix), some), self.seed_)

    def _take_rows(self, rows: Callable[[Tensor], Tensor], index: np.ndarray) -> np.ndarray:
        """`rows` of the cells (n,) as one array (n, n_features).

        Few at a time: of a mapped file, some hundred kilobytes around each are read as well.
        """
        some, device = torch.from_numpy(index), self._find_device()
        return encode_in_batches(lambda i: rows(some[i].to(device)), len(some), SCATTERED)

    # ------------------------------------------------------------------ how reliable it is

    def assess(self, X: Any, resamples: int = stability.RESAMPLES) -> MoESimVAE:
        """Measure how stable the clusters are, by grouping random halves of the cells again.

        X: the cells that were fitted. Sets `stability_`, in [0, 1] for each cluster, where one
        below 0.6 is hardly a cluster, NaN for an empty one; `merges_`, SciPy's linkage of the
        clusters by how often they are found in one group; and `temperature_`, by which
        `probabilities_` and `predict_proba` are calibrated from then on. `facts_["stability"]`
        reports these, the reliability of the probabilities before and after, and whether there is
        structure in the cells at all (see `stability`).
        Raises UserError where the similarity is not "communities", or X has other cells.
        """
        taken = self._take_cells(X)
        fitted = len(getattr(self, "labels_", ()))  # 0 where the model was loaded
        if taken.shape[0] != fitted:
            raise UserError(
                f"the model was fitted here to {fitted} cells, but X has {taken.shape[0]}; "
                "call fit, then assess with the same cells."
            )
        some = np.sort(np.random.default_rng(0).permutation(fitted)[:BATCH])
        codes = self._encode(taken[some])[0]
        if not np.allclose(codes, self.embedding_[some], atol=0.01 * self.embedding_.std()):
            raise UserError(
                "X has other cells than those the model was fitted to, or another order; "
                "call assess with the cells given to fit."
            )
        matrix = cells.with_bearable_squares(taken)
        phases = self.facts_["similarity"]  # none where known experts take its place
        kind = phases[0]["kind"] if phases else "prior"
        if kind != "communities":
            raise UserError(
                "clusters can be assessed only with the similarity 'communities', not with "
                f"'{kind}'."
            )
        parameters.check({"resamples": resamples}, {"resamples": parameters.whole(1)})
        chosen = parse(self._make_settings().similarity)[1]
        way, seed = phases[0]["joined_by"], self.seed_
        found = stability.assess(
            matrix, self.labels_, self.n_clusters, way, chosen, seed=seed, resamples=resamples
        )
        drawn = found.drawn.ravel(), found.found.ravel()
        before = calibration.reliability(self.probabilities_, *drawn)
        temperature = calibration.find_temperature(self.probabilities_, *drawn)
        self.probabilities_ = calibration.temper(self.probabilities_, temperature)
        self.stability_, self.merges_ = found.clusters, found.merges()
        self.temperature_ = np.array([temperature])
        crowding = stability.measure_crowding(matrix, chosen, seed=seed)
        self.facts_["stability"] = found.facts() | {
            "structure": crowding >= stability.CROWDED,
            "crowding": round(crowding, 3),
            "temperature": round(temperature, 3),
            "reliability_before": before,
            "reliability": calibration.reliability(self.probabilities_, *drawn),
        }
        return self

    def outside(self, X: Any) -> np.ndarray:
        """Whether cells are unlike all that were seen, (n_cells,) bool.

        That is, farther from a sample of the fitted cells than 99.9 % of the other fitted cells
        (see `calibration.Seen`).
        """
        matrix = self._take_cells(X)
        rows = self._make_rows(matrix)
        return encode_in_batches(lambda i: self.seen_.outside(rows(i)), matrix.shape[0])

    # ------------------------------------------------------------------ how cells are drawn

    def _make_observation(self, counted: bool) -> Markers | Counts | None:
        if self.observation == "none":
            return None
        if counted:
            sizes = [self.n_latent, *COUNT_LAYERS, self.n_features_in_]
            return Counts(self.n_clusters, sizes, self.activation, self.shared_decoder)
        if self.images_ or self.n_features_in_ > MOST_MARKERS:
            return None
        return Markers(self.n_clusters, self.n_features_in_)

    def _name_observation(self) -> str:
        return "none" if self.observation_ is None else type(self.observation_).__name__.lower()

    @property
    def draws_counts(self) -> bool:
        """Whether `generate` gives molecule counts, as `fit` was given some, and not units of X."""
        return isinstance(self.observation_, Counts)

    def learn_to_draw(self, X: Any, counts: Any = None) -> MoESimVAE:
        """Learn what `generate` draws from, from the cells X alone; the clusters stay.

        X, counts: as in `fit`; counts are required where the model already draws counts. With the
        cells of a fit without `drawing`, the model becomes what it would be with it. Raises
        UserError as `fit` does.
        """
        matrix = self._take_cells(X)
        if self.draws_counts and counts is None:
            raise UserError("the model generates counts; give the counts of the cells as well.")
        counts = None if counts is None else cells.counts_of(counts, matrix.shape)
        codes, probabilities = self._encode(matrix)
        labels = probabilities.argmax(1)
        self._describe_codes(codes, labels, self.code_components)
        self._learn_to_draw(matrix, counts, codes, labels)
        return self

    def describe_codes(self, X: Any) -> MoESimVAE:
        """Fit each cluster's mixture of Gaussians to the codes of its cells in X.

        X: (n_cells, n_features). A part of `learn_to_draw`. Raises UserError as `predict` does.
        """
        codes, probabilities = self._encode(self._take_cells(X))
        self._describe_codes(codes, probabilities.argmax(1), self.code_components)
        return self

    def _describe_codes(self, codes: np.ndarray, labels: np.ndarray, components: int) -> None:
        self._set_mixtures(
            code_mixtures(codes, labels, self.cluster_means_, components, self.seed_)
        )

    def _learn_to_draw(
        self,
        matrix: cells.Matrix,
        counts: cells.Matrix | None,
        codes: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        device, rows = self._find_device(), self._make_rows(matrix)
        progress = "generation" if self.progress else ""
        if self.images_ and self.observation != "none":
            replay = device.type == "cuda" and not sparse.issparse(matrix)
            generator, settings = seeded(self.seed_), {"replay": replay, "progress": progress}
            train_experts(self.module_, rows, codes, labels, generator, **settings)
        generator = seeded(self.seed_)  # for the initial weights, too
        self.observation_ = self._make_observation(counts is not None)
        if isinstance(self.observation_, Counts):
            assert counts is not None
            self.observation_.to(device).learn(counts, codes, labels, generator, progress)
        elif self.observation_ is not None:
            random = np.random.default_rng(self.seed_)
            values, draw = partial(self._take_rows, rows), self._mixtures().draw
            self.observation_.learn(values, self._decode, codes, labels, draw, random)

    def _mixtures(self) -> Mixtures:
        return Mixtures(self.mixture_weights_, self.mixture_means_, self.mixture_roots_)

    def _set_mixtures(self, mixtures: Mixtures) -> None:
        self.mixture_weights_, self.mixture_means_, self.mixture_roots_ = mixtures

    def _decode(self, codes: np.ndarray, cluster: int) -> np.ndarray:
        """Logits (n, n_features) of the expert for the codes (n, n_latent)."""
        z, device = torch.from_numpy(codes), self._find_device()

        def decode(index: Tensor) -> Tensor:
            part = z[index].to(device)
            return self.module_.decode(part, torch.full((len(part),), cluster, device=device))

        return encode_in_batches(decode, len(z))

    # ------------------------------------------------------------------ using the fitted model

    def _find_device(self) -> torch.device:
        return next(self.module_.parameters()).device

    def _make_rows(self, matrix: cells.Matrix) -> Callable[[Tensor], Tensor]:
        return cells.rows_on_device(matrix, self.offset_, self.range_, self._find_device())

    def _encode(self, matrix: cells.Matrix) -> tuple[np.ndarray, np.ndarray]:
        return self.module_.encode_cells(self._make_rows(matrix), matrix.shape[0])

    def _take_cells(self, X: Any) -> cells.Matrix:
        self._require_fitted()
        known = getattr(self, "feature_names_in_", None)
        return cells.matrix_for_model(X, self.n_features_in_, known)

    def _require_fitted(self) -> None:
        if not hasattr(self, "cluster_means_"):
            raise NotFittedError("this MoESimVAE is not fitted yet; call fit or load first.")

    def predict_proba(self, X: Any, n_clusters: int | None = None) -> np.ndarray:
        """Probability of each cluster, (n_cells, n_clusters) float32, also for new cells.

        n_clusters: join the clusters into this many, the least distinct ones first (`merges_`); a
            joined cluster's probability is the sum of its parts'.
        Raises UserError for n_clusters before `assess`, or not between 1 and the fit's own.
        """
        probabilities = self._encode(self._take_cells(X))[1]
        if hasattr(self, "temperature_"):
            probabilities = calibration.temper(probabilities, float(self.temperature_[0]))
        if n_clusters is None:
            return probabilities
        joined = np.eye(n_clusters, dtype=np.float32)[self.joined(n_clusters)]
        return probabilities @ joined

    def predict(self, X: Any, n_clusters: int | None = None) -> np.ndarray:
        """Most probable cluster, (n_cells,) int32, also for new cells.

        n_clusters: as in `predict_proba`, but a cell stays with its own cluster, whatever that
            is joined with.
        """
        labels = self.predict_proba(X).argmax(1).astype(np.int32)
        return labels if n_clusters is None else self.joined(n_clusters)[labels]

    def joined(self, n_clusters: int) -> np.ndarray:
        """The joined cluster of each cluster of the fit, (self.n_clusters,) int32 from 0.

        Raises UserError before `assess`, or for n_clusters not between 1 and the fit's own.
        """
        if not hasattr(self, "merges_"):
            raise UserError("it is not known which clusters to join; call assess(X) after fit(X).")
        parameters.check(
            {"n_clusters": n_clusters}, {"n_clusters": parameters.whole(1, self.n_clusters)}
        )
        return stability.join(self.merges_, n_clusters).astype(np.int32)

    def transform(self, X: Any) -> np.ndarray:
        """Posterior means, (n_cells, n_latent) float32."""
        return self._encode(self._take_cells(X))[0]

    def reconstruct(self, X: Any) -> np.ndarray:
        """The cells as their most probable expert decodes their posterior mean, in units of X."""
        matrix = self._take_cells(X)
        rows, decode = self._make_rows(matrix), self.module_.reconstruct
        return self._unscale(encode_in_batches(lambda i: decode(rows(i)), matrix.shape[0]))

    def draw_codes(
        self, cluster: int, n: int, random: np.random.Generator, standard: bool = False
    ) -> np.ndarray:
        """Codes (n, n_latent) float32 of a cluster's own mixture, or of N(μ_k, I), μ_k of Eq 6."""
        if not standard:
            return self._mixtures().draw(cluster, n, random)
        noise = random.standard_normal((n, self._n_features_out), dtype=np.float32)
        return self.cluster_means_[cluster] + noise

    def generate(
        self,
        cluster: int,
        n: int,
        random_state: int | np.random.RandomState | None = 0,
        standard: bool = False,
        mean: bool = False,
    ) -> np.ndarray:
        """n new cells (n, n_features) of a cluster: z from its mixture, decoded by its expert.

        Cells scatter around what the expert decodes, as `observation` learned. They are in units
        of X, or, where `fit` was given counts, whole numbers of molecules (int32).
        mean: what the expert decodes, without scatter. standard: the paper's own way (Eq 1), means
        for z ~ N(μ_k, I) with μ_k of Eq 6; training only pulls a cluster's codes towards that, and
        codes away from the cluster's own make worse cells.
        Raises UserError when there is no such cluster.
        """
        self._require_fitted()
        if not 0 <= cluster < self.n_clusters:
            raise UserError(
                f"there is no cluster {cluster}; clusters run from 0 to {self.n_clusters - 1}."
            )
        parameters.check({"n": n, "random_state": random_state}, GENERATED)
        random = np.random.default_rng(parameters.take_seed(random_state))
        codes, mean = self.draw_codes(cluster, n, random, standard), mean or standard
        if isinstance(self.observation_, Counts):
            return self.observation_.draw(cluster, codes, random, mean)
        logits = self._decode(codes, cluster)
        if self.observation_ is None or mean:
            return self._unscale(expit(logits))
        return self._unscale(self.observation_.draw(cluster, logits, random))

    def _unscale(self, x: np.ndarray) -> np.ndarray:
        return x * self.range_ + self.offset_

    # ------------------------------------------------------------------ files

    def save(self, folder: str | Path) -> None:
        """Write model.safetensors and config.json into the folder. Nothing in them is pickled."""
        self._require_fitted()
        assessed = hasattr(self, "merges_")
        kept = ARRAYS + ASSESSED if assessed else ARRAYS
        arrays = {name: torch.from_numpy(getattr(self, f"{name}_")) for name in kept}
        seen = {name: torch.from_numpy(array) for name, array in vars(self.seen_).items()}
        arrays |= {f"{SEEN}{name}": tensor for name, tensor in seen.items()}
        names = getattr(self, "feature_names_in_", None)
        config = {
            "version": moesimvae.__version__,
            "n_features": self.n_features_in_,
            "feature_names": None if names is None else names.tolist(),
            "image_shape": self.image_shape_,
            "scaled": bool(self.scaled_),
            "assessed": assessed,
            "observation": self._name_observation(),
            "images": self.images_,
            "seen": {name: list(tensor.shape) for name, tensor in seen.items()},
            "parameters": self._plain_parameters(),
        }
        storage.write_model(Path(folder), self._state() | arrays, config)

    def _state(self) -> storage.Tensors:
        """Tensors of the networks, and of the observation model."""
        state = dict(self.module_.state_dict())
        if self.observation_ is not None:
            own = self.observation_.state_dict()
            state |= {f"{OBSERVATION}{name}": tensor for name, tensor in own.items()}
        return state

    def _plain_parameters(self) -> dict[str, Any]:
        """The parameters to save, with the seed in place of what it was drawn from."""
        seed = getattr(self, "seed_", self.random_state)
        return parameters.make_plain(self.get_params() | {"random_state": seed})

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> MoESimVAE:
        """A model that `save` wrote, ready to predict, transform, reconstruct and generate.

        Raises UserError when a file is missing or damaged, or of another version.
        """
        folder = Path(folder)
        config = storage.read_config(folder)
        try:
            model = cls(**config["parameters"], device=device)
            model.scaled_, model.seed_ = config["scaled"], config["parameters"]["random_state"]
            shape, names = config["image_shape"], config["feature_names"]
            model._set_networks(
                config["n_features"],
                None if shape is None else tuple(shape),
                None if names is None else np.array(names, dtype=object),
            )
            model.images_, drawn = config["images"], config["observation"]
            model.observation_ = None
            if drawn != "none":
                model.observation_ = model._make_observation(drawn == "counts")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{folder / storage.CONFIG} does not describe a model ({error}); save the model "
                "again."
            ) from error
        expected = {name: tuple(value.shape) for name, value in model._state().items()}
        k, d, n_features = model.n_clusters, model.n_latent, model.n_features_in_
        shapes = [(k, d), (n_features,), (n_features,)]
        most = max(COMPONENTS)
        shapes += [(k, most), (k, most, d), (k, most, d, d)]
        kept: tuple[str, ...] = ARRAYS
        if config["assessed"]:
            kept, shapes = ARRAYS + ASSESSED, [*shapes, (k,), (k - 1, 4), (1,)]
        expected |= dict(zip(kept, shapes, strict=True))
        expected |= {f"{SEEN}{name}": tuple(shape) for name, shape in config["seen"].items()}
        tensors = storage.read_weights(folder, expected)
        for name in kept:
            setattr(model, f"{name}_", tensors.pop(name).numpy())
        model.seen_ = Seen(**{n: tensors.pop(f"{SEEN}{n}").numpy() for n in config["seen"]})
        own = {name: tensors.pop(name) for name in list(tensors) if name.startswith(OBSERVATION)}
        if model.observation_ is not None:
            model.observation_.load_state_dict(
                {name.removeprefix(OBSERVATION): tensor for name, tensor in own.items()}
            )
            model.observation_.to(choose_device(device))
        model.module_.load_state_dict(tensors)
        model.module_.to(choose_device(device))
        return model
