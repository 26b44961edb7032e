"""`moesimvae archive` and `verify`: an experiment as one zip, and its scores recomputed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from moesimvae.commands.results import size
from moesimvae.errors import UserError


def add(commands: Any) -> None:
    """The two commands and their options."""
    parser = commands.add_parser("archive", help="an experiment as one zip to publish")
    parser.description = (
        "Writes a folder and a zip of a finished experiment, ready for Zenodo: page, tables, "
        "labels and status of each run, configuration, lock and code; RO-Crate metadata. Called "
        "from the checkout."
    )
    parser.add_argument("experiment", help="as in config.yaml, or own")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="default: %(default)s"
    )
    parser.add_argument("--out", type=Path, default=Path("archives"), help="default: %(default)s")
    parser.set_defaults(run=_write)

    parser = commands.add_parser("verify", help="recompute the scores of such a zip")
    parser.description = "Computes every score of an archive anew from its labels."
    parser.add_argument(
        "out", type=Path, metavar="ARCHIVE", help="what `archive` wrote: folder or zip"
    )
    parser.set_defaults(run=_check)


def _write(options: argparse.Namespace) -> None:
    from moesimvae import archive

    path = archive.write(options.experiment, options.results, Path(), options.out)
    print(f"wrote      {path.with_suffix('')} and {path.name} ({size(path)})")


def _check(options: argparse.Namespace) -> None:
    from moesimvae import archive

    found = archive.verify(options.out)
    for sentence in found.different:
        print(f"differs    {sentence}")
    if found.skipped:
        print(f"left out   {', '.join(found.skipped)}: needs the features, which are not archived")
    if found.different:
        raise UserError(f"{options.out}: {len(found.different)} things differ, as told above.")
    print(f"verified   {found.scores:,} scores follow from the labels; every file is as archived")
