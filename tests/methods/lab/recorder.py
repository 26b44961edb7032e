"""A method from outside the package that remembers every cell it is shown, and how."""

import json

import numpy as np

from moesimvae.methods.interface import Clustering


def cluster(cells, n_clusters, seed, note, how="nothing"):
    """Clusters are the sign of the first feature; `how` names what it has beside labels.

    nothing; assign: an `assign` with embedding and probabilities, which turns the labels round
    so that one sees whose they are; bare: one with labels alone; short: one that loses a cell;
    noise: all is noise.
    """
    seen = [sight(cells)]
    remember(note, seen)
    labels = -np.ones(cells.n_obs, dtype=int) if how == "noise" else side(cells)
    result = Clustering(labels, embedding=rows(cells), probabilities=one_hot(labels))

    def assign(further):
        seen.append(sight(further))
        remember(note, seen)
        turned = 1 - side(further)
        if how == "short":
            return Clustering(turned[:-1])
        if how == "bare":
            return Clustering(turned)
        return Clustering(turned, embedding=rows(further), probabilities=one_hot(turned))

    if how in ("assign", "bare", "short"):
        result.assign = assign
    return result


def rows(cells):
    return np.asarray(cells.X.toarray() if hasattr(cells.X, "toarray") else cells.X)


def side(cells):
    return (rows(cells)[:, 0] > 0).astype(int)


def one_hot(labels):
    return np.eye(2)[np.maximum(labels, 0)]


def sight(cells):
    return {
        "cells": list(cells.obs_names),
        "X": rows(cells).tolist(),
        "obs": list(cells.obs.columns),
        "obsm": {key: np.asarray(value).tolist() for key, value in cells.obsm.items()},
        "uns": sorted(cells.uns),
        "shapes": [list(cells.layers[name].shape) for name in cells.layers if name],
        "raw": cells.raw is not None,
        "var": list(cells.var.columns),
        "base": cells.is_view,
    }


def remember(note, seen):
    with open(note, "w", encoding="utf-8") as file:
        json.dump(seen, file)
