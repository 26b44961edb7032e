"""An experiment's methods, and what others published, as plain tables."""

from collections.abc import Mapping

from moesimvae.nouns import Method
from moesimvae.report import records, words
from moesimvae.report.tables import Cell, Table, plain
from moesimvae.report.words import Comparison


def methods_table(methods: Mapping[str, Method]) -> Table:
    """What the registry says of each method."""
    heads = ("Method", "Given K", "Prior knowledge", "Random", "Default parameters", "Reference")
    rows = []
    for name, method in methods.items():
        signs = "".join(f", {sign}" for sign in ("control", "oracle") if getattr(method, sign))
        rows.append(
            (
                Cell(method.title, signs, code=name),
                "yes" if method.uses_n_clusters else "no",
                "yes" if method.uses_prior else "no",
                "yes, one run per seed" if method.stochastic else "no, one run",
                Cell(records.in_words(method.params), kind="text"),
                Cell(method.reference, kind="text"),
            )
        )
    return plain("methods", heads, rows)


def published_table(shown: Comparison) -> Table:
    """Every published value with its source."""
    quoted = shown.quoted[shown.quoted["status"] == "published"]
    heads = ("Method", "Data set", "Metric", "Value", "Reference", "Quoted from", "Note")
    rows = [
        (row["title"], row["dataset"], shown.metric(row["metric"]),
         words.as_printed(row["mean"]),
         *(Cell(row[key], kind="text") for key in ("citation", "quoted_from", "note")))
        for _, row in quoted.iterrows()
    ]  # fmt: skip
    return plain("published values", heads, rows, (3,))
