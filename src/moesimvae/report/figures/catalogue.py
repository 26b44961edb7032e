"""Every figure of an experiment, one line each: a new one needs a file here and a line below."""

from collections.abc import Callable, Iterator

from moesimvae.report.figures import (
    clusters,
    digits_found,
    experts,
    figure3,
    generated_cells,
    groups,
    image_quality,
    latent_distances,
    latent_space,
    losses,
    markers,
    overview,
    populations,
    quality_and_time,
    runs,
    scaling,
    scores,
    sureness,
    thresholds,
)
from moesimvae.report.figures.inputs import Experiment, Part
from moesimvae.report.style import Picture
from moesimvae.studies.summaries import Generation

ACROSS_DATA_SETS: tuple[Callable[[Experiment], Iterator[Picture]], ...] = (
    overview.pictures,
    runs.pictures,
    scaling.pictures,
    groups.pictures,
)
OF_EACH_SPLIT: tuple[Callable[[Part], Iterator[Picture]], ...] = (scores.pictures,)
OF_EACH_DATA_SET: tuple[Callable[[Part], Iterator[Picture]], ...] = (
    quality_and_time.pictures,
    populations.pictures,
    figure3.pictures,
    latent_space.pictures,
    sureness.pictures,
    clusters.pictures,
    markers.pictures,
    experts.pictures,
    losses.pictures,
)
SUPPLEMENT: tuple[Callable[[Generation], Iterator[Picture]], ...] = (
    latent_distances.pictures,
    thresholds.pictures,
    digits_found.pictures,
    image_quality.pictures,
    generated_cells.pictures,
)


def pictures(experiment: Experiment) -> Iterator[Picture]:
    """Figures across data sets, then for each of the first IN_DETAIL.

    Each figure yields nothing for a data set on which it has nothing to show.
    """
    for across in ACROSS_DATA_SETS:
        yield from across(experiment)
    for part in experiment.parts():
        for figure in (*OF_EACH_SPLIT, *(OF_EACH_DATA_SET if part.first else ())):
            yield from figure(part)


def supplement(study: Generation) -> Iterator[Picture]:
    """S2 to S6 Figures, and the quality of generated images and cells."""
    for figure in SUPPLEMENT:
        yield from figure(study)
