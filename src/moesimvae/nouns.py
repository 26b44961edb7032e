"""The benchmark's nouns, as plain types; whatever several places must agree on stands here.

data sets × methods × seeds → runs, each with a status → scores by metrics → experiments.
No more than the standard library is needed, since the supervisor of a run waits with it.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from moesimvae.errors import UserError
from moesimvae.files import write_text


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


@dataclass(frozen=True)
class Kind:
    """What fits a key: as JSON schema, and in the words of a sentence."""

    schema: Mapping[str, Any]
    words: str

    def fits(self, value: Any) -> bool:
        """Whether a value is of the type, among the allowed ones, and finite and above the bound.

        Only what the kinds below make use of is looked at.
        """
        if not isinstance(value, _TYPES[str(self.schema["type"])]):
            return False
        if isinstance(value, bool):
            return self.schema["type"] == "boolean"
        if "enum" in self.schema:
            return value in self.schema["enum"]
        return "exclusiveMinimum" not in self.schema or (
            self.schema["exclusiveMinimum"] < value < math.inf
        )


_TYPES: dict[str, Any] = {
    **{"string": str, "boolean": bool, "integer": int, "number": (int, float), "object": dict},
}
TEXT = Kind({"type": "string"}, "a text")
FLAG = Kind({"type": "boolean"}, "true or false")
WHOLE = Kind({"type": "integer", "exclusiveMinimum": 0}, "a whole number above 0")
MINUTES = Kind({"type": "number", "exclusiveMinimum": 0}, "a number of minutes above 0")
PARAMS = Kind({"type": "object"}, "a mapping of names to values")


def one_of(*names: str) -> Kind:
    *first, last = names
    words = f"one of {', '.join(names)}" if len(first) > 1 else f"{first[0]} or {last}"
    return Kind({"type": "string", "enum": list(names)}, words)


def _key(kind: Kind, default: Any = MISSING, ours: bool = False) -> Any:
    """A key of a block. default: of those that do not say it; ours: not for a user's own."""
    return field(default=default, metadata={"kind": kind, "ours": ours})


@dataclass(frozen=True)
class Method:
    """What the block of a method may say, built in or a user's own, and what holds where it does
    not. The comments of methods.yaml say what each key means; None: nothing is said.
    """

    title: str = _key(TEXT)
    module: str | None = _key(TEXT, None)
    command: str | None = _key(TEXT, None)
    format: str | None = _key(one_of("csv", "mtx"), None)
    extends: str | None = _key(TEXT, None)
    environment: str = _key(TEXT, "base")
    input: str = _key(one_of("scaled", "transformed", "counts"), "scaled")
    uses_n_clusters: bool = _key(FLAG, True)
    uses_prior: bool = _key(FLAG, False)
    stochastic: bool = _key(FLAG, True)
    gpu: bool = _key(FLAG, False)
    threads: int = _key(WHOLE, 1)
    mem_mb: int = _key(WHOLE, 8000)
    runtime: float = _key(MINUTES, 60)
    params: Mapping[str, Any] = field(
        default_factory=dict, metadata={"kind": PARAMS, "ours": False}
    )
    reference: str = _key(TEXT, "Own method.")
    published_as: str | None = _key(TEXT, None, ours=True)
    embedding: bool | None = _key(FLAG, None, ours=True)
    control: bool | None = _key(FLAG, None, ours=True)

    # said of one block, and not of those that extend it
    NOT_TAKEN_OVER = ("title", "published_as", "extends")

    @classmethod
    def kinds(cls, own: bool) -> dict[str, Kind]:
        """Key → what fits it, of a user's own method or of one that is built in."""
        return {f.name: f.metadata["kind"] for f in fields(cls) if not (own and f.metadata["ours"])}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """What holds of a method whose block says nothing of it."""
        said = {f.name: f.default for f in fields(cls) if f.default not in (MISSING, None)}
        return said | {"params": {}}

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """JSON schema of a whole file of blocks, as people write them: name → block."""
        defaults = cls.defaults()
        keys = {
            name: {**kind.schema} | ({"default": defaults[name]} if name in defaults else {})
            for name, kind in cls.kinds(own=False).items()
        }
        block = {"type": "object", "additionalProperties": False, "properties": keys}
        start = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "methods.yaml"}
        told = "Written by `python -m moesimvae.nouns workflow/schemas`."
        return start | {
            "description": told,
            "type": "object",
            "additionalProperties": block | {"required": ["title"]},
        }


@dataclass(frozen=True)
class Metric:
    """What of a metric's block decides how its values compare.

    better: "higher" | "lower" | "none" (a description, not a score); range: lowest and highest.
    """

    better: str = "none"
    range: tuple[float, float] = (-math.inf, math.inf)
    label_free: bool = False

    @classmethod
    def of(cls, block: Mapping[str, Any]) -> Metric:
        known = {f.name: block[f.name] for f in fields(cls) if f.name in block}
        return cls(**known)

    @property
    def sign(self) -> int:
        """Values times this are the better the larger they are; 0 where none is better."""
        return {"higher": 1, "lower": -1}.get(self.better, 0)

    @property
    def best(self) -> float:
        return self.range[self.sign > 0]

    @property
    def worst(self) -> float:
        return self.range[self.sign < 0]

    def best_first(self, values: Mapping[str, float]) -> list[str]:
        """Names by their values, equal ones in the order given."""
        return sorted(values, key=lambda name: -self.sign * values[name])


def write_schemas(folder: str | Path) -> None:
    write_text(Path(folder, "methods.schema.json"), json.dumps(Method.schema(), indent=2) + "\n")


if __name__ == "__main__":
    write_schemas(sys.argv[1])
