"""The benchmark's nouns, as plain types; whatever several places must agree on stands here.

data sets × methods × seeds → runs, each with a status → scores by metrics → experiments.
Nothing but the standard library is imported, since the supervisor of a run waits with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from moesimvae.errors import UserError


@dataclass(frozen=True)
class Run:
    """One method on one data set with one seed, and the name of everything that is made of it.

    Controls of a data set are made together, so they lie together: in `Run.controls(dataset)`.
    With wildcards in place of the three, its paths are those of the workflow's rules.
    """

    dataset: str
    method: str
    seed: int | str
    control: bool = False

    @property
    def tail(self) -> str:
        """Method and seed, which tell the runs on one data set apart: kmeans/seed0."""
        return f"{self.method}/seed{self.seed}"

    @property
    def name(self) -> str:
        """With the data set, as in every path: mnist/kmeans/seed0."""
        return f"{self.dataset}/{'controls/' if self.control else ''}{self.tail}"

    @property
    def path(self) -> str:
        """Its folder, in that of the results."""
        return f"runs/{self.name}"

    def named(self, folder: str | Path, ending: str = "") -> str:
        """What is called after it in another folder: projections/mnist/kmeans/seed0.parquet."""
        return f"{folder}/{self.name}{ending}"

    @staticmethod
    def controls(dataset: str) -> str:
        """The folder of a data set's controls, in that of the results."""
        return f"runs/{dataset}/controls"

    @classmethod
    def of(cls, path: str | Path) -> Run:
        """The run that a folder, or a file called after it, belongs to.

        Raises UserError for a path that does not end with data set, method and seed.
        """
        found = _NAME.search(Path(path).as_posix())
        if found is None:
            raise UserError(
                f"{path} is no run folder; expected …/runs/<dataset>/<method>/seed<seed>."
            )
        return cls(found["dataset"], found["method"], int(found["seed"]), bool(found["group"]))


_NAME = re.compile(
    r"(?:^|/)(?P<dataset>[^/]+)/(?P<group>controls/)?(?P<method>[^/]+)/seed(?P<seed>\d+)(\.[^/]*)?$",
    re.ASCII,
)


# below the folder of all runs, methods' and controls'
RUNS = ("*/*/seed*", "*/controls/*/seed*")


def made_with(run: Path) -> Path:
    """What is made again when a run is: its folder, or that of all its data set's controls."""
    return run.parents[1] if Run.of(run).control else run


def folders_of_controls(controls: str | Path) -> list[Path]:
    """The runs in a data set's folder of controls."""
    return sorted(Path(controls).glob("*/seed*"))
