"""Colours for groups that colour-blind readers can tell apart."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

# Okabe & Ito's seven, then the colours farthest from them and from each other in CIELAB, as seen
# with normal vision, deuteranopia and protanopia (Machado et al. 2009), chroma below 72.
PALETTE = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#870F1E",
    "#3C8700", "#870F87", "#D2D287", "#B487FF", "#FF8778", "#3C4B0F", "#87004B", "#00E1E1",
    "#1EE187", "#004BB4", "#F03C78", "#A5783C", "#4B3C69", "#F069D2", "#A5E15A", "#E1B4FF",
    "#0F4B3C", "#0F96A5", "#96E1B4", "#FFA55A",
)  # fmt: skip


def colours_of(names: Iterable[Any], palette: Sequence[str] = PALETTE) -> dict[Any, str]:
    """Name → colour, in the order of the palette, which is cycled through."""
    return {name: palette[i % len(palette)] for i, name in enumerate(names)}


def categories(clusters: np.ndarray) -> tuple[pd.Categorical, list[str]]:
    """Clusters (n_cells,) as categories, and their colours as scanpy and cellxgene store them."""
    in_use = np.unique(clusters)
    named = pd.Categorical(clusters.astype(str), [str(k) for k in in_use])
    return named, list(colours_of(in_use).values())
