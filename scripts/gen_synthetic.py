"""S1 Figure: Gaussian mixtures by their number of components.

input   scores: of every data set of the experiment; methods
params  datasets: name → block of the registry
output  figures: folder; measured: csv
"""

from typing import TYPE_CHECKING

from moesimvae import files, registry
from moesimvae.errors import logged
from moesimvae.evaluation import comparison
from moesimvae.report.figures import mixtures
from moesimvae.report.style import write
from moesimvae.studies import summaries

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    blocks = snakemake.params.datasets
    datasets = {
        name: (
            block["simulate"]["n_components"],
            "the true number asked for"
            if block["family"] == "synthetic"
            else f"{block['n_clusters']} clusters asked for",
        )
        for name, block in blocks.items()
    }
    methods = registry.methods(snakemake.input.methods)
    titles = {name: method.title for name, method in methods.items() if not method.control}
    scores = comparison.read_many(snakemake.input.scores)
    write([mixtures.picture(scores, datasets, titles)], snakemake.output.figures)
    fixed = {n: datasets[n][0] for n, block in blocks.items() if block["family"] != "synthetic"}
    recovered = summaries.recovered(scores[scores["method"].isin(titles)], fixed)
    files.write_text(snakemake.output.measured, comparison.to_csv(recovered))
