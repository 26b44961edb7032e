"""Simulated mass cytometry as a data set of omnibenchmark, for the plan beside this file."""

import argparse
from pathlib import Path

from moesimvae.data import simulate

parser = argparse.ArgumentParser()
parser.add_argument("--output_dir", type=Path, required=True)
parser.add_argument("--name", required=True)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

cells, labels = simulate.cytof(seed=options.seed)
options.output_dir.mkdir(parents=True, exist_ok=True)
cells.write_h5ad(options.output_dir / f"{options.name}.cells.h5ad")
labels.to_csv(options.output_dir / f"{options.name}.truth.csv.gz", index=False)
