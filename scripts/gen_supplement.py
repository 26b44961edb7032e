"""S2 to S6 Figures and the quality of what is generated, with their numbers.

input   studies: folders of gen_images; distances: csv of gen_distances; cells: folders of
        gen_cells; projections, runs, labels: latent spaces of the runs of `distances`; judge;
        methods; published
params  similarity: methods of S2
output  figures: folder; generation, mmd, quality, cells, measured: csv; summary: Markdown
"""

from pathlib import Path
from typing import TYPE_CHECKING

from moesimvae import files, registry
from moesimvae.errors import logged
from moesimvae.evaluation.scores import write_csv
from moesimvae.nouns import Run
from moesimvae.report import words
from moesimvae.report.figures.catalogue import supplement
from moesimvae.report.style import write
from moesimvae.report.tables import generation
from moesimvae.studies import summaries

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found, output = snakemake.input, snakemake.output

    def tables(folders, name):
        return summaries.read(Path(folder, f"{name}.csv") for folder in folders)

    study = summaries.Generation(
        tables(found.studies, "accuracy"),
        tables(found.studies, "confusion"),
        tables(found.studies, "quality"),
        summaries.read(found.distances),
        tables(found.cells, "sources"),
        tables(found.cells, "populations"),
        tables(found.cells, "features"),
        {
            Run.of(run): summaries.latent_view(projection, run, found.labels)
            for run, projection in zip(found.runs, found.projections, strict=True)
        },
        {name: method.title for name, method in registry.methods(found.methods).items()},
        summaries.published(found.published),
        snakemake.params.similarity,
        words.judge_of(files.read_json(Path(found.judge) / "judge.json")),
    )
    write(supplement(study), output.figures)
    measured = summaries.measured(study.accuracy, study.distances)
    write_csv(summaries.summary(study.accuracy), output.generation)
    write_csv(study.distances, output.mmd)
    write_csv(study.quality, output.quality)
    write_csv(study.sources, output.cells)
    write_csv(measured, output.measured)
    files.write_text(output.summary, generation.to_markdown(study, measured))
