"""New cells: does a fit of half agree with one of all, and are unknown kinds noticed?

    .venv/bin/python bench/new_cells.py --out docs/bench/new_cells.json NAME=… …

Sets as in `bench/cells.py`, the true number of clusters asked for. For three random halves, a model
fitted to one half assigns the other, and its labels there are compared (ARI) with those of a fit of
all cells; the same for k-means and a Gaussian mixture. No label of the set is used for that. Then
a model is fitted without the cells of each of three populations, the second to fourth largest, and
the share of these cells that `outside` flags is reported, as is that of held-out known cells.
"""

import argparse
from pathlib import Path

import numpy as np
from cells import NO_POPULATION, read, write
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline

from moesimvae.model.estimator import MoESimVAE

HALVES, LEFT_OUT = 3, 3
COMPONENTS = 20  # of peers, as in the registry


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", metavar="NAME=FEATURES,LABELS,COLUMN")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = []
    for given in options.sets:
        name, _, parts = given.partition("=")
        rows.append({"set": name} | measure(*read(*parts.split(","))))
        print(rows[-1], flush=True)
        write(options.out, rows)


def measure(cells, labels) -> dict:
    named = ~np.isin(labels, NO_POPULATION)
    populations, counts = np.unique(labels[named], return_counts=True)
    k, n = len(populations), len(labels)
    dense = cells.layers.get("arcsinh", cells.layers.get("lognorm", cells.X))
    dense = dense.toarray() if hasattr(dense, "toarray") else np.asarray(dense)
    result: dict = {"k": k, "cells": n}
    fits = {
        "moe_sim_vae": lambda index: ours(cells[index], k),
        "kmeans": lambda index: KMeans(k, n_init=10, random_state=0).fit(dense[index]),
        "gmm": lambda index: mixture(k, dense.shape[1]).fit(dense[index]),
    }
    of = {"moe_sim_vae": cells, "kmeans": dense, "gmm": dense}
    whole = {method: fit(np.arange(n)).predict(of[method]) for method, fit in fits.items()}
    found: dict[str, list[float]] = {f"ari_{method}": [] for method in fits} | {"outside_known": []}
    for seed in range(HALVES):
        order = np.random.default_rng(seed).permutation(n)
        half, other = np.sort(order[: n // 2]), np.sort(order[n // 2 :])
        for method, fit in fits.items():
            model = fit(half)
            assigned = model.predict(of[method][other])
            ari = adjusted_rand_score(whole[method][other], assigned)
            found[f"ari_{method}"].append(round(float(ari), 3))
            if method == "moe_sim_vae":
                share = model.outside(cells[other]).mean()
                found["outside_known"].append(round(float(share), 4))
    without = {}
    for population in populations[np.argsort(-counts)][1 : 1 + LEFT_OUT]:
        left_out = labels == population
        model = ours(cells[~left_out], k - 1)
        without[str(population)] = round(float(model.outside(cells[left_out]).mean()), 3)
    return result | found | {"outside_unknown": without}


def ours(cells, k: int) -> MoESimVAE:
    return MoESimVAE(k, progress=False, observation="none", code_components=1).fit(cells)


def mixture(k: int, n_features: int):
    few = make_pipeline(PCA(COMPONENTS, random_state=0), GaussianMixture(k, random_state=0))
    return few if n_features > COMPONENTS else few[1:]


if __name__ == "__main__":
    main()
