"""Readers of cytometry data sets: markers chosen by name, populations from various places.

    cytometry    one or several files (FCS, csv, also .csv.gz), each with a column that gives the
                 population of every cell
    populations  one file per population: the roles of the files are the names
    gates        zip archives with FCS files and `population_assignments.txt`, which has a line for
                 every gated cell: <FCS file> Event <number from 0>, a tab, the population

All take the settings of `Panel` from the block's `cytometry`. A cell without a population (0, NaN,
or a name in `UNGATED`) is ungated: it is clustered but not scored. X holds the file's values as
they are; `uns` holds the instrument and, in `panel`, what was left out and what the files say of
themselves.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from moesimvae.data.cells import CellFile, column_as_text, find_column, from_fcs, read_cells
from moesimvae.data.dataset import Cells, Raw, labelled
from moesimvae.data.fcs import read_fcs
from moesimvae.data.raw_file import archive
from moesimvae.errors import UserError
from moesimvae.names import hint, listed
from moesimvae.nouns import DataSet, Panel

UNGATED = ("", "0", "nan", "na", "unassigned", "ungated")
GATES = "population_assignments.txt"
# lines in a text file of gates that may be malformed: Samusik et al. published one cut off
ODD_LINES = 1


def cytometry(wanted: DataSet, raw_files: Raw) -> Cells:
    """Cells of the files in the order of their roles, with the populations from a column."""
    panel = _panel(wanted)
    files = [read_cells(path) for path in raw_files.values()]
    labels = [_names(column_as_text(file, panel.label), panel, file) for file in files]
    return _data_set(files, np.concatenate(labels), panel)


def populations(wanted: DataSet, raw_files: Raw) -> Cells:
    """Cells of files that hold one population each, in a random order that is always the same.

    Cells are shuffled, since in file order a cell's position would reveal its population.
    """
    panel = _panel(wanted)
    files = {name: read_cells(path, may_be_empty=True) for name, path in raw_files.items()}
    where = f"the files of {wanted.title} name"
    _known(files, _known_names(panel), where)
    labels = np.repeat(list(files), [file.cells.n_obs for file in files.values()])
    order = np.random.default_rng(0).permutation(len(labels))
    return _data_set(list(files.values()), labels, panel, order)


def gates(wanted: DataSet, raw_files: Raw) -> Cells:
    """Cells of FCS files in zip archives, with the populations from a text file of gates."""
    panel = _panel(wanted)
    files = {}
    for name, content in _members(raw_files, ".fcs", panel.samples):
        path = Path(name)
        files[path.name] = from_fcs(path, read_fcs(io.BytesIO(content), name))
    if not files:
        samples = f" with {', '.join(panel.samples)} in its name" if panel.samples else ""
        raise UserError(
            f"there is no FCS file{samples} in {listed(raw_files.values())}; fetch the archives as "
            "published."
        )
    text = next(_members(raw_files, GATES), None)
    if text is None:
        raise UserError(
            f"there is no {GATES}, which gives the population of each gated cell, in "
            f"{listed(raw_files.values())}; fetch the archives as published."
        )
    files = dict(sorted(files.items()))
    return _data_set(list(files.values()), _gated(*text, files, panel), panel)


# ---------------------------------------------------------------------- what the block asks for


def _panel(wanted: DataSet) -> Panel:
    settings, allowed = wanted.cytometry or {}, list(Panel.kinds())
    unknown = [key for key in settings if key not in allowed]
    if unknown or settings.get("instrument") not in Panel.INSTRUMENTS:
        wrong = f"key '{unknown[0]}'" if unknown else f"instrument {settings.get('instrument')}"
        raise UserError(
            f"the registry block of {wanted.title} has the unknown {wrong} under cytometry; "
            f"allowed keys: {', '.join(allowed)}; instruments: {' or '.join(Panel.INSTRUMENTS)}."
        )
    return Panel.of(settings)


def _known_names(panel: Panel) -> list[str]:
    names = panel.populations
    return list(map(str, names.values() if isinstance(names, Mapping) else names))


def _choose(file: CellFile, panel: Panel) -> list[int]:
    """Columns of the markers to cluster."""
    wanted = panel.markers or panel.not_markers
    columns = [find_column(file, name, "marker or channel") for name in wanted]
    if panel.markers:
        return columns
    left_out = set(columns)
    if panel.label in file.cells.var_names:
        left_out.add(file.cells.var_names.get_loc(panel.label))
    return [column for column in range(file.cells.n_vars) if column not in left_out]


# ---------------------------------------------------------------------- populations


def _names(labels: np.ndarray, panel: Panel, file: CellFile) -> np.ndarray:
    """The name of each cell's population, "" for an ungated cell."""
    numbers, which = np.unique(labels, return_inverse=True)
    gated = [number for number in numbers if number.strip().lower() not in UNGATED]
    names = {number: number for number in gated}
    where = f"{file.path}: the column '{panel.label}' names"
    if isinstance(panel.populations, Mapping):
        by_number = {str(number): str(name) for number, name in panel.populations.items()}
        _known(gated, list(by_number), where)
        names = {number: by_number[number] for number in gated}
    elif panel.populations:
        _known(gated, _known_names(panel), where)
    return np.array([names.get(number, "") for number in numbers], dtype=object)[which]


def _known(found: Any, known: list[str], where: str) -> None:
    """Raise UserError for a population that the block does not name, if it names any."""
    for name in found if known else ():
        if name not in known:
            raise UserError(
                f"{where} the population '{name}', which is not among the {len(known)} of the "
                f"registry block; {hint(name, known).replace('it has', 'these are')}."
            )


def _members(raw_files: Raw, suffix: str, parts: Sequence[str] = ()) -> Iterator[tuple[str, bytes]]:
    """Path and content of archived files whose names end in `suffix` and contain one of `parts`.

    A file that is in two archives is yielded once; hidden files are skipped.
    """
    seen = set()
    for path in raw_files.values():
        with archive(path) as members:
            for name in members.namelist():
                base = Path(name).name
                wanted = base.lower().endswith(suffix) and not base.startswith(".")
                if (
                    wanted
                    and base not in seen
                    and (not parts or any(part in base for part in parts))
                ):
                    seen.add(base)
                    yield f"{path}/{name}", members.read(name)


def _gated(path: str, content: bytes, files: dict[str, CellFile], panel: Panel) -> np.ndarray:
    """The population of each cell of the files, "" where no line of the text gives one."""
    first = np.cumsum([0, *(file.cells.n_obs for file in files.values())])
    place = dict(zip(files, first[:-1], strict=True))
    labels = np.full(first[-1], "", dtype=object)
    known, odd = _known_names(panel), []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        cell, _, population = line.partition("\t")
        words = cell.split(" ")
        if len(words) != 3 or not words[2].isdigit() or population not in (known or [population]):
            odd.append(f"line {number} is {line[:80]!r}")
            continue
        name, event = words[0], int(words[2])
        if name not in files:
            continue
        if event >= files[name].cells.n_obs:
            raise UserError(
                f"{path} gives the population of cell {event} of {name} in line {number}, but "
                f"that file has {files[name].cells.n_obs} cells; the two do not belong together."
            )
        labels[place[name] + event] = population
    if len(odd) > ODD_LINES:
        raise UserError(
            f"{path} has {len(odd)} lines that do not give a cell and one of the populations of "
            f"the registry block ({odd[0]}); use the file that belongs to these cells."
        )
    return labels


# ---------------------------------------------------------------------- the data set


def _data_set(
    files: list[CellFile], labels: np.ndarray, panel: Panel, order: np.ndarray | None = None
) -> Cells:
    _same_panel(files)
    columns = _choose(files[0], panel)
    names = list(files[0].cells.var_names[columns])
    values = np.concatenate([file.cells[:, names].X for file in files], dtype=np.float32)
    if len(values) == 0:
        raise UserError(
            f"there are no cells in {listed(file.path for file in files)}; give other files."
        )
    _require_values(values, names, files)
    if order is not None:
        values, labels = values[order], labels[order]
    width = len(str(len(values)))
    ids = [f"cell_{i:0{width}d}" for i in range(1, len(values) + 1)]
    var = pd.DataFrame(index=pd.Index(names, dtype=object))
    if "channel" in files[0].cells.var:
        var["channel"] = files[0].cells.var["channel"].to_numpy()[columns]
    cells = anndata.AnnData(values, obs=pd.DataFrame(index=pd.Index(ids)), var=var)
    cells.uns |= {"instrument": panel.instrument, "panel": json.dumps(panel_facts(files, cells))}
    return cells, labelled(cells.obs_names, labels)


def _same_panel(files: list[CellFile]) -> None:
    first = list(files[0].cells.var_names)
    for file in files[1:]:
        names = list(file.cells.var_names)
        if set(names) != set(first):
            lacks = [n for n in first if n not in names]
            more = [n for n in names if n not in first]
            differ = [f"lacks {listed(lacks)}"] * bool(lacks) + [f"also has {listed(more)}"] * bool(
                more
            )
            raise UserError(
                f"{file.path} has a different panel from {files[0].path}: it "
                f"{' and '.join(differ)}; all files of a data set need the same channels."
            )


def _require_values(values: np.ndarray, names: list[str], files: list[CellFile]) -> None:
    missing = (~np.isfinite(values)).sum(axis=0)
    if missing.any():
        column = int(np.argmax(missing))
        many = (
            "no finite values"
            if missing[column] == len(values)
            else (f"{missing[column]:,} missing or infinite values in {len(values):,} cells")
        )
        raise UserError(
            f"{listed((file.path for file in files), 2)}: the marker '{names[column]}' has {many}; "
            "leave it out of the markers, or correct the file."
        )


def panel_facts(files: list[CellFile], cells: anndata.AnnData) -> dict[str, Any]:
    """What the files say of themselves, and which of their channels were left out or constant."""
    constant = cells.X.min(axis=0) == cells.X.max(axis=0)
    return {
        "files": len(files),
        "fcs_versions": sorted({file.version for file in files if file.version}),
        "compensation": sorted({file.compensation for file in files if file.compensation}),
        "left_out": [n for n in files[0].cells.var_names if n not in set(cells.var_names)],
        "constant_markers": list(cells.var_names[constant]),
    } | ({"notes": notes} if (notes := _notes(files)) else {})


def _notes(files: list[CellFile]) -> list[str]:
    return [f"{file.path.name}: {note}" for file in files for note in file.notes]
