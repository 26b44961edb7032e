"""Every run on one data set, controls among them, as one long table; refused if controls fail."""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import registry
from moesimvae.errors import logged
from moesimvae.evaluation.scores import check_controls, score_dataset, write_csv
from moesimvae.nouns import folders_of_controls

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    scores, populations, runs = score_dataset(
        [*snakemake.input.runs, *folders_of_controls(snakemake.input.controls)],
        snakemake.input.labels,
        snakemake.params.metrics,
        Path(snakemake.output.scores).parents[2],
        snakemake.input.get("features") or None,
    )
    check_controls(scores, registry.metrics(snakemake.input.metrics), populations)
    write_csv(scores, snakemake.output.scores)
    write_csv(populations, snakemake.output.populations)
    write_csv(runs, snakemake.output.runs)
