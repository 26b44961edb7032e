"""MMD between the clusters of one run in latent space.

input   run, features, labels
output  distances: csv
"""

from typing import TYPE_CHECKING

from moesimvae.data.dataset import load_features, load_labels
from moesimvae.errors import logged
from moesimvae.evaluation.scores import write_csv
from moesimvae.studies.generation import latent_distances

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    labels = load_labels(snakemake.input.labels)
    names = labels["label"].where(labels["scored"], "").to_numpy(str)
    cells = load_features(snakemake.input.features)
    table = latent_distances(snakemake.input.run, names, cells)
    write_csv(table, snakemake.output.distances)
