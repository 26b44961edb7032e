"""`moesimvae method`: one of the benchmark's methods on one file of cells, without the workflow.

Only the file is read, and nothing is timed or isolated: that is left to the caller, such as
omnibenchmark (`workflow/omnibenchmark/`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from moesimvae import files, registry
from moesimvae.errors import UserError
from moesimvae.nouns import TRANSFORMS

# in the wheel; in a checkout a link to workflow/registry
BLOCKS = Path(__file__).parents[1] / "repository" / "registry" / "methods.yaml"


def add(commands: Any) -> None:
    """The command and its options."""
    parser = commands.add_parser("method", help="run one method of the benchmark on a file")
    parser.description = (
        "Clusters the cells of a file, prepared as the benchmark prepares a user's own cells, with "
        "one of its methods, and writes the cluster of each cell (cell, label; -1 = noise). The "
        "other methods' libraries come with pip install 'moesimvae[methods,benchmark]'."
    )
    parser.add_argument("name", help="as in workflow/registry/methods.yaml: kmeans, leiden, …")
    parser.add_argument("--input", required=True, type=Path, metavar="FILE", help="as in `cluster`")
    parser.add_argument("--output", required=True, type=Path, dest="out", help=".csv, or .csv.gz")
    parser.add_argument("--clusters", type=int, metavar="K", help="default: estimated")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of the method, overriding that in its block; may be given several times",
    )
    parser.add_argument("--transform", choices=TRANSFORMS, default="auto", help="as in `cluster`")
    parser.add_argument("--own", type=Path, metavar="FOLDER", help="folder of your own methods")
    parser.add_argument("--label", metavar="COLUMN", help="column hidden from the method")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from importlib.util import find_spec

    if find_spec("yaml") is None:
        raise UserError(
            "the method's block cannot be read without pyyaml; pip install 'moesimvae[benchmark]'."
        )
    blocks = registry.load([BLOCKS, *registry.own_methods(options.own)])
    blocks = {n: b for n, b in blocks.items() if not b.get("control") and "command" not in b}
    block = registry.block(blocks, options.name, "method")
    params = {**block["params"], **dict(_param(text) for text in options.param)}
    try:
        labels = cluster(
            options.input,
            block,
            params,
            options.clusters,
            options.seed,
            transform=options.transform,
            label=options.label,
        )
    except ModuleNotFoundError as error:
        raise UserError(
            f"the method '{options.name}' needs {error.name}, which is not installed; "
            "pip install 'moesimvae[methods,benchmark]'."
        ) from error
    with files.atomic(options.out) as temporary:
        labels.to_csv(temporary)
    print(f"wrote      {options.out} ({labels[labels >= 0].nunique()} clusters)")


def cluster(
    path: Path,
    block: registry.Block,
    params: dict[str, Any],
    n_clusters: int | None,
    seed: int,
    **settings: Any,
):
    """Cluster the cells of a file: labels, a Series of int32 indexed by cell.

    block: the method's; params: keyword arguments of its `cluster`; settings: those of
    `own_cells.write_features`. If n_clusters is None, it is estimated.
    Raises UserError as reading the file does, and for parameters that the method lacks or rejects;
    ModuleNotFoundError without the method's library.
    """
    import inspect

    import pandas as pd

    from moesimvae.data.own_cells import CLUSTERS, write_features
    from moesimvae.methods import worker
    from moesimvae.methods.interface import Invalid
    from moesimvae.methods.runner import module_name
    from moesimvae.model.stability import estimate

    method = worker.load(module_name(block["module"]))
    taken = list(inspect.signature(method.cluster).parameters)[3:]
    if unknown := sorted(params.keys() - set(taken)):
        raise UserError(
            f"the method has no parameter '{unknown[0]}'; it has: {', '.join(taken) or 'none'}."
        )
    with tempfile.TemporaryDirectory() as folder:
        write_features(path.name, path, folder, estimate, clusters=n_clusters, **settings)
        number = files.read_json(Path(folder, CLUSTERS))["n_clusters"]
        features = Path(folder, "features.h5ad")
        cells = worker.read_cells(features, block["input"], block["uses_prior"])
    names = cells.obs_names.rename("cell")
    try:
        result = method.cluster(cells, number, seed, **params)
        worker.check(result, len(names))
    except Invalid as error:
        raise UserError(f"the method's result is invalid: {error}") from error
    return pd.Series(result.labels, index=names, name="label", dtype="int32")


def _param(text: str) -> tuple[str, Any]:
    """Split NAME=VALUE, with the value parsed as JSON if valid, else kept as text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--param {text} has no value; write NAME=VALUE.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
