"""Every clustering of the user's cells, in formats for the programs that they come from.

input   reads: the file; runs: one per method; features: from prepare_own
params  path: what the user named; showcase: the method whose probabilities and map are included
output  export: a folder
"""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import handover
from moesimvae.data import writable
from moesimvae.data.own_cells import cells_of
from moesimvae.errors import logged
from moesimvae.studies.views import read_clusterings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    params = snakemake.params
    file = cells_of(
        params.path, snakemake.input.features, params.genome, params.transpose, values=True
    )
    for note in writable.make(file.cells):
        print(note, flush=True)
    clusterings = read_clusterings(snakemake.input.runs, file.cells.obs_names)
    handover.write_all(file, clusterings, params.showcase, Path(snakemake.output.export))
