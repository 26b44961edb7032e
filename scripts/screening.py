"""What every setting of the screened methods reached, and which were chosen, and how."""

from typing import TYPE_CHECKING

import pandas as pd

from moesimvae import registry
from moesimvae.errors import logged
from moesimvae.evaluation import selection
from moesimvae.evaluation.scores import write_csv
from moesimvae.nouns import Variant

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    variants = Variant.by_name(snakemake.params.variants)
    scores = pd.concat([pd.read_csv(path) for path in snakemake.input.scores], ignore_index=True)
    runs = pd.concat([pd.read_csv(path) for path in snakemake.input.runs], ignore_index=True)
    metrics = registry.metrics(snakemake.input.metrics)
    table = selection.screening(scores, runs, variants, metrics, snakemake.params.metrics)
    write_csv(table, snakemake.output.screening)
    write_csv(selection.select(scores, variants, metrics), snakemake.output.selection)
