"""`moesimvae generate`: new cells of a cluster."""

from __future__ import annotations

import argparse
from typing import Any

from moesimvae import files
from moesimvae.commands.options import common, out, seed, typed
from moesimvae.commands.results import KEY, load, printer, require_new, require_suffix, size
from moesimvae.errors import UserError


def add(commands: Any) -> None:
    """The command and its options."""
    parser = commands.add_parser("generate", help="generate cells of a cluster")
    parser.description = (
        "Writes new cells of one cluster in the units of the clustered file; for counts, whole "
        "numbers."
    )
    parser.add_argument("model", help="folder written by `cluster`, or of a saved model")
    parser.add_argument(
        "--cluster",
        type=typed(int, "the number of a cluster, counted from 0"),
        required=True,
        metavar="K",
        help="number of the cluster, counted from 0",
    )
    parser.add_argument(
        "--n", type=typed(int, "a whole number of cells"), required=True, help="number of cells"
    )
    out(parser, ".csv or .h5ad")
    parser.add_argument(
        "--mean",
        action="store_true",
        help="write the means that the expert decodes, without the scatter of cells around them",
    )
    seed(parser)
    common(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    say = printer(options)
    require_suffix(options.out)
    require_new([options.out], options.force)
    if options.n < 1:
        raise UserError(f"--n is {options.n}; generate at least 1 cell.")

    import anndata
    import pandas as pd

    from moesimvae.data import recipe as recipes
    from moesimvae.data import writable

    model, recipe = load(options)
    values = model.generate(
        options.cluster, options.n, random_state=options.seed, mean=options.mean
    )
    numbered = [f"feature_{i}" for i in range(values.shape[1])]
    names = getattr(model, "feature_names_in_", numbered)
    if recipe is not None:
        names = recipe.features
        if not model.draws_counts:  # which are in the file's units already
            values = recipes.inverted(recipe, values)
    cell = pd.Index([f"cluster{options.cluster}_{i}" for i in range(options.n)], name="cell")
    with files.atomic(options.out) as temporary:
        if options.out.suffix == ".h5ad":
            obs = pd.DataFrame({KEY: pd.Categorical([str(options.cluster)] * options.n)}, cell)
            cells = anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=pd.Index(names)))
            writable.write(cells, temporary)
        else:
            pd.DataFrame(values, cell, names).to_csv(temporary)
    say(f"generated  {options.n:,} cells of cluster {options.cluster} × {len(names):,} features")
    if model.observation_ is None and not options.mean:
        say("note       means: the model has not learned how cells scatter around what it decodes")
    say(f"wrote      {options.out} ({size(options.out)})")
