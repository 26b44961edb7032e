"""Prepare the user's own cells: features, and how many clusters to ask for.

input   reads: the file, or the files of a 10x folder
params  path: what the user named; settings: the keywords of `write_features`
output  features, facts (without those of the labels), clusters: the number alone, for the methods
"""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae.data.own_cells import write_features
from moesimvae.errors import logged
from moesimvae.model.stability import estimate

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    facts = write_features(
        snakemake.wildcards.dataset,
        snakemake.params.path,
        Path(snakemake.output.features).parent,
        estimate,
        **snakemake.params.settings,
    )
    print(f"{snakemake.params.path}: {facts['note']}", flush=True)
