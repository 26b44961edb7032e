"""Cells that one run generates, as h5ad, and how they compare with the real ones.

input   run, features, labels; predictive: scVI's cells, for count data
output  study: folder with sources.csv, populations.csv, features.csv and generated.h5ad
"""

from pathlib import Path
from typing import TYPE_CHECKING

from scipy import sparse

from moesimvae import files
from moesimvae.data.dataset import load_features, load_labels
from moesimvae.errors import logged
from moesimvae.evaluation.scores import write_csv
from moesimvae.studies.generation import study_cells

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    labels = load_labels(snakemake.input.labels)
    names = labels["label"].where(labels["scored"], "").to_numpy(str)
    predictive = [sparse.load_npz(path) for path in snakemake.input.get("predictive", [])]
    study = study_cells(
        snakemake.input.run, load_features(snakemake.input.features), names, *predictive
    )
    folder = Path(snakemake.output.study)
    write_csv(study.sources, folder / "sources.csv")
    write_csv(study.populations, folder / "populations.csv")
    write_csv(study.features, folder / "features.csv")
    with files.atomic(folder / "generated.h5ad") as path:
        study.generated.write_h5ad(path, compression="gzip")
