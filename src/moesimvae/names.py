"""Names in messages: suggestions for an unknown name, duplicates, long lists."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from moesimvae.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def near(name: object, known: Iterable[object], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Known names similar to this one, ignoring case, most similar first; [] if none is."""
    lower = {str(other).lower(): str(other) for other in known}
    close = get_close_matches(str(name).lower(), lower, n=most, cutoff=cutoff)
    return [lower[other] for other in close]


def near_or_all(name: object, known: Iterable[object]) -> str:
    """The names to follow "did you mean"."""
    names = sorted(map(str, known))
    return ", ".join(near(name, names) or names)


def hint(name: object, known: Iterable[object]) -> str:
    """Part of a message that suggests names possibly meant, or lists some that exist."""
    names = list(map(str, known))
    close = near(name, names, cutoff=0.5)
    return f"did you mean {', '.join(close)}" if close else f"it has {listed(names) or 'none'}"


def listed(names: Iterable[object], most: int = 8) -> str:
    """The first names, and the number of further ones."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" * (len(texts) > most))


def require_unique(names: pd.Index, what: str, how: str = "") -> None:
    """Raise UserError for the first duplicated name: which it is, where, and how to fix it."""
    twice = names.duplicated()
    if twice.any():
        name = names[twice][0]
        first, second = [number for number, other in enumerate(names) if other == name][:2]
        raise UserError(
            f"{what} '{name}' occurs twice (numbers {first} and {second}, counting from 0); give "
            f"each a unique name{how}."
        )


def names_in(values: Iterable[str | None]) -> list[str]:
    """Names of layers and the like, without None, X among the layers of anndata ≥ 0.13."""
    return [name for name in values if name is not None]
