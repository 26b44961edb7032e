"""The page of one clustering by `moesimvae cluster`: figures first, then how it was made."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from moesimvae import files, handover
from moesimvae.data import recipe as recipes
from moesimvae.data.cells import CellFile, read_cells
from moesimvae.data.profiles import Profiles, profiles
from moesimvae.errors import UserError
from moesimvae.report import style
from moesimvae.report.figures import abundance, latent_space, markers, merges
from moesimvae.report.figures.clusters import MOST
from moesimvae.report.pages.pictures import pictures_of
from moesimvae.report.style import Picture
from moesimvae.report.tables import Cell, Table, plain
from moesimvae.report.tables.html import render
from moesimvae.report.tables.sureness import HARDLY, UNSTRUCTURED, mark
from moesimvae.studies.panels import MARKERS, Panel, medians
from moesimvae.studies.projections import shown

KEY = "moesimvae"
PAGE, FIGURES = "report.html", "figures"
EACH = 3  # features per cluster in a heat map of genes
HIGHEST = 5  # the same in the table of clusters


def write(folder: str | Path) -> Path:
    """Write report.html and figures/ to a folder made by `cluster`; return the page's path.

    Raises UserError for any other folder.
    """
    folder = Path(folder)
    if not (folder / "cells.h5ad").is_file():
        raise UserError(
            f"{folder} has no cells.h5ad; give a folder written by `moesimvae cluster`."
        )
    file = read_cells(folder / "cells.h5ad")
    if KEY not in file.cells.uns:
        raise UserError(f"{folder / 'cells.h5ad'} has no clusters; run `moesimvae cluster`.")
    facts = file.cells.uns[KEY]
    labels = file.cells.obs[KEY].astype(int).to_numpy()
    values = _values(file, folder)
    found = None if values is None else profiles(values, labels)
    style.write(_pictures(file, facts, labels, values, found), folder / FIGURES)
    page = render(
        "clustered.html.j2",
        title=f"Clusters of {facts['file']}",
        summary=_summary(file, facts, labels)
        + " The values remain in the original file, so there is no heat map." * (values is None),
        pictures=pictures_of([folder / FIGURES], folder)[""],
        clusters=_table(file, facts, labels, values, found),
        methods=_text_of(folder / "methods.md"),
        facts=plain(
            "Facts of the fit",
            ["Fact", "Value"],
            [*_lines(facts.get("evidence", {}), "number of clusters:"), *_lines(facts["facts"])],
        ),
        files=sorted(p.name for p in folder.iterdir() if p.name not in (PAGE, FIGURES)),
    )
    files.write_text(folder / PAGE, page)
    return folder / PAGE


def _values(file: CellFile, folder: Path) -> anndata.AnnData | None:
    """The cells as they were clustered; None if their values were left in the file."""
    recipe = recipes.load(folder / "model")
    if recipe is None or (file.cells.X is None and not file.on_disk):
        return None
    return recipes.prepared(file, recipe)


def _summary(file: CellFile, facts: Mapping[str, Any], labels: np.ndarray) -> str:
    told = facts["facts"].get("stability")
    unstructured = "" if told is None or told["structure"] else f" {UNSTRUCTURED}"
    unsure = float((file.cells.obs[f"{KEY}_probability"] < 0.5).mean())
    return (
        f"{len(labels):,} cells in {len(set(labels))} clusters (number asked for: "
        f"{facts['clusters']}). Clustered on {facts['features']} features; transform: "
        f"{facts['transform']}. For {unsure:.1%} of the cells, the probability of their cluster is "
        f"below 0.5.{unstructured}"
    )


def _unstable(facts: Mapping[str, Any]) -> frozenset[int]:
    """Clusters that are hardly clusters; empty where stability was not measured."""
    from moesimvae.model.stability import STABLE

    return frozenset(np.flatnonzero(np.asarray(facts.get("stability", ())) < STABLE).tolist())


def _pictures(
    file: CellFile,
    facts: Mapping[str, Any],
    labels: np.ndarray,
    values: anndata.AnnData | None,
    found: Profiles | None,
) -> Iterator[Picture]:
    points = file.cells.obsm[f"X_{KEY}_map"]
    some = shown(len(labels), 0)
    title = f"Latent space of {facts['file']}"
    axes = str(facts["map"])
    n = len(set(labels))
    yield Picture(
        "latent_space",
        "",
        title,
        f"{title}: {len(some):,} of {len(labels):,} cells in {n} clusters, each in its own colour "
        "(28 colours, then repeated)."
        f"{' Distances between groups in a UMAP mean little.' * (axes == 'UMAP')}"
        f"{f' {HARDLY}: hardly a cluster.' * bool(_unstable(facts))}",
        f"Scatter plot of the cells in {n} clusters.",
        latent_space.draw(
            points[some],
            np.full(len(some), "", object),
            labels[some],
            title,
            axes,
            _unstable(facts),
        ),
    )
    if values is not None and found is not None:
        yield _heat_map(values, labels, found)
    if "merges" in facts:
        title = "What the clusters would merge into"
        sizes = np.bincount(labels, minlength=facts["n_clusters"])
        yield Picture(
            "merges",
            "",
            title,
            f"{title}: clusters that often form one group when half of the cells are grouped again "
            "are joined near the left; those joined at the right are always separate.",
            f"Tree of {len(sizes)} clusters.",
            merges.draw(facts["merges"], sizes, title, _unstable(facts)),
        )
    if facts["sample"]:
        table = handover.abundance(file.cells.obs[facts["sample"]].astype(str), labels)
        shares = table.pivot(index="cluster", columns="sample", values="share")
        title = "Clusters by sample"
        yield Picture(
            "abundance",
            "",
            title,
            f"{title}: share of each sample's cells in each cluster; clusters and samples are "
            "ordered by average linkage. The numbers are in abundance.csv.",
            f"Heat map of {shares.shape[0]} clusters by {shares.shape[1]} samples.",
            abundance.draw(shares, title),
        )


def _heat_map(values: anndata.AnnData, labels: np.ndarray, found: Profiles) -> Picture:
    """All markers of a panel, or for more features those that stand out in a cluster."""
    chosen, which = np.arange(values.n_vars), "all features"
    if values.n_vars > MARKERS:
        each = [found.highest(c, EACH) for c in found.in_use[:MOST]]
        chosen = np.unique(np.concatenate(each))[:MARKERS]
        which = f"the {EACH} features per cluster that stand out most"
    part = values[:, chosen].X
    dense = np.asarray(part.toarray() if hasattr(part, "toarray") else part)
    few = values.n_vars <= MARKERS  # medians of single genes are mostly 0
    if few:
        table = medians(Panel(dense, list(values.var_names)), labels, MOST)
    else:
        rows = np.sort(found.in_use[:MOST])
        table = pd.DataFrame(found.means[np.ix_(rows, chosen)], rows, values.var_names[chosen])
    what = "Median" if few else "Mean"
    title = "Features by cluster"
    sizes = pd.Series(labels).value_counts()
    highest = ", ".join(f"{c} {row.idxmax()}" for c, row in table.iterrows())
    return Picture(
        "features",
        "",
        title,
        f"{title}: {what.lower()} in each cluster of {which}, on the scale used for clustering; "
        "clusters and features are ordered by average linkage, and the tree on the left shows "
        "which clusters are similar. Right: number of cells in each cluster.",
        f"Heat map of {len(table)} clusters by {table.shape[1]} features. Highest: {highest}.",
        markers.draw(table, sizes, {}, title, f"{what}, as clustered"),
    )


def _table(
    file: CellFile,
    facts: Mapping[str, Any],
    labels: np.ndarray,
    values: anndata.AnnData | None,
    found: Profiles | None,
) -> Table:
    stability = facts.get("stability")
    sizes = pd.Series(labels).value_counts()
    sure = pd.Series(file.cells.obs[f"{KEY}_probability"].to_numpy()).groupby(labels).mean()
    rows, unstable = [], _unstable(facts)
    for cluster, size in sizes.items():
        top = ""
        if values is not None and found is not None:
            highest = found.highest(cluster, HIGHEST)
            top = ", ".join(f"{values.var_names[i]} {found.means[cluster, i]:.2f}" for i in highest)
        share = size / len(labels)
        stable = "" if stability is None else f"{stability[cluster]:.2f}"
        numbers = [f"{size:,}", f"{share:.1%}", f"{sure[cluster]:.2f}", stable]
        rows.append([mark(cluster, unstable), *numbers, Cell(top, kind="text")])
    return plain(
        "Clusters",
        ["Cluster", "Cells", "Share", "Probability", "Stability", "Features that stand out (mean)"],
        rows,
        numbers=(1, 2, 3, 4),
        caption="Largest cluster first. Probability: mean over its cells. Stability: how well the "
        f"cluster is recovered from half of the cells (mean Jaccard index; {HARDLY}: below 0.6, "
        "hardly a cluster). Features: those whose mean is farthest above that of all cells, in "
        "standard deviations.",
    )


def _text_of(path: Path) -> str:
    return path.read_text("utf-8") if path.is_file() else ""


def _lines(facts: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Cell]]:
    """Facts of a fit, flattened level by level, as names and values."""
    for name, value in facts.items():
        words = f"{above} {name}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from _lines(value, words)
        else:
            many = np.ravel(value).tolist()
            yield words, Cell(", ".join(map(str, many)), kind="text")
