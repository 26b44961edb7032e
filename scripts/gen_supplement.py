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
from moesimvae.report import generation
from moesimvae.report.style import write
from moesimvae.studies import summaries

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    found, output = snakemake.input, snakemake.output
    titles = {name: block["title"] for name, block in registry.load(found.methods).items()}
    judge = generation.said_of_judge(files.read_json(Path(found.judge) / "judge.json"))
    tables = {
        name: summaries.read(Path(folder, f"{name}.csv") for folder in folders)
        for name, folders in {
            "accuracy": found.studies,
            "confusion": found.studies,
            "quality": found.studies,
            "populations": found.cells,
            "features": found.cells,
        }.items()
    }
    tables["distances"] = summaries.read(found.distances)
    published = summaries.published(found.published)
    views = {
        tuple(Run.of(run).name.split("/")): summaries.latent_view(projection, run, found.labels)
        for run, projection in zip(found.runs, found.projections, strict=True)
    }
    similarity = snakemake.params.similarity
    write(
        generation.supplement(tables, views, titles, published, similarity, judge),
        output.figures,
    )
    summary = summaries.summary(tables["accuracy"])
    measured = summaries.measured(tables["accuracy"], tables["distances"])
    write_csv(summary, output.generation)
    write_csv(tables["distances"], output.mmd)
    write_csv(tables["quality"], output.quality)
    write_csv(tables["populations"], output.cells)
    write_csv(measured, output.measured)
    text = generation.markdown(summary, measured, tables["populations"], published, titles, judge)
    files.write_text(output.summary, text)
