"""An experiment's results in sentences."""

from typing import Any

import pandas as pd

from moesimvae.evaluation import comparison
from moesimvae.report import IN_DETAIL, words
from moesimvae.report.words import Comparison


def summary(shown: Comparison, screened: pd.DataFrame | None = None) -> list[str]:
    """What was run, what failed and the results, in sentences made from the tables alone."""
    own = comparison.of_first_split(shown.own[shown.own["kind"] != "control"])
    finished = comparison.own_settings(own[own["metric"] == comparison.FOUND[0]])
    names = [shown.dataset(d) for d in dict.fromkeys(own["dataset"])]
    where = f" ({words.joined(names)})" if len(names) <= IN_DETAIL else ""
    done, planned = int(finished["n"].sum()), int(finished["n_planned"].sum())
    seeds = int(finished["n_planned"].max())
    said = [
        f"{words.counted(finished['method'].nunique(), 'method')} on "
        f"{words.counted(len(names), 'data set')}{where}, with up to "
        f"{words.counted(seeds, 'seed')} each; {done} of {planned} planned runs finished."
    ]
    lost = finished[finished["n"] < finished["n_planned"]]
    if 0 < len(lost) <= 8:
        said += [_lost(row, shown.datasets[row.dataset].title) for row in lost.itertuples()]
    elif len(lost):
        said.append("Runs that did not finish are explained below each table and under Runs.")
    contests = own[own["kind"] == "method"].groupby(["dataset", "split"], sort=False)
    if len(contests) <= 6:
        said += [_first_two(rows, shown) for _, rows in contests]
    else:
        said.append("The best method on each data set is shown in the table below.")
    if screened is not None:
        tried = screened.drop_duplicates(["dataset", "variant"])
        said.append(
            f"Screened: {words.counted(tried['variant'].nunique(), 'setting')} of "
            f"{words.counted(tried['method'].nunique(), 'method')}, one run on each data set; "
            f"{int((tried['status'] == 'ok').sum())} of {len(tried)} runs finished. The tables "
            "show the settings chosen by the true labels (oracle) and those chosen without them."
        )
    if own["uses_prior"].any() and len(contests) <= 6:
        said += [_with_prior(rows, shown) for _, rows in contests]
    if (own["kind"] == "oracle").any():
        titles = own[own["kind"] == "oracle"]["title"].str.removesuffix(", oracle")
        oracles = words.joined(list(dict.fromkeys(titles)))
        said.append(
            f"Oracle ({oracles}): settings or number of clusters come from the true labels; not "
            "ranked."
        )
    if len(shown.quoted):
        said.append("Published values are quoted for reference; none was measured here.")
    caveats = shown.caveats(shown.datasets)
    said += [caveats.strip()] if caveats else []
    if len(names) > IN_DETAIL:
        said.append(
            f"The first {IN_DETAIL} data sets have their own tables and figures here; all of them "
            "are in by_dataset.csv and in the figures across data sets."
        )
    return said


def _about(rows: pd.DataFrame, shown: Comparison) -> tuple[str, str, str]:
    """The first metric of a data set and split, its title, and the title of the cells."""
    first = rows.iloc[0]
    where = shown.dataset(first["dataset"], first["split"])
    return first["metric"], shown.metric(first["metric"]), where


def _with_prior(rows: pd.DataFrame, shown: Comparison) -> str:
    """The value of prior knowledge: the methods that use it, and the best that does not."""
    metric, what, title = _about(rows, shown)
    done = rows[(rows["metric"] == metric) & (rows["n"] > 0)].sort_values("mean", ascending=False)
    given, blind = done[done["uses_prior"]], done[~done["uses_prior"]]
    results = "; ".join(_result(row) for _, row in given.iterrows()) or "none finished"
    best = f"; best without: {_result(blind.iloc[0])}" if len(blind) else ""
    return f"{what} on {title} with prior knowledge (‡, not ranked): {results}{best}."


def _lost(row: Any, where: str) -> str:
    seeds = words.counted(row.n_planned, "seed")
    missing = row.n_planned - row.n
    return f"{row.title} did not finish on {where} for {missing} of {seeds}: {row.reason}."


def _first_two(rows: pd.DataFrame, shown: Comparison) -> str:
    metric, what, title = _about(rows, shown)
    ranked = rows[(rows["metric"] == metric) & rows["rank"].notna()].sort_values(
        ["rank", "title"], kind="stable"
    )
    if len(ranked) < 2:
        return f"On {title}, fewer than two methods can be compared by {what}."
    first, second = ranked.iloc[0], ranked.iloc[1]
    said = f"Best mean {what} on {title}: {_result(first)}, then {_result(second)}"
    if first["n"] == 1 or second["n"] == 1:
        return f"{said}; a single run says nothing about the spread."
    if first["min"] <= second["max"] and second["min"] <= first["max"]:
        return f"{said}; their ranges overlap, so these seeds do not settle the order."
    few = int(min(first["n"], second["n"]))
    return f"{said}; their ranges do not overlap, but {words.counted(few, 'seed')} are few."


def _result(row: pd.Series) -> str:
    spread = f", {row['min']:.3f}–{row['max']:.3f}" if row["n"] > 1 else ""
    return f"{row['title']} {row['mean']:.3f} (n = {row['n']}{spread})"
