"""The labels of the user's own cells, apart from their features, and all facts of the data set.

input   reads: the file, or the files of a 10x folder; features, facts: from prepare_own
params  path: what the user named; label: its column, or None; genome, transpose: of the features
output  labels, facts: in one folder with the inputs `features` and `facts`
"""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae.data.own_cells import write_labels
from moesimvae.errors import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    folder = Path(snakemake.output.facts).parent
    params = snakemake.params
    write_labels(params.path, folder, params.label, params.genome, params.transpose)
