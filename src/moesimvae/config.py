"""config.yaml as plain data, checked against the schema and the registries.

An error in the configuration is reported before any job starts, in one sentence that names the
key, the value found and what is allowed.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from moesimvae.errors import UserError
from moesimvae.names import near
from moesimvae.nouns import Configuration, Experiment, Metric
from moesimvae.registry import Block, in_words

# most names listed in one message
MANY = 60
OWN = "own"  # the experiment on the user's own cells
RESAMPLES = 20  # of the user's own cells
OWN_SETTINGS = (
    *("clusters", "transform", "cofactor", "features", "drop", "layer", "use_rep", "genes"),
    *("min_counts", "genome", "transpose", "compensate"),
)
# keys that the workflow builds paths from
FOLDERS = ("results", "downloads", "mirror", "bodenmiller", "own_methods")
NUMBERS = {"boolean", "integer", "number"}


@dataclass(frozen=True)
class Benchmark:
    """A checked configuration (defaults filled in) and the registries it refers to.

    `methods` are the registry's plus the variants of every experiment's screening.
    """

    config: dict[str, Any]
    datasets: dict[str, Block]
    methods: dict[str, Block]

    def experiments(self) -> list[str]:
        return list(self.config["experiments"])

    def experiment(self, name: str) -> dict[str, Any]:
        return {"name": name, **self.config["experiments"][name]}

    def runs(self, experiment: str) -> list[tuple[str, int]]:
        """(method, seed) of every run on each of an experiment's data sets, in the order given.

        Variants of the screening come last, with one seed each.
        """
        block = self.config["experiments"][experiment]
        runs = [(method, seed) for method, seeds in block["methods"].items() for seed in seeds]
        return runs + [(name, variant["seed"]) for name, variant in block["variants"].items()]

    def parameters(self, dataset: str, method: str) -> dict[str, Any]:
        """The method's defaults, overridden by the configuration for the family, then the data set.

        A variant has its method's parameters, overridden by the screened settings.
        """
        block = self.methods[method]
        named = block.get("screens", method)
        params = dict(self.methods[named]["params"])
        for name in self._names(dataset):
            params |= self.config["parameters"].get(name, {}).get(named, {})
        return params | block.get("settings", {})

    def n_clusters(self, dataset: str, method: str = "") -> int:
        """Number of clusters a method is asked for; for an oracle, the number of populations."""
        block = self.datasets[dataset]
        if self.methods.get(method, {}).get("oracle"):
            return block["expects"]["populations"]
        number = block["n_clusters"]
        for name in self._names(dataset):
            number = self.config["n_clusters"].get(name, number)
        return number

    def _names(self, dataset: str) -> list[str]:
        """Names the configuration may use for a data set, the most specific last."""
        family = self.datasets[dataset].get("family")
        return [dataset] if family is None else [family, dataset]

    def limit(self, method: str, kind: str) -> float:
        """`runtime` (minutes) or `mem_mb`: the smaller of the method's and the configuration's."""
        overall = self.config["limits"][kind]
        return min(self.methods[method][kind], overall)


def check(
    config: dict[str, Any],
    datasets: dict[str, Block],
    methods: dict[str, Block],
    metrics: dict[str, Block],
    published: list[str],
) -> Benchmark:
    """Validate `config` and fill in the defaults of `Configuration`.

    `_expand` turns each experiment's `screening` into `variants`: name → block.

    Raises UserError (one sentence: key, found, allowed) for an unknown key, data set, method,
    parameter, metric, environment or published table, a seed given twice, a screening of a method
    that the experiment does not run, an oracle on data whose number of populations is not known, a
    value of the wrong kind or out of range, no experiment at all, a folder whose name has braces or
    cannot be printed, or a mirror folder or compensation file that does not exist.
    """
    schema = Configuration.schema()
    config = _from_words(config, schema)
    errors = jsonschema.Draft202012Validator(schema).iter_errors(config)
    error = jsonschema.exceptions.best_match(errors)
    if error is not None:
        raise UserError(_sentence(error))
    _fill_defaults(config, schema)
    _require_plain_names(config)
    _add_own(config, datasets, methods, metrics)
    _add_own_methods(config, methods)
    if not config["experiments"]:
        raise UserError(
            "config key 'experiments' is empty; give at least one, or your own cells (data)."
        )

    families = _families(datasets)
    named = {**datasets, **families}
    runnable = {name: block for name, block in methods.items() if not block.get("control")}
    for name, experiment in config["experiments"].items():
        where = f"experiments.{name}"
        _known(experiment["datasets"], named, f"{where}.datasets", "data set")
        wanted = [families.get(dataset, [dataset]) for dataset in experiment["datasets"]]
        experiment["datasets"] = list(dict.fromkeys(chain.from_iterable(wanted)))
        _known(experiment["methods"], runnable, f"{where}.methods", "method")
        _known(experiment["metrics"], metrics, f"{where}.metrics", "metric")
        _known([experiment["published"]], [None, *published], f"{where}.published", "table")
        _known([experiment["showcase"]], runnable, f"{where}.showcase", "method")
        experiment["methods"] = _method_seeds(experiment, methods)
        _check_oracles(experiment, datasets, methods, where)
        _check_screening(experiment, runnable, f"{where}.screening")
    _known(config["parameters"], named, "parameters", "data set")
    for dataset, by_method in config["parameters"].items():
        _known(by_method, methods, f"parameters.{dataset}", "method")
        for method, params in by_method.items():
            allowed = methods[method]["params"]
            _known(params, allowed, f"parameters.{dataset}.{method}", "parameter")
            for name, value in params.items():
                if not isinstance(allowed[name], str):
                    params[name] = _plain(value)
    _known(config["n_clusters"], named, "n_clusters", "data set")
    generation = config["generation"]
    _known([generation["dataset"]], datasets, "generation.dataset", "data set")
    _known(generation["cells"], datasets, "generation.cells", "data set")
    for key in ("runs", "similarity"):
        _known(generation[key], runnable, f"generation.{key}", "method")
    environments = {b["environment"] for b in methods.values()} - {"base"}
    _known(config["interpreters"], environments, "interpreters", "environment")
    _check_mirror(config["mirror"])
    if config["compensate"] not in (None, "file") and not Path(config["compensate"]).is_file():
        raise UserError(
            f"config key 'compensate': {config['compensate']} does not exist; give a csv file, or "
            "'file' for the matrix in the FCS file."
        )
    return Benchmark(config, datasets, methods | _expand(config, methods))


def _add_own(
    config: dict[str, Any],
    datasets: dict[str, Block],
    methods: dict[str, Block],
    metrics: dict[str, Block],
) -> None:
    """Add the experiment on the user's own cells, if any; label-free metrics come last.

    Clusterings already in the file are listed after the methods to run.
    """
    if config["data"] is None:
        return
    (name,) = [name for name, block in datasets.items() if "own" in block]
    wanted, defaults = config["methods"], Experiment.defaults()
    existing = [method for method, block in methods.items() if block.get("existing")]
    showcase = defaults["showcase"]
    label_free = [name for name, block in metrics.items() if Metric.of(block).label_free]
    # for the user's own cells, methods that can assess cluster stability do so
    for method in wanted:
        if "resamples" in methods.get(method, {}).get("params", {}):
            of_method = config["parameters"].setdefault(name, {}).setdefault(method, {})
            of_method.setdefault("resamples", RESAMPLES)
    config["experiments"][OWN] = defaults | {
        "title": f"Own data: {datasets[name]['title']}",
        "datasets": [name],
        "methods": [*wanted, *existing],
        "seeds": config["seeds"],
        "metrics": [*(defaults["metrics"] if config["label"] else ()), *label_free],
        "showcase": showcase if showcase in wanted else wanted[0],
        "on_request": True,
    }


def _add_own_methods(config: dict[str, Any], methods: dict[str, Block]) -> None:
    """Add the user's own methods to every experiment."""
    own = [name for name, block in methods.items() if "files_sha256" in block]
    for experiment in config["experiments"].values():
        wanted = experiment["methods"]
        more = [name for name in own if name not in wanted]
        if isinstance(wanted, dict):
            experiment["methods"] = wanted | dict.fromkeys(more)
        else:
            experiment["methods"] = [*wanted, *more]


def _require_plain_names(config: dict[str, Any]) -> None:
    """Require folder names fit for paths and messages: one printable line without braces."""
    for key in FOLDERS:
        name = config[key]
        if isinstance(name, str) and (not name.isprintable() or set(name) & set("{}")):
            raise UserError(
                f"config key '{key}': the name {name!r} contains a brace, a line break or another "
                "character that cannot be printed; give another folder."
            )


def _families(datasets: dict[str, Block]) -> dict[str, list[str]]:
    """Family → its data sets: a family's name stands for all of them."""
    families: dict[str, list[str]] = {}
    for name, block in datasets.items():
        if "family" in block:
            families.setdefault(block["family"], []).append(name)
    return families


def _method_seeds(experiment: dict, methods: dict[str, Block]) -> dict[str, list[int]]:
    """Method → seeds; a deterministic method runs once, with its first seed."""
    wanted = experiment["methods"]
    if isinstance(wanted, list):
        wanted = dict.fromkeys(wanted)
    seeds = {method: own or experiment["seeds"] for method, own in wanted.items()}
    return {m: s if methods[m]["stochastic"] else s[:1] for m, s in seeds.items()}


def _check_oracles(
    experiment: dict, datasets: dict[str, Block], methods: dict[str, Block], where: str
) -> None:
    """Require a known number of populations wherever an oracle method runs."""
    for method, dataset in product(experiment["methods"], experiment["datasets"]):
        told = "populations" in datasets[dataset].get("expects", {})
        if methods[method].get("oracle") and not told:
            raise UserError(
                f"config key '{where}.methods': '{method}' needs the number of populations, which "
                f"the data set '{dataset}' does not state (expects.populations in datasets.yaml); "
                "remove the method or the data set."
            )


def _check_screening(experiment: dict, runnable: dict[str, Block], where: str) -> None:
    _known(experiment["screening"], runnable, where, "method")
    for method, grid in experiment["screening"].items():
        if method not in experiment["methods"]:
            raise UserError(
                f"config key '{where}': method '{method}' is not among the methods of this "
                "experiment; add it there or remove it here."
            )
        _known(grid, runnable[method]["params"], f"{where}.{method}", "parameter")


def _expand(config: dict[str, Any], methods: dict[str, Block]) -> dict[str, Block]:
    """Turn every combination of each experiment's grids into a method, `<method>_s01` and so on.

    A variant's block is its method's with other `params` and `title`, and records which method it
    `screens` with which `settings`. Experiments that try the same settings share the variant and
    thus its runs. An experiment's `variants` also have its first `seed`; without `screening` there
    are none.
    """
    variants: dict[str, Block] = {}
    for experiment in config["experiments"].values():
        experiment["variants"] = {}
        grids = experiment["screening"] if config["screening"] else {}
        for method, grid in grids.items():
            base = methods[method]
            for values in product(*grid.values()):
                settings = dict(zip(grid, values, strict=True))
                known = [n for n, block in variants.items() if block["screens"] == method]
                same = [name for name in known if variants[name]["settings"] == settings]
                name = same[0] if same else f"{method}_s{len(known) + 1:02d}"
                variants[name] = base | {
                    "title": f"{base['title']}, {in_words(settings)}",
                    "params": base["params"] | settings,
                    "screens": method,
                    "settings": settings,
                }
                experiment["variants"][name] = variants[name] | {"seed": experiment["seeds"][0]}
    return variants


def _check_mirror(mirror: str | None) -> None:
    if mirror is None or "://" in mirror:
        return
    if not Path(mirror).is_dir():
        raise UserError(
            f"config key 'mirror': the folder {mirror} does not exist; "
            "give a folder with the data files, or omit this key to download them."
        )


def _known(names: Any, known: Any, where: str, kind: str) -> None:
    for name in names:
        if name not in known:
            raise UserError(
                f"config key '{where}': {kind} '{name}' is unknown; {_choice(name, known)}."
            )


def _choice(name: object, known: Any) -> str:
    names = [str(k) for k in known if k is not None]
    hint = "".join(f"did you mean '{other}'? " for other in near(name, names, most=1))
    shown = sorted(names)[:MANY]
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return f"{hint}allowed: {', '.join(shown) or 'none'}{more}"


def _path(error: jsonschema.ValidationError) -> str:
    return ".".join(str(part) for part in error.absolute_path) or "config.yaml"


def _sentence(error: jsonschema.ValidationError) -> str:
    where, found = _path(error), error.instance
    start = f"config key '{where}'"
    match error.validator:
        case "additionalProperties":
            allowed = error.schema.get("properties", {})
            unknown = next(key for key in found if key not in allowed)
            place = "config.yaml" if where == "config.yaml" else start
            return f"{place}: key '{unknown}' is unknown; {_choice(unknown, allowed)}."
        case "required":
            missing = next(key for key in error.validator_value if key not in found)
            return f"{start}: key '{missing}' is missing; add it."
        case "uniqueItems":
            twice = next(item for i, item in enumerate(found) if item in found[:i])
            return f"{start}: {twice!r} is given twice; give each value once."
        case "minItems" | "minProperties":
            return f"{start} is empty; give at least one value."
        case "minimum" | "exclusiveMinimum":
            bound = "at least" if error.validator == "minimum" else "more than"
            return f"{start}: {found!r} is too small; it must be {bound} {error.validator_value}."
        case "maximum" | "exclusiveMaximum":
            bound = "at most" if error.validator == "maximum" else "less than"
            return f"{start}: {found!r} is too large; it must be {bound} {error.validator_value}."
        case "enum":
            return f"{start}: {found!r} is unknown; {_choice(found, error.validator_value)}."
        case "type" | "oneOf":
            kinds = error.validator_value
            if error.validator == "oneOf":
                kinds = "a list of names, or a mapping from names to lists of seeds"
            elif isinstance(kinds, list):
                kinds = " or ".join(kinds)
            return f"{start}: {found!r} is of the wrong type; it must be {kinds}."
        case "pattern" | "not" | "propertyNames":
            return (
                f"{start}: the name {found!r} is not allowed; use lower-case letters, digits "
                f"and _, but none of: {', '.join(Experiment.NOT_A_NAME)}."
            )
        case _:
            return f"{start}: {error.message}; see workflow/schemas/config.schema.json."


def _from_words(value: Any, schema: dict[str, Any]) -> Any:
    """A copy of `value` with strings such as 'true' or '30' converted as the schema asks.

    Values from the command line arrive as strings.
    """
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    if value == "null" and "null" in kinds:
        return None
    if isinstance(value, str) and NUMBERS.intersection(kinds):
        return _plain(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and "string" in kinds:
        return str(value)  # a column or a file may be called 7
    if isinstance(value, str) and "array" in kinds:
        return [value]
    if isinstance(value, list):
        return [_from_words(item, schema.get("items", {})) for item in value]
    if not isinstance(value, dict):
        return deepcopy(value)
    known, other = schema.get("properties", {}), schema.get("additionalProperties")
    other = other if isinstance(other, dict) else {}
    return {k: _from_words(item, known.get(k, other)) for k, item in value.items()}


def _plain(value: Any) -> Any:
    """Parse a command-line string as YAML would if it is a number, a boolean or null."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    return parsed if isinstance(parsed, bool | int | float | None) else value


def _fill_defaults(value: Any, schema: dict[str, Any]) -> None:
    if not isinstance(value, dict):
        return
    for key, sub in schema.get("properties", {}).items():
        if "default" in sub:
            value.setdefault(key, deepcopy(sub["default"]))
        if key in value:
            _fill_defaults(value[key], sub)
    inner = schema.get("additionalProperties")
    if isinstance(inner, dict):
        for key in set(value) - set(schema.get("properties", {})):
            _fill_defaults(value[key], inner)
