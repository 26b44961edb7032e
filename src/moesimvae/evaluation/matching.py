"""Clusters put to the populations that they stand for."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment


def match(truth: np.ndarray, clusters: np.ndarray) -> dict[int, tuple[str, bool]]:
    """Cluster → (population, matched?), over scored cells ("" is unscored, -1 is noise).

    Matched one to one so that the most cells agree (as in accuracy_hungarian); a cluster that is
    left over gets the population of most of its cells. Clusters without scored cells are left out.
    """
    kept = (truth != "") & (clusters >= 0)
    rows, names = pd.factorize(truth[kept], sort=True)
    columns, found = pd.factorize(clusters[kept], sort=True)
    shape = (len(names), len(found))
    cells = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)
    most = {int(c): (str(names[cells[:, i].argmax()]), False) for i, c in enumerate(found)}
    return most | {
        int(found[c]): (str(names[r]), True)
        for r, c in zip(*linear_sum_assignment(cells, maximize=True), strict=True)
        if cells[r, c]
    }
