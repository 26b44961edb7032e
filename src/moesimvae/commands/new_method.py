"""`moesimvae new-method`: starter files for your own method, in a folder of your own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from moesimvae import files
from moesimvae.errors import UserError
from moesimvae.registry import NAME

BLOCK = """\
# A method of your own. All possible keys: docs/own_method.md
{name}:
  title: {title}
  {run}
  input: scaled            # scaled: [0, 1] | transformed: before scaling | counts
  uses_n_clusters: true    # for the tables only: does it use n_clusters?
  stochastic: true         # false: run once instead of once for each seed
  runtime: 60              # minutes; a run that takes longer is stopped and reported as such
  mem_mb: 8000
  reference: Your own method.
  params: {{}}               # name: default; passed as {how}
"""

MODULE = '''\
"""{title}: what it does, in a sentence."""

import numpy as np

from moesimvae.methods.interface import Clustering, dense


def cluster(cells, n_clusters, seed):
    """cells: AnnData (n_cells, n_features) without any label; returns a label for each cell."""
    points = dense(cells)  # (n_cells, n_features) float32
    # Replace this: each cell goes to the nearest of `n_clusters` cells drawn at random.
    centres = points[np.random.default_rng(seed).choice(len(points), n_clusters, replace=False)]
    distances = ((points[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    return Clustering(distances.argmin(axis=1))
'''

SCRIPT = """\
# features.csv: a header line, then one line per cell: its name, its values.
# labels: one whole number per line, in the same order, -1 = noise.
features=$1 labels=$2 n_clusters=$3 seed=$4
# Replace this: cells are grouped by their first value.
awk -F, -v k="$n_clusters" 'NR > 1 { g = int($2 * k); print g < k ? g : k - 1 }' \\
    "$features" > "$labels"
"""


def add(commands: Any) -> None:
    """The command and its options."""
    parser = commands.add_parser("new-method", help="start a method of your own")
    parser.description = (
        "Writes a method that runs as it is, for you to change, into a folder of your own. The "
        "workflow runs it alongside the others with --config own_methods=FOLDER."
    )
    parser.add_argument("name", help="lower-case letters, digits and _")
    parser.add_argument(
        "--folder", dest="out", type=Path, default=Path("my_methods"), help="default: %(default)s"
    )
    parser.add_argument(
        "--command", action="store_true", help="a command (any language) instead of Python"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    for path in write(options.name, options.out, options.command):
        print(f"wrote      {path}")
    print(f"try it     snakemake --cores 2 demo --config own_methods={options.out}")


def write(name: str, folder: str | Path, command: bool) -> list[Path]:
    """Write the block of a method and its program, in Python or as a command; return the files.

    Raises UserError for an invalid name, or when a file already exists.
    """
    if not NAME.fullmatch(name):
        raise UserError(
            f"a method cannot be called '{name}'; use lower-case letters, digits and _, such as "
            "my_method."
        )
    title = name.replace("_", " ").capitalize()
    if command:
        program, text = Path(folder, f"{name}.sh"), SCRIPT
        run = f'command: "sh {name}.sh {{features}} {{labels}} {{n_clusters}} {{seed}}"'
        how = "{name} in the command"
    else:
        program, text = Path(folder, f"{name}.py"), MODULE.format(title=title)
        run, how = f"module: {name}.py", "keyword arguments of cluster"
    block = Path(folder, f"{name}.yaml")
    for path in (block, program):
        if path.exists():
            raise UserError(f"{path} already exists; give another name.")
    files.write_text(program, text)
    files.write_text(block, BLOCK.format(name=name, title=title, run=run, how=how))
    return [block, program]
