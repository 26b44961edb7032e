"""Parsing of command options: types, errors in one sentence, options shared by commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from moesimvae.data.formats import SUFFIXES, suffix


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with one sentence, as for all errors."""
        sentence = message.removeprefix("argument ").rstrip(".")
        if sentence.endswith("required: cells"):
            sentence = "the file with the cells is missing; give it before the options"
        print(f"error: {sentence}; see `{self.prog} --help`.", file=sys.stderr)
        raise SystemExit(2)


class Names(argparse.Action):
    """Names of features, possibly followed by the files of the cells: --drop CD3 cells.csv."""

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


def typed(parse: Callable[[str], Any], what: str) -> Callable[[str], Any]:
    """Option type from `parse`, which raises ValueError for values that are not valid."""

    def typed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not valid; give {what}") from None

    return typed


def number_or_auto(text: str) -> int | None:
    return None if text == "auto" else int(text)


def at_least(least: int) -> Callable[[str], Any]:
    """The type of an option that takes whole numbers from `least` on."""

    def parse(text: str) -> int:
        if int(text) < least:
            raise ValueError(text)
        return int(text)

    return typed(parse, f"a whole number of at least {least}")


def above_zero(text: str) -> float:
    if not 0 < float(text) < float("inf"):
        raise ValueError(text)
    return float(text)


def seed(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--seed", type=at_least(0), default=0, help="default: %(default)s")


def transpose(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--transpose",
        action=argparse.BooleanOptionalAction,
        help="whether the file has cells in columns and genes in rows (csv, tsv, h5ad, npz); "
        "without this option, rows that look like genes are refused",
    )


def out(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--out", required=True, type=Path, help=help)


def genome(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--genome", default="", metavar="NAME", help="genome to use, if 10x counts have several"
    )


def common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, …")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("--force", action="store_true", help="overwrite existing results")
