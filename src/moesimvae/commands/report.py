"""`moesimvae report`: a page of what `cluster` found."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from moesimvae.commands.results import size
from moesimvae.errors import UserError


def add(commands: Any) -> None:
    """The command and its options."""
    parser = commands.add_parser("report", help="make a page from the results of `cluster`")
    parser.description = (
        "Writes report.html into the folder, a page that works offline: latent space, heat map of "
        "markers by cluster, sizes, samples, and how the results were obtained."
    )
    parser.add_argument("out", type=Path, metavar="FOLDER", help="folder written by `cluster`")
    parser.set_defaults(run=_run, quiet=False)


def _run(options: argparse.Namespace) -> None:
    try:
        from moesimvae.report.pages import clustered
    except ModuleNotFoundError as error:
        raise UserError(
            f"the page needs the package {error.name}, which is not installed; `pip install "
            "matplotlib jinja2 pillow` installs all that it needs."
        ) from error
    path = clustered.write(options.out)
    print(f"wrote      {path} ({size(path)}); open it in a browser")
