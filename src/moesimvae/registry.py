"""Registries as plain data: one block for each thing that exists, as in the YAML files.

The workflow supplies the files' locations; no path is hard-coded here.

A method's block with a `command`, or with a .py file as `module`, is a user's own method; its files
are in the folder of the file with the block (`docs/own_method.md`).
"""

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from moesimvae import files
from moesimvae.errors import UserError
from moesimvae.names import near_or_all
from moesimvae.nouns import Method, Metric

Block = dict[str, Any]
T = TypeVar("T")

# metrics for choosing the settings of a screened method (see evaluation/selection.py)
CRITERIA = {"oracle": "f_flowcap", "label-free": "silhouette"}

# the module whose presets a block's params may name: {preset: paper}
PRESETS_OF = "moe_sim_vae"

NAME = re.compile(r"[a-z][a-z0-9_]*")
# Placeholders that a command may have in braces, besides the names of its params.
PLACES = ("features", "labels", "n_clusters", "seed", "threads")


def load(paths: str | Path | Iterable[str | Path]) -> dict[str, Block]:
    """Read registry files into a single mapping from name to block.

    Raises UserError when a file is not such a mapping, or repeats a name of another one.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    blocks: dict[str, Block] = {}
    for path in paths:
        more = _load(Path(path))
        if twice := blocks.keys() & more:
            raise UserError(f"{path} defines '{min(twice)}', as another file does; rename one.")
        blocks |= more
    return blocks


def methods(paths: str | Path | Iterable[str | Path]) -> dict[str, Method]:
    """Read the methods of registry files."""
    return Method.by_name(load(paths))


def metrics(paths: str | Path | Iterable[str | Path]) -> dict[str, Metric]:
    """Read the metrics of registry files."""
    return Metric.by_name(load(paths))


def _load(path: Path) -> dict[str, Block]:
    import yaml  # a method's own environment need not have it

    try:
        blocks = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML ({said}); correct that line.") from error
    if not isinstance(blocks, dict) or not all(isinstance(b, dict) for b in blocks.values()):
        raise UserError(f"{path} must map names to blocks of settings, one block each.")
    blocks = {name: _extended(name, blocks, path) for name in blocks}
    return {
        name: _own_method(name, block, path) if _is_own(block) else _with_defaults(block)
        for name, block in blocks.items()
    }


def _extended(name: str, blocks: dict[str, Block], path: Path, below: tuple = ()) -> Block:
    """A block with what it inherits from a preset and from the block that it extends, if any."""
    block = blocks[name]
    if "extends" not in block:
        return block | _params(f"{path}: '{name}'", {}, block)
    base = str(block["extends"])
    others = [other for other in blocks if other not in (name, *below)]
    if base not in others:
        raise UserError(
            f"{path}: '{name}' extends '{base}', which is not in this file or extends "
            f"'{name}' in turn; did you mean {near_or_all(base, others)}?"
        )
    taken = _extended(base, blocks, path, (*below, name))
    taken = {key: value for key, value in taken.items() if key not in Method.NOT_TAKEN_OVER}
    own = {key: value for key, value in block.items() if key != "extends"}
    return taken | own | _params(f"{path}: '{name}'", taken, own)


def _params(where: str, taken: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """{"params": of `taken`, overridden by the preset's, then by `own`}; {} if `own` has none."""
    given, params = taken.get("params", {}), own.get("params")
    if not isinstance(given, dict) or not isinstance(params, dict):
        return {}
    preset = {}
    if "preset" in params and (taken | own).get("module") == PRESETS_OF:
        preset = _preset(where, params["preset"])
        params = {key: value for key, value in params.items() if key != "preset"}
    return {"params": given | preset | params}


def _preset(where: str, name: object) -> dict[str, Any]:
    """A preset of MoESimVAE, as YAML would load it."""
    from moesimvae.model.presets import PRESETS  # plain data: no library is imported

    if name not in PRESETS:
        raise UserError(
            f"{where} has the unknown preset '{name}'; did you mean {near_or_all(name, PRESETS)}?"
        )
    preset = PRESETS[str(name)].items()
    return {key: list(value) if isinstance(value, tuple) else value for key, value in preset}


def _with_defaults(block: Block) -> Block:
    """Fill in the defaults of a built-in method's block; leave other blocks as they are."""
    return Method.defaults() | block if "module" in block else block


def existing(columns: Iterable[str] | None, results: Path) -> list[Path]:
    """Write a file with a block for each column of the user's file that is a finished clustering.

    It is kept in the results folder and rewritten only when its content would change; without
    columns there is none.
    """
    import yaml

    blocks: dict[str, Block] = {}
    for column in columns or ():
        plain = re.sub(r"[^a-z0-9]+", "_", str(column).lower()).strip("_")
        name = f"existing_{plain}"
        if name in blocks:
            raise UserError(
                f"config key 'existing': '{column}' and '{blocks[name]['existing']}' differ "
                "only in capitals or special characters; rename one of these columns."
            )
        blocks[name] = {
            "title": f"{column} (existing, not trained)",
            "module": "existing",
            "existing": str(column),
            "uses_n_clusters": False,
            "stochastic": False,
            "runtime": 5,
            "reference": f"Column {column} of the user's own file; nothing was trained here.",
        }
    if not blocks:
        return []
    path, text = results / "existing.yaml", yaml.safe_dump(blocks, sort_keys=False)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        files.write_text(path, text)
    return [path]


def own_methods(folder: str | Path | None) -> list[Path]:
    """The files with blocks of methods in a user's folder; raises UserError if there is none."""
    if folder is None:
        return []
    found = sorted(Path(folder).glob("*.yaml")) if Path(folder).is_dir() else []
    if not found:
        raise UserError(
            f"config key 'own_methods': {folder} is not a folder with the block of a method; make "
            "one with `moesimvae new-method NAME`."
        )
    for path in found:
        for name, block in _load(path).items():
            if not _is_own(block):
                raise UserError(
                    f"{path}: the method '{name}' needs 'module' (a .py file beside it) or "
                    "'command'; give one."
                )
    return found


def _is_own(block: Block) -> bool:
    return "command" in block or str(block.get("module", "")).endswith(".py")


def _own_method(name: str, block: Block, path: Path) -> Block:
    """Complete the block of a user's own method with defaults and the files beside it.

    `folder`, for a command, is where its files are; `files_sha256` is the hash of their content,
    so that runs are repeated when they change.
    """
    where = f"{path}: the method '{name}'"
    block = Method.defaults() | {"title": name} | block
    kinds = Method.kinds(own=True)
    if not NAME.fullmatch(str(name)):
        raise UserError(f"{where} must have a name of lower-case letters, digits and _; rename it.")
    if ("command" in block) == ("module" in block):
        raise UserError(f"{where} needs either 'module' (a .py file) or 'command'; give just one.")
    for key, value in block.items():
        if key not in kinds:
            raise UserError(
                f"{where} has an unknown key '{key}'; did you mean {near_or_all(key, kinds)}?"
            )
        if not kinds[key].fits(value):
            raise UserError(f"{where} has {key}: {value!r}; give {kinds[key].words}.")
    if "module" in block:
        module = path.parent / block["module"]
        if not module.is_file():
            raise UserError(f"{where} names the module {module}, which does not exist; create it.")
        beside = sorted(module.parent.glob("*.py"))  # which it may import
        return block | {"module": str(module), "files_sha256": _hash(beside)}
    words = _words(block, where)
    there = [path.parent / word for word in words if (path.parent / word).is_file()]
    own = {"module": "external", "folder": str(path.parent), "files_sha256": _hash(there)}
    return block | own


def _words(block: Block, where: str) -> list[str]:
    """Words of a command; raises UserError if it is malformed or its placeholders are wrong."""
    import shlex

    try:
        words = shlex.split(str(block["command"]))
    except ValueError as error:
        raise UserError(f"{where} has a command that cannot be parsed ({error}).") from error
    places = set(re.findall(r"{(.*?)}", " ".join(words)))
    allowed = [*PLACES, *block["params"]]
    if unknown := sorted(places - set(allowed)):
        raise UserError(
            f"{where} has {{{unknown[0]}}} in its command, where only these may be used: "
            f"{', '.join(f'{{{place}}}' for place in allowed)}."
        )
    if lacking := sorted({"features", "labels", *block["params"]} - places):
        raise UserError(f"{where} lacks {{{lacking[0]}}} in its command; add it.")
    block.setdefault("format", "csv")
    return words


def _hash(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def block(blocks: Mapping[str, T], name: str, kind: str) -> T:
    """The block called `name`; raises UserError with similar known names if there is none."""
    if name not in blocks:
        raise UserError(
            f"unknown {kind} '{name}'; did you mean one of: {near_or_all(name, blocks)}?"
        )
    return blocks[name]


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
            f"unknown {kind} '{name}' in the data set's registry block; use one of: "
            f"{', '.join(sorted(functions))}."
        )
    try:
        inspect.signature(functions[name]).bind(*arguments, **parameters)
    except TypeError as error:
        raise UserError(
            f"the {kind} '{name}' in the data set's registry block does not accept the parameters "
            f"{parameters} ({error}); see its description."
        ) from error
    return functions[name](*arguments, **parameters)


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings as printed in a title: `n_pca 30, resolution 0.01`."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())
