"""Estimated numbers of clusters, on real cells and on the same with each feature shuffled.

    .venv/bin/python bench/estimate.py --out docs/bench/estimate.json NAME=FEATURES,LABELS,COLUMN …

Sets as in `bench/cells.py`. The estimate sees no label; the number of populations stands beside it.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from cells import NO_POPULATION, read, write

from moesimvae.model import stability
from moesimvae.model.cells import matrix_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="NAME=FEATURES,LABELS,COLUMN")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = []
    for given in options.sets:
        name, _, parts = given.partition("=")
        cells, labels = read(*parts.split(","))
        populations = len(set(labels[~np.isin(labels, NO_POPULATION)]))
        matrix = matrix_of(cells)
        random = np.random.default_rng(options.seed)
        for shuffled in (False, True):
            started = time.process_time()
            given_cells = stability.shuffle(matrix, random) if shuffled else matrix
            found = stability.estimate(given_cells, seed=options.seed).facts()
            row = {"set": name, "shuffled": shuffled, "populations": populations, **found}
            rows.append(row | {"cpu_s": round(time.process_time() - started, 1)})
            print({key: value for key, value in rows[-1].items() if key != "curve"}, flush=True)
            write(options.out, rows)


if __name__ == "__main__":
    main()
