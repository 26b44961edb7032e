"""Shares of clusters in samples, as a heat map."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from moesimvae.report import style
from moesimvae.report.style import cut
from moesimvae.studies.panels import tree


@style.styled
def draw(shares: pd.DataFrame, title: str) -> Figure:
    """shares: cluster × sample, of each sample's cells; both are ordered by average linkage."""
    rows, columns = tree(shares.to_numpy())["leaves"], tree(shares.to_numpy().T)["leaves"]
    shares = shares.iloc[rows, columns]
    n_rows, n_columns = shares.shape
    names = _short([str(name) for name in shares.columns])
    longest = max(map(len, names))
    figure = style.sheet(1.3 + np.clip(4 / n_rows, 0.15, 0.24) * n_rows + 0.065 * longest, title)
    panel = figure.subplots()
    image = panel.imshow(shares.to_numpy(), cmap="magma_r", vmin=0, aspect="auto")
    panel.set_xticks(range(n_columns), names, rotation=90)
    panel.set_yticks(range(n_rows), [str(name) for name in shares.index])
    panel.set_ylabel("Cluster")
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    if n_columns <= 12:
        for (y, x), share in np.ndenumerate(shares.to_numpy()):
            dark = share > 0.55 * shares.to_numpy().max()
            panel.text(x, y, f"{share:.1%}", ha="center", va="center", fontsize=7,
                       color="white" if dark else "black")  # fmt: skip
    bar = figure.colorbar(image, ax=panel, shrink=0.6, aspect=30, format="{x:.0%}",
                          label="Share of the sample's cells")  # fmt: skip
    bar.outline.set_visible(False)
    return figure


def _short(names: list[str], most: int = 24) -> list[str]:
    """Names of at most `most` letters; if any is longer, their common prefix is left out."""
    first, last = min(names), max(names)  # the common prefix of these two is that of all
    alike = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    start = first[:alike] if max(map(len, names)) > most else ""
    start = start[: max(start.rfind(sign) for sign in "_- .") + 1]
    return [cut(f"{'…' if start else ''}{name.removeprefix(start)}", most) for name in names]
