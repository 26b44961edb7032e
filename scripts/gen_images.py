"""What one run generates from each of its clusters, judged by itself and by the judge.

input   run, features, labels, judge
params  images (of every cluster at every threshold), thresholds
output  study: folder with accuracy.csv, confusion.csv, quality.csv, names.json and examples.npz
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moesimvae import files
from moesimvae.data.dataset import load_features, load_labels
from moesimvae.errors import logged
from moesimvae.evaluation import judge
from moesimvae.evaluation.scores import write_csv
from moesimvae.studies.generation import study_images

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    labels = load_labels(snakemake.input.labels)
    study = study_images(
        snakemake.input.run,
        load_features(snakemake.input.features),
        labels["label"].where(labels["scored"], "").to_numpy(str),
        judge.load(snakemake.input.judge)[0],
        n=snakemake.params.images,
        thresholds=snakemake.params.thresholds,
    )
    folder = Path(snakemake.output.study)
    write_csv(study.accuracy, folder / "accuracy.csv")
    write_csv(study.confusion, folder / "confusion.csv")
    write_csv(study.quality, folder / "quality.csv")
    files.write_json(folder / "names.json", study.names)
    with files.atomic(folder / "examples.npz") as path:
        np.savez_compressed(path, **study.examples)
