"""The registry's data sets, resolved for this user.

A block with the key `wells` is a family, an export of one FCS file for each inhibitor, population
and well: every (inhibitor, well) among its files, or among those in a folder given by the user, is
a data set of its own, called <family>_<inhibitor>_<well>; the population in a file's name is the
label of its cells.

A block with the key `grid` is a family of simulated data sets, one for each value of a simulator
parameter, called <family>_<value>.

The file that a user names with the config key `data` is a data set of the family `own`.

The keys under `instead` replace a block's own where the user has all the files that they name.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from moesimvae.data.formats import files_of, format_of, suffix
from moesimvae.errors import UserError
from moesimvae.registry import Block

OWN = "own"
NAMED = "<inhibitor>_<population>_<well>.fcs"
NAME = re.compile(r"(?P<inhibitor>.+)_(?P<population>[^_]+)_(?P<well>[A-Za-z]\d{1,2})\.fcs", re.I)


def resolve(blocks: Mapping[str, Block], config: Mapping[str, Any]) -> dict[str, Block]:
    """The registry with every family expanded and every applicable `instead` substituted.

    config: `data` is the user's own file; `mirror` and `downloads` are searched for the files of
    `instead`; the value under a family's name is the user's folder of its files. A well's block has
    `family`, `inhibitor`, `well` and, if the user gave a folder, `local`, its path.
    Raises UserError for a folder without such files or with a file of another name.
    """
    places = [config.get(key) for key in ("downloads", "mirror")]
    folders = [Path(p) for p in places if isinstance(p, str) and "://" not in p]
    resolved: dict[str, Block] = {}
    for name, block in blocks.items():
        if "wells" in block:
            resolved |= _wells(name, block, config.get(name))
        elif "grid" in block:
            resolved |= _grid(name, block)
        else:
            resolved[name] = _instead(name, block, folders)
    if isinstance(config.get("data"), str):
        resolved |= _own(config["data"])
    return resolved


def folder(name: str, block: Block) -> str:
    """The folder of a data set's files, in the mirror and among the downloads."""
    return block.get("folder", name)


def _instead(name: str, block: Block, folders: Iterable[Path]) -> Block:
    own = {key: value for key, value in block.items() if key != "instead"}
    other = block.get("instead")
    if other:
        files = [file["name"] for file in other["files"].values()]
        for base in folders:
            if all(any((base / p / f).is_file() for p in (folder(name, block), "")) for f in files):
                return own | other
    return own


def _grid(family: str, block: Block) -> dict[str, Block]:
    """One data set for each value; `n_clusters` and `cells` may name the parameter."""
    ((parameter, values),) = block["grid"].items()
    common = {key: value for key, value in block.items() if key != "grid"} | {"family": family}
    grid: dict[str, Block] = {}
    for value in values:
        own = {
            "title": block["title"].format_map({parameter: value}),
            "simulate": block["simulate"] | {parameter: value},
        }
        own |= {key: value for key in ("n_clusters", "cells") if block.get(key) == parameter}
        grid[f"{family}_{value}"] = common | own
    return grid


def _own(path: str) -> dict[str, Block]:
    """The data set that a user's file becomes.

    Its name is safe whatever the file is called, and unique to its location: it ends in six
    hexadecimal digits of the SHA-256 of the path, which is relative for files below the working
    folder, so that this folder can be moved.

    `own` is the path, `reads` the files there; `tabular`: any column may be the label. Raises
    UserError for a file that is missing, has another format, or whose name holds braces or
    unprintable characters.
    """
    if not path.isprintable() or set(path) & set("{}"):
        raise UserError(
            f"config key 'data': the name {path!r} contains a brace, which Snakemake would expand, "
            "a line break or another character that cannot be printed; rename the file."
        )
    try:
        tabular = format_of(path) in ("table", "fcs")
        reads = [str(part) for part in files_of(path)]
    except UserError as error:
        raise UserError(f"config key 'data': {error}") from None
    place = Path(os.path.abspath(path))  # gives `.` its folder's name; keeps a link's own name
    title = place.name
    stem = title[: len(title) - len(suffix(title))] if Path(path).is_file() else title
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_") or "cells"
    seen_from_here = place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place
    digits = hashlib.sha256(os.fsencode(seen_from_here)).hexdigest()[:6]
    block = {"title": title, "family": OWN, "own": path, "reads": reads}
    return {f"{OWN}_{name}_{digits}": block | {"tabular": tabular, "n_clusters": None}}


def _wells(family: str, block: Block, place: str | None) -> dict[str, Block]:
    files = block["files"] if place is None else _listed(family, Path(place))
    common = {key: value for key, value in block.items() if key not in ("wells", "files")}
    wells: dict[str, Block] = {}
    for file in sorted(files):
        match = NAME.fullmatch(file)
        if match is None or not file.isprintable() or set(file) & set("{}"):
            raise UserError(
                f"{Path(place or family) / repr(file)[1:-1]} is not named {NAMED}; rename it or "
                "remove it from the folder."
            )
        inhibitor, population, well = match.groups()
        name = re.sub(r"[^a-z0-9]+", "_", f"{family}_{inhibitor}_{well}".lower())
        named = {"inhibitor": inhibitor, "well": well}
        if name not in wells:
            title = block["title"].format_map(named)
            wells[name] = common | named | {"title": title, "family": family, "files": {}}
            wells[name]["folder"] = folder(family, block)
            if place is not None:
                wells[name]["local"] = str(place)
        if wells[name]["inhibitor"] != inhibitor or population in wells[name]["files"]:
            raise UserError(
                f"{Path(place or family) / file} belongs to the data set {name}, which already has "
                f"files of {wells[name]['inhibitor']} for that well; rename one of them."
            )
        source = (
            {}
            if place is not None
            else {"sources": [quote(block["wells"]["source"].format(file=file), safe=":/")]}
        )
        wells[name]["files"][population] = {"name": file, **files[file], **source}
    return wells


def _listed(family: str, place: Path) -> dict[str, Block]:
    try:
        found = [path.name for path in place.iterdir() if path.suffix.lower() == ".fcs"]
    except OSError as error:
        raise UserError(
            f"config key '{family}': the folder {place} cannot be read ({error.strerror}); give "
            f"one with files named {NAMED}."
        ) from error
    if not found:
        raise UserError(
            f"config key '{family}': the folder {place} contains no FCS files; give one with files "
            f"named {NAMED}."
        )
    return {name: {"hash": "unknown"} for name in found if not name.startswith(".")}
