"""Match clusters to the populations that they stand for."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from moesimvae.evaluation.metrics import count, per_population_f1


def match(truth: np.ndarray, clusters: np.ndarray) -> dict[int, tuple[str, bool]]:
    """Cluster → (population, matched?), over scored cells ("" is unscored, -1 is noise).

    Matched one to one to maximise the number of agreeing cells (as in accuracy_hungarian); an
    unmatched cluster gets its majority population. Clusters without scored cells are left out.
    """
    kept = (truth != "") & (clusters >= 0)
    if not kept.any():
        return {}
    counts = count(truth[kept], clusters[kept])
    names, found, cells = counts.populations, counts.clusters, counts.table
    most = {int(c): (str(names[cells[:, i].argmax()]), False) for i, c in enumerate(found)}
    return most | {
        int(found[c]): (str(names[r]), True)
        for r, c in zip(*linear_sum_assignment(cells, maximize=True), strict=True)
        if cells[r, c]
    }


def named_clusters(truth: np.ndarray, clusters: np.ndarray) -> dict[int, tuple[str, bool]]:
    """Cluster → (population, matched?), matched as in f1_mean_hungarian.

    An unmatched cluster gets the majority population of its scored cells, or ("", False) when it
    has none. truth: (n,) labels, "" = unscored; clusters: (n,) integers, -1 = noise (left out).
    """
    kept = truth != ""
    if not kept.any():
        return {int(c): ("", False) for c in np.unique(clusters) if c >= 0}
    best = per_population_f1(truth[kept], clusters[kept]).dropna(subset="cluster")
    matched = {int(r.cluster): (str(r.population), True) for r in best.itertuples()}
    counts = pd.crosstab(clusters[kept], truth[kept])
    most = {int(c): (str(row.idxmax()), False) for c, row in counts.iterrows()}
    every = {int(c): ("", False) for c in np.unique(clusters)}
    return {c: name for c, name in (every | most | matched).items() if c >= 0}


def confusion_counts(
    truth: np.ndarray, clusters: np.ndarray, most: int
) -> tuple[pd.DataFrame, dict[int, tuple[str, bool]]]:
    """Scored cells by cluster and population, and what each cluster stands for (`named_clusters`).

    Populations are in descending order of size; clusters follow the population they are matched
    to, or else their majority population; then those without a scored cell, noise last. Of more
    than `most` clusters only the largest are kept.
    """
    kept = truth != ""
    names = named_clusters(truth, clusters)
    sizes = pd.Series(truth[kept]).value_counts()
    columns = list(sizes.index)
    largest = pd.Series(clusters[clusters >= 0]).value_counts().index[:most]
    place = {name: i for i, name in enumerate(columns)}
    counts = pd.crosstab(clusters[kept], truth[kept])
    order = sorted(
        (int(c) for c in largest),
        key=lambda c: (place.get(names[c][0], len(place)), not names[c][1],
                       -counts.loc[c].max() if c in counts.index else 0, c),
    )  # fmt: skip
    rows = [*order, *([-1] if (clusters == -1).any() else [])]
    named = {c: names.get(c, ("", False)) for c in rows}
    return counts.reindex(index=rows, columns=columns, fill_value=0), named
