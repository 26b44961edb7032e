"""`moesimvae predict`: assign new cells with a saved model."""

from __future__ import annotations

import argparse
from time import monotonic
from typing import Any

import moesimvae
from moesimvae.commands.options import at_least, common, genome, out, transpose
from moesimvae.commands.results import (
    ADDED,
    KEY,
    load,
    printer,
    read,
    require_new,
    require_suffix,
    size,
    tell,
    write_cells,
    write_labels,
)
from moesimvae.errors import UserError, first_line

OUTSIDE = 0.01  # report larger shares of unfamiliar cells; 0.001 of the fitted cells count as such


def add(commands: Any) -> None:
    """The command and its options."""
    parser = commands.add_parser("predict", help="assign new cells with a saved model")
    parser.description = (
        "Assigns each cell to a cluster of a saved model. Features are found by name and "
        "transformed as they were for the model."
    )
    parser.add_argument("model", help="folder written by `cluster`, or of a saved model")
    parser.add_argument(
        "cells", help=".h5ad, .csv, .tsv (also .gz), .fcs, .npz, or 10x (.h5 or folder)"
    )
    out(parser, ".csv (cell, cluster, probability) or .h5ad (the cells, annotated)")
    parser.add_argument(
        "--clusters",
        type=at_least(1),
        metavar="N",
        help="merge the model's clusters into N, the least distinct first",
    )
    transpose(parser)
    parser.add_argument("--backed", action="store_true", help="as in `cluster`")
    genome(parser)
    common(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    say = printer(options)
    require_suffix(options.out)
    require_new([options.out], options.force)

    import numpy as np

    from moesimvae import scverse
    from moesimvae.data import recipe as recipes
    from moesimvae.data import writable

    model, recipe = load(options)
    file = read(options, say, None if recipe is None else recipe.compensation)
    if recipe is None:
        names = getattr(model, "feature_names_in_", None)
        recipe = recipes.Recipe(list(file.cells.var_names if names is None else names), [], [])
    annotated = options.out.suffix == ".h5ad"
    if annotated:
        tell(writable.make(file.cells), say)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        writable.require(options.out.parent, file.cells, ADDED)
    parts, codes, outside = [], [], 0
    started = monotonic()
    for piece in recipes.pieces(file, recipe):
        parts.append(model.predict_proba(piece, options.clusters))
        outside += int(model.outside(piece).sum())
        if annotated:
            codes.append(model.transform(piece))
    probabilities = np.concatenate(parts)
    in_use, n_clusters = len(np.unique(probabilities.argmax(axis=1))), probabilities.shape[1]
    say(
        f"assigned   {file.cells.n_obs:,} cells to {in_use} of {n_clusters} clusters in "
        f"{monotonic() - started:.1f} s"
    )
    if outside > OUTSIDE * file.cells.n_obs:
        say(
            f"note       {outside / file.cells.n_obs:.1%} of the cells lie outside what the model "
            "has seen, compared with 0.1 % of the cells that it was fitted to; they may be of a "
            "kind unknown to it"
        )
    if annotated:
        facts = {"model": str(options.model), "version": moesimvae.__version__}
        scverse.annotate(file.cells, probabilities, np.concatenate(codes), KEY, facts)
        try:
            write_cells(options.out, file.cells)
        except Exception as error:
            instead = options.out.with_suffix(".csv")
            if instead.exists():
                instead = options.out.with_suffix(".labels.csv")
            write_labels(instead, file.cells, probabilities)
            raise UserError(
                f"{options.out} could not be written ({first_line(error)}); the clusters of the "
                f"cells are in {instead} instead."
            ) from error
    else:
        write_labels(options.out, file.cells, probabilities)
    say(f"wrote      {options.out} ({size(options.out)})")
