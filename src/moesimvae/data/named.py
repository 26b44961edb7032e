"""Names: calling a function by the one that a registry mapping gives, and telling near ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from moesimvae.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def call(
    functions: Mapping[str, Callable[..., Any]],
    kind: str,
    settings: Mapping[str, Any],
    *arguments: Any,
) -> Any:
    """Call the function named by `settings[kind]` with `arguments`, then the other settings.

    Raises UserError when there is no such function or it does not take these settings.
    """
    parameters = dict(settings)
    name = parameters.pop(kind, None)
    if name not in functions:
        raise UserError(
            f"unknown {kind} '{name}' in the data set's registry block; give one of: "
            f"{', '.join(sorted(functions))}."
        )
    try:
        inspect.signature(functions[name]).bind(*arguments, **parameters)
    except TypeError as error:
        raise UserError(
            f"the {kind} '{name}' in the data set's registry block cannot take the parameters "
            f"{parameters} ({error}); compare them with its description."
        ) from error
    return functions[name](*arguments, **parameters)


def near(name: str, names: Sequence[str]) -> str:
    """The part of a sentence that tells which names were perhaps meant, or some that there are."""
    lower = {str(other).lower(): str(other) for other in names}
    close = [lower[n] for n in get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
    return f"did you mean {', '.join(close)}" if close else f"it has {listed(names) or 'none'}"


def listed(names: Iterable[Any], most: int = 8) -> str:
    """The first names, and how many more there are."""
    names = [str(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" * (len(names) > most))


def require_unique(names: pd.Index, what: str, how: str = "") -> None:
    """UserError that tells the first name which stands twice, where, and how to mend it."""
    twice = names.duplicated()
    if twice.any():
        name = names[twice][0]
        first, second = [number for number, other in enumerate(names) if other == name][:2]
        raise UserError(
            f"{what} '{name}' stands twice (numbers {first} and {second}, counted from 0); give "
            f"each a name of its own{how}."
        )
