"""The one reader of Flow Cytometry Standard files, versions 2.0 to 3.2, for every use."""

import mmap
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from moesimvae.data.fcs_segments import (
    Channel,
    Segments,
    SeveralDataSets,
    read_segments,
    value_of,
)
from moesimvae.errors import UserError

# where a header may keep a compensation matrix, the newest name first
COMPENSATION = ("SPILLOVER", "SPILL", "COMP")
# FSC-A, FSC.A, FSC, VSSC1-H, FS INT LIN, SS00, FALS, "Forward Scatter", …
_SCATTER = re.compile(
    r"((uv|v|b|y|r)?(f|s|b)sc\d*[ahw]?|(fs|ss)\d*[ahw]?|(fa|la|ra)ls|\w*scatter\w*)$", re.I
)
# FL1-H, FITC-A, PE-Cy7.W: the height, area or width of a pulse in a detector
_PULSE = re.compile(r"(.*[-. _][ahw]|fl\d+([-. _].*)?|.* (int|peak|tof) (lin|log))$", re.I)


@dataclass(frozen=True)
class Fcs:
    """One file. values: (n_cells, n_channels) float32, scaled by gain and time step as its header
    says; nothing is compensated or transformed.

    channels: the $PnN. names: the $PnS (the marker) or, where that is empty or not unique, the
    $PnN, with a number where that is not unique either. fluorescence: it has scatter channels, or
    its channels are the detectors of a flow cytometer. compensation: the keyword under which the
    header holds a compensation matrix, "" for none; spillover: the text of that matrix.
    notes: how contradictions in the file were resolved, and channels that got a number.
    """

    values: np.ndarray
    channels: list[str]
    names: list[str]
    version: str
    fluorescence: bool
    compensation: str
    spillover: str
    notes: list[str]


def read_fcs(source: str | Path | BinaryIO, name: str | Path = "") -> Fcs:
    """Read one FCS file from a path, or from a stream that messages call `name`.

    Raises UserError for a file that is not FCS, is truncated or damaged, holds several data sets,
    or can be read in more than one way.
    """
    segments = read_segments_of(source, name)
    channels = [channel.name for channel in segments.channels]
    markers = [channel.marker for channel in segments.channels]
    names, notes = _names(markers, channels)
    found = [k for k in COMPENSATION if value_of(segments.keywords, k)]
    return Fcs(
        _linear(segments),
        channels=channels,
        names=names,
        version=segments.version,
        fluorescence=_is_fluorescence(channels, markers),
        compensation=found[0] if found else "",
        spillover=value_of(segments.keywords, found[0]) if found else "",
        notes=[*segments.notes, *notes],
    )


def read_segments_of(source: str | Path | BinaryIO, name: str | Path = "") -> Segments:
    """Keywords and values as stored; arguments and errors are those of `read_fcs`."""
    name = name or str(source)
    try:
        return read_segments(_content(source))
    except SeveralDataSets as error:
        raise UserError(
            f"{name} holds more than one data set; split it into one file for each."
        ) from error
    except (ValueError, OverflowError) as error:
        raise UserError(f"{name} is not a readable FCS file ({error}); export it again.") from error


def is_scatter(name: str) -> bool:
    """Whether a channel of this name measures scattered light rather than a marker."""
    return any(_SCATTER.match(word) for word in re.split(r"[^0-9A-Za-z]+", name) if word)


def _content(source: str | Path | BinaryIO) -> bytes | mmap.mmap:
    if not isinstance(source, str | Path):
        return source.read()
    with open(source, "rb") as file:
        empty = file.seek(0, 2) == 0
        return b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _linear(segments: Segments) -> np.ndarray:
    """Values on a linear scale, log-amplified channels included, scaled by gain and time step."""
    values = segments.values.astype(np.float32, copy=False)
    step = value_of(segments.keywords, "TIMESTEP")
    for i, channel in enumerate(segments.channels):
        time = channel.name.lower() == "time"
        scale = _time_step(step) if time else 1.0
        if channel.decades or scale != 1 or (channel.gain not in (0, 1) and not time):
            with np.errstate(over="ignore"):  # becomes infinite, reported when values are used
                values[:, i] = _scaled(
                    segments.values[:, i].astype(np.float64), channel, scale, time
                )
    return values


def _scaled(column: np.ndarray, channel: Channel, time_step: float, time: bool) -> np.ndarray:
    column = column * time_step
    if channel.decades:
        column = 10 ** (channel.decades * column / channel.limit) * channel.log0
    # cytometers write a gain for time as for any channel, but time is not amplified
    return column if time or channel.gain == 0 else column / channel.gain


def _time_step(text: str) -> float:
    if not text:
        return 1.0
    try:
        return float(text)
    except ValueError:
        raise UserError(f"$TIMESTEP is {text!r}, not a number; export the file again.") from None


def _is_fluorescence(channels: list[str], markers: list[str]) -> bool:
    if any(map(is_scatter, [*channels, *markers])):
        return True
    pulses = sum(bool(_PULSE.match(name)) for name in channels)
    return pulses > len(channels) / 2


def _names(markers: list[str], channels: list[str]) -> tuple[list[str], list[str]]:
    """A unique name for each channel, and notes on those that were given a number."""
    names = [marker or channel for marker, channel in zip(markers, channels, strict=True)]
    while clashing := [
        i for i, name in enumerate(names) if names.count(name) > 1 and name != channels[i]
    ]:
        for i in clashing:
            names[i] = channels[i]
    notes = []
    for name, times in Counter(names).items():
        if times > 1:
            numbered = _numbered(name, times, set(names))
            notes.append(
                f"{times} channels are named {name!r}; they are renamed {', '.join(numbered)}"
            )
            rest = iter(numbered)
            names = [next(rest) if n == name else n for n in names]
    return names, notes


def _numbered(name: str, times: int, taken: set[str]) -> list[str]:
    numbers = (f"{name}_{i}" for i in range(1, 2 * len(taken) + times + 2))
    return [numbered for numbered in numbers if numbered not in taken][:times]
