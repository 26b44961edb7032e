"""How this machine's numbers compare with those kept in docs/, in a sentence and by method."""

from collections.abc import Mapping

import pandas as pd

from moesimvae.evaluation.reference import EQUAL, OTHER, WITHIN
from moesimvae.report.tables import Table, plain
from moesimvae.report.words import Comparison, fixed, joined


def headline(compared: pd.DataFrame, kept_in: str) -> str:
    """compared: from `reference.against`; kept_in: the folder's name, for the reader."""
    if compared.empty:
        return f"None of these numbers is in {kept_in}, so none can be compared."
    numbers = compared["verdict"].value_counts()
    equal, within, other = (int(numbers.get(verdict, 0)) for verdict in (EQUAL, WITHIN, OTHER))
    said = (
        f"Of the {len(compared)} numbers of methods that are also in {kept_in}, {equal} are equal "
        f"to three digits, {within} are within the spread of seeds, and {other} outside it"
    )
    methods = compared[compared["verdict"] == OTHER].drop_duplicates("method")["title"]
    return f"{said}: {joined(list(methods))}." if other else f"{said}."


def by_method(
    compared: pd.DataFrame, labels: Mapping[tuple[str, str], float], shown: Comparison
) -> Table:
    """One row per method. labels: from `reference.agreement`; the minimum is shown."""
    rows = []
    for method, mine in compared.groupby("method", sort=False):
        numbers = mine["verdict"].value_counts()
        apart = (mine["here"] - mine["there"]).abs()
        most = mine.loc[apart.idxmax()]
        where = f"{shown.metric(most['metric'])}, {shown.dataset(most['dataset'], most['split'])}"
        ari = [value for (_, name), value in labels.items() if name == method]
        rows.append(
            (
                str(most["title"]),
                *(str(numbers.get(verdict, 0)) for verdict in (EQUAL, WITHIN, OTHER)),
                fixed(apart.max()),
                where if apart.max() else "",
                fixed(min(ari)) if ari else "not kept",
            )
        )
    heads = (
        "Method",
        "Equal",
        "Within",
        "Different",
        "Largest difference",
        "Where",
        "ARI of labels",
    )
    return plain("here and in docs", heads, rows, (1, 2, 3, 4, 6))
