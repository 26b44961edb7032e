"""Flow Cytometry Standard files, versions 2.0 to 3.1, the one reader of them for every use."""

import io
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from moesimvae.errors import UserError

VERSIONS = ("2.0", "3.0", "3.1")
# where a header may keep a compensation matrix, the newest name first
COMPENSATION = ("spillover", "spill", "comp")


@dataclass(frozen=True)
class Fcs:
    """One file. values: (n_cells, n_channels) float32, scaled by gain and time step as its header
    says; nothing is compensated and nothing transformed.

    channels: the $PnN. names: the $PnS (the marker) or, where that is empty or not unique, the
    $PnN. fluorescence: it has scatter channels. compensation: the keyword in whose place the header
    holds a compensation matrix, "" for none.
    """

    values: np.ndarray
    channels: list[str]
    names: list[str]
    version: str
    fluorescence: bool
    compensation: str


def read_fcs(source: str | Path | BinaryIO, name: str | Path = "") -> Fcs:
    """Read one FCS file from a path, or from a stream that messages call `name`.

    Raises UserError for a file that is no FCS file, is truncated or damaged, or holds several data
    sets.
    """
    import flowio

    name = name or source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about offsets; the number of values is checked below
        try:
            _check_start(source)
            data = _parsed(source)
            values = _events(data)
        except flowio.exceptions.MultipleDataSetsError as error:
            raise UserError(
                f"{name} holds more than one data set; split it into one file for each."
            ) from error
        except Exception as error:  # of a damaged file flowio raises all kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise UserError(
                f"{name} is not a readable FCS file ({reason}); export it again."
            ) from error
    markers, channels = ([n.strip() for n in row] for row in (data.pns_labels, data.pnn_labels))
    found = [keyword for keyword in COMPENSATION if keyword in data.text]
    return Fcs(
        values,
        channels=list(data.pnn_labels),
        names=_names(markers, channels),
        version=data.version,
        fluorescence=bool(data.scatter_indices),
        compensation=found[0].upper() if found else "",
    )


def _check_start(source: str | Path | BinaryIO) -> None:
    if isinstance(source, str | Path):
        with open(source, "rb") as file:
            start = file.read(6)
    else:
        start = source.read(6)
        source.seek(0)
    if start not in [b"FCS" + version.encode() for version in VERSIONS]:
        raise ValueError(f"it starts with {start!r} instead of FCS{', FCS'.join(VERSIONS)}")


def _parsed(source: str | Path | BinaryIO) -> Any:
    import flowio

    def parse(**settings: bool) -> Any:
        # of a stream flowio gets a copy each time, since it closes what it reads
        given = str(source) if content is None else io.BytesIO(content)
        return flowio.FlowData(given, **settings)

    content = None if isinstance(source, str | Path) else source.read()
    try:
        return parse()
    except flowio.exceptions.FCSParsingError:
        # Cytobank and others tell the place of the values one byte too long, or otherwise
        # in the two places that tell it: the values are whole if their number fits
        return parse(ignore_offset_error=True, ignore_offset_discrepancy=True)


def _events(data: Any) -> np.ndarray:
    expected = data.event_count * data.channel_count
    if len(data.pnn_labels) != data.channel_count:
        raise ValueError(f"{len(data.pnn_labels)} names for {data.channel_count} channels")
    if data.events is None or len(data.events) != expected:
        found = 0 if data.events is None else len(data.events)
        raise ValueError(
            f"{found:,} values instead of {data.event_count:,} cells × {data.channel_count}"
        )
    if not expected:
        return np.zeros((0, data.channel_count), dtype=np.float32)
    return data.as_array().astype(np.float32)


def _names(markers: list[str], channels: list[str]) -> list[str]:
    names = [marker or channel for marker, channel in zip(markers, channels, strict=True)]
    times = Counter(names)
    return [
        name if times[name] == 1 else channel for name, channel in zip(names, channels, strict=True)
    ]
