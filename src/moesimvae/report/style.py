"""How every figure looks, and how it is written to disk."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from textwrap import fill, wrap
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from PIL import Image

from moesimvae import files
from moesimvae.colours import PALETTE, colours_of
from moesimvae.nouns import Method

VISIBLE, FEW_PIXELS = 40, 60  # of 255 in a channel; a legend marker has some 60 pixels
WIDTH = 7.2  # inches: an A4 page within its margins
DPI = 160
MANY_PANELS = 12

# Thin lines and small dots on white need the darker colours.
DARK = [c for c in PALETTE if np.dot(to_rgb(c), (0.3, 0.59, 0.11)) < 0.68]
UNSCORED, NOISE, CONTROL, QUIET = "#D9D9D9", "#4D4D4D", "#8C8C8C", "#6B6B6B"
FAILED = "#8A1C1C"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "pdf.fonttype": 42,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a $ in the name of a file, marker or population is not a formula
}
HALO = [patheffects.withStroke(linewidth=2.4, foreground="white")]


@dataclass
class Picture:
    """A figure with its texts: caption below it, alt text in its place."""

    name: str
    dataset: str
    title: str
    caption: str
    alt: str
    figure: Figure
    dpi: int = DPI

    @classmethod
    def missing(cls, name: str, dataset: str, title: str, why: str, joint: str = ". ") -> "Picture":
        """A stand-in for a figure that cannot be shown."""
        said = f"{title} cannot be shown{joint}{why.rstrip('.')}."
        return cls(name, dataset, title, said, said, unavailable(title, why))


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    @wraps(draw)
    def inside(*args: Any, **kwargs: Any) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inside


def sheet(height: float, title: str = "", size: float = 10.5, **pads: Any) -> Figure:
    """An empty figure as wide as a printed page; height in inches, pads as in matplotlib's
    ConstrainedLayoutEngine.
    """
    figure = Figure((WIDTH, height), layout=ConstrainedLayoutEngine(**pads))
    if title:
        figure.suptitle(title, fontsize=size)
    return figure


@styled
def unavailable(title: str, reason: str) -> Figure:
    """A figure that says why there is none."""
    figure = sheet(1.5, title)
    panel = figure.subplots()
    panel.axis("off")
    panel.text(0.5, 0.5, fill(reason, 90), ha="center", va="center", color=QUIET, fontsize=10)
    return figure


def key(label: str, color: str = QUIET, marker: str = "o", size: float = 5, **look: Any) -> Line2D:
    """A legend entry: a sign and its meaning."""
    look = {"linestyle": ""} | look
    return Line2D([], [], color=color, marker=marker, markersize=size, label=label, **look)


# legend styles of a bar at the mean and of a published value
MEAN: dict[str, Any] = {"marker": "|", "size": 7, "markeredgewidth": 2}
HOLLOW: dict[str, Any] = {"color": "black", "markerfacecolor": "none"}


def legend_below(figure: Figure, keys: Sequence[Any], columns: int, **look: Any) -> None:
    figure.legend(handles=keys, loc="outside lower center", ncols=columns, **look)


def hide(panels: Iterable[Axes]) -> None:
    for panel in panels:
        panel.set_visible(False)


def log_axis(axes: Axes, which: str = "x") -> None:
    """Make the x or y axis logarithmic, with few, plainly written ticks; call it after drawing.

    Limits are set slightly beyond the data, which must be positive.
    """
    axis: Axis = getattr(axes, f"{which}axis")
    axes.set(**{f"{which}scale": "log"})
    low, high = axes.dataLim.intervalx if which == "x" else axes.dataLim.intervaly
    span = max(np.log10(high / low), 0.3)
    low, high = low / 10 ** (0.06 * span), high * 10 ** (0.06 * span)
    axes.set(**{f"{which}lim": (low, high)})
    decades = np.log10(high / low)
    steps = (1, 2, 5) if decades < 1 else (1, 3) if decades < 1.8 else (1,)
    axis.set_major_locator(mpl.ticker.LogLocator(subs=steps, numticks=6))
    axis.set_minor_locator(mpl.ticker.NullLocator())
    axis.set_major_formatter(mpl.ticker.FuncFormatter(_plain))


def _plain(value: float, _: int) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:.3g}"


def write(pictures: Iterable[Picture], folder: str | Path) -> None:
    """Write each figure as PNG and PDF, and `figures.json` with names, captions and alt texts.

    The same figure gives the same bytes: no dates are written.
    """
    folder = Path(folder)
    listed = []
    for picture in pictures:
        with mpl.rc_context(STYLE):
            if layout := picture.figure.get_layout_engine():
                layout.execute(picture.figure)
            picture.figure.set_layout_engine("none")  # one layout serves both formats
            with files.atomic(folder / f"{picture.name}.png") as path:
                picture.figure.savefig(path, dpi=picture.dpi, metadata={"Software": None})
                _to_palette(path)
            with files.atomic(folder / f"{picture.name}.pdf") as path:
                # Each panel with dots keeps a bitmap of the whole figure in memory.
                dpi = DPI * 2 if len(picture.figure.axes) <= MANY_PANELS else DPI
                picture.figure.savefig(path, dpi=dpi, metadata={"CreationDate": None})
        texts = ("dataset", "title", "caption", "alt")
        listed.append({"file": f"{picture.name}.png"} | {k: getattr(picture, k) for k in texts})
    files.write_json(folder / "figures.json", listed)


def _to_palette(path: Path) -> None:
    """Rewrite a PNG with 256 colours: a third of the size, so that a page of many stays small.

    Skipped where it would show: where more than a few pixels would visibly change colour.
    """
    with Image.open(path) as image:
        whole = image.convert("RGB")
    reduced = whole.quantize(256, dither=Image.Dither.NONE)
    change = np.asarray(whole, np.int16) - np.asarray(reduced.convert("RGB"), np.int16)
    shows = (np.abs(change).max(axis=2) > VISIBLE).sum() > FEW_PIXELS
    (whole if shows else reduced).save(path, optimize=True)


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def wrapped(text: str, width: int) -> str:
    return "\n".join(wrap(text, width))


def method_colours(methods: Mapping[str, Method]) -> dict[str, str]:
    """A colour for each method, the same in every figure; controls are grey."""
    colours = colours_of((n for n, block in methods.items() if not block.control), DARK)
    return {name: colours.get(name, CONTROL) for name in methods}


def lighter(colour: str) -> str:
    red, green, blue = (0.45 * channel + 0.55 for channel in to_rgb(colour))
    return mpl.colors.to_hex((red, green, blue))


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key for natural order: 2 before 10."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name) if p]


def populations_of(truth: Iterable[str]) -> list[str]:
    """The labels of scored cells, in natural order."""
    return sorted(set(truth) - {""}, key=natural)
