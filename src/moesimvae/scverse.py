"""MoE-Sim-VAE in the style of scanpy: AnnData in, annotated AnnData out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

import moesimvae
from moesimvae.colours import categories
from moesimvae.errors import UserError
from moesimvae.names import names_in

if TYPE_CHECKING:
    from moesimvae.model.estimator import MoESimVAE


def cluster(
    adata: AnnData,
    n_clusters: int,
    *,
    preset: str = "default",
    key_added: str = "moesimvae",
    layer: str | None = None,
    use_rep: str | None = None,
    prior: str | Sequence[Any] | None = None,
    counts: str | None = None,
    copy: bool = False,
    **params: Any,
) -> MoESimVAE | tuple[AnnData, MoESimVAE]:
    """Cluster the cells of `adata` and write the result into it.

    Parameters
    ----------
    adata: cells × features, in memory or backed, dense or sparse; a sparse matrix is never made
        dense as a whole. Values are taken as they are: transform them first (log1p, arcsinh).
    n_clusters: K, number of clusters and experts.
    preset, params: settings of `MoESimVAE`; params override the preset's.
    layer, use_rep: cluster `adata.layers[layer]` or `adata.obsm[use_rep]` instead of `adata.X`.
    prior: partly known groups of the cells, missing (None, NaN, "") where unknown: a column of
        `adata.obs`, or one value for each cell.
    counts: the layer of raw counts that the values were computed from, "X" for `adata.X`: the
        model then generates counts.
    copy: leave `adata` unchanged and return (annotated copy, model).

    Written, with key = `key_added`
    -------------------------------
    obs[key]: cluster, categorical of strings. obs[key + "_probability"]: the gate's probability of
    that cluster. obsm["X_" + key]: latent codes (n_cells, n_latent) float32.
    obsm[key + "_probabilities"]: (n_cells, n_clusters) float32. uns[key]: params, preset, version,
    n_clusters, experts_in_use, and the facts of the fit. uns[key + "_colors"]: of the clusters, as
    used by scanpy and cellxgene.

    Returns the fitted model, for `predict`, `generate`, `save`, ….
    Raises UserError for a missing layer, obsm key or column, and whatever `MoESimVAE.fit` raises.
    """
    from moesimvae.model.estimator import MoESimVAE

    if copy and adata.isbacked:
        raise UserError("a backed AnnData cannot be copied; call cluster with copy=False.")
    cells = _cells(adata, layer, use_rep)
    groups = None if prior is None else known_groups(_prior(adata, prior))
    molecules = None
    if counts is not None:
        molecules = _cells(adata, None if counts == "X" else counts, None).X
    model = MoESimVAE.preset(preset, n_clusters, **params).fit(
        cells, prior=groups, counts=molecules
    )
    target = adata.copy() if copy else adata
    annotate(
        target,
        model.probabilities_,
        model.embedding_,
        key_added,
        described(model, preset) | {"layer": layer or "", "use_rep": use_rep or ""},
    )
    return (target, model) if copy else model


def annotate(
    adata: AnnData,
    probabilities: np.ndarray,
    embedding: np.ndarray,
    key: str,
    facts: Mapping[str, Any],
) -> None:
    """Write clusters, probabilities (n_cells, K), latent codes and facts into `adata`."""
    cluster = probabilities.argmax(axis=1)
    adata.obs[key], adata.uns[f"{key}_colors"] = categories(cluster)
    adata.obs[f"{key}_probability"] = probabilities.max(axis=1).astype(np.float32)
    adata.obsm[f"X_{key}"] = embedding
    adata.obsm[f"{key}_probabilities"] = probabilities
    adata.uns[key] = dict(facts)


def described(model: MoESimVAE, preset: str) -> dict[str, Any]:
    """Describe a fitted model as uns of an h5ad can hold it, without parameters of None."""
    params = model.get_params() | {"random_state": model.seed_}
    for name in ("cache", "checkpoint", "device", "progress"):  # of this machine, not of the model
        params.pop(name, None)
    return {
        "params": storable(params),
        "preset": preset,
        "version": moesimvae.__version__,
        "n_clusters": model.n_clusters,
        "experts_in_use": len(np.unique(model.labels_)),
        "facts": storable(model.facts_),
    }


def known_groups(values: Sequence[Any]) -> np.ndarray:
    """Groups as integers (n_cells,), numbered in their sorted order; −1 where missing or ""."""
    given = pd.Series(np.asarray(values, dtype=object))
    known = given.notna() & (given.astype(str).str.strip() != "")
    groups = np.full(len(given), -1, dtype=np.int64)
    groups[known] = np.unique(given[known].astype(str), return_inverse=True)[1]
    if not known.any():
        raise UserError(
            "the prior has no known group; give that of at least one cell, or no prior."
        )
    return groups


def _cells(adata: AnnData, layer: str | None, use_rep: str | None) -> AnnData:
    if not isinstance(adata, AnnData):
        raise UserError(
            f"cluster needs an AnnData, but got {type(adata).__name__}; use MoESimVAE for arrays."
        )
    if layer and use_rep:
        raise UserError(f"layer '{layer}' and use_rep '{use_rep}' are both given; give only one.")
    if not layer and not use_rep:
        if adata.X is None:
            raise UserError("adata has no X; name a layer or an obsm key (use_rep).")
        return adata
    group, key = ("layers", layer) if layer else ("obsm", use_rep)
    present = getattr(adata, group)
    if key not in present:
        there = ", ".join(names_in(present)) or "none"
        raise UserError(f"adata.{group} has no '{key}'; it has: {there}.")
    values = present[key]
    values = values.to_numpy() if isinstance(values, pd.DataFrame) else values
    names = adata.var_names if layer else [f"{use_rep}_{i}" for i in range(values.shape[1])]
    return AnnData(
        values, obs=pd.DataFrame(index=adata.obs_names), var=pd.DataFrame(index=pd.Index(names))
    )


def _prior(adata: AnnData, prior: str | Sequence[Any]) -> Sequence[Any]:
    if isinstance(prior, str):
        if prior not in adata.obs:
            raise UserError(
                f"adata.obs has no column '{prior}' with known groups; it has: "
                f"{', '.join(adata.obs.columns) or 'none'}."
            )
        return adata.obs[prior]
    if len(prior) != adata.n_obs:
        raise UserError(
            f"the prior has {len(prior)} values for {adata.n_obs} cells; give one for each."
        )
    return prior


def storable(value: Any) -> Any:
    """Convert a value to a form that uns of an h5ad can hold; Nones in mappings are dropped."""
    if isinstance(value, Mapping):
        return {str(name): storable(part) for name, part in value.items() if part is not None}
    if isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        return {str(i): storable(part) for i, part in enumerate(value)}
    if isinstance(value, list | tuple):
        array = np.asarray(value)
        return array if array.dtype.kind in "biuf" else [str(part) for part in value]
    return value if isinstance(value, bool | int | float | np.generic | np.ndarray) else str(value)
