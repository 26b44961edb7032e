"""Figure 3, panel by panel as in the paper: the data, the latent space, and each method's clusters.

A) principal components of the data; B) to I) one latent space by true label and by the clusters of
MoE-Sim-VAE and of six other methods; J) scVI's own latent space by true label and by cluster.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moesimvae.evaluation.matching import match
from moesimvae.nouns import Facts, Method
from moesimvae.report import OWN_SPACE, style, words
from moesimvae.report.figures.inputs import Part
from moesimvae.report.style import DARK, NOISE, PALETTE, QUIET, UNSCORED, Picture, cut, key
from moesimvae.studies.views import Figure3

LETTERS = "CDEFGHIJ"  # of the panels of clusters
PRINT = 300  # dots per inch


def pictures(part: Part) -> Iterator[Picture]:
    for shown in part.experiment.figures3:
        if shown.dataset == part.dataset:
            yield picture(shown, part.experiment.methods, part.facts)


def picture(shown: Figure3, methods: Mapping[str, Method], facts: Facts) -> Picture:
    """The figure with its caption."""
    title = words.title_of(shown.dataset, "all", facts)
    heading = f"Figure 3 on {title}"
    name = f"figure3_{shown.dataset}"
    first = shown.labellings[0]
    if np.isnan(shown.latent).all():
        why = f" ({first.missing})" if first.missing else ""
        reason = f"{_title(methods, first.method)} produced no latent space{why}."
        return Picture.missing(name, shown.dataset, heading, reason)
    drawn = int((~np.isnan(shown.latent[:, 0])).sum())
    n, of_test = len(shown.truth), int(shown.test.sum())
    held_out = of_test < n
    some = f"{drawn:,} of {n:,} cells, drawn at random" if drawn < n else f"All {n:,} cells"
    some += ", training and test cells together" if held_out else ""
    which = f"the {of_test:,} test cells" if held_out else "these cells"
    panels = {letter: _title(methods, run.method)
              for letter, run in zip(LETTERS, shown.labellings, strict=True)}  # fmt: skip
    listed = "; ".join(f"{letter}) {said}" for letter, said in panels.items() if letter < "J")
    prior = any(r.method in methods and methods[r.method].uses_prior for r in shown.labellings)
    lost = [f"{_title(methods, f.method)} ({f.missing})" for f in shown.labellings if f.missing]
    fs = [f"{_title(methods, run.method)} {run.f:.3f}" for run in shown.labellings
          if run.clusters is not None]  # fmt: skip
    caption = [
        f"{heading}. A) First two principal components of the {shown.values}"
        + (", computed on the training cells," if held_out else "")
        + f" with true labels. B) {shown.axes} of the latent space of "
        f"{_title(methods, first.method)} (seed {first.seed}) with true labels; the same points "
        f"coloured by the clusters of {listed}. J) The latent space of "
        f"{_title(methods, OWN_SPACE)} with true labels (left) and its clusters (right).",
        f"{some}. Above each panel: F (FlowCAP) of the run shown (first seed) on {which}, and the "
        "number of clusters. Each cluster has the colour of its matched population (one-to-one "
        "matching with most cells in agreement); further clusters have other colours, and noise is "
        "dark grey.",
        "Every method uses the settings of config.yaml, whereas the paper shows settings chosen on "
        "its test cells.",
        "‡ uses prior knowledge about the cells." if prior else "",
        f"No clusters: {', '.join(lost)}." if lost else "",
        "Distances between groups in a UMAP mean little.",
        words.caveats([facts]).strip(),
    ]
    return Picture(
        name,
        shown.dataset,
        heading,
        " ".join(filter(None, caption)),
        f"Eleven scatter plots of the same cells in three spaces. F of the runs: {', '.join(fs)}.",
        draw(shown, {run.method: _title(methods, run.method) for run in shown.labellings}),
        PRINT,
    )


def _title(methods: Mapping[str, Method], method: str) -> str:
    known = methods.get(method, Method(method))
    return f"{known.title}{' ‡' if known.uses_prior else ''}"


@style.styled
def draw(shown: Figure3, titles: Mapping[str, str]) -> Figure:
    """Eleven panels and a legend in three rows of four; titles: method → its title."""
    colour = style.colours_of(style.populations_of(shown.truth), DARK)
    by_truth = np.array([colour.get(name, UNSCORED) for name in shown.truth])
    figure = style.sheet(6.45, w_pad=0.03, h_pad=0.04, wspace=0.02, hspace=0.02)
    panels = list(figure.subplots(3, 4).ravel())
    legend = panels.pop()
    shares = [f"{100 * share:.0f} %" for share in shown.explained]
    _panel(panels[0], "A", "Data\ntrue labels", shown.data, by_truth)
    panels[0].set(xlabel=f"PC 1 ({shares[0]})", ylabel=f"PC 2 ({shares[1]})")
    ours = titles[shown.labellings[0].method]
    _panel(panels[1], "B", f"{ours}\ntrue labels", shown.latent, by_truth)
    further, of = False, "" if shown.test.all() else "test "
    for panel, letter, run in zip(panels[2:], LETTERS, shown.labellings, strict=False):
        points, mark = shown.latent, letter
        if run.method == OWN_SPACE:
            points, mark = shown.own, ""
            _panel(panels[9], letter, f"{titles[run.method]}\ntrue labels", points, by_truth)
            panel = panels[10]  # noqa: PLW2901
        if run.clusters is None:
            _panel(panel, mark, f"{titles[run.method]}\n{run.missing}", None, None)
            continue
        shades, more = _cluster_colours(shown.truth, run.clusters, colour)
        further |= more
        n = len(set(run.clusters) - {-1})
        said = f"{of}F {run.f:.3f}, {n} cluster{'' if n == 1 else 's'}"
        _panel(panel, mark, f"{titles[run.method]}\n{said}", points, shades)
    for panel in (panels[1], panels[9]):  # the others show the same points
        panel.set(xlabel=f"{shown.axes} 1", ylabel=f"{shown.axes} 2")
    noisy = any((f.clusters == -1).any() for f in shown.labellings if f.clusters is not None)
    _legend(legend, shown.truth, colour, further, noisy)
    return figure


def _cluster_colours(
    truth: np.ndarray, clusters: np.ndarray, colour: Mapping[str, str]
) -> tuple[np.ndarray, bool]:
    """(n,) colours, and whether some clusters are not matched to a population."""
    matched = {c: name for c, (name, first) in match(truth, clusters).items() if first}
    sizes = pd.Series(clusters[clusters >= 0]).value_counts()
    others = [int(c) for c in sizes.index if c not in matched]
    tones = [c for c in PALETTE if c not in colour.values()]
    shade = {-1: NOISE} | {c: colour[name] for c, name in matched.items()}
    shade |= {c: tones[i % len(tones)] for i, c in enumerate(others)}
    return np.array([shade[c] for c in clusters]), bool(others)


def _panel(
    panel: Axes, letter: str, title: str, points: np.ndarray | None, colours: np.ndarray | None
) -> None:
    panel.set(xticks=[], yticks=[])
    panel.set_box_aspect(1)
    panel.xaxis.label.set_fontsize(7)
    panel.yaxis.label.set_fontsize(7)
    panel.xaxis.labelpad = panel.yaxis.labelpad = 1.5
    for spine in panel.spines.values():
        spine.set(visible=True, color="#CFCFCF", linewidth=0.6)
    head, below = title.split("\n")
    left = 0.14 if letter else 0.0
    panel.text(0, 1.035, letter, transform=panel.transAxes, weight="bold", fontsize=12, va="bottom")
    panel.text(left, 1.035, f"{cut(head, 25)}\n{below}", transform=panel.transAxes, fontsize=7.6,
               va="bottom", linespacing=1.15)  # fmt: skip
    if points is None or colours is None or np.isnan(points).all():
        panel.text(0.5, 0.5, "nothing to show", transform=panel.transAxes, ha="center",
                   color=QUIET)  # fmt: skip
        return
    drawn = np.flatnonzero(~np.isnan(points[:, 0]))
    order = np.random.default_rng(0).permutation(drawn)  # no population hides another
    size = float(np.clip(5_000 / len(order), 0.5, 8))
    x, y = points[order].T
    panel.scatter(x, y, s=size, c=colours[order], linewidths=0, rasterized=True)


def _legend(
    panel: Axes, truth: np.ndarray, colour: Mapping[str, str], further: bool, noisy: bool
) -> None:
    entries = [(c, cut(name.replace("_", " "), 22)) for name, c in colour.items()]
    tones = [c for c in PALETTE if c not in colour.values()]
    entries += [(tones[0], "other colours:\nfurther clusters")] if further else []
    entries += [(NOISE, "noise")] if noisy else []
    entries += [(UNSCORED, "no true label")] if (truth == "").any() else []
    panel.axis("off")
    handles = [key(text, c, size=6) for c, text in entries]
    panel.legend(handles=handles, loc="center left", bbox_to_anchor=(0.02, 0.5), fontsize=8,
                 handletextpad=0.3, labelspacing=0.55 if len(entries) < 12 else 0.25)  # fmt: skip
