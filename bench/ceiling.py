"""What a clustering could reach if its clusters were joined correctly.

Each goes to the population of most of its cells. That uses the labels; it
distinguishes too many pure clusters from impure ones.

    .venv/bin/python bench/ceiling.py results/runs/DATASET/METHOD/seed0 results/data/DATASET
"""

import argparse
from pathlib import Path

import pandas as pd

from moesimvae.evaluation.metrics import evaluate
from moesimvae.evaluation.scores import read_labels

METRICS = ["f_flowcap", "nmi_arithmetic", "ari"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("data", type=Path, help="the folder of its prepared data set")
    options = parser.parse_args()
    cells = read_labels(options.data / "labels.parquet")
    cells["cluster"] = pd.read_parquet(options.run / "labels.parquet")["label"].to_numpy()
    cells = cells[cells["scored"]]
    print("| cells | clusters | " + " | ".join(METRICS) + " |")
    print("|---" * (2 + len(METRICS)) + "|")
    for split, part in cells.groupby("split"):
        major = part.groupby("cluster")["label"].agg(lambda labels: labels.mode()[0])
        joined = part["cluster"].map(major)
        rows = {"as found": part["cluster"], "joined by majority": pd.factorize(joined)[0]}
        for name, clusters in rows.items():
            found = evaluate(part["label"].to_numpy(object), clusters.astype(int), METRICS)
            values = " | ".join(f"{found[metric]:.3f}" for metric in METRICS)
            print(f"| {split}, {name} | {len(set(clusters))} | {values} |")


if __name__ == "__main__":
    main()
