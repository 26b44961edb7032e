"""A user's FCS file rewritten with results as further parameters, for FlowJo and the like."""

import warnings
from array import array
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from moesimvae import files
from moesimvae.data.fcs import read_segments_of
from moesimvae.errors import UserError

MAP_SIDE = 1000.0  # length of a map's longer side, once its coordinates are positive


def on_positive_axes(points: np.ndarray) -> np.ndarray:
    """Coordinates (n, 2) shifted and scaled, by one factor for both axes, to 0 to MAP_SIDE.

    FlowJo draws a linear parameter from 0 to its $PnR, which would cut off half of a map.
    """
    moved = points - points.min(axis=0)
    return (moved * (MAP_SIDE / max(float(moved.max()), 1e-12))).astype(np.float32)


def write_fcs(source: str | Path, further: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Write FCS 3.1 with all parameters and keywords of `source`, followed by those in `further`.

    further: name → values (n_events,), none below 0. 32-bit floats, and integers below
    2²⁴, equal those of the source bit for bit, and $PnG, $PnR, $TIMESTEP and matrices stay; the
    output of a logarithmic amplifier is written on a linear scale, since floats have no other.
    The $PnR of a further parameter is the integer above all of its values, as FlowJo draws it.
    Raises UserError where the number of values differs from the file's number of events.
    """
    segments = read_segments_of(source)
    values = segments.values.astype(np.float32)
    keywords = {k: v for k, v in segments.keywords.items() if k.strip("$") and v and "/" not in k}
    for i, channel in enumerate(segments.channels):
        if channel.decades:
            stored = segments.values[:, i].astype(np.float64)
            values[:, i] = 10 ** (channel.decades * stored / channel.limit) * channel.log0
            keywords[f"$P{i + 1}R"] = f"{np.ceil(10**channel.decades * channel.log0):.0f}"
    if wrong := [name for name, column in further.items() if len(column) != len(values)]:
        raise UserError(
            f"{source} has {len(values):,} events, but there are {len(further[wrong[0]]):,} values "
            f"of {wrong[0]}; cluster the file again."
        )
    names = [channel.name for channel in segments.channels]
    for i, (name, column) in enumerate(further.items(), len(names) + 1):
        keywords[f"$P{i}R"] = str(int(np.floor(column.max())) + 1)
        names.append(name if name not in names else f"{name}_{i}")
    keywords = {k: v for k, v in keywords.items() if k.lstrip("$").upper() not in _OF_LAYOUT}
    import flowio

    with files.atomic(path) as temporary, open(temporary, "wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about $PnE, which is 0,0 for floats
        flowio.create_fcs(
            file,
            array("f", np.column_stack([values, *further.values()]).astype("<f4").tobytes()),
            names,
            [*(channel.marker for channel in segments.channels), *further],
            keywords,
        )


# keywords of the source's layout on disk, which is not that of the new file
_OF_LAYOUT = {
    *("DATATYPE", "BYTEORD", "MODE", "NEXTDATA", "PAR", "TOT", "UNICODE"),
    *("BEGINDATA", "ENDDATA", "BEGINSTEXT", "ENDSTEXT", "BEGINANALYSIS", "ENDANALYSIS"),
}
