"""Our VaDE and DEC beside ClustPy's, on scikit-learn's digits: a Markdown table.

    make env-clustpy
    .venv/bin/python bench/crosscheck_clustpy.py

Same layer sizes, batch size and number of steps; everything else as each ships it. Each run
goes through the runner, ClustPy's in its own environment, and stays in the folder --out.
"""

import argparse
import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from moesimvae import registry
from moesimvae.evaluation import metrics
from moesimvae.methods import runner

ROOT = Path(__file__).resolve().parents[1]
PAIRS = [("dec", "clustpy_dec"), ("vade", "clustpy_vade")]
METRICS = ["accuracy_hungarian", "nmi_arithmetic"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=ROOT / ".venv-clustpy" / "bin" / "python")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600, help="of pre-training, and again after")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "crosscheck_clustpy")
    options = parser.parse_args()

    matrix, truth = load_digits(return_X_y=True)
    features = options.out / "features.h5ad"
    options.out.mkdir(parents=True, exist_ok=True)
    anndata.AnnData((matrix / 16).astype(np.float32)).write_h5ad(features)

    blocks = registry.load(ROOT / "workflow" / "registry" / "methods.yaml")
    print("| method | n | accuracy | NMI | seconds |\n|---|---|---|---|---|")
    for method in (name for pair in PAIRS for name in pair):
        rows = [
            score(features, method, blocks[method], s, truth, options) for s in range(options.seeds)
        ]
        table = pd.DataFrame(rows)
        cells = [f"{table[m].mean():.3f} ± {table[m].std():.3f}" for m in METRICS]
        line = [blocks[method]["title"], str(len(rows)), *cells, f"{table['seconds'].mean():.0f}"]
        print(f"| {' | '.join(line)} |", flush=True)


def score(
    features: Path, method: str, block: registry.Block, seed: int, truth: np.ndarray, options
) -> dict[str, float]:
    """One run's metrics and wall seconds; ends the program with the reason if it failed."""
    out = options.out / method / f"seed{seed}"
    status = runner.run(
        features=features,
        out=out,
        dataset="digits",
        method=method,
        block=block,
        seed=seed,
        n_clusters=10,
        params=block["params"] | {"pretraining_steps": options.steps, "steps": options.steps},
        threads=os.cpu_count() or 1,
        mem_mb=block["mem_mb"],
        runtime_minutes=block["runtime"],
        interpreter=options.python if block["environment"] == "clustpy" else None,
    )
    if status["status"] != "ok":
        raise SystemExit(f"error: {method}, seed {seed}: {status['status']}: {status['reason']}")
    labels = pd.read_parquet(out / "labels.parquet")["label"].to_numpy()
    scores = metrics.evaluate(truth, labels, METRICS)
    return scores | {"seconds": status["wall_seconds"]}


if __name__ == "__main__":
    main()
