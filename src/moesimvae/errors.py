"""The one exception that is meant for the user's eyes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path


class UserError(ValueError):
    """Bad input, reported in one sentence: what is wrong, where, and what to do about it.

    A ValueError, as scikit-learn expects. Code that catches other exceptions re-raises it first.
    Names from files may hold line breaks or terminal control codes; these are escaped, as \\n.
    """

    def __init__(self, sentence: str):
        signs = (sign if sign.isprintable() else repr(sign)[1:-1] for sign in sentence)
        super().__init__("".join(signs))


class WrongType(UserError, TypeError):
    """The same where a TypeError is customary."""


@contextmanager
def one_sentence() -> Iterator[None]:
    """End the program with `error: <sentence>` instead of a traceback when a UserError is raised.

    For the outermost level only: command lines and the workflow's scripts.
    """
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


@contextmanager
def logged(path: str | Path, quiet: bool = True) -> Iterator[None]:
    """`one_sentence`, with the sentence also written to a log file.

    quiet: everything else written to stderr goes into the log file instead.
    """
    with (
        one_sentence(),
        open(path, "w", buffering=1, encoding="utf-8") as log,
        redirect_stderr(log if quiet else sys.stderr),
    ):
        try:
            yield
        except UserError as error:
            print(f"error: {error}", file=log)
            raise


def first_line(error: BaseException) -> str:
    """First line of a library exception's message, or the name of its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
