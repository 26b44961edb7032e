"""Keep the labels behind an experiment's numbers: python docs/fingerprint.py results/demo docs/demo

For each method, the first seed's labels of at most a thousand cells per data set go into
labels.parquet. Every page of that experiment then says how well its own labels agree with them.
"""

import sys
from pathlib import Path

from moesimvae import files
from moesimvae.evaluation import comparison, reference

experiment, docs = map(Path, sys.argv[1:])
kept = reference.fingerprint(comparison.read_csv(experiment / "table.csv"), experiment.parent)
with files.atomic(docs / "labels.parquet") as path:
    kept.to_parquet(path)
