"""The supplement's numbers on generation as small tables."""

import pandas as pd

from moesimvae.report.tables import markdown, plain
from moesimvae.report.words import GAUSSIANS, SOURCES
from moesimvae.studies.summaries import Generation, summary

MODELS = (
    "model", "seed", "clusters drawn from", "φ", "digits", "images", "draws", "seconds",
    "assigned back", "own clustering", "classifier",
)  # fmt: skip
CELLS = {
    "auc": "two-sample AUC",
    "cluster_auc": "two-sample AUC by cluster",
    "ks": "KS",
    "correlation_difference": "difference in correlations",
    "slope": "slope of differences",
    "trained_on": "accuracy of a forest trained on them",
    "nearest": "distance to the nearest cell",
    "nearest_held_out": "of held-out cells",
}
EXPLAINED = (
    "Generated cells compared with real ones that the generator has not seen: it was trained on "
    "half of the cells, and the other half is used for the comparison. Two-sample AUC of "
    "gradient-boosted trees (0.5: indistinguishable), for all cells together and as a mean over "
    "clusters; KS: largest difference of distribution functions, mean over features and clusters; "
    "slope of differences between clusters' means, generated on real; accuracy on real cells of a "
    "random forest trained on the clusters of these cells; mean distance to the nearest training "
    "cell, beside that of held-out cells (0 for a copy)."
)


def to_markdown(study: Generation, measured: pd.DataFrame) -> str:
    """What was generated, what the paper reports, and how generated cells compare to real ones."""
    models = [
        (study.titles[r.method], r.seed, GAUSSIANS[r.gaussian], f"{r.threshold:g}", r.digits,
         f"{r.images:,}", f"{r.draws:,}", f"{r.seconds:.1f}", f"{r.assigned_back:.3f}",
         f"{r.own:.3f}", f"{r.judge:.3f}")
        for r in summary(study.accuracy).itertuples()
    ]  # fmt: skip
    numbers = [
        (f"{study.titles[r.method]}, seed {r.seed}", r.metric, f"{r.value:,.4g}")
        for r in measured.itertuples()
    ]
    paper = "; ".join(f"{who} {values['own']:.3f}" for who, values in study.published.items())
    lines = [
        *("# Generation", ""),
        f"Independent classifier: {study.judge}. Accuracies are means over clusters; draws and "
        "seconds are totals over all clusters.",
        *("", *markdown.lines(plain("", MODELS, models, (1, *range(3, 11))))),
        *("", f"In the paper (own clustering, mean over thresholds): {paper}.", ""),
        *markdown.lines(plain("", ("run", "number", "value"), numbers, (2,))),
    ]
    if len(study.sources):
        heads = ("data", "cells", "n", *CELLS.values())
        rows = [
            (row["dataset"], SOURCES[row["source"]], f"{row['n']:,}",
             *("" if pd.isna(row[c]) else f"{row[c]:.3f}" for c in CELLS))
            for _, row in study.sources.iterrows()
        ]  # fmt: skip
        lines += ["", EXPLAINED, "", *markdown.lines(plain("", heads, rows, range(2, len(heads))))]
    return "\n".join(lines) + "\n"
