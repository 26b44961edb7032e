"""`moesimvae`: cluster your own cells, assign new ones, generate some."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import moesimvae
from moesimvae import surroundings
from moesimvae.commands import (
    archive,
    cluster,
    doctor,
    export,
    generate,
    method,
    new_method,
    predict,
    report,
)
from moesimvae.commands.options import Parser
from moesimvae.commands.results import what_is_left
from moesimvae.errors import UserError, one_sentence

COMMANDS = (cluster, report, predict, generate, new_method, archive, method, export, doctor)
INTERRUPTED = 130  # shell convention: 128 + SIGINT

EXAMPLES = """examples:
  moesimvae cluster cells.h5ad
  moesimvae report cells_clustered
  moesimvae cluster day1.fcs day2.fcs --clusters 15 --out clustered --compensate file
  moesimvae predict clustered new.fcs --out new.csv
  moesimvae generate clustered --cluster 3 --n 100 --out generated.csv
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0, or 130 when interrupted.

    Raises SystemExit: 1 with one sentence on stderr, 2 for invalid options.
    """
    surroundings.print_anything()
    options = _parser().parse_args(arguments)
    if getattr(options, "cells", "") is None:
        options.cells = options.cells_behind
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # kill cleans up as Ctrl-C does
    _hear_every_interrupt()
    with warnings.catch_warnings(), one_sentence():
        warnings.simplefilter("ignore")  # of libraries, which the user cannot act on
        try:
            options.run(options)
        except KeyboardInterrupt:
            print(f"interrupted; {what_is_left(options)}", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            raise UserError(
                f"{error.filename or options.out} cannot be used ({error.strerror or error}); "
                f"{what_is_left(options)}"
            ) from error
        except MemoryError as error:
            raise UserError(
                "there is not enough memory; convert the cells to h5ad and use --backed; "
                f"{what_is_left(options)}"
            ) from error
    return 0


def _hear_every_interrupt() -> None:
    """Resend an interrupt that was lost where Python cannot raise it.

    While a callback of the garbage collector or of a C library is running, Python prints the
    exception as "ignored" and continues: Ctrl-C would have no effect.
    """

    def send_again(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            sys.__unraisablehook__(unraisable)

    signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.unraisablehook = send_again


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "moesimvae",
        description="Cluster cells with MoE-Sim-VAE (Kopf et al. 2021), assign new cells to the "
        "clusters, and generate cells of a cluster.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"moesimvae {moesimvae.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
