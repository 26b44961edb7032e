"""What made runs, put together from their status.json: machines with packages, and parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from moesimvae.nouns import Status


@dataclass
class Environment:
    """A machine with the packages of the runs there, counted from 1."""

    number: int
    machine: dict[str, Any]
    version: str
    packages: dict[str, str]
    runs: int = 0

    def holds(self, status: Status) -> bool:
        """Whether a run is of this environment: nothing that it tells contradicts it."""
        return (self.machine, self.version) == (status.machine, status.version) and all(
            self.packages.get(name, version) == version for name, version in status.packages.items()
        )


def environments(statuses: Mapping[str, Status]) -> tuple[list[Environment], dict[str, int]]:
    """The different environments, and run → which of them.

    A run tells the packages that it imported; runs on one machine whose versions do not
    contradict each other are of one environment, which has the packages of them all.
    """
    found: list[Environment] = []
    of_run = {}
    for path, status in statuses.items():
        if not status.machine:
            continue  # controls are written, not run
        where = next((some for some in found if some.holds(status)), None)
        if where is None:
            where = Environment(len(found) + 1, status.machine, status.version, {})
            found.append(where)
        where.packages |= status.packages
        where.runs += 1
        of_run[path] = where.number
    return found, of_run


def tally(values: Iterable[str]) -> list[tuple[str, int]]:
    """Each different value with how often it is there."""
    return list(Counter(values).items())


def parameters(
    given: list[dict[str, Any]],
) -> tuple[dict[str, Any], dict[str, list[tuple[str, int]]]]:
    """What runs were given: what is the same in all of them, and the different values of the rest,
    each with how many runs had it.
    """
    names = list(dict.fromkeys(name for params in given for name in params))
    values = {n: tally(str(params.get(n, "not known")) for params in given) for n in names}
    same = {n: given[0][n] for n in names if len(values[n]) == 1}
    return same, {n: counts for n, counts in values.items() if n not in same}
