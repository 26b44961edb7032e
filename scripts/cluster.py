"""One run of one method; it always ends with a folder that holds labels or a reason."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import files
from moesimvae.errors import logged
from moesimvae.methods import runner

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    n_clusters = snakemake.params.n_clusters
    if n_clusters is None:  # the user's own cells: it was estimated from them
        n_clusters = files.read_json(snakemake.input.clusters)["n_clusters"]
    status = runner.run(
        features=Path(snakemake.input.features),
        out=Path(snakemake.output.run),
        dataset=snakemake.wildcards.dataset,
        method=snakemake.wildcards.method,
        block=snakemake.params.block,
        seed=int(snakemake.wildcards.seed),
        n_clusters=n_clusters,
        params=snakemake.params.params,
        threads=snakemake.threads,
        mem_mb=snakemake.resources.limit_mb,
        runtime_minutes=snakemake.resources.limit_s / 60,
        interpreter=snakemake.params.interpreter,
        attempt=snakemake.resources.attempt,
        attempts=snakemake.resources.attempts,
    )
    print(f"{status['status']}: {status['reason'] or 'labels written'}", file=sys.stderr)
