"""Figures embedded in a page, limited in total size."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from moesimvae import files

MOST_BYTES = 3_000_000  # of all figures of a page together


def pictures_of(
    folders: Iterable[str | Path], where: str | Path
) -> dict[str, list[dict[str, Any]]]:
    """Data set → its figures, each with its bytes as a data URI and its size in pixels.

    They are as sharp as on disk if all of them together stay within MOST_BYTES, else all are
    reduced by one factor. `pdf` is relative to `where`, the folder of the page.
    """
    said = [(Path(f), p) for f in folders for p in files.read_json(Path(f) / "figures.json")]
    drawn = [_webp(folder / picture["file"]) for folder, picture in said]
    whole = sum(len(data) for data, _ in drawn)
    if whole > MOST_BYTES:
        drawn = [_webp(folder / p["file"], MOST_BYTES / whole) for folder, p in said]
    by_dataset: dict[str, list[dict[str, Any]]] = {}
    for (folder, picture), (data, size) in zip(said, drawn, strict=True):
        by_dataset.setdefault(picture["dataset"], []).append(
            {
                **picture,
                "uri": f"data:image/webp;base64,{base64.b64encode(data).decode()}",
                "width": size[0],
                "height": size[1],
                "reduced": whole > MOST_BYTES,
                "pdf": str((folder / picture["file"]).with_suffix(".pdf").relative_to(where)),
            }
        )
    return by_dataset


def _webp(path: Path, share: float = 1) -> tuple[bytes, tuple[int, int]]:
    """A figure's bytes, lossless or reduced to a `share` of them, and its size on the page."""
    with Image.open(path) as image:
        whole, written = image.convert("RGB"), io.BytesIO()
    if share == 1:
        whole.save(written, "WEBP", lossless=True, quality=60, method=4)
    else:
        side = max(0.5, share**0.5)
        small = whole.resize([round(side * n) for n in whole.size], Image.Resampling.LANCZOS)
        small.save(written, "WEBP", quality=70, method=4)
    return written.getvalue(), whole.size
