"""S5 and S6 Figures: digits asked for against digits found."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from moesimvae.nouns import Run
from moesimvae.report import style, words
from moesimvae.report.style import Picture
from moesimvae.report.words import GAUSSIANS
from moesimvae.studies.summaries import Found, Generation, found_digits


def pictures(study: Generation) -> Iterator[Picture]:
    """One figure per run, with a panel for each Gaussian, threshold and judge."""
    for (method, seed), counts in study.confusion.groupby(["method", "seed"], sort=False):
        run = Run(study.dataset, method, seed)
        number = "S6 Figure" if "component" in set(counts["gaussian"]) else "S5 Figure"
        panels = found_digits(counts)
        shares = ", ".join(f"{' '.join(_said(found))} {found.right:.3f}" for found in panels)
        title = f"Digits asked for and found, {study.titles[method]}, seed {seed}"
        yield Picture(
            f"{number[:2].lower()}_confusion_{words.slug(run.name, '_')}",
            study.dataset,
            title,
            f"{title} ({number}). Rows: digit asked for; columns: digit found by the model's own "
            "clustering or by the independent classifier, in percent of the row (values below "
            "2 % are not printed). An empty row is a digit that no cluster represents. Mean of the "
            f"diagonal: {shares}.",
            f"{len(panels)} heat maps of digits asked for against digits found. {shares}.",
            draw(panels, title),
        )


def _said(digits: Found) -> tuple[str, str]:
    """What identified the digits, and what they were drawn from."""
    where = GAUSSIANS[digits.gaussian]
    if digits.gaussian == "component":
        where = f"φ = {digits.threshold:g}"
    return "own clustering" if digits.by == "own" else "classifier", where


@style.styled
def draw(panels: list[Found], title: str) -> Figure:
    columns = 6 if len(panels) > 4 else max(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = style.sheet(0.4 + rows * (style.WIDTH / columns + 0.1), title, 10)
    drawn = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, digits in zip(drawn, panels, strict=False):
        wide = digits.shares
        axes.imshow(wide.to_numpy(), cmap="Blues", vmin=0, vmax=1)
        axes.set_title("\n".join(_said(digits)), fontsize=6.5, pad=2)
        axes.set_xticks(range(len(wide)), wide.columns, fontsize=5.5)
        axes.set_yticks(range(len(wide)), wide.index, fontsize=5.5)
        axes.tick_params(length=0, pad=1)
        for i, j in np.argwhere(wide.to_numpy() >= 0.02):
            share = wide.to_numpy()[i, j]
            axes.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=4.2,
                      color="white" if share > 0.5 else "black")  # fmt: skip
    style.hide(drawn[len(panels) :])
    return figure
