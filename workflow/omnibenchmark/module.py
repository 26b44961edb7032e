"""A method as a module of omnibenchmark: its arguments handed on to `moesimvae method`.

omnibenchmark gives --output_dir, --name, --<input> FILE, and each parameter of the plan; `method`
names the method, `clusters` and `seed` are what they say, all others are the method's own.
"""

import argparse
from pathlib import Path

from moesimvae import cli

parser = argparse.ArgumentParser()
parser.add_argument("--output_dir", type=Path, required=True)
parser.add_argument("--name", required=True)
parser.add_argument("--data.cells", dest="cells", required=True)
parser.add_argument("--method", required=True)
parser.add_argument("--clusters")
parser.add_argument("--seed", default="0")
known, others = parser.parse_known_args()

dataset = Path(known.cells).name.removesuffix(".cells.h5ad")
words = ["method", known.method, "--input", known.cells, "--seed", known.seed]
words += ["--output", str(known.output_dir / f"{dataset}.labels.csv.gz")]
words += ["--clusters", known.clusters] if known.clusters else []
for name, value in zip(others[::2], others[1::2], strict=True):
    words += ["--param", f"{name.removeprefix('--')}={value}"]
raise SystemExit(cli.main(words))
