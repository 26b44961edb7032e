"""Prepare the user's own cells: features, labels kept apart, facts, number of clusters to ask for.

input   reads: the file, or the files of a 10x folder
params  path: what the user named; settings: the keywords of `prepare_own`
output  features, labels, facts: in one folder; clusters: the number alone, for what clusters
"""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import files
from moesimvae.data.own import prepare_own
from moesimvae.errors import logged
from moesimvae.model.similarity import estimate_n_clusters

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    facts = prepare_own(
        snakemake.wildcards.dataset,
        snakemake.params.path,
        Path(snakemake.output.facts).parent,
        estimate_n_clusters,
        **snakemake.params.settings,
    )
    files.write_json(snakemake.output.clusters, {"n_clusters": facts["n_clusters"]})
