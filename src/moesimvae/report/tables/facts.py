"""What an experiment's methods are, what others published, and who is best, as plain tables."""

from collections.abc import Mapping

from moesimvae.evaluation import comparison
from moesimvae.registry import Block
from moesimvae.report import records, words
from moesimvae.report.tables import Cell, Table, plain
from moesimvae.report.words import Comparison


def methods_table(methods: Mapping[str, Block]) -> Table:
    """methods: the registry's blocks."""
    heads = ("Method", "Is told K", "Prior knowledge", "Random", "Default parameters", "Reference")
    rows = []
    for name, method in methods.items():
        signs = "".join(f", {sign}" for sign in ("control", "oracle") if method.get(sign))
        rows.append(
            (
                Cell(method["title"], signs, code=name),
                "yes" if method["uses_n_clusters"] else "no",
                "yes" if method["uses_prior"] else "no",
                "yes, one run a seed" if method["stochastic"] else "no, one run",
                Cell(records.in_words(method.get("params") or {}), kind="text"),
                Cell(method["reference"], kind="text"),
            )
        )
    return plain("methods", heads, rows)


def published_table(shown: Comparison) -> Table:
    """Every published value with whose it is."""
    quoted = shown.quoted[shown.quoted["status"] == "published"]
    heads = ("Method", "Data set", "Metric", "Value", "Whose", "Quoted from", "Note")
    rows = [
        (row["title"], row["dataset"], shown.metric(row["metric"]),
         words.as_printed(row["mean"]),
         *(Cell(row[key], kind="text") for key in ("citation", "quoted_from", "note")))
        for _, row in quoted.iterrows()
    ]  # fmt: skip
    return plain("published values", heads, rows, (3,))


def best_table(shown: Comparison) -> Table:
    """Which method has the best mean of each ranked metric, on each of the first data sets."""
    own = shown.own[shown.own["dataset"].isin(shown.in_detail)]
    prior = ", methods that use prior knowledge" if own["uses_prior"].any() else ""
    ranked = comparison.ranked_metrics(own, shown.metrics)
    rows = []
    for (dataset, split), part in own.groupby(["dataset", "split"], sort=False):
        first = part[part["rank"] == 1]
        cells = []
        for metric in ranked:
            winners = first[first["metric"] == metric]
            best = f"{winners['mean'].iloc[0]:.3f}" if len(winners) else "–"
            cells.append(Cell(best, " = ".join(winners["title"])))
        rows.append((shown.dataset(dataset, split), *cells))
    caption = (
        "Among methods run here of which every seed finished; without controls, oracles"
        f"{prior} and published values."
    )
    heads = ("Data set", *map(shown.metric, ranked))
    return plain("Best mean by metric", heads, rows, caption=caption)
