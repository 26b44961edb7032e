"""How well clusterings agree with each other, for data without true labels.

Stability of a method over its seeds and agreement with the other methods are both means of the
adjusted Rand index (Hubert & Arabie 1985) over pairs of runs, noise being one more cluster. A value
belongs to one run and compares it with all its partners, so that the mean over a method's seeds is
the mean over its pairs.
"""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from moesimvae.evaluation.metrics import ari

Run = tuple[str, int]  # method, seed


def pairwise(clusters: Mapping[Run, np.ndarray]) -> pd.DataFrame:
    """ARI of every pair of runs, with the runs as index and columns; 1 on the diagonal.

    clusters: run → (n_cells,) integers, -1 = noise, of the same cells in the same order.
    """
    runs = list(clusters)
    values = np.eye(len(runs))
    # used as labels, the noise cells need a name of their own, like any other cluster
    named = {run: labels - labels.min() for run, labels in clusters.items()}
    for i, one in enumerate(runs):
        for j in range(i):
            values[i, j] = values[j, i] = ari(named[runs[j]], named[one])
    index = pd.MultiIndex.from_tuples(runs, names=["method", "seed"])
    return pd.DataFrame(values, index, index)


def stability(pairs: pd.DataFrame) -> dict[Run, float]:
    """Run → mean ARI with the other seeds of its method; no entry for a method with one run.

    pairs: from `pairwise`.
    """
    found = {}
    for run in pairs.index:
        others = [other for other in pairs.index if other[0] == run[0] and other != run]
        if others:
            found[run] = float(pairs.loc[[run], others].to_numpy().mean())
    return found


def agreement(pairs: pd.DataFrame, apart: Collection[str] = ()) -> dict[Run, float]:
    """Run → mean over the other methods of its mean ARI with their runs; no entry without others.

    pairs: from `pairwise`. apart: methods that none is compared with (the controls); they still
    get values of their own.
    """
    found = {}
    for run in pairs.index:
        others = pairs.loc[run].drop(index=[run[0], *apart], level="method", errors="ignore")
        if len(others):
            found[run] = float(others.groupby(level="method").mean().mean())
    return found
