"""The supplement's numbers on generation as small tables."""

import pandas as pd

from moesimvae.report.tables import markdown, plain
from moesimvae.report.words import GAUSSIANS
from moesimvae.studies.summaries import Generation, means_of_runs, summary

MODELS = (
    "model", "seed", "clusters drawn from", "φ", "digits", "images", "draws", "seconds",
    "assigned back", "own clustering", "classifier",
)  # fmt: skip
CELLS = (
    "mmd", "mmd_real", "classifier_accuracy", "classifier_auc", "correlation_difference",
    "correlation_alike",
)  # fmt: skip


def to_markdown(study: Generation, measured: pd.DataFrame) -> str:
    """What was generated, what the paper prints, and how generated cells compare with real ones."""
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
        "seconds are of all clusters together.",
        *("", *markdown.lines(plain("", MODELS, models, (1, *range(3, 11))))),
        *("", f"The paper, own clustering, mean over thresholds: {paper}.", ""),
        *markdown.lines(plain("", ("run", "number", "value"), numbers, (2,))),
    ]
    if len(study.populations):
        heads = ("data", "clusters drawn from", *(name.replace("_", " ") for name in CELLS))
        rows = [
            (row["dataset"], GAUSSIANS[row["gaussian"]],
             *("" if pd.isna(row[c]) else f"{row[c]:.3g}" for c in CELLS))
            for _, row in means_of_runs(study.populations, CELLS).iterrows()
        ]  # fmt: skip
        lines += ["", "Generated cells against real ones, means over clusters:", ""]
        lines += markdown.lines(plain("", heads, rows, range(2, len(heads))))
    return "\n".join(lines) + "\n"
