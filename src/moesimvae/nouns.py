"""The benchmark's nouns as plain types: whatever several modules must agree on.

data sets × methods × seeds → runs, each with a status → scores by metrics → experiments.
The keys of configuration, registries and status.json are defined here with their valid values and
defaults; `python -m moesimvae.nouns workflow/schemas` writes JSON schemas of them.
Standard library only, since the supervisor of a run imports it.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from moesimvae.errors import UserError
from moesimvae.files import read_json, write_text
from moesimvae.keys import (
    FLAG,
    MAPPING,
    MINUTES,
    NAME,
    TEXT,
    WHOLE,
    Keys,
    Kind,
    key,
    named,
    one_of,
    or_null,
    part,
    several,
    whole,
)


@dataclass(frozen=True)
class Run:
    """One method on one data set with one seed, and the names of everything derived from it.

    Controls of a data set are run together, so they share a folder: `Run.controls(dataset)`.
    With wildcards in place of the three, its paths are those of the workflow's rules.
    """

    dataset: str
    method: str
    seed: int | str
    control: bool = False

    @property
    def tail(self) -> str:
        """Method and seed, which identify a run within its data set: kmeans/seed0."""
        return f"{self.method}/seed{self.seed}"

    @property
    def name(self) -> str:
        """Data set, method and seed, as in every path: mnist/kmeans/seed0."""
        return f"{self.dataset}/{'controls/' if self.control else ''}{self.tail}"

    @property
    def path(self) -> str:
        """Its folder, within the results folder."""
        return f"runs/{self.name}"

    def named(self, folder: str | Path, ending: str = "") -> str:
        """A path named after it in another folder: projections/mnist/kmeans/seed0.parquet."""
        return f"{folder}/{self.name}{ending}"

    @staticmethod
    def controls(dataset: str) -> str:
        """The folder of a data set's controls, within the results folder."""
        return f"runs/{dataset}/controls"

    @classmethod
    def of(cls, path: str | Path) -> Run:
        """The run that a folder, or a file named after it, belongs to.

        Raises UserError for a path that does not end with data set, method and seed.
        """
        found = _NAME.search(Path(path).as_posix())
        if found is None:
            raise UserError(
                f"{path} is not a run folder; expected …/runs/<dataset>/<method>/seed<seed>."
            )
        return cls(found["dataset"], found["method"], int(found["seed"]), bool(found["group"]))


_NAME = re.compile(
    r"(?:^|/)(?P<dataset>[^/]+)/(?P<group>controls/)?(?P<method>[^/]+)/seed(?P<seed>\d+)(\.[^/]*)?$",
    re.ASCII,
)


# patterns below the folder of all runs: of methods, of controls
RUNS = ("*/*/seed*", "*/controls/*/seed*")


def made_with(run: Path) -> Path:
    """The folder that is remade with a run: its own, or that of all its data set's controls."""
    return run.parents[1] if Run.of(run).control else run


def folders_of_controls(controls: str | Path) -> list[Path]:
    """The runs in a data set's folder of controls."""
    return sorted(Path(controls).glob("*/seed*"))


_NUMBER: dict[str, Any] = {"type": "number"}
_AMOUNT = or_null(Kind(_NUMBER | {"minimum": 0}))
_RANGE = Kind({"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2})
# a number, or the parameter of a family's grid that supplies it
_WHOLE_OR_PARAMETER = Kind({"type": ["integer", "string", "null"], "minimum": 1})
SEEDS = several(whole(0, 2**32 - 1), 1, unique=True)
_NAMES = several(TEXT, 1, unique=True)
_METHODS = Kind(
    {
        "oneOf": [
            _NAMES.schema,
            {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": {"oneOf": [SEEDS.schema, {"type": "null"}]},
            },
        ]
    }
)


@dataclass(frozen=True)
class Status(Keys):
    """status.json: a run's settings, cost and outcome; the defaults hold before it starts."""

    status: str = key(one_of("ok", "timeout", "out-of-memory", "error", "invalid"), "")
    reason: str = key(TEXT, "")
    log_tail: list[str] = key(several(TEXT), [])
    dataset: str = key(TEXT, "")
    method: str = key(TEXT, "")
    seed: int = key(whole(0), 0)
    params: dict[str, Any] = key(MAPPING, {})
    n_clusters: int = key(whole(0), 0)
    clusters_found: int | None = key(or_null(whole(0)), None)
    noise_share: float | None = key(_AMOUNT, None)
    facts: dict[str, Any] = key(MAPPING, {})
    wall_seconds: float | None = key(_AMOUNT, None)
    cpu_seconds: float | None = key(_AMOUNT, None)
    peak_memory_mb: float | None = key(_AMOUNT, None)
    peak_gpu_memory_mb: float | None = key(_AMOUNT, None)
    energy_j: float | None = key(_AMOUNT, None)
    device: str = key(TEXT, "cpu")
    threads: int = key(whole(0), 1)
    started: str = key(TEXT, "")
    machine: dict[str, Any] = key(MAPPING, {})
    packages: dict[str, str] = key(named(TEXT), {})
    code_sha256: str | None = key(or_null(TEXT), None)
    features_sha256: str | None = key(or_null(TEXT), None)
    version: str = key(TEXT, "")

    @classmethod
    def read(cls, run: str | Path) -> Self:
        """Read the status in a run's folder."""
        return cls.of(read_json(Path(run, "status.json")))


@dataclass(frozen=True)
class Method(Keys):
    """Keys of a method's block, built-in or a user's own, and their defaults; None means unset.

    The comments of methods.yaml explain each key.
    """

    title: str = key(TEXT)
    module: str | None = key(TEXT, None)
    command: str | None = key(TEXT, None)
    format: str | None = key(one_of("csv", "mtx"), None)
    extends: str | None = key(TEXT, None)
    environment: str = key(TEXT, "base")
    input: str = key(one_of("scaled", "transformed", "counts"), "scaled")
    uses_n_clusters: bool = key(FLAG, True)
    uses_prior: bool = key(FLAG, False)
    all_genes: bool = key(FLAG, False)
    oracle: bool = key(FLAG, False)
    stochastic: bool = key(FLAG, True)
    gpu: bool = key(FLAG, False)
    threads: int = key(WHOLE, 1)
    mem_mb: int = key(WHOLE, 8000)
    runtime: float = key(MINUTES, 60)
    params: Mapping[str, Any] = key(MAPPING, {})
    reference: str = key(TEXT, "Own method.")
    published_as: str | None = key(TEXT, None, ours=True)
    embedding: bool | None = key(FLAG, None, ours=True)
    control: bool | None = key(FLAG, None, ours=True)
    existing: str | None = key(TEXT, None, ours=True)

    # keys that a block does not inherit from the one it extends
    NOT_TAKEN_OVER = ("title", "published_as", "extends")


@dataclass(frozen=True)
class Variant(Method):
    """A method with settings from a declared grid, as `config.check` makes it."""

    screens: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class Metric(Keys):
    """Keys of a metric's block; better, range and label_free decide how values compare.

    better: "higher" | "lower" | "none" (a description, not a score); range: lowest and highest.
    The comments of metrics.yaml explain the other keys.
    """

    better: str = key(one_of("higher", "lower", "none"), "none", must=True)
    range: tuple[float, float] = key(_RANGE, (-math.inf, math.inf), must=True)
    label_free: bool = key(FLAG, False)
    lacking: str = key(TEXT, "")
    title: str = key(TEXT, "", must=True)
    definition: str = key(TEXT, "", must=True)
    chance_corrected: bool = key(FLAG, False, must=True)
    reference: str = key(TEXT, "", must=True)

    @property
    def sign(self) -> int:
        """Factor that makes larger values better; 0 where neither direction is better."""
        return {"higher": 1, "lower": -1}.get(self.better, 0)

    @property
    def best(self) -> float:
        return self.range[self.sign > 0]

    @property
    def worst(self) -> float:
        return self.range[self.sign < 0]

    def best_first(self, values: Mapping[str, float]) -> list[str]:
        """Names by their values, ties in the order given."""
        return sorted(values, key=lambda name: -self.sign * values[name])


UNKNOWN = "unknown"  # a hash that nobody has published


@dataclass(frozen=True)
class Hashes(Keys):
    """Hashes of a file's content, by kind."""

    sha256: str | None = key(TEXT, None)
    md5: str | None = key(TEXT, None)
    git_blob_sha1: str | None = key(TEXT, None)


@dataclass(frozen=True, kw_only=True)
class RawFile(Keys):
    """A file of a data set, identified by its content (of a .gz, unpacked).

    In a family of wells its name is that of its block, and its source that of the family.
    """

    name: str = key(TEXT, "")
    sources: list[str] = key(several(TEXT), [], "Tried in order, after the mirror folder.")
    hash: str | dict[str, str] | None = key(
        Kind({"anyOf": [{"const": UNKNOWN}, Hashes.schema() | {"minProperties": 1}]})
    )
    bytes: int | None = key(whole(0), None)


@dataclass(frozen=True)
class Split(Keys):
    """The share of the cells that is held out, and the seed that draws them."""

    test: float = key(Kind(_NUMBER | {"exclusiveMinimum": 0, "exclusiveMaximum": 1}))
    seed: int = key(whole(0, 2**32 - 1))


@dataclass(frozen=True)
class Panel(Keys):
    """A block's keys for cytometry. markers: those clustered, in this order, by marker ($PnS) or
    channel ($PnN); by default all but `not_markers` and the label. label: the column with the
    populations. populations: all their names, or number in the column → name. samples: parts of
    the names of the FCS files to take from an archive; by default all.
    """

    INSTRUMENTS = ("mass", "fluorescence")

    instrument: str = key(one_of(*INSTRUMENTS))
    markers: list[str] = key(several(TEXT), [])
    not_markers: list[str] = key(several(TEXT), [])
    label: str = key(TEXT, "label")
    populations: list[str] | dict[int | str, str] = key(
        Kind({"anyOf": [several(TEXT).schema, named(TEXT).schema]}), []
    )
    samples: list[str] = key(several(TEXT), [])


@dataclass(frozen=True)
class Counts(Keys):
    """A block's keys for counts. In an archive of tables: `populations` in the desired order, and
    `member`, a table's path with {population} in it. In an h5ad: the column `label` of obs, and
    `symbols`, that of var with the gene symbols. spike_ins: prefix of the names of spike-in RNA.
    """

    populations: list[str] = key(several(TEXT), [])
    member: str = key(TEXT, "")
    label: str = key(TEXT, "")
    symbols: str | None = key(TEXT, None)
    spike_ins: str | None = key(TEXT, None)
    empty_cells: str = key(one_of("refused", "kept"), "refused")


@dataclass(frozen=True)
class DataSet(Keys):
    """Keys of a data set's block, explained in the comments of datasets.yaml.

    None means unset. With `wells` or `grid` it is a family, with a data set for each.
    """

    title: str = key(NAME)
    reader: str = key(NAME)
    n_clusters: int | str | None = key(_WHOLE_OR_PARAMETER)
    scored: str = key(NAME)
    simulated: bool = key(FLAG)
    partial: bool = key(FLAG)
    licence: str = key(NAME)
    citation: str = key(NAME)
    note: str = key(TEXT, "")
    cells: int | str | None = key(_WHOLE_OR_PARAMETER, None)
    simulate: dict[str, Any] | None = key(MAPPING, None)
    cytometry: dict[str, Any] | None = key(part(Panel), None)
    counts: dict[str, Any] | None = key(part(Counts), None)
    split: dict[str, Any] | None = key(part(Split), None)
    signature: dict[str, str] | None = key(named(TEXT), None)
    paper: dict[str, str] | None = key(named(TEXT), None)
    files: dict[str, Any] = key(named(part(RawFile)), {})
    folder: str | None = key(NAME, None)
    instead: dict[str, Any] | None = key(or_null(MAPPING), None)
    expects: dict[str, int] = key(named(whole(0)), {})
    preprocessing: list[dict[str, Any]] = key(
        several(Kind({"type": "object", "required": ["step"]})), []
    )
    wells: dict[str, str] | None = key(named(TEXT), None)
    grid: dict[str, list[Any]] | None = key(
        Kind({"type": "object", "maxProperties": 1, "additionalProperties": {"type": "array"}}),
        None,
    )


@dataclass(frozen=True)
class Facts(Keys):
    """dataset.json: the facts of a data set as prepared. None means unset."""

    name: str = ""
    title: str = ""
    n_cells: int = 0
    n_features: int = 0
    n_clusters: int | None = None
    n_clusters_estimated: bool = False
    n_clusters_evidence: dict[str, Any] | None = None
    n_scored: int | None = None
    n_test: int | None = None
    n_train: int | None = None
    scored: str = ""
    simulated: bool = False
    partial: bool = False
    note: str = ""
    citation: str = ""
    licence: str = ""
    sources: list[dict[str, Any]] = field(default_factory=list)
    genes: dict[str, Any] | None = None
    signature: dict[str, str] | None = None
    paper: dict[str, bool] | None = None
    group: str = ""
    features_sha256: str | None = None


@dataclass(frozen=True)
class Experiment(Keys):
    """Data sets × methods × seeds, and how they are scored and shown; a block in config.yaml."""

    title: str = key(NAME)
    datasets: list[str] = key(_NAMES)
    methods: Sequence[str] | Mapping[str, list[int] | None] = key(
        _METHODS, told="Names, or names with their own seeds."
    )
    seeds: list[int] = key(SEEDS, [0, 1, 2])
    metrics: list[str] = key(
        _NAMES,
        [
            *("nmi_arithmetic", "accuracy_hungarian", "ari", "ami", "f_flowcap"),
            "f1_mean_hungarian",
        ],
    )
    published: str | None = key(
        or_null(TEXT), None, "File in workflow/published/ with the numbers shown beside ours."
    )
    screening: dict[str, dict[str, list[Any]]] = key(
        named(named(Kind({"type": "array", "minItems": 1, "uniqueItems": True}), 1)),
        {},
        "Grids run besides the methods: method, then parameter, then the values tried; every "
        "combination is one run, with the first seed.",
    )
    showcase: str = key(TEXT, "moe_sim_vae", "Method whose latent space and loss curves are drawn.")
    on_request: bool = key(FLAG, False, "Made only when named, not as part of `all`.")

    # names of the workflow's own targets and folders
    NOT_A_NAME = (
        *("all", "data", "figure2", "generation", "logs", "own", "projections", "repeats", "runs"),
        *("supplement", "verdict"),
    )


@dataclass(frozen=True)
class Plan(Experiment):
    """An experiment as `config.check` leaves it: each method with its seeds, grids expanded."""

    methods: Mapping[str, list[int]] = field(default_factory=dict)
    name: str = ""
    variants: dict[str, Variant] = field(default_factory=dict)

    @classmethod
    def of(cls, block: Mapping[str, Any]) -> Self:
        return super().of({**block, "variants": Variant.by_name(block.get("variants", {}))})


@dataclass(frozen=True)
class Limits(Keys):
    """Upper limits for every run, whatever its method's block asks for."""

    runtime: float = key(MINUTES, 180, "Minutes.")
    mem_mb: int = key(whole(256), 16000, "Memory of all processes of a run, MB.")


@dataclass(frozen=True)
class Generation(Keys):
    """What trained models generate, and how it is studied."""

    dataset: str = key(TEXT, "mnist", "Images whose generation is studied.")
    runs: dict[str, list[int]] = key(
        named(SEEDS),
        {"moe_sim_vae": [0], "moe_sim_vae_paper": [0], "vade": [0, 1, 2]},
        "Figure 2, S3 to S6 Figures: method, then seeds.",
    )
    similarity: dict[str, list[int]] = key(
        named(SEEDS),
        {"moe_sim_vae_no_refinement": [0], "moe_sim_vae_no_similarity": [0]},
        "S2 Figure: methods with and without a similarity, then seeds.",
    )
    cells: list[str] = key(
        several(TEXT, unique=True),
        ["simulated_cytof", "simulated_scrna"],
        "Data sets of cells whose generation is studied with the default method.",
    )
    images: int = key(
        whole(10), 10000, "Number generated from every component for every threshold."
    )
    thresholds: list[float] = key(
        several(Kind(_NUMBER | {"minimum": 0, "exclusiveMaximum": 1}), 1, unique=True),
        [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.999],
        "Thresholds on the posterior, for methods that accept draws by it.",
    )
    epochs: int = key(whole(1), 3, "Epochs for which the independent judge is trained.")


# for a user's own values
TRANSFORMS = ("auto", "arcsinh", "counts", "log1p", "none")


@dataclass(frozen=True)
class Configuration(Keys):
    """config.yaml: the whole benchmark, and the user's own cells, if any."""

    results: str = key(NAME, "results", "Folder that the workflow writes into.")
    downloads: str = key(
        NAME,
        "resources",
        "Folder for downloaded files, not affected by deleting the results.",
    )
    mirror: str | None = key(
        or_null(NAME),
        None,
        "Folder (or URL) searched for a data set's files before its official sources.",
    )
    bodenmiller: str | None = key(
        or_null(NAME),
        None,
        "Folder of <inhibitor>_<population>_<well>.fcs files; null: the public control wells.",
    )
    data: str | None = key(
        or_null(NAME),
        None,
        "Your own cells, for the target `own`: h5ad, csv, tsv (also .gz), FCS, npz, 10x (.h5 or "
        "folder).",
    )
    label: str | None = key(
        or_null(NAME),
        None,
        "Of your own cells: the column with the group of each cell; null: no accuracy is reported.",
    )
    existing: list[str] = key(
        several(NAME, unique=True),
        [],
        "Of your own cells: columns with existing clusterings, which are shown beside the methods.",
    )
    clusters: int | None = key(
        or_null(whole(2, 10000)),
        None,
        "Of your own cells: number of clusters to ask for; null: estimated without labels.",
    )
    methods: list[str] = key(
        _NAMES,
        ["moe_sim_vae", "consensus", "kmeans", "gmm", "flowsom", "louvain", "hdbscan"],
        "Methods that cluster your own cells.",
    )
    seeds: list[int] = key(SEEDS, [0, 1, 2], "Seeds of the runs on your own cells.")
    transform: str = key(
        one_of(*TRANSFORMS),
        "auto",
        "Transformation of your own cells: auto, arcsinh, counts, log1p or none.",
    )
    cofactor: float | None = key(
        or_null(Kind(_NUMBER | {"exclusiveMinimum": 0})),
        None,
        "In arcsinh(x / cofactor) of your own cells; null: 5, or 150 for FCS of a flow cytometer.",
    )
    compensate: str | None = key(
        or_null(NAME),
        None,
        "For your own FCS file: file for the matrix in it, or a csv with one; null: none.",
    )
    features: list[str] = key(
        several(TEXT),
        [],
        "Names or patterns of the features of your own cells to use; empty: all.",
    )
    drop: list[str] = key(
        several(TEXT), [], "Names or patterns of the features of your own cells to leave out."
    )
    layer: str = key(TEXT, "", "Layer of your own h5ad to use instead of X.")
    use_rep: str = key(TEXT, "", "Key in obsm of your own h5ad to use instead of X.")
    genes: int | None = key(
        or_null(whole(2)),
        2000,
        "Of your own cells with more features: how many of largest variance to keep, unless there "
        "are negative values; null: all.",
    )
    min_counts: int = key(
        whole(0), 0, "Of your own cells: those with fewer counts over all features are removed."
    )
    genome: str = key(TEXT, "", "Of your own 10x counts with several genomes: the one to use.")
    transpose: bool | None = key(
        or_null(FLAG),
        None,
        "Of your own file: true if cells are its columns; null: its rows, unless these look like "
        "genes.",
    )
    own_methods: str | None = key(
        or_null(NAME),
        None,
        "Folder with your own methods, which run in every experiment (docs/own_method.md).",
    )
    rerun_failed: bool = key(
        FLAG,
        False,
        "Repeat the runs that ended without labels (DNF).",
    )
    rerun_stale: bool = key(
        FLAG,
        False,
        "Repeat the runs that were not made with the current code of their methods.",
    )
    screening: bool = key(
        FLAG, True, "Run the grids that experiments declare; false skips them all."
    )
    limits: dict[str, float] = key(
        part(Limits), {}, "Limits for every run, whatever its method's block asks for."
    )
    interpreters: dict[str, str] = key(
        named(TEXT),
        {},
        "Python of each environment other than the workflow's own (without --use-conda).",
    )
    parameters: dict[str, dict[str, dict[str, Any]]] = key(
        named(named(MAPPING)),
        {},
        "Method parameters for one data set: data set, then method, then parameter.",
    )
    n_clusters: dict[str, int] = key(
        named(whole(1)),
        {},
        "Number of clusters asked for, by data set, instead of the registry's.",
    )
    generation: dict[str, Any] = key(
        part(Generation), {}, "Figure 2 and the supplement's studies of generated images and cells."
    )
    experiments: dict[str, dict[str, Any]] = key(
        named(part(Experiment), but=Experiment.NOT_A_NAME),
        {},
        "Data sets × methods × seeds, by name; each becomes results/<name>/.",
    )


def schemas() -> dict[str, dict[str, Any]]:
    """Name of a file without .yaml → JSON schema of it as users write it."""
    registries = {"methods": Method, "datasets": DataSet, "metrics": Metric}
    files = {name: named(part(noun)).schema for name, noun in registries.items()}
    return {
        name: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"{name}.yaml",
            "description": "Written by `python -m moesimvae.nouns workflow/schemas`.",
            **schema,
        }
        for name, schema in {"config": Configuration.schema(), **files}.items()
    }


def write_schemas(folder: str | Path) -> None:
    for name, schema in schemas().items():
        text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        write_text(Path(folder, f"{name}.schema.json"), text)


if __name__ == "__main__":
    write_schemas(sys.argv[1])
