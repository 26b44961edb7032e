"""Names in sentences: those near to one that is not known, those that stand twice, long lists."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from moesimvae.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def near(name: object, known: Iterable[object], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Known names like this one, in whatever case, the likest first; [] where none is."""
    lower = {str(other).lower(): str(other) for other in known}
    close = get_close_matches(str(name).lower(), lower, n=most, cutoff=cutoff)
    return [lower[other] for other in close]


def near_or_all(name: object, known: Iterable[object]) -> str:
    """What follows "did you mean"."""
    names = sorted(map(str, known))
    return ", ".join(near(name, names) or names)


def hint(name: object, known: Iterable[object]) -> str:
    """The part of a sentence that tells which names were perhaps meant, or some that there are."""
    names = list(map(str, known))
    close = near(name, names, cutoff=0.5)
    return f"did you mean {', '.join(close)}" if close else f"it has {listed(names) or 'none'}"


def listed(names: Iterable[object], most: int = 8) -> str:
    """The first names, and how many more there are."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" * (len(texts) > most))


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


def names_in(values: Iterable[str | None]) -> list[str]:
    """Names of layers and the like; X is one of the layers from anndata 0.13 on, called None."""
    return [name for name in values if name is not None]
