"""A classifier of real images that later judges generated ones, with its accuracy beside it.

input   features, labels: of one data set of images
params  epochs
output  judge: folder with its weights and judge.json
"""

from time import process_time
from typing import TYPE_CHECKING

import numpy as np

from moesimvae.data.dataset import load_features, load_labels
from moesimvae.errors import logged
from moesimvae.evaluation import judge

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    cells = load_features(snakemake.input.features)
    names = load_labels(snakemake.input.labels)["label"].to_numpy(str)
    test = judge.held_out(cells.obs_names)
    shape = [int(side) for side in cells.uns["image_shape"]]
    images = np.asarray(cells.X, dtype=np.float32)
    began = process_time()
    judging = judge.train_judge(images[~test], names[~test], shape, epochs=snakemake.params.epochs)
    facts = {
        "dataset": snakemake.wildcards.dataset,
        "train_images": int((~test).sum()),
        "test_images": int(test.sum()),
        "cpu_seconds": round(process_time() - began, 1),
        "test_accuracy": float((judging.predict(images[test]) == names[test]).mean()),
    }
    judge.save(judging, snakemake.output.judge, facts)
