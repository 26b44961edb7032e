"""`moesimvae archive` and `verify`: an experiment as one zip, and its scores recomputed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from moesimvae.commands.results import size
from moesimvae.errors import UserError


def add(commands: Any) -> None:
    """The two commands and their options."""
    parser = commands.add_parser("archive", help="pack an experiment to publish it")
    parser.description = (
        "Writes a folder and a zip file of a finished experiment, ready for Zenodo: page, tables, "
        "labels and status of each run, configuration, lock file, code and RO-Crate metadata. To "
        "be run from the checkout."
    )
    parser.add_argument("experiment", help="its name in config.yaml, or own")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="default: %(default)s"
    )
    parser.add_argument("--out", type=Path, default=Path("archives"), help="default: %(default)s")
    parser.set_defaults(run=_write)

    parser = commands.add_parser("verify", help="recompute the scores of an archive")
    parser.description = "Recomputes every score of an archive from its labels."
    parser.add_argument(
        "out", type=Path, metavar="ARCHIVE", help="folder or zip file written by `archive`"
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
        raise UserError(f"{options.out}: {len(found.different)} entries differ, as listed above.")
    print(f"verified   {found.scores:,} scores follow from the labels; every file is as archived")
