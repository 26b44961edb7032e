"""Provenance of runs, compiled from their status.json: machines, packages and parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from moesimvae.nouns import Status


@dataclass
class Environment:
    """A machine with the packages that its runs used, numbered from 1."""

    number: int
    machine: dict[str, Any]
    version: str
    packages: dict[str, str]
    runs: int = 0

    def holds(self, status: Status) -> bool:
        """Whether a run fits this environment: nothing that it records contradicts it."""
        return (self.machine, self.version) == (status.machine, status.version) and all(
            self.packages.get(name, version) == version for name, version in status.packages.items()
        )


def environments(statuses: Mapping[str, Status]) -> tuple[list[Environment], dict[str, int]]:
    """The distinct environments, and run → number of its environment.

    A run records the packages that it imported; runs on one machine whose versions do not
    conflict share one environment, which has the packages of them all.
    """
    found: list[Environment] = []
    of_run = {}
    for path, status in statuses.items():
        if not status.machine:
            continue  # controls are written directly, not run
        where = next((some for some in found if some.holds(status)), None)
        if where is None:
            where = Environment(len(found) + 1, status.machine, status.version, {})
            found.append(where)
        where.packages |= status.packages
        where.runs += 1
        of_run[path] = where.number
    return found, of_run


def tally(values: Iterable[str]) -> list[tuple[str, int]]:
    """Each distinct value with its number of occurrences."""
    return list(Counter(values).items())


def parameters(
    given: list[dict[str, Any]],
) -> tuple[dict[str, Any], dict[str, list[tuple[str, int]]]]:
    """Parameters of runs: those equal in all of them, and the distinct values of the others,
    each with the number of runs that had it.
    """
    names = list(dict.fromkeys(name for params in given for name in params))
    values = {n: tally(str(params.get(n, "not known")) for params in given) for n in names}
    same = {n: given[0][n] for n in names if len(values[n]) == 1}
    return same, {n: counts for n, counts in values.items() if n not in same}
