"""Prepare one data set: features for the methods, labels for the scoring, facts for the report.

input   raw: its raw files in the order of the registry block; none if embedded or simulated
params  block: the data set's entry in datasets.yaml
output  features, labels, facts: in one folder
"""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae.data.prepare import prepare
from moesimvae.errors import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    block = snakemake.params.block
    raw_files = dict(zip(block.get("files", {}), snakemake.input.get("raw", []), strict=True))
    prepare(block, snakemake.wildcards.dataset, raw_files, Path(snakemake.output.facts).parent)
