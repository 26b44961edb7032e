"""What a raw file holds once unpacked, and whether that matches the registry.

Hashes and sizes in the registry are those of the *content*: for a gzip file the unpacked bytes,
since two servers may compress the same bytes differently. Where nobody has published a hash,
`hash: unknown` says so; then only the kind of the file (and its size, if given) is checked here,
and `prepare` counts what it holds.
"""

import gzip
import hashlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from moesimvae.errors import UserError
from moesimvae.nouns import UNKNOWN, Hashes, RawFile

# how files of a kind begin, which exposes a server that answers with a page of text
_STARTS = {".zip": b"PK", ".fcs": b"FCS"}
_PIECE = 1 << 20
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError),
    *(UnicodeDecodeError, struct.error),  # of names and headers
)
_GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)
# Nobody means to unpack more than this many bytes if that is also more than RATIO times the packed
# size: tables of counts, mostly zeros, unpack to some 20 times their size.
UNPACKED, RATIO = 64 << 20, 200
UNPACKED_ARCHIVE = 64 << 30  # bytes of all members of a zip archive together


def source_record(path: str | Path) -> Path:
    """Where `download.fetch` records the origin of the file at `path`."""
    path = Path(path)
    return path.with_name(path.name + ".source.json")


def is_gzip(path: str | Path) -> bool:
    """Whether the file starts with gzip's two magic bytes, whatever its name says."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
    """The content as a binary stream, unpacked on the fly if it is gzip.

    Raises UserError when the file cannot be read or explodes when unpacked, even if that emerges
    only inside the `with` block.
    """
    try:
        if is_gzip(path):
            with _Gzip(path) as stream:
                yield cast(BinaryIO, stream)
        else:
            with open(path, "rb") as stream:
                yield stream
    except _GZIP_ERRORS as error:
        raise UserError(
            f"{path} is a truncated or damaged gzip file ({error}); delete it and fetch it again."
        ) from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); fetch it, or give a readable file."
        ) from error


class _Gzip(gzip.GzipFile):
    """A gzip file that raises UserError once it has yielded far more bytes than its own size."""

    def __init__(self, path: str | Path):
        super().__init__(path, "rb")
        self.path, self.most = path, max(UNPACKED, RATIO * Path(path).stat().st_size)

    def _counted(self, given: bytes) -> bytes:
        if self.tell() > self.most:
            raise UserError(
                f"{self.path} unpacks to more than {RATIO} times its size; if that is intended, "
                "unpack it yourself and give the unpacked file."
            )
        return given

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size >= 0:
            return self._counted(super().read(size))
        pieces = []
        while piece := self._counted(super().read(_PIECE)):
            pieces.append(piece)
        return b"".join(pieces)

    def read1(self, size: int = -1) -> bytes:
        return self._counted(super().read1(size))

    def readline(self, size: int | None = -1) -> bytes:
        return self._counted(super().readline(size))


@contextmanager
def archive(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """The zip archive; UserError if it is not one or is damaged, even if that emerges only inside.

    An opened member yields no more bytes than the archive declares, and is checked. An archive
    whose declared size explodes, or that names paths outside itself, is refused; nothing is ever
    unpacked into files.
    """
    try:
        with zipfile.ZipFile(path) as members:
            _require_harmless(path, members.infolist())
            yield members
    except _ZIP_ERRORS as error:
        raise UserError(
            f"{path} is not a readable zip archive ({error}); delete it and fetch it again."
        ) from error


def _require_harmless(path: str | Path, members: list[zipfile.ZipInfo]) -> None:
    for member in members:
        name = member.filename.replace("\\", "/")
        if name.startswith("/") or ":" in name.split("/")[0] or ".." in name.split("/"):
            raise UserError(
                f"{path} has the member {member.filename!r}, a path outside the archive; give an "
                "archive without such paths."
            )
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(UNPACKED, RATIO * Path(path).stat().st_size) or unpacked > UNPACKED_ARCHIVE:
        raise UserError(
            f"{path} unpacks to {unpacked:,} bytes, more than {RATIO} times its size or more than "
            f"{UNPACKED_ARCHIVE:,}; use the archive as published."
        )


def expected_hashes(file: RawFile) -> dict[str, str]:
    """The file block's `hash` mapping, empty for `unknown`.

    Raises UserError if it is missing or has an unknown kind.
    """
    hashes = file.hash
    if hashes == UNKNOWN:
        return {}
    if not hashes or not isinstance(hashes, dict) or set(hashes) - set(Hashes.kinds()):
        raise UserError(
            f"the registry block of the file {file.name} has hash: {hashes}; expected a mapping "
            f"with one or more of {', '.join(Hashes.kinds())}, or {UNKNOWN}."
        )
    return {kind: str(value).lower() for kind, value in hashes.items()}


def measure(
    path: str | Path, kinds: tuple[str, ...], limit: int | None = None
) -> tuple[int, dict[str, str]]:
    """Size in bytes of the content and its hashes by kind, read in pieces of 1 MiB.

    Reading stops as soon as more than `limit` bytes are unpacked, so that a small gzip file that
    unpacks to terabytes costs nothing; the size returned is then above `limit`. `git_blob_sha1`,
    which hashes the size first, takes `limit` as the size of a gzip file's content.
    """
    size_told = limit if is_gzip(path) else Path(path).stat().st_size
    hashers = {
        kind: hashlib.sha1(b"blob %d\0" % (size_told or 0), usedforsecurity=False)
        if kind == "git_blob_sha1"
        else hashlib.new(kind, usedforsecurity=False)
        for kind in kinds
    }
    size = 0
    with opened(path) as stream:
        while piece := stream.read(_PIECE):
            size += len(piece)
            if limit is not None and size > limit:
                break
            for hasher in hashers.values():
                hasher.update(piece)
    return size, {kind: hasher.hexdigest() for kind, hasher in hashers.items()}


def problem(path: str | Path, file: RawFile) -> str | None:
    """What is wrong with the content of `path`, worded to follow the file's name, or None.

    Raises UserError if the file block itself is unusable: an unknown hash kind, or no `bytes` for a
    gzip file (needed to guard against a decompression bomb).
    """
    expected, size = expected_hashes(file), file.bytes
    if not expected and (reason := _another_kind(path, file.name)):
        return reason
    packed = is_gzip(path)
    if packed and size is None:
        raise UserError(
            f"the registry block of the file {file.name} has no key bytes, which a gzip file "
            "needs: the size of its unpacked content."
        )
    try:
        found_size, found = measure(path, tuple(expected), size)
    except UserError:
        return "is a truncated or damaged gzip file"
    if size is not None and found_size != size:
        verb = "unpacks to" if packed else "holds"
        many = f"more than the expected {size:,}" if found_size > size else f"{found_size:,}"
        rest = "" if found_size > size else f" instead of {size:,}"
        return f"{verb} {many} bytes{rest}"
    for kind, value in expected.items():
        if found[kind] != value:
            return f"has {kind} {found[kind]} instead of {value}"
    return None


def _another_kind(path: str | Path, name: str) -> str | None:
    with open(path, "rb") as stream:
        start = stream.read(8)
    wanted = _STARTS.get(Path(name).suffix.lower(), b"")
    return None if start.startswith(wanted) else f"starts with {start!r}, unlike files of its kind"
