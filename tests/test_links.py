"""The check of download links, against a server of our own."""

import hashlib
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONTENT = b"a marker table\n" * 100


class Server(BaseHTTPRequestHandler):
    """/good and /wrong answer, /nohead knows no HEAD, anything else is not there."""

    def do_HEAD(self):
        self.answer(405 if self.path == "/nohead" else None)

    def do_GET(self):
        self.answer(None)

    def answer(self, code):
        body = {"/good": CONTENT, "/nohead": CONTENT, "/wrong": b"x" * len(CONTENT)}.get(self.path)
        self.send_response(code or (404 if body is None else 200))
        body = body or b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def check(address, tmp_path):
    """Run the check on a registry of one file with these sources."""

    def run(paths, *options):
        file = {
            "name": "markers.txt",
            "sources": [address + path for path in paths],
            "hash": {"sha256": hashlib.sha256(CONTENT).hexdigest()},
            "bytes": len(CONTENT),
        }
        registry = tmp_path / "datasets.yaml"
        registry.write_text(yaml.safe_dump({"toy": {"title": "Toy", "files": {"table": file}}}))
        command = [sys.executable, str(ROOT / "bench/links.py"), "--registry", str(registry)]
        return subprocess.run(
            [*command, *options], capture_output=True, text=True, check=False, timeout=60
        )

    return run


def test_links_that_live(check):
    done = check(["/good", "/nohead"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 sources, 0 of them dead" in done.stdout


def test_a_dead_link_is_told_and_fails(check):
    done = check(["/good", "/gone"])
    assert done.returncode == 1
    assert re.search(r"^dead +toy +HTTP 404 +http\S+/gone$", done.stdout, re.MULTILINE)


def test_another_content_under_a_live_link_is_found_by_its_hash(check):
    assert check(["/wrong"]).returncode == 0, "its size is the expected one"
    done = check(["/good", "/wrong"], "--hashes")
    assert done.returncode == 1
    assert re.search(r"^ok .*sha256 .*/good$", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^dead .*/wrong$", done.stdout, re.MULTILINE), done.stdout


def test_make_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY:((?:.*\\\n)*.*)", makefile, re.MULTILINE)
    targets = set(phony.replace("\\\n", " ").split()) - {"help"}
    printed = subprocess.check_output(["make", "help"], cwd=ROOT, text=True)
    assert {line.split()[0] for line in printed.splitlines()} >= targets
