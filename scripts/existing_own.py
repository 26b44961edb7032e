"""A column of the user's file that is a finished clustering, as a run.

input   reads: the file, or the files of a 10x folder; features: from prepare_own
params  path: what the user named; block: of the column; genome, transpose: of the features
"""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae.data.own_cells import existing_clusters
from moesimvae.errors import logged
from moesimvae.methods.existing import write_run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    params, features = snakemake.params, Path(snakemake.input.features)
    cells, clusters, names = existing_clusters(
        params.path, features, params.block["existing"], params.genome, params.transpose
    )
    write_run(cells, clusters, names, params.block, features, Path(snakemake.output.run))
