"""Fetching raw files from a mirror and from servers that misbehave, all on 127.0.0.1."""

import gzip
import hashlib
import random
import shutil
import socket
import threading
from collections import namedtuple
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from moesimvae.data import download, raw_file
from moesimvae.errors import UserError
from moesimvae.files import read_json
from moesimvae.nouns import RawFile

CONTENT = random.Random(0).randbytes(1_000_000)
PACKED = gzip.compress(CONTENT, mtime=0)
HALF = 500_000


class Server(ThreadingHTTPServer):
    """Answers with what the test has put under each path, and remembers the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Callable[[Handler], None]] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.codes: list[int] = []

    def serve(self, path: str, answer: Callable[["Handler"], None]) -> str:
        self.answers[path] = answer
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is part of these tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Range")))
        self.server.answers.get(self.path, status(404))(self)

    def log_message(self, *arguments) -> None:
        pass

    def send(self, body: bytes, code: int = 200, length: int | None = None, **headers) -> None:
        self.server.codes.append(code)
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def status(code: int) -> Callable[[Handler], None]:
    return lambda handler: handler.send(b"sorry", code)


def whole(body: bytes = CONTENT, **headers) -> Callable[[Handler], None]:
    return lambda handler: handler.send(body, **headers)


def in_turn(*answers: Callable[[Handler], None]) -> Callable[[Handler], None]:
    """The first answer to the first request and so on; the last one stays."""
    left = list(answers)

    def answer(handler: Handler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return answer


def broken_off(body: bytes = CONTENT, tag: str = '"v1"') -> Callable[[Handler], None]:
    """Half of the body, though all of it was announced."""
    return lambda handler: handler.send(body[:HALF], length=len(body), ETag=tag)


def ranges(body: bytes = CONTENT, tag: str = '"v1"') -> Callable[[Handler], None]:
    """A server that continues a file when the client's copy is of the same version."""

    def answer(handler: Handler) -> None:
        wanted = handler.headers.get("Range")
        if not wanted or handler.headers.get("If-Range") != tag:
            handler.send(body, ETag=tag)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        span = f"bytes {start}-{len(body) - 1}/{len(body)}"
        handler.send(body[start:], 206, ETag=tag, Content_Range=span)

    return answer


@pytest.fixture
def server(monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def block(*sources: str, body: bytes = CONTENT, name: str = "cells.bin", **extra) -> dict:
    hashes = {"sha256": hashlib.sha256(body).hexdigest()}
    return {"name": name, "sources": list(sources), "hash": hashes, "bytes": len(body), **extra}


def fetch(file: dict, where: Path, **settings) -> Path:
    """Fetch with no pauses; the file must be the only thing left beside its record."""
    path = where / "raw" / file["name"]
    origin = download.fetch(file, path, progress=False, backoff=0, timeout=2, **settings)
    assert read_json(raw_file.source_record(path)) == {"url_or_path": origin}
    assert {p.name for p in path.parent.iterdir()} == {path.name, path.name + ".source.json"}
    return path


def refused(file: dict, where: Path, **settings) -> str:
    """The one sentence of a fetch that fails; nothing may stand under the file's name."""
    with pytest.raises(UserError) as error:
        fetch(file, where, **settings)
    sentence = str(error.value)
    assert "\n" not in sentence
    assert file["name"] in sentence
    assert sentence.endswith(".")
    assert not (where / "raw" / file["name"]).exists()
    return sentence


# ---------------------------------------------------------------- servers


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_dead_source_is_asked_once_and_the_next_one_used(server, tmp_path, code):
    dead, good = server.serve("/dead", status(code)), server.serve("/good", whole())
    path = fetch(block(dead, good), tmp_path)
    assert path.read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/dead", "/good"]
    assert read_json(raw_file.source_record(path))["url_or_path"] == good


@pytest.mark.parametrize("code", [429, 500, 503])
def test_server_errors_are_tried_again(server, tmp_path, code):
    url = server.serve("/file", in_turn(status(code), status(code), whole()))
    assert fetch(block(url), tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_pauses_between_tries_double(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    file = block(server.serve("/file", status(500)))
    with pytest.raises(UserError, match=r"HTTP 500 .*, 4 times"):
        download.fetch(file, tmp_path / "file", progress=False, retries=3, backoff=1.0)
    assert pauses == [1, 2, 4]


def test_a_broken_transfer_is_continued(server, tmp_path):
    url = server.serve("/file", in_turn(broken_off(), ranges()))
    assert fetch(block(url), tmp_path).read_bytes() == CONTENT
    first, second = (wanted for _, wanted in server.requests)
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= HALF
    assert server.codes == [200, 206]


def test_a_partial_file_of_an_earlier_call_is_continued(server, tmp_path):
    file = block(server.serve("/file", broken_off()))
    refused(file, tmp_path, retries=0)
    assert (tmp_path / "raw" / "cells.bin.part").stat().st_size > 0
    server.serve("/file", ranges())
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1][1].startswith("bytes=")
    assert server.codes == [200, 206]


@pytest.mark.parametrize(
    "second",
    [whole(), ranges(tag='"v2"'), in_turn(status(416), whole())],
    ids=["no ranges", "changed file", "range refused"],
)
def test_a_transfer_that_cannot_be_continued_starts_again(server, tmp_path, second):
    """Bytes of two versions must never be put together."""
    old = bytes(len(CONTENT))
    url = server.serve("/file", in_turn(broken_off(old), second))
    assert fetch(block(url), tmp_path).read_bytes() == CONTENT


def test_a_wrong_part_is_not_appended(server, tmp_path):
    def shifted(handler: Handler) -> None:
        handler.send(CONTENT[10:], 206, Content_Range=f"bytes 10-999999/{len(CONTENT)}")

    url = server.serve("/file", in_turn(broken_off(), shifted, whole()))
    assert fetch(block(url), tmp_path).read_bytes() == CONTENT


def test_without_a_version_from_the_server_nothing_is_continued(server, tmp_path):
    nameless = lambda handler: handler.send(CONTENT[:HALF], length=len(CONTENT))  # noqa: E731
    url = server.serve("/file", in_turn(nameless, whole()))
    assert fetch(block(url), tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, None]


def test_a_continued_file_with_wrong_content_is_fetched_afresh(server, tmp_path):
    """The server says it is the same version, but it is not."""
    url = server.serve("/file", in_turn(broken_off(bytes(len(CONTENT))), ranges(), whole()))
    assert fetch(block(url), tmp_path).read_bytes() == CONTENT


def test_a_silent_server_is_left_after_the_timeout(server, tmp_path):
    done = threading.Event()
    silent = server.serve("/silent", lambda handler: done.wait(20))
    good = server.serve("/good", whole())
    path = tmp_path / "file"
    download.fetch(block(silent, good), path, progress=False, retries=1, timeout=0.3, backoff=0)
    done.set()
    assert path.read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/silent", "/silent", "/good"]


def test_wrong_content_is_deleted_and_the_next_source_used(server, tmp_path, capsys):
    wrong = server.serve("/wrong", whole(CONTENT[::-1]))
    good = server.serve("/good", whole())
    assert fetch(block(wrong, good), tmp_path).read_bytes() == CONTENT
    assert "has sha256" in capsys.readouterr().err


def test_a_truncated_file_is_told_with_both_sizes(server, tmp_path):
    sentence = refused(block(server.serve("/file", whole(CONTENT[:-1]))), tmp_path)
    assert "holds 999,999 bytes instead of 1,000,000" in sentence
    assert list((tmp_path / "raw").iterdir()) == []


def test_a_gzip_file_is_judged_by_its_content(server, tmp_path):
    packed_otherwise = gzip.compress(CONTENT, compresslevel=1, mtime=1)
    assert packed_otherwise != PACKED
    url = server.serve("/file.gz", whole(packed_otherwise))
    assert fetch(block(url, name="cells.gz"), tmp_path).read_bytes() == packed_otherwise


def test_a_server_that_declares_gzip_does_not_unpack_it(server, tmp_path):
    url = server.serve("/file.gz", whole(PACKED, Content_Encoding="gzip"))
    assert fetch(block(url, name="cells.gz"), tmp_path).read_bytes() == PACKED


def test_a_truncated_gzip_file_is_refused(server, tmp_path):
    url = server.serve("/file.gz", whole(PACKED[:-20]))
    assert "truncated or damaged gzip" in refused(block(url, name="cells.gz"), tmp_path)


def test_a_decompression_bomb_is_not_unpacked(server, tmp_path, monkeypatch):
    bomb = gzip.compress(bytes(200_000_000))
    unpacked = []
    read = gzip.GzipFile.read

    def counting(self, size=-1):
        piece = read(self, size)
        unpacked.append(len(piece))
        return piece

    monkeypatch.setattr(gzip.GzipFile, "read", counting)
    file = block(server.serve("/bomb.gz", whole(bomb)), name="cells.gz")
    assert "unpacks to more than the expected 1,000,000 bytes" in refused(file, tmp_path)
    assert sum(unpacked) < 5_000_000


def test_a_server_that_sends_far_too_much_is_left(server, tmp_path):
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(1000):
            handler.wfile.write(bytes(1 << 16))

    assert "sent more than" in refused(block(server.serve("/file", endless)), tmp_path)


# ---------------------------------------------------------------- no way out


def test_no_network_is_one_sentence_with_every_source_and_the_way_out(tmp_path, monkeypatch):
    def no_such_host(*arguments, **settings):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    sources = ["https://one.example/cells.bin", "https://two.example/cells.bin"]
    sentence = refused(block(*sources), tmp_path, folder="sample")
    for source in sources:
        assert f"{source}: no network, or no such host" in sentence
    assert "FOLDER/sample/cells.bin" in sentence
    assert "--config mirror=FOLDER" in sentence


def test_a_closed_port_and_a_bad_certificate_are_told(server, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    plain = server.serve("/file", whole()).replace("http://", "https://")
    sentence = refused(block(f"http://127.0.0.1:{port}/file", plain, "gopher://x/y"), tmp_path)
    assert "no connection to the server" in sentence
    assert "TLS" in sentence
    assert "InvalidSchema" in sentence


def test_no_source_at_all_is_told(tmp_path):
    sentence = refused(block(), tmp_path)
    assert "cells.bin is not published in this form; save it as FOLDER/" in sentence
    assert sentence.endswith("give that folder with `--config mirror=FOLDER`.")
    assert "no such file in the mirror" in refused(block(), tmp_path, mirror=tmp_path)


Usage = namedtuple("Usage", "total used free")


def test_too_little_disk_space_is_told_before_anything_is_fetched(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 1000))
    sentence = refused(block(server.serve("/file", whole())), tmp_path)
    assert "needs 68 MB" in sentence
    assert "0 MB are free" in sentence
    assert server.requests == []


def test_a_disk_that_becomes_full_is_told(server, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_pour", full)
    assert "ran full" in refused(block(server.serve("/file", whole())), tmp_path)


def test_a_destination_that_cannot_be_written_is_told(server, tmp_path):
    (tmp_path / "raw").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written"):
        fetch(block(server.serve("/file", whole())), tmp_path)


# ---------------------------------------------------------------- mirrors


@pytest.mark.parametrize("place", ["sample/cells.bin", "cells.bin"])
def test_a_file_in_the_mirror_is_used_without_asking_a_server(server, tmp_path, place):
    there = tmp_path / "mirror" / place
    there.parent.mkdir(parents=True)
    there.write_bytes(CONTENT)
    file = block(server.serve("/file", whole()))
    path = fetch(file, tmp_path, mirror=tmp_path / "mirror", folder="sample")
    assert path.read_bytes() == CONTENT
    assert read_json(raw_file.source_record(path))["url_or_path"] == str(there)
    assert server.requests == []


def test_an_empty_mirror_falls_through_to_the_sources(server, tmp_path):
    (tmp_path / "mirror").mkdir()
    file = block(server.serve("/file", whole()))
    assert fetch(file, tmp_path, mirror=tmp_path / "mirror").read_bytes() == CONTENT


def test_a_wrong_file_in_the_mirror_is_refused_and_left_alone(server, tmp_path, capsys):
    wrong = tmp_path / "mirror" / "cells.bin"
    wrong.parent.mkdir()
    wrong.write_bytes(CONTENT[::-1])
    file = block(server.serve("/file", whole()))
    assert fetch(file, tmp_path, mirror=wrong.parent).read_bytes() == CONTENT
    assert f"was not obtained from {wrong}: it has sha256" in capsys.readouterr().err
    assert wrong.read_bytes() == CONTENT[::-1]


def test_a_wrong_file_in_the_mirror_and_dead_sources_are_one_sentence(server, tmp_path):
    wrong = tmp_path / "mirror" / "cells.bin"
    wrong.parent.mkdir()
    wrong.write_bytes(b"short")
    file = block(server.serve("/dead", status(404)))
    sentence = refused(file, tmp_path, mirror=wrong.parent)
    assert "holds 5 bytes instead of 1,000,000" in sentence
    assert "HTTP 404" in sentence


def test_a_mirror_may_be_an_address(server, tmp_path):
    server.serve("/mirror/sample/cells.bin", whole())
    mirror = f"http://127.0.0.1:{server.server_port}/mirror/"
    assert fetch(block(), tmp_path, mirror=mirror, folder="sample").read_bytes() == CONTENT


# ---------------------------------------------------------------- hashes and progress


@pytest.mark.parametrize("packed", [False, True])
def test_every_kind_of_hash(tmp_path, packed):
    """git_blob_sha1 of b"hello\\n" is what `git hash-object` prints."""
    hashes = {
        "sha256": "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        "md5": "b1946ac92492d2347c6235b4d2611184",
        "git_blob_sha1": "ce013625030ba8dba906f756967f9e9ca394464a",
    }
    path = tmp_path / "hello"
    path.write_bytes(gzip.compress(b"hello\n") if packed else b"hello\n")
    file = {"name": "hello", "hash": hashes, "bytes": 6}
    assert raw_file.problem(path, RawFile.of(file)) is None
    for kind, found in hashes.items():
        wrong = {"name": "hello", "hash": {kind: "0" * 40}, "bytes": 6}
        assert raw_file.problem(path, RawFile.of(wrong)).startswith(
            f"has {kind} {found} instead of 000"
        )


@pytest.mark.parametrize("hashes", [None, {}, {"crc32": "00"}, "abc"])
def test_a_block_without_a_usable_hash_is_told(tmp_path, hashes):
    with pytest.raises(UserError, match="sha256, md5, git_blob_sha1"):
        download.fetch({"name": "cells.bin", "hash": hashes}, tmp_path / "cells.bin")


def test_a_gzip_block_must_state_its_size(server, tmp_path):
    file = block(server.serve("/file.gz", whole(PACKED)))
    del file["bytes"]
    with pytest.raises(UserError, match="has no key bytes"):
        fetch(file, tmp_path)


def test_progress_without_a_terminal_is_a_few_lines(server, tmp_path, capsys):
    file = block(server.serve("/file", whole()))
    download.fetch(file, tmp_path / "cells.bin")
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 3
    assert "100%" in lines[-1]
