"""MoE-Sim-VAE: Kopf et al. 2021, PLoS Comput Biol 17(6): e1009086."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moesimvae.errors import UserError
from moesimvae.methods.interface import Clustering

if TYPE_CHECKING:
    from anndata import AnnData


def cluster(
    cells: AnnData,
    n_clusters: int,
    seed: int,
    *,
    estimate_clusters: bool = False,
    resamples: int = 0,
    prior: str | None = None,
    spread_prior: bool = False,
    library_size: float | None = None,
    **params,
) -> Clustering:
    """Cluster with `MoESimVAE(n_clusters, random_state=seed, **params)`, which documents params.

    `refinements: 0` is the paper's setting. The embedding is the latent posterior mean.
    estimate_clusters: estimate their number from the cells and ignore `n_clusters`; at least 2.
    resamples: how often to recompute the groups from half of the cells, to measure how stable each
        cluster is and to calibrate the probabilities (`MoESimVAE.assess`); only with the similarity
        "communities". 0: not at all.
    prior: "signature" gives the model the groups of those cells that express one group's
        signature gene only (`groups_by_signature`); None gives none.
    spread_prior: propagate these groups to the other cells, overruling those that contradict
        their neighbours, along the shared-neighbour graph (`graphs.spread_groups`).
    library_size: first scale the counts of each cell to this sum; 1e6 for the released program,
        whose data are in TPM without a logarithm.
    Raises UserError for an unknown prior, and if the cells have no signatures.
    """
    from moesimvae.model.cells import matrix_of
    from moesimvae.model.estimator import MoESimVAE
    from moesimvae.model.stability import STABLE, estimate

    if library_size is not None:
        cells = of_library_size(cells, library_size)
    groups, facts = None, dict[str, Any]()
    if estimate_clusters:
        evidence = estimate(matrix_of(cells), seed=seed)
        n_clusters = max(2, evidence.n_clusters)
        facts |= {"clusters_estimated": n_clusters, "evidence": evidence.facts()}
    if prior is not None:
        groups = groups_by_signature(cells, prior)
        facts["cells_of_known_group"] = int((groups >= 0).sum())
        if spread_prior:
            groups = spread(cells, groups, seed)
            facts["cells_of_spread_group"] = int((groups >= 0).sum())
    # how cells are drawn does not bear on the clusters; studies of generation learn it themselves
    model = MoESimVAE(n_clusters, random_state=seed, **params).fit(
        cells, prior=groups, drawing=False
    )
    phases = model.facts_["similarity"]
    if resamples and phases and phases[0]["kind"] == "communities":
        model.assess(cells, resamples)
        facts["stability"] = model.facts_["stability"] | {
            "stable_from": STABLE,
            "cells": np.bincount(model.labels_, minlength=n_clusters).tolist(),
            "merges": model.merges_.round(4).tolist(),
        }

    def assign(further: AnnData) -> Clustering:
        if library_size is not None:
            further = of_library_size(further, library_size)
        probabilities = model.predict_proba(further)
        return Clustering(
            probabilities.argmax(axis=1),
            embedding=model.transform(further),
            probabilities=probabilities,
        )

    return Clustering(
        labels=model.labels_,
        embedding=model.embedding_,
        probabilities=model.probabilities_,
        history=model.history_,
        facts=model.facts_ | facts,
        save=model.save,
        assign=assign,
    )


def of_library_size(cells: AnnData, target: float) -> AnnData:
    """The cells with each cell's values scaled to the sum `target`; a sum of 0 stays 0."""
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import normalize

    scaled = cells.copy()
    shares = normalize(csr_matrix(cells.X, dtype=np.float64), norm="l1")
    scaled.X = (shares * target).astype(np.float32)
    return scaled


def groups_by_signature(cells: AnnData, prior: str) -> np.ndarray:
    """Number of the one group whose signature a cell shows, (n_cells,); -1 for none or several.

    obsm["signature"], (n_cells, n_groups), is True where a cell is above average in a group's
    signature gene.
    """
    if prior != "signature":
        raise UserError(f"moe_sim_vae: prior is '{prior}', expected 'signature' or null.")
    if "signature" not in cells.obsm:
        raise UserError(
            "moe_sim_vae: prior is 'signature', but the cells have no signatures; give the data "
            "set a `signature` in datasets.yaml and the method `uses_prior: true`, or set prior "
            "to null."
        )
    shown = np.asarray(cells.obsm["signature"], dtype=bool)
    return np.where(shown.sum(axis=1) == 1, shown.argmax(axis=1), -1)


def spread(cells: AnnData, groups: np.ndarray, seed: int) -> np.ndarray:
    """Spread groups (n_cells,) along the 30-nearest-neighbour graph, weighted as in PhenoGraph.

    Distances are between principal components, 50 where there are more than 100 features.
    """
    from moesimvae.model.cells import matrix_of
    from moesimvae.model.graphs import jaccard_graph, neighbour_graph, spread_groups, symmetric
    from moesimvae.model.projection import principal_components

    points = principal_components(matrix_of(cells), "auto", seed)
    if not isinstance(points, np.ndarray):  # a panel, whose markers are used unchanged
        points = points.toarray()
    return spread_groups(symmetric(jaccard_graph(neighbour_graph(points, 30, seed))), groups)
