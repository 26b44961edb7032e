"""Fetching raw files: the mirror folder first, then each source in order, always checked.

A file block of `workflow/registry/datasets.yaml` says what is expected (see `raw_file`). Where the
file came from is recorded beside it as `<file>.source.json`.
"""

import errno
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import requests
import urllib3
from tqdm import tqdm

from moesimvae import files
from moesimvae.data import raw_file
from moesimvae.errors import UserError
from moesimvae.nouns import RawFile

_PIECE = 1 << 16
_MARGIN = 64 << 20  # bytes left free on the disk in addition to the file
_LINE_EVERY = 30  # seconds between progress lines when there is no terminal
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class _Dead(Exception):
    """This source is abandoned; the message gives the reason in a few words."""


class _Broken(Exception):
    """This attempt failed, but another may succeed; the message gives the reason."""


@dataclass(frozen=True)
class _Manner:
    """How to talk to servers: `timeout` and `backoff` in seconds, retries, progress display."""

    progress: bool
    retries: int
    timeout: float
    backoff: float


def fetch(
    file: Mapping[str, Any],
    destination: str | Path,
    mirror: str | Path | None = None,
    folder: str | None = None,
    progress: bool = True,
    retries: int = 3,
    timeout: float = 30.0,
    backoff: float = 1.0,
) -> str:
    """Fetch one raw file to `destination` and return the path or URL that it came from.

    file: a block as `RawFile` has it.
    mirror: a folder, or the http(s) address of one, tried before the sources; the file is looked
        for as <mirror>/<folder>/<name>, then as <mirror>/<name>.
    retries: further attempts per source after a broken transfer or a server error, with pauses of
        backoff, 2·backoff, 4·backoff … seconds. A partial file `<destination>.part` is resumed
        if the server allows it, in this call or a later one.
    timeout: seconds without an answer or a byte before an attempt is abandoned.

    The file appears under its name only when its content is as expected. Raises UserError when the
    disk is full, or when no source provides the file, listing each source tried and the reason.
    """
    wanted, destination = RawFile.of(file), Path(destination)
    raw_file.expected_hashes(wanted)
    if not wanted.sources and mirror is None:
        raise UserError(
            f"{wanted.name} is not published in this form; save it as "
            f"FOLDER/{folder + '/' if folder else ''}{wanted.name} and give that folder with "
            "`--config mirror=FOLDER`."
        )
    manner = _Manner(progress, retries, timeout, backoff)
    places = [f"{folder}/{wanted.name}"] * bool(folder) + [wanted.name]
    reasons = []
    with _disk_errors(wanted, destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        _check_space(wanted, destination, wanted.bytes or 0)
        for origin in _origins(wanted, mirror, places):
            try:
                if _is_url(origin):
                    _download(wanted, origin, destination, manner)
                else:
                    _copy(wanted, origin, destination)
            except _Dead as reason:
                reasons.append(f"{origin}: {reason}")
                print(f"{wanted.name} was not obtained from {origin}: {reason}.", file=sys.stderr)
                continue
            _forget_partial(destination)
            files.write_json(raw_file.source_record(destination), {"url_or_path": origin})
            return origin
    raise UserError(
        f"cannot get {wanted.name} ({'; '.join(reasons)}); check the network, or save the file "
        f"as FOLDER/{places[0]} and run again with `--config mirror=FOLDER`."
    )


def _origins(file: RawFile, mirror: str | Path | None, places: list[str]) -> Iterator[str]:
    """Paths and addresses in the order in which they are tried."""
    if mirror and _is_url(str(mirror)):
        yield from (f"{str(mirror).rstrip('/')}/{place}" for place in places)
    elif mirror:
        found = [Path(mirror) / place for place in places if (Path(mirror) / place).is_file()]
        yield from map(str, found or [Path(mirror) / places[0]])
    yield from file.sources


def _is_url(address: str) -> bool:
    return "://" in address


def _copy(file: RawFile, origin: str, destination: Path) -> None:
    """Copy a mirror's file if its content is as expected."""
    if not Path(origin).is_file():
        raise _Dead("no such file in the mirror folder")
    try:
        if problem := raw_file.problem(origin, file):
            raise _Dead(f"it {problem}")
    except PermissionError as error:
        raise _Dead("no permission to read it") from error
    with files.atomic(destination) as temporary:
        shutil.copyfile(origin, temporary)


def _download(file: RawFile, url: str, destination: Path, manner: _Manner) -> None:
    """Download from one address, with retries, to `destination`."""
    partial = _partial(destination)
    for attempt in range(manner.retries + 1):
        try:
            continued = _transfer(file, url, destination, manner)
        except _Broken as reason:
            if attempt == manner.retries:
                raise _Dead(f"{reason}, {attempt + 1} times") from reason
            time.sleep(manner.backoff * 2**attempt)
            continue
        problem = raw_file.problem(partial, file)
        if problem is None:
            os.replace(partial, destination)
            return
        _forget_partial(destination)
        if not continued:  # the same bytes would come again
            raise _Dead(f"the file sent {problem}")
    raise _Dead(f"the file sent in parts {problem}")


def _transfer(file: RawFile, url: str, destination: Path, manner: _Manner) -> bool:
    """One attempt at filling the partial file; True if it resumed an earlier one."""
    partial, validator = _partial(destination), _validator(destination)
    start, known = _resumable(url, partial, validator)
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": known["tag"]}
    with (
        _network_errors(),
        requests.get(url, headers=headers, stream=True, timeout=manner.timeout) as answer,
    ):
        _check_status(answer, partial)
        if _leaves_https([step.url for step in (*answer.history, answer)]):
            raise _Dead("it redirects from https to http, where the file could be tampered with")
        if start and not _continues(answer, start, known["total"]):
            start = 0
            if answer.status_code == 206:
                partial.unlink()
                raise _Broken("the server sent a different part from the one requested")
        total = _total(answer, start)
        if not start:
            partial.unlink(missing_ok=True)
            files.write_json(validator, {"url": url, "tag": _tag(answer), "total": total})
        _check_space(file, destination, (total or file.bytes or 0) - start)
        with open(partial, "ab" if start else "wb") as out:
            _pour(answer, out, file, start, total, manner)
    return start > 0


def _leaves_https(addresses: list[str]) -> bool:
    """Whether any redirect led from an https address to one without https."""
    secure = [address.lower().startswith("https:") for address in addresses]
    return any(one and not next_one for one, next_one in pairwise(secure))


def _pour(answer, out, file: RawFile, start: int, total: int | None, manner: _Manner) -> None:
    """Write the body to `out` as sent (not undoing a server's own gzip), showing progress."""
    most = _most_bytes(file)
    at = start
    with _progress(file, start, total, manner) as step:
        for piece in answer.raw.stream(_PIECE, decode_content=False):
            out.write(piece)
            at += len(piece)
            if most is not None and at > most:
                out.close()
                Path(out.name).unlink()
                raise _Dead(f"it sent more than {most:,} bytes, too many for this file")
            step(len(piece))
    if total is not None and at != total:
        raise _Broken(f"the transfer was interrupted after {at:,} of {total:,} bytes")


def _most_bytes(file: RawFile) -> int | None:
    """The most bytes the expected file can have: gzip adds at most 0.1 % and a header."""
    size = file.bytes
    return None if size is None else size + size // 1000 + (1 << 16)


def _resumable(url: str, partial: Path, validator: Path) -> tuple[int, dict]:
    """Bytes already here that this address can resume from, and what is known of the file."""
    if not (partial.is_file() and validator.is_file()):
        return 0, {}
    try:
        known = files.read_json(validator)
        usable = known["url"] == url and known["tag"] and known["total"]
    except (ValueError, KeyError, TypeError):
        return 0, {}
    size = partial.stat().st_size
    return (size, known) if usable and 0 < size < known["total"] else (0, {})


def _tag(answer: requests.Response) -> str | None:
    """A validator (for If-Range) to check later whether the server's file is still the same."""
    etag = answer.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return answer.headers.get("Last-Modified")


def _continues(answer: requests.Response, start: int, total: int) -> bool:
    expected = f"bytes {start}-{total - 1}/{total}"
    return answer.status_code == 206 and answer.headers.get("Content-Range") == expected


def _total(answer: requests.Response, start: int) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() else None


def _check_status(answer: requests.Response, partial: Path) -> None:
    code = answer.status_code
    if code in (200, 206):
        return
    if code == 416:
        partial.unlink(missing_ok=True)
    reason = f"HTTP {code} {answer.reason}".rstrip()
    raise (_Broken if code in _TRY_AGAIN or code == 416 else _Dead)(reason)


@contextmanager
def _network_errors() -> Iterator[None]:
    """Turn network exceptions into a reason in a few words."""
    try:
        yield
    except (requests.exceptions.SSLError, urllib3.exceptions.SSLError) as error:
        raise _Dead("its TLS certificate or connection is not valid") from error
    except requests.exceptions.ConnectTimeout as error:
        raise _Dead("no response in time") from error
    except (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError) as error:
        raise _Broken("no data arrived in time") from error
    except requests.exceptions.ProxyError as error:
        raise _Dead("the proxy cannot be reached") from error
    except requests.exceptions.ConnectionError as error:
        reason = getattr(error.args[0], "reason", None) if error.args else None
        if isinstance(reason, urllib3.exceptions.NameResolutionError):
            raise _Dead("no network, or no such host") from error
        if isinstance(reason, urllib3.exceptions.NewConnectionError):
            raise _Dead("no connection to the server") from error
        raise _Broken("the connection was lost") from error
    except urllib3.exceptions.HTTPError as error:
        raise _Broken("the transfer was interrupted") from error
    except requests.RequestException as error:
        raise _Dead(f"the address cannot be used ({type(error).__name__})") from error


@contextmanager
def _disk_errors(file: RawFile, destination: Path) -> Iterator[None]:
    """Turn errors of the local disk into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"the disk of {destination.parent} ran full while {file.name} was being written; "
                "free some space and run again (the download will resume)."
            ) from error
        raise UserError(
            f"{file.name} cannot be written to {destination.parent} ({error.strerror}); give a "
            "writable folder."
        ) from error


def _check_space(file: RawFile, destination: Path, needed: int) -> None:
    free = shutil.disk_usage(destination.parent).free
    if free < needed + _MARGIN:
        raise UserError(
            f"{file.name} needs {(needed + _MARGIN) / 1e6:,.0f} MB in {destination.parent}, "
            f"where only {free / 1e6:,.0f} MB are free; free some space and run again."
        )


def _partial(destination: Path) -> Path:
    return destination.with_name(destination.name + ".part")


def _forget_partial(destination: Path) -> None:
    _partial(destination).unlink(missing_ok=True)
    _validator(destination).unlink(missing_ok=True)


def _validator(destination: Path) -> Path:
    return destination.with_name(destination.name + ".part.json")


@contextmanager
def _progress(
    file: RawFile, start: int, total: int | None, manner: _Manner
) -> Iterator[Callable[[int], None]]:
    """A function to call with each number of bytes: a bar on a terminal, otherwise a few lines."""
    terminal = sys.stderr.isatty()
    with tqdm(
        desc=file.name,
        disable=not manner.progress,
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        mininterval=0.1 if terminal else _LINE_EVERY,
        file=sys.stderr if terminal else _Lines(),
    ) as bar:
        yield bar.update


class _Lines:
    """What tqdm writes to without a terminal: its states as plain lines."""

    def write(self, text: str) -> None:
        if text.strip():
            print(text.strip(), file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()
