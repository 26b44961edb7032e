"""`moesimvae cluster`: cluster your own cells."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from moesimvae import files
from moesimvae.commands.options import (
    Names,
    above_zero,
    at_least,
    common,
    genome,
    number_or_auto,
    seed,
    transpose,
    typed,
)
from moesimvae.commands.results import (
    ABUNDANCE,
    ADDED,
    CELLS,
    CHECKPOINT,
    FCS,
    KEY,
    LABELS,
    METHODS,
    MODEL,
    RESULTS,
    SEURAT,
    TABLE,
    move,
    printer,
    read,
    require_new,
    size,
    staged,
    tell,
    write_cells,
    write_labels,
)
from moesimvae.data.formats import SUFFIXES, suffix
from moesimvae.errors import UserError, first_line
from moesimvae.model.presets import PRESETS
from moesimvae.names import hint, listed
from moesimvae.nouns import TRANSFORMS

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData

    from moesimvae.data.cells import CellFile
    from moesimvae.data.recipe import Recipe
    from moesimvae.model.stability import Evidence

TOLD_PAIRS = 3  # reported pairs of clusters that are often found in one group
UNSTRUCTURED = (
    "the cells are no closer to each other than after shuffling their values, so the clusters "
    "are arbitrary parts of one cloud"
)


def add(commands: Any) -> None:
    """The command and its options."""
    parser = commands.add_parser("cluster", help="cluster the cells of a file")
    parser.description = (
        f"Writes into the folder OUT: {LABELS} (cell, cluster, probability), {CELLS} (the contents "
        f"of the file, with clusters in obs['{KEY}'], latent codes in obsm['X_{KEY}'], a map of "
        f"them in obsm['X_{KEY}_map'] and the settings in uns['{KEY}']), {METHODS} to paste into a "
        f"paper, and {MODEL}/ for `predict` and `generate`; for FCS also {FCS}/, the files with "
        f"the results as additional parameters, and for several files {ABUNDANCE}."
    )
    parser.add_argument(
        "cells",
        nargs="+",
        help=".h5ad, .csv, .tsv (also .gz), .fcs, .npz, or 10x (.h5 or folder); several .fcs files "
        "are clustered together",
    )
    parser.add_argument(
        "--out", type=Path, help="folder for the results; default: next to the file, …_clustered"
    )
    parser.add_argument(
        "--clusters",
        type=typed(number_or_auto, "a whole number of at least 2, or auto"),
        metavar="K",
        help="number of clusters; default, or 'auto': estimated from the cells",
    )
    parser.add_argument("--preset", choices=PRESETS, default="default", help="default: %(default)s")
    seed(parser)
    values = parser.add_argument_group("what to cluster")
    values.add_argument(
        "--features",
        nargs="+",
        action=Names,
        default=[],
        metavar="NAME",
        help="names or patterns ('CD*') of the features to use; @FILE lists one per line; "
        "default: all numeric columns except those that do not look like markers",
    )
    values.add_argument(
        "--drop",
        nargs="+",
        action=Names,
        default=[],
        metavar="NAME",
        help="features to leave out, given in the same way",
    )
    values.add_argument(
        "--transform",
        choices=TRANSFORMS,
        default="auto",
        help="counts: library size 10,000, then log(1 + x); auto (default): arcsinh for FCS and "
        "for an h5ad of mass cytometry, counts for other non-negative integers in an h5ad or 10x "
        "file, else none",
    )
    values.add_argument(
        "--cofactor",
        type=typed(float, "a positive number, with a decimal point"),
        metavar="C",
        help="C in arcsinh(x / C); default: 5, or 150 for an FCS file from a flow cytometer",
    )
    values.add_argument(
        "--compensate",
        metavar="file|CSV",
        help="compensate fluorescence with the matrix in the FCS file ('file') or in a csv file; "
        "default: no compensation",
    )
    transpose(values)
    values.add_argument("--layer", default="", help="layer of an h5ad, instead of X")
    values.add_argument(
        "--use-rep", default="", metavar="KEY", help="entry in obsm of an h5ad, instead of X"
    )
    values.add_argument(
        "--min-counts",
        type=int,
        default=0,
        metavar="N",
        help="leave out cells with fewer than N counts over all features, such as barcodes without "
        "a cell",
    )
    genome(values)
    values.add_argument(
        "--backed",
        action="store_true",
        help="leave the values of an h5ad on disk (automatic above 4 GiB); cells.h5ad then "
        "contains the annotation without the values",
    )
    model = parser.add_argument_group("how to cluster")
    model.add_argument("--similarity", metavar="KIND", help="default: that of the preset")
    model.add_argument(
        "--prior",
        metavar="COLUMN|CSV",
        help="partially known groups: a column of the cell annotation, or a csv file with cell and "
        "group; empty = unknown",
    )
    model.add_argument(
        "--steps",
        type=at_least(1),
        metavar="N",
        help="maximum number of training steps; default: until training has settled",
    )
    model.add_argument(
        "--time",
        type=typed(above_zero, "a number of seconds above 0"),
        metavar="SECONDS",
        help="maximum training time, after which training ends, settled or not",
    )
    model.add_argument(
        "--resamples",
        type=at_least(0),
        default=20,
        metavar="N",
        help="number of times that half of the cells are clustered again, to assess how stable "
        "the clusters are; 0: no assessment (default: %(default)s)",
    )
    results = parser.add_argument_group("results")
    results.add_argument(
        "--sample",
        metavar="COLUMN",
        help=f"column of the cell annotation that gives the sample, for {ABUNDANCE}; default: for "
        "several files, the file",
    )
    results.add_argument(
        "--also",
        choices=("csv", "seurat"),
        action="append",
        default=[],
        help=f"csv: {TABLE}, all values and results as numbers, for OMIQ and Cytobank; seurat: "
        f"{SEURAT}, which SeuratDisk converts; may be given twice",
    )
    common(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    say = printer(options)
    if options.out is None:
        options.out = _beside(options.cells)
    require_new([options.out / name for name in RESULTS], options.force)

    from moesimvae import handover
    from moesimvae.data import compensation, writable
    from moesimvae.data import recipe as recipes

    asked = compensation.asked_for(options.compensate)
    file = read(options, say, asked)
    handover.require_values(file, options.also)
    n_cells = file.cells.n_obs
    file = recipes.with_counts(file, options.min_counts, options.layer)
    if options.min_counts:
        say(
            f"cells      {file.cells.n_obs:,} of {n_cells:,} with {options.min_counts:,} counts "
            "or more"
        )
    if options.sample and options.sample not in file.cells.obs:
        raise UserError(
            f"{file.path} has no sample column '{options.sample}' in obs; "
            f"{hint(options.sample, list(file.cells.obs))}."
        )
    in_table = [n for n in (options.prior, options.sample) if n in file.cells.obs]
    drop = _names(options.drop)
    if not (options.features or drop or options.use_rep):
        drop = recipes.left_out(file)
        if drop:
            say(
                f"left out   {listed(drop, 12)} (apparently not markers; --features overrides this)"
            )
    drop = list(dict.fromkeys([*drop, *(in_table if file.kind == "table" else ())]))
    chosen = recipes.choose(file, _names(options.features), drop, options.use_rep)
    recipe, words = recipes.make(
        file, chosen, options.transform, options.cofactor, options.layer, options.use_rep
    )
    recipe = replace(recipe, compensation=asked)
    say(f"features   {len(chosen):,}: {listed(chosen, 12)}")
    say(f"transform  {words}")
    if file.compensation:
        say(
            f"note       the file contains a compensation matrix (${file.compensation}) that is "
            "not used; if its values are not yet compensated, use --compensate file"
        )
    if empty := recipes.empty_barcodes(file, recipe):
        say(f"note       {empty}")
    prior = None if options.prior is None else _prior(options.prior, file)
    tell(writable.make(file.cells), say)
    with staged(options) as staging:
        writable.require(staging, file.cells, ADDED)
        _fit_and_write(options, file, recipe, words, prior, staging, say)
    for name in RESULTS:
        if (options.out / name).exists():
            say(f"wrote      {options.out / name} ({size(options.out / name)})")
    say(f"next       moesimvae report {options.out}")


def _names(given: Sequence[str]) -> list[str]:
    """Names as given, with each @FILE replaced by those in it."""
    names = []
    for name in given:
        if not name.startswith("@"):
            names.append(name)
            continue
        try:
            lines = Path(name[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{name[1:]} cannot be read ({error}).") from error
        names += [line.strip() for line in lines if line.strip()]
    return names


def _beside(cells: Sequence[str]) -> Path:
    """Default folder for results: beside the file, named after it."""
    first = Path(cells[0])
    if len(cells) > 1:
        return first.parent / "clustered"
    return first.parent / f"{first.name.removesuffix(suffix(first))}_clustered"


def _fit_and_write(
    options: argparse.Namespace,
    file: CellFile,
    recipe: Recipe,
    transform: str,
    prior: np.ndarray | None,
    staging: Path,
    say: Any,
) -> None:
    import anndata

    from moesimvae import handover, paragraph, scverse
    from moesimvae.data import recipe as recipes
    from moesimvae.model.estimator import MoESimVAE

    if file.on_disk:
        recipes.write_prepared(file, recipe, staging / "prepared.h5ad")
        cells = anndata.read_h5ad(staging / "prepared.h5ad", backed="r")
    else:
        cells = recipes.prepared(file, recipe)
        recipes.require_differences(cells, file.path)
    n_clusters = options.clusters
    if n_clusters is None:
        evidence = _estimate(cells, options)
        n_clusters = evidence.n_clusters
        say(f"clusters   {evidence}")
    settings = {"similarity": options.similarity, "steps": options.steps}
    settings |= {"max_seconds": options.time}
    settings = {name: value for name, value in settings.items() if value is not None}
    started = monotonic()
    model = MoESimVAE.preset(
        options.preset,
        n_clusters,
        **settings,
        random_state=options.seed,
        device=options.device,
        cache=options.out / CHECKPOINT,
        checkpoint=options.out / CHECKPOINT,
        progress=not options.quiet,
    ).fit(cells, prior=prior, counts=recipes.counts(file, recipe))
    seconds = monotonic() - started
    say(
        f"clustered  into {len(set(model.labels_))} of {n_clusters} clusters in {seconds:.0f} s "
        f"on {model.facts_['device']}; {model.facts_['ended'][-1]} after {model.facts_['steps']} "
        "steps"
    )
    if options.resamples and _can_be_assessed(model):
        _assess(model, cells, options, say)
    sample = file.cells.obs["sample"] if file.samples else None
    write_labels(staging / LABELS, file.cells, model.probabilities_, sample)
    try:
        model.save(staging / MODEL)
        recipe.save(staging / MODEL)
    except Exception as error:
        if (options.out / LABELS).exists():  # those of an earlier run, which are kept intact
            raise
        move(options, staging, (LABELS,))
        raise UserError(
            f"{options.out / MODEL} could not be written ({first_line(error)}), but "
            f"{options.out / LABELS} was."
        ) from error
    move(options, staging, (LABELS, MODEL))
    facts = scverse.described(model, options.preset) | {
        "file": file.path.name,
        "steps": [str(step) for step in recipe.steps],
        "layer": recipe.layer,
        "use_rep": recipe.use_rep,
        "transform": transform,
        "features": len(recipe.features),
        "clusters": f"{n_clusters}, given",
        "seconds": round(seconds, 1),
        "sample": options.sample or ("sample" if file.samples else ""),
        "compensated": str(options.compensate or ""),
        "packages": paragraph.packages(),
    }
    if options.clusters is None:
        facts["clusters"], facts["evidence"] = f"{evidence}", scverse.storable(evidence.facts())
    if "stability" in model.facts_:
        facts |= {"stability": model.stability_, "merges": model.merges_}
    points, facts["map"] = handover.map_of(model.embedding_, model.seed_)
    scverse.annotate(file.cells, model.probabilities_, model.embedding_, KEY, facts)
    file.cells.obsm[f"X_{KEY}_map"] = points
    if not recipe.use_rep:
        file.cells.var[f"{KEY}_clustered"] = file.cells.var_names.isin(recipe.features)
    try:
        write_cells(staging / CELLS, file.cells)
        move(options, staging, (CELLS,))
    except Exception as error:  # hours of work are kept, whatever fails here
        raise UserError(
            f"{options.out / CELLS} could not be written ({first_line(error)}), but "
            f"{options.out / LABELS} and {options.out / MODEL} were; `moesimvae predict "
            f"{options.out} {file.path} --out NEW.h5ad` writes the annotated cells."
        ) from error
    say(_summary(cells, model.labels_))
    _write_for_others(options, file, model, points, staging)


def _assess(model: Any, cells: AnnData, options: argparse.Namespace, say: Any) -> None:
    from moesimvae.model.stability import STABLE

    model.assess(cells, options.resamples)
    told = model.facts_["stability"]
    unstable = [str(k) for k, share in enumerate(model.stability_) if share < STABLE]
    in_use = len(set(model.labels_))
    say(
        f"stability  {in_use - len(unstable)} of {in_use} clusters are recovered from half of the "
        f"cells (mean Jaccard index of {STABLE} or more); probabilities are calibrated"
    )
    if unstable:
        say(f"unstable   {listed(unstable, 12)}")
    for a, b, share in told["together"][:TOLD_PAIRS]:
        say(f"together   cells of clusters {a} and {b} fall into one group {share:.0%} of the time")
    if not told["structure"]:
        say(f"note       no structure was found: {UNSTRUCTURED}")


def _can_be_assessed(model: Any) -> bool:
    """Whether stability can be assessed: of several clusters, with the similarity for cells."""
    phases = model.facts_["similarity"]
    return bool(phases) and phases[0]["kind"] == "communities" and len(set(model.labels_)) > 1


def _write_for_others(
    options: argparse.Namespace, file: CellFile, model: Any, points: np.ndarray, staging: Path
) -> None:
    """Write the files for other programs, and the methods paragraph for a paper."""
    from moesimvae import handover, paragraph

    further = handover.columns(KEY, model.labels_, model.probabilities_.max(axis=1), points)
    facts = file.cells.uns[KEY]
    files.write_text(staging / METHODS, paragraph.of_cells(facts, file.cells.n_obs))
    if facts["sample"]:
        table = handover.abundance(file.cells.obs[facts["sample"]].astype(str), model.labels_)
        table.to_csv(staging / ABUNDANCE, index=False, float_format="%.6f")
    if file.kind == "fcs":
        handover.write_fcs_files(file, further, staging / FCS)
    if "csv" in options.also:
        handover.write_table(file, further, staging / TABLE)
    if "seurat" in options.also:
        handover.write_for_seurat(file.cells, staging / SEURAT)
    move(options, staging, [name for name in RESULTS if (staging / name).exists()])


def _estimate(cells: AnnData, options: argparse.Namespace) -> Evidence:
    from moesimvae.model.cells import matrix_of
    from moesimvae.model.stability import estimate

    evidence = estimate(matrix_of(cells), seed=options.seed)
    if evidence.n_clusters < 2:
        raise UserError(
            f"{evidence}; to cluster them anyway, give the number of clusters: --clusters NUMBER."
        )
    return evidence


def _prior(given: str, file: CellFile) -> np.ndarray:
    """Groups of the cells, −1 = unknown, from a column of the file or from a csv."""
    import pandas as pd

    from moesimvae.scverse import known_groups

    if given in file.cells.obs:
        return known_groups(file.cells.obs[given])
    if SUFFIXES.get(suffix(given)) != "table":
        raise UserError(
            f"--prior {given} is neither a text column in {file.path} (it has: "
            f"{', '.join(file.cells.obs) or 'none'}) nor a csv file."
        )
    try:
        table = pd.read_csv(given, sep=None, engine="python", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{given} cannot be read ({first_line(error)}).") from error
    if table.shape[1] != 2 or table.iloc[:, 0].duplicated().any():
        raise UserError(
            f"{given} has {table.shape[1]} columns; expected two, cell and group, with each cell "
            "once."
        )
    groups = table.set_index(table.columns[0]).iloc[:, 0]
    strange = groups.index.difference(file.cells.obs_names)
    if len(strange):
        raise UserError(f"{given} names cells that are not in {file.path} ({listed(strange)}).")
    return known_groups(groups.reindex(file.cells.obs_names))


def _summary(cells: AnnData, labels: np.ndarray, n_top: int = 3) -> str:
    """Clusters by size, with the features whose means stand out most, in standard deviations."""
    from moesimvae.data.profiles import profiles

    found = profiles(cells, labels)
    lines = ["cluster    cells   share  top features relative to all cells (mean, as clustered)"]
    for cluster in found.in_use:
        top = found.highest(cluster, n_top)
        shown = ", ".join(f"{cells.var_names[i]} {found.means[cluster, i]:.2f}" for i in top)
        share = found.sizes[cluster] / len(labels)
        lines.append(f"{cluster:>7}{found.sizes[cluster]:>9,}{share:>8.1%}  {shown}")
    return "\n".join(lines)
