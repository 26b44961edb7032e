"""The one exception that is meant for the user's eyes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path


class UserError(ValueError):
    """Bad input, told in one sentence: what is wrong, where, and what to do about it.

    A ValueError, as scikit-learn wants it. Where others are caught, it goes first on its way.
    Names from files may hold line breaks or what a terminal obeys; these are written out, as \\n.
    """

    def __init__(self, sentence: str):
        signs = (sign if sign.isprintable() else repr(sign)[1:-1] for sign in sentence)
        super().__init__("".join(signs))


class WrongType(UserError, TypeError):
    """The same where Python's habit is a TypeError."""


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
    """`one_sentence` whose sentence also stands in a log file.

    quiet: everything else that goes to stderr is written into the log file, too.
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
    """What an exception of a library says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
