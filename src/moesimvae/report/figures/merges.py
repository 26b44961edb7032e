"""What clusters would merge into if there were fewer of them."""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram

from moesimvae.report import style
from moesimvae.report.style import QUIET
from moesimvae.report.tables.sureness import mark


@style.styled
def draw(
    merges: np.ndarray, sizes: np.ndarray, title: str, unstable: frozenset[int] = frozenset()
) -> Figure:
    """merges: SciPy linkage with heights 1 − share of resamples in which two are one group; sizes:
    (n_clusters,) cells; unstable: clusters to be marked as hardly clusters.
    """
    made = dendrogram(merges, no_plot=True)
    leaves = made["leaves"]
    figure = style.sheet(1.1 + np.clip(4 / len(leaves), 0.15, 0.24) * len(leaves), title)
    panel = figure.subplots()
    lines = [
        np.column_stack([height, np.asarray(at) / 10 - 0.5])  # leaf i of scipy lies at 10 i + 5
        for at, height in zip(made["icoord"], made["dcoord"], strict=True)
    ]
    panel.add_collection(LineCollection(lines, colors=QUIET, linewidths=1))
    panel.set(xlim=(0, 1.02), ylim=(len(leaves) - 0.5, -0.5))
    panel.set_yticks(
        range(len(leaves)), [f"{mark(c, unstable)}  ({sizes[c]:,} cells)" for c in leaves]
    )
    panel.set_xlabel("Share of resamples in which they are apart")
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x")
    return figure
