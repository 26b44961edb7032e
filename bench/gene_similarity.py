"""Which kind of similarity suits genes: MoE-Sim-VAE with each, on principal components of a set.

    python bench/gene_similarity.py results/data/pbmc_facs results/data/tabula_muris_semisynthetic

For each prepared data set (its training cells, where there are any): FlowCAP's F and NMI against
the true labels, so what is chosen with it has seen labels. 50 principal components stand for the
genes, which makes a fit take a minute; seed 0.
"""

import argparse
import json
from pathlib import Path
from time import process_time

import anndata
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from moesimvae import MoESimVAE
from moesimvae.evaluation.metrics import evaluate

KINDS = {
    "communities": {"similarity": "communities"},
    "umap_knn": {"similarity": "umap_knn", "refinements": 0},
    "umap_knn, refined twice": {"similarity": "umap_knn", "refinements": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="results/data/<data set>")
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    print("| data set | similarity | F (FlowCAP) | NMI | CPU seconds |\n|---|---|---|---|---|")
    for folder in options.folders:
        labels = pd.read_parquet(folder / "labels.parquet")
        kept = (labels["split"] != "test").to_numpy()
        truth = labels["label"].to_numpy()[kept]
        n_clusters = json.loads((folder / "dataset.json").read_text())["n_clusters"]
        cells = anndata.read_h5ad(folder / "features.h5ad").X[kept]
        pca = PCA(50, svd_solver="arpack", random_state=0)
        points = pca.fit_transform(cells).astype(np.float32)
        for name, settings in KINDS.items():
            start = process_time()
            model = MoESimVAE(n_clusters, random_state=0, steps=options.steps, **settings)
            clusters = model.fit_predict(points)
            scores = evaluate(truth, clusters, ["f_flowcap", "nmi_arithmetic"])
            print(
                f"| {folder.name} | {name} | {scores['f_flowcap']:.3f} | "
                f"{scores['nmi_arithmetic']:.3f} | {process_time() - start:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
