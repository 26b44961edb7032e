"""Figure 2: digits generated from each cluster by every run, with the shares recognised as such.

input   studies: folders of gen_images; judge; methods
output  figures: folder; table: csv, a row for each run, Gaussian and cluster
"""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import files, registry
from moesimvae.errors import logged
from moesimvae.evaluation.scores import write_csv
from moesimvae.nouns import Run
from moesimvae.report import words
from moesimvae.report.figures import figure2
from moesimvae.report.style import write
from moesimvae.studies import summaries

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found = snakemake.input
    methods = registry.methods(found.methods)
    titles = {name: method.title for name, method in methods.items()}
    judge = files.read_json(Path(found.judge) / "judge.json")
    shape = tuple(judge["image_shape"])
    examples = [e for s in found.studies for e in figure2.read_examples(s, titles, shape)]
    dataset = Run.of(found.studies[0]).dataset
    write(figure2.pictures(examples, dataset, words.judge_of(judge)), snakemake.output.figures)
    accuracy = summaries.read(Path(s, "accuracy.csv") for s in found.studies)
    write_csv(
        accuracy[accuracy["threshold"] == accuracy["threshold"].min()], snakemake.output.table
    )
