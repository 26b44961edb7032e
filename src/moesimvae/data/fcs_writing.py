"""A user's FCS file written again with results as further parameters, for FlowJo and its like."""

import warnings
from array import array
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from moesimvae import files
from moesimvae.data.fcs import read_segments_of
from moesimvae.errors import UserError

MAP_SIDE = 1000.0  # of a map's longer side, once its coordinates are made positive


def on_positive_axes(points: np.ndarray) -> np.ndarray:
    """Coordinates (n, 2) moved and stretched alike into 0 to MAP_SIDE.

    FlowJo draws a linear parameter from 0 to its $PnR, so that half of a map would be cut off.
    """
    moved = points - points.min(axis=0)
    return (moved * (MAP_SIDE / max(float(moved.max()), 1e-12))).astype(np.float32)


def write_fcs(source: str | Path, further: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Write FCS 3.1 with all parameters and keywords of `source` and `further` ones behind them.

    further: name → values (n_events,), none below 0. Values stored as floats, and whole numbers,
    are those of the source bit by bit below 2²⁴, and $PnG, $PnR, $TIMESTEP and matrices stay;
    what a logarithmic amplifier gave is written on its linear scale, since floats have no other.
    The $PnR of a further one is the whole number above all of its values, as FlowJo draws it.
    Raises UserError for another number of values than the file has events.
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
            f"of {wrong[0]}; cluster that file again."
        )
    names = [channel.name for channel in segments.channels]
    for i, (name, column) in enumerate(further.items(), len(names) + 1):
        keywords[f"$P{i}R"] = str(int(np.floor(column.max())) + 1)
        names.append(name if name not in names else f"{name}_{i}")
    keywords = {k: v for k, v in keywords.items() if k.lstrip("$").upper() not in _OF_LAYOUT}
    import flowio

    with files.atomic(path) as temporary, open(temporary, "wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on $PnE, which is 0,0 of floats
        flowio.create_fcs(
            file,
            array("f", np.column_stack([values, *further.values()]).astype("<f4").tobytes()),
            names,
            [*(channel.marker for channel in segments.channels), *further],
            keywords,
        )


# how the source lay on disk, which the new file does otherwise
_OF_LAYOUT = {
    *("DATATYPE", "BYTEORD", "MODE", "NEXTDATA", "PAR", "TOT", "UNICODE"),
    *("BEGINDATA", "ENDDATA", "BEGINSTEXT", "ENDSTEXT", "BEGINANALYSIS", "ENDANALYSIS"),
}
