"""How a number links to the runs behind it, and how these are described in words."""

import re
from collections.abc import Mapping
from typing import Any

from moesimvae.nouns import Run


def anchor(run: str) -> str:
    """Anchor, on the page, of the list of runs that contains `run` (a path)."""
    one = Run.of(run)
    folder = one.name.removesuffix(f"/seed{one.seed}")
    return "run-" + re.sub(r"\W+", "-", folder, flags=re.ASCII)


def href(runs: str, where: str, detailed: bool) -> str:
    """Link to a number's runs: their list on the page, or the record of the first of them.

    runs: paths relative to the results folder, separated by blanks; "" for a published number.
    where: path of the experiment's page from the index, "" on that page.
    """
    if not runs:
        return ""
    first = runs.split(maxsplit=1)[0]
    return (
        f"{where}#{anchor(first)}" if detailed else f"{'' if where else '../'}{first}/status.json"
    )


def in_words(params: Mapping[str, Any]) -> str:
    """Parameters as the page prints them: `n_init = 10; n_pca = none`."""
    return "; ".join(f"{k} = {'none' if v is None else v}" for k, v in params.items()) or "none"
