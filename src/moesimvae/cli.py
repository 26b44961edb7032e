"""`moesimvae`: cluster one's own cells, assign new ones, generate some.

What is imported here at the top loads in no time; commands import the rest when they run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn

import moesimvae
from moesimvae import doctor, export, files, onemethod, surroundings
from moesimvae.data.formats import SUFFIXES, suffix
from moesimvae.errors import UserError, first_line, one_sentence
from moesimvae.model.presets import PRESETS
from moesimvae.names import hint, listed
from moesimvae.nouns import TRANSFORMS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from anndata import AnnData

    from moesimvae.data.cells import CellFile
    from moesimvae.data.recipe import Recipe
    from moesimvae.model.stability import Evidence

LABELS, CELLS, MODEL = "labels.csv", "cells.h5ad", "model"
METHODS, ABUNDANCE = "methods.md", "abundance.csv"
FCS, TABLE, SEURAT = "fcs", "cells.csv", "seurat.h5ad"  # for other programs
RESULTS = (LABELS, MODEL, CELLS, METHODS, ABUNDANCE, FCS, TABLE, SEURAT)
KEY = "moesimvae"
_RESULT = {KEY: "0", f"{KEY}_probability": 1.0}  # what `scverse.annotate` adds to obs
CHECKPOINT = ".checkpoint"
TOLD_PAIRS = 3  # of clusters that are often found in one group
OUTSIDE = 0.01  # share of cells outside what a model has seen that is told; of those seen: 0.001
UNSTRUCTURED = (
    "the cells lie no nearer to each other than if their values were shuffled, so the clusters "
    "are arbitrary parts of one cloud"
)
INTERRUPTED = 130  # as shells say it: 128 + SIGINT

EXAMPLES = """examples:
  moesimvae cluster cells.h5ad
  moesimvae report cells_clustered
  moesimvae cluster day1.fcs day2.fcs --clusters 15 --out clustered --compensate file
  moesimvae predict clustered new.fcs --out new.csv
  moesimvae generate clustered --cluster 3 --n 100 --out generated.csv
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0, or 130 when interrupted.

    Raises SystemExit: 1 with one sentence on stderr, 2 for options that cannot be understood.
    """
    surroundings.print_anything()
    options = _parser().parse_args(arguments)
    if getattr(options, "cells", "") is None:
        options.cells = options.cells_behind
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # kill tidies up like Ctrl-C
    _hear_every_interrupt()
    with warnings.catch_warnings(), one_sentence():
        warnings.simplefilter("ignore")  # of libraries, on what the user cannot change
        try:
            options.run(options)
        except KeyboardInterrupt:
            print(f"interrupted; {_what_is_left(options)}", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            raise UserError(
                f"{error.filename or options.out} cannot be used ({error.strerror or error}); "
                f"{_what_is_left(options)}"
            ) from error
        except MemoryError as error:
            raise UserError(
                "there is not enough memory; convert the cells to h5ad and give --backed; "
                f"{_what_is_left(options)}"
            ) from error
    return 0


def _hear_every_interrupt() -> None:
    """Send an interrupt again that was lost where Python cannot raise it.

    Where a callback of the garbage collector or of a library in C is running, Python prints the
    exception as "ignored" and goes on: Ctrl-C would do nothing.
    """

    def send_again(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            sys.__unraisablehook__(unraisable)

    signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.unraisablehook = send_again


def _what_is_left(options: argparse.Namespace) -> str:
    if written := vars(options).get("written"):
        return f"{' and '.join(str(path) for path in written)} are written."
    if any(Path(options.out, CHECKPOINT).glob("*")):
        return f"the same command goes on from {Path(options.out, CHECKPOINT)}."
    return "nothing was written."


# ---------------------------------------------------------------------- options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, as for all that is wrong."""
        sentence = message.removeprefix("argument ").rstrip(".")
        if sentence.endswith("required: cells"):
            sentence = "the file of the cells is missing; write it before the options"
        print(f"error: {sentence}; `{self.prog} --help` tells more.", file=sys.stderr)
        raise SystemExit(2)


class _Names(argparse.Action):
    """Names of features, and behind them perhaps the files of the cells: --drop CD3 cells.csv."""

    def __call__(self, parser: Any, options: Any, names: Any, option: str | None = None) -> None:
        setattr(options, self.dest, names)
        behind: list[str] = []
        while len(names) > 1 and _is_file(names[-1]):
            behind.insert(0, names.pop())
        if behind:
            options.cells_behind = behind
            for action in parser._actions:
                action.required = action.required and action.dest != "cells"


def _is_file(name: str) -> bool:
    return Path(name).exists() or (suffix(name) in SUFFIXES and not name.startswith("@"))


def _typed(parse: Callable[[str], Any], what: str) -> Callable[[str], Any]:
    """The type of an option whose values `parse` takes or raises ValueError for."""

    def typed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' was given; give {what}") from None

    return typed


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "moesimvae",
        description="Cluster cells with MoE-Sim-VAE (Kopf et al. 2021), assign new cells to the "
        "clusters, and generate cells of a cluster.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"moesimvae {moesimvae.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _cluster_options(commands.add_parser("cluster", help="cluster the cells of a file"))
    _report_options(commands.add_parser("report", help="make a page of what `cluster` found"))
    _predict_options(commands.add_parser("predict", help="assign new cells with a saved model"))
    _generate_options(commands.add_parser("generate", help="generate cells of a cluster"))
    _new_method_options(commands.add_parser("new-method", help="start a method of your own"))
    _archive_options(commands.add_parser("archive", help="an experiment as one zip to publish"))
    _verify_options(commands.add_parser("verify", help="recompute the scores of such a zip"))
    for further in (onemethod, export, doctor):
        further.add(commands)
    return parser


def _cluster_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"Writes into the folder OUT: {LABELS} (cell, cluster, probability), {CELLS} (all that the "
        f"file holds, with clusters in obs['{KEY}'], latent codes in obsm['X_{KEY}'], a map of "
        f"them in obsm['X_{KEY}_map'] and the settings in uns['{KEY}']), {METHODS} to paste into a "
        f"paper, and {MODEL}/ for `predict` and `generate`; of FCS also {FCS}/, the files with the "
        f"results as further parameters, and of several files {ABUNDANCE}."
    )
    parser.add_argument(
        "cells",
        nargs="+",
        help=".h5ad, .csv, .tsv (also .gz), .fcs, .npz, or 10x: .h5, folder; several .fcs are "
        "clustered together",
    )
    parser.add_argument(
        "--out", type=Path, help="folder for the results; default: beside the file, …_clustered"
    )
    parser.add_argument(
        "--clusters",
        type=_typed(_number_or_auto, "a whole number of at least 2, or auto"),
        metavar="K",
        help="number of clusters; default, or 'auto': estimated from the cells",
    )
    parser.add_argument("--preset", choices=PRESETS, default="default", help="default: %(default)s")
    parser.add_argument(
        "--seed",
        type=_typed(_whole(0), "a whole number of at least 0"),
        default=0,
        help="default: %(default)s",
    )
    values = parser.add_argument_group("what is clustered")
    values.add_argument(
        "--features",
        nargs="+",
        action=_Names,
        default=[],
        metavar="NAME",
        help="names or patterns ('CD*') of the features to take; @FILE has one in each line; "
        "default: all numbers but those of columns that look like no markers",
    )
    values.add_argument(
        "--drop",
        nargs="+",
        action=_Names,
        default=[],
        metavar="NAME",
        help="features to leave out, likewise",
    )
    values.add_argument(
        "--transform",
        choices=TRANSFORMS,
        default="auto",
        help="counts: library size 10,000, then log(1 + x); auto (default): arcsinh for FCS and an "
        "h5ad of mass cytometry, counts for another of non-negative integers, else none",
    )
    values.add_argument(
        "--cofactor",
        type=_typed(float, "a positive number, with a point"),
        metavar="C",
        help="of arcsinh(x / C); default: 5, or 150 for an FCS file of a flow cytometer",
    )
    values.add_argument(
        "--compensate",
        metavar="file|CSV",
        help="fluorescence, by the matrix that the FCS file carries ('file') or by a csv; default: "
        "not at all",
    )
    _transpose(values)
    values.add_argument("--layer", default="", help="of an h5ad, instead of X")
    values.add_argument("--use-rep", default="", metavar="KEY", help="of an h5ad's obsm, likewise")
    values.add_argument(
        "--min-counts",
        type=int,
        default=0,
        metavar="N",
        help="leave out cells with fewer counts over all features: barcodes without a cell",
    )
    _genome(values)
    values.add_argument(
        "--backed",
        action="store_true",
        help="leave the values of an h5ad on disk (automatic above 4 GiB); cells.h5ad then has "
        "the annotation without the values",
    )
    model = parser.add_argument_group("how")
    model.add_argument("--similarity", metavar="KIND", help="default: that of the preset")
    model.add_argument(
        "--prior",
        metavar="COLUMN|CSV",
        help="partly known groups: a column of the cells' annotation, or a csv of cell and group; "
        "empty = unknown",
    )
    model.add_argument(
        "--steps",
        type=_typed(_whole(1), "a whole number of at least 1"),
        metavar="N",
        help="training steps, at most; default: until nothing changes any more",
    )
    model.add_argument(
        "--time",
        type=_typed(_above_zero, "a number of seconds above 0"),
        metavar="SECONDS",
        help="of training, after which it ends, settled or not",
    )
    model.add_argument(
        "--resamples",
        type=_typed(_whole(0), "a whole number of at least 0"),
        default=20,
        metavar="N",
        help="how often the clusters are made again of half of the cells, to tell how sure they "
        "are; 0: not told (default: %(default)s)",
    )
    results = parser.add_argument_group("results")
    results.add_argument(
        "--sample",
        metavar="COLUMN",
        help=f"of the cells' annotation, which tells their sample, for {ABUNDANCE}; default: of "
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
    _common(parser)
    parser.set_defaults(run=_cluster)


def _report_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes report.html into the folder, one page that needs no network: latent space, heat "
        "map of markers by cluster, sizes, samples, and how it was made."
    )
    parser.add_argument("out", type=Path, metavar="FOLDER", help="what `cluster` wrote")
    parser.set_defaults(run=_report, quiet=False)


def _predict_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Assigns each cell to a cluster of a saved model. Features are found by name and "
        "transformed as those of the model were."
    )
    parser.add_argument("model", help="what `cluster` wrote, or the folder of a saved model")
    parser.add_argument(
        "cells", help=".h5ad, .csv, .tsv (also .gz), .fcs, .npz, or 10x: .h5, folder"
    )
    _out(parser, ".csv (cell, cluster, probability) or .h5ad (the cells, annotated)")
    parser.add_argument(
        "--clusters",
        type=_typed(_whole(1), "a whole number of at least 1"),
        metavar="N",
        help="join the model's clusters to N, those first that are hardly told apart",
    )
    _transpose(parser)
    parser.add_argument("--backed", action="store_true", help="as of `cluster`")
    _genome(parser)
    _common(parser)
    parser.set_defaults(run=_predict)


def _generate_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes new cells of one cluster in the units of the file that was clustered; of counts, "
        "whole numbers."
    )
    parser.add_argument("model", help="what `cluster` wrote, or the folder of a saved model")
    parser.add_argument(
        "--cluster",
        type=_typed(int, "the number of a cluster, counted from 0"),
        required=True,
        metavar="K",
        help="counted from 0",
    )
    parser.add_argument(
        "--n", type=_typed(int, "a whole number of cells"), required=True, help="number of cells"
    )
    _out(parser, ".csv or .h5ad")
    parser.add_argument(
        "--mean",
        action="store_true",
        help="what the expert decodes, without the scatter of cells around it",
    )
    parser.add_argument(
        "--seed",
        type=_typed(_whole(0), "a whole number of at least 0"),
        default=0,
        help="default: %(default)s",
    )
    _common(parser)
    parser.set_defaults(run=_generate)


def _new_method_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes a method that runs as it is, to be changed, into a folder of your own. The "
        "workflow runs it beside the others with --config own_methods=FOLDER."
    )
    parser.add_argument("name", help="lower-case letters, digits and _")
    parser.add_argument(
        "--folder", dest="out", type=Path, default=Path("my_methods"), help="default: %(default)s"
    )
    parser.add_argument(
        "--command", action="store_true", help="a command (any language) instead of Python"
    )
    parser.set_defaults(run=_new_method)


def _archive_options(parser: argparse.ArgumentParser) -> None:
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
    parser.set_defaults(run=_archive)


def _verify_options(parser: argparse.ArgumentParser) -> None:
    parser.description = "Computes every score of an archive anew from its labels."
    parser.add_argument(
        "out", type=Path, metavar="ARCHIVE", help="what `archive` wrote: folder or zip"
    )
    parser.set_defaults(run=_verify)


def _transpose(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--transpose",
        action=argparse.BooleanOptionalAction,
        help="whether the cells are the columns of the file and the genes its rows (csv, tsv, "
        "h5ad, npz); without, rows that look like genes are refused",
    )


def _out(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--out", required=True, type=Path, help=help)


def _genome(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--genome", default="", metavar="NAME", help="of 10x counts of several, the one to take"
    )


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, …")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def _number_or_auto(text: str) -> int | None:
    return None if text == "auto" else int(text)


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if int(text) < least:
            raise ValueError(text)
        return int(text)

    return parse


def _above_zero(text: str) -> float:
    if not 0 < float(text) < float("inf"):
        raise ValueError(text)
    return float(text)


# ---------------------------------------------------------------------- cluster


def _cluster(options: argparse.Namespace) -> None:
    say = _printer(options)
    if options.out is None:
        options.out = _beside(options.cells)
    _require_new([options.out / name for name in RESULTS], options.force)

    from moesimvae import handover
    from moesimvae.data import compensation, writable
    from moesimvae.data import recipe as recipes

    asked = compensation.asked_for(options.compensate)
    file = _read(options, say, asked)
    handover.require_values(file, options.also)
    n_cells = file.cells.n_obs
    file = recipes.with_counts(file, options.min_counts, options.layer)
    if options.min_counts:
        say(f"cells      {file.cells.n_obs:,} of {n_cells:,} with {options.min_counts:,} counts")
    if options.sample and options.sample not in file.cells.obs:
        raise UserError(
            f"{file.path} has no column '{options.sample}' that tells samples; "
            f"{hint(options.sample, list(file.cells.obs))}."
        )
    in_table = [n for n in (options.prior, options.sample) if n in file.cells.obs]
    drop = _names(options.drop)
    if not (options.features or drop or options.use_rep):
        drop = recipes.left_out(file)
        if drop:
            say(f"left out   {listed(drop, 12)} (no markers by their names; --features decides)")
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
            f"note       the file carries a compensation matrix (${file.compensation}) that is not "
            "used; if its values are not compensated yet, give --compensate file"
        )
    if empty := recipes.empty_barcodes(file, recipe):
        say(f"note       {empty}")
    prior = None if options.prior is None else _prior(options.prior, file)
    _notes(writable.make(file.cells), say)
    with _staged(options) as staging:
        writable.require(staging, file.cells, _RESULT)
        _fit_and_write(options, file, recipe, words, prior, staging, say)
    for name in RESULTS:
        if (options.out / name).exists():
            say(f"wrote      {options.out / name} ({_size(options.out / name)})")
    say(f"next       moesimvae report {options.out}")


def _beside(cells: Sequence[str]) -> Path:
    """The folder for results where none is named: beside the file, called after it."""
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
    _write_labels(staging / LABELS, file.cells, model.probabilities_, sample)
    try:
        model.save(staging / MODEL)
        recipe.save(staging / MODEL)
    except Exception as error:
        if (options.out / LABELS).exists():  # those of a former run, which stay whole
            raise
        _move(options, staging, (LABELS,))
        raise UserError(
            f"{options.out / MODEL} could not be written ({first_line(error)}), but "
            f"{options.out / LABELS} is there."
        ) from error
    _move(options, staging, (LABELS, MODEL))
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
        _write_cells(staging / CELLS, file.cells)
        _move(options, staging, (CELLS,))
    except Exception as error:  # what took hours to find is there whatever goes wrong here
        raise UserError(
            f"{options.out / CELLS} could not be written ({first_line(error)}), but "
            f"{options.out / LABELS} and {options.out / MODEL} are there; `moesimvae predict "
            f"{options.out} {file.path} --out NEW.h5ad` writes the annotated cells anew."
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
        f"stability  {in_use - len(unstable)} of {in_use} clusters come out again from half of the "
        f"cells (a mean Jaccard index of {STABLE} or more); probabilities are calibrated"
    )
    if unstable:
        say(f"unstable   {listed(unstable, 12)}")
    for a, b, share in told["together"][:TOLD_PAIRS]:
        say(f"together   cells of {a} and {b} are found in one group {share:.0%} of the time")
    if not told["structure"]:
        say(f"note       no structure was found: {UNSTRUCTURED}")


def _can_be_assessed(model: Any) -> bool:
    """Whether it can be told how sure the clusters are: of the similarity of cells."""
    phases = model.facts_["similarity"]
    return bool(phases) and phases[0]["kind"] == "communities" and len(set(model.labels_)) > 1


def _write_for_others(
    options: argparse.Namespace, file: CellFile, model: Any, points: np.ndarray, staging: Path
) -> None:
    """What goes into other programs, and the paragraph for a paper."""
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
    _move(options, staging, [name for name in RESULTS if (staging / name).exists()])


def _report(options: argparse.Namespace) -> None:
    try:
        from moesimvae.report.pages import clustered
    except ModuleNotFoundError as error:
        raise UserError(
            f"the page needs the package {error.name}, which is not installed; `pip install "
            "matplotlib jinja2 pillow` brings what it needs."
        ) from error
    path = clustered.write(options.out)
    print(f"wrote      {path} ({_size(path)}); open it in a browser")


def _estimate(cells: AnnData, options: argparse.Namespace) -> Evidence:
    from moesimvae.model.cells import matrix_of
    from moesimvae.model.stability import estimate

    evidence = estimate(matrix_of(cells), seed=options.seed)
    if evidence.n_clusters < 2:
        raise UserError(
            f"{evidence}; to cluster them all the same, say into how many: --clusters NUMBER."
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
            f"--prior {given} is neither a column of text in {file.path} (it has: "
            f"{', '.join(file.cells.obs) or 'none'}) nor a csv."
        )
    try:
        table = pd.read_csv(given, sep=None, engine="python", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{given} cannot be read ({first_line(error)}).") from error
    if table.shape[1] != 2 or table.iloc[:, 0].duplicated().any():
        raise UserError(
            f"{given} has {table.shape[1]} columns, expected two, cell and group, each cell once."
        )
    groups = table.set_index(table.columns[0]).iloc[:, 0]
    strange = groups.index.difference(file.cells.obs_names)
    if len(strange):
        raise UserError(f"{given} names cells that {file.path} has not ({listed(strange)}).")
    return known_groups(groups.reindex(file.cells.obs_names))


def _summary(cells: AnnData, labels: np.ndarray, n_top: int = 3) -> str:
    """Clusters by size, each with the features whose mean stands out most, in deviations."""
    from moesimvae.data.profiles import profiles

    found = profiles(cells, labels)
    lines = ["cluster    cells   share  highest features against all cells (mean, as clustered)"]
    for cluster in found.in_use:
        top = found.highest(cluster, n_top)
        shown = ", ".join(f"{cells.var_names[i]} {found.means[cluster, i]:.2f}" for i in top)
        share = found.sizes[cluster] / len(labels)
        lines.append(f"{cluster:>7}{found.sizes[cluster]:>9,}{share:>8.1%}  {shown}")
    return "\n".join(lines)


# ---------------------------------------------------------------------- predict, generate


def _predict(options: argparse.Namespace) -> None:
    say = _printer(options)
    _require_suffix(options.out)
    _require_new([options.out], options.force)

    import numpy as np

    from moesimvae import scverse
    from moesimvae.data import recipe as recipes
    from moesimvae.data import writable

    model, recipe = _load(options)
    file = _read(options, say, None if recipe is None else recipe.compensation)
    if recipe is None:
        names = getattr(model, "feature_names_in_", None)
        recipe = recipes.Recipe(list(file.cells.var_names if names is None else names), [], [])
    annotated = options.out.suffix == ".h5ad"
    if annotated:
        _notes(writable.make(file.cells), say)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        writable.require(options.out.parent, file.cells, _RESULT)
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
            "has seen, where 0.1 % of the cells that it was fitted to would; they may be of a kind "
            "that it does not know"
        )
    if annotated:
        facts = {"model": str(options.model), "version": moesimvae.__version__}
        scverse.annotate(file.cells, probabilities, np.concatenate(codes), KEY, facts)
        try:
            _write_cells(options.out, file.cells)
        except Exception as error:
            instead = options.out.with_suffix(".csv")
            if instead.exists():
                instead = options.out.with_suffix(".labels.csv")
            _write_labels(instead, file.cells, probabilities)
            raise UserError(
                f"{options.out} could not be written ({first_line(error)}); the clusters of the "
                f"cells are in {instead} instead."
            ) from error
    else:
        _write_labels(options.out, file.cells, probabilities)
    say(f"wrote      {options.out} ({_size(options.out)})")


def _generate(options: argparse.Namespace) -> None:
    say = _printer(options)
    _require_suffix(options.out)
    _require_new([options.out], options.force)
    if options.n < 1:
        raise UserError(f"--n is {options.n}; generate at least 1 cell.")

    import anndata
    import pandas as pd

    from moesimvae.data import recipe as recipes
    from moesimvae.data import writable

    model, recipe = _load(options)
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
    say(f"wrote      {options.out} ({_size(options.out)})")


def _new_method(options: argparse.Namespace) -> None:
    from moesimvae import newmethod

    for path in newmethod.write(options.name, options.out, options.command):
        print(f"wrote      {path}")
    print(f"try it     snakemake --cores 2 demo --config own_methods={options.out}")


def _archive(options: argparse.Namespace) -> None:
    from moesimvae import archive

    path = archive.write(options.experiment, options.results, Path(), options.out)
    print(f"wrote      {path.with_suffix('')} and {path.name} ({_size(path)})")


def _verify(options: argparse.Namespace) -> None:
    from moesimvae import archive

    found = archive.verify(options.out)
    for sentence in found.different:
        print(f"differs    {sentence}")
    if found.skipped:
        print(f"left out   {', '.join(found.skipped)}: needs the features, which are not archived")
    if found.different:
        raise UserError(f"{options.out}: {len(found.different)} things differ, as told above.")
    print(f"verified   {found.scores:,} scores follow from the labels; every file is as archived")


def _load(options: argparse.Namespace) -> tuple[Any, Recipe | None]:
    folder = Path(options.model)
    folder = folder / MODEL if (folder / MODEL).is_dir() else folder
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give one that holds a saved model.")

    from moesimvae.data import recipe as recipes
    from moesimvae.model.estimator import MoESimVAE

    return MoESimVAE.load(folder, device=options.device), recipes.load(folder)


# ---------------------------------------------------------------------- files and lines


def _read(options: argparse.Namespace, say: Any, compensation: Any = None) -> CellFile:
    from moesimvae.data.cells import read_cells, read_samples

    started = monotonic()
    if isinstance(options.cells, list) and len(options.cells) > 1:
        file = read_samples(options.cells, compensation)
    else:
        file = read_cells(
            options.cells[0] if isinstance(options.cells, list) else options.cells,
            on_disk=options.backed,
            genome=options.genome,
            transpose=options.transpose,
            compensation=compensation,
        )
    n_cells, n_features = file.cells.shape
    where = "values stay on disk" if file.on_disk else f"{monotonic() - started:.1f} s"
    say(f"read       {file.path}: {n_cells:,} cells × {n_features:,} features ({where})")
    _notes(file.notes, say)
    return file


def _notes(notes: Sequence[str], say: Any) -> None:
    for note in notes:
        say(f"note       {note}")


def _write_cells(path: Path, cells: AnnData) -> None:
    from moesimvae.data import writable

    with files.atomic(path) as temporary:
        writable.write(cells, temporary)


def _write_labels(
    path: Path, cells: AnnData, probabilities: np.ndarray, sample: pd.Series | None = None
) -> None:
    import pandas as pd

    labels = pd.DataFrame(
        {
            "cell": cells.obs_names,
            "cluster": probabilities.argmax(axis=1),
            "probability": probabilities.max(axis=1),
        }
    )
    if sample is not None:
        labels.insert(0, "sample", sample.to_numpy())
    with files.atomic(path) as temporary:
        labels.to_csv(temporary, index=False, float_format="%.4f")


def _require_new(paths: Sequence[Path], force: bool) -> None:
    for path in paths:
        if path.exists() and not force:
            raise UserError(f"{path} is already there; give --force to overwrite it.")


def _require_suffix(path: Path) -> None:
    if path.suffix not in (".csv", ".h5ad"):
        raise UserError(f"--out {path} must end in .csv or .h5ad, which tells the format.")


@contextmanager
def _staged(options: argparse.Namespace) -> Iterator[Path]:
    """A folder to write into, beside the results; what is not moved to them (`_move`) goes."""
    made, found = not options.out.exists(), True
    staging = options.out / f".moesimvae-{os.getpid()}"
    try:  # made inside, so that no interrupt leaves them behind
        options.out.mkdir(parents=True, exist_ok=True)
        if options.force:
            shutil.rmtree(options.out / CHECKPOINT, ignore_errors=True)
        found = (options.out / CHECKPOINT).exists()
        staging.mkdir()
        yield staging
        shutil.rmtree(options.out / CHECKPOINT, ignore_errors=True)
    except Exception:  # not an interrupt, after which a second start goes on from there
        if not found:  # else it is another start's, perhaps of other cells
            shutil.rmtree(options.out / CHECKPOINT, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if made and options.out.exists() and not any(options.out.iterdir()):
            options.out.rmdir()


def _move(options: argparse.Namespace, staging: Path, names: Sequence[str]) -> None:
    """What is written moves into `out`; labels and model replace all results of a former run."""
    former = RESULTS if MODEL in names else ()
    for name in former:
        if (options.out / name).exists():  # a folder cannot be replaced in one go
            (options.out / name).rename(staging / f"former-{name}")
    for name in names:
        (staging / name).rename(options.out / name)
    options.written = [*vars(options).get("written", []), *(options.out / name for name in names)]


def _names(given: Sequence[str]) -> list[str]:
    """Names as given, with those of each @FILE in its place."""
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


def _printer(options: argparse.Namespace) -> Any:
    return (lambda line: None) if options.quiet else (lambda line: print(line, flush=True))


def _size(path: Path) -> str:
    size = sum(part.stat().st_size for part in [path, *path.rglob("*")] if part.is_file())
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


if __name__ == "__main__":
    raise SystemExit(main())
