"""The verdicts as one page that needs no network."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from moesimvae.evaluation import verdicts
from moesimvae.nouns import Metric
from moesimvae.report.tables import verdicts as tables
from moesimvae.report.tables.html import render


def shown(table: pd.DataFrame | None, metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """Values for verdict_parts.html.j2; table: from `verdicts.verdicts`, if any."""
    given = table is not None
    return {
        "headline": tables.headline(table) if given else "",
        "counts": tables.counts(table) if given else None,
        "groups": tables.groups(table, metrics) if given else (),
        "verdicts": verdicts.VERDICTS,
        "signs": tables.SIGNS,
        "meaning": tables.MEANING,
        "intervals": tables.INTERVALS,
        "marks": tables.MARKS,
    }


def page(
    table: pd.DataFrame, checks: Mapping[str, pd.DataFrame], metrics: Mapping[str, Metric]
) -> str:
    """One self-contained page. table: from `verdicts.verdicts`; checks: experiment → table of
    `quality.check`. Links to run folders are relative to results/verdict/."""
    every = [tables.checked(name, part) for name, part in checks.items()]
    return render("verdict.html.j2", checks=every, **shown(table, metrics))
