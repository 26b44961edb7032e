"""Are the links in workflow/registry/datasets.yaml alive, and do their hashes hold?

    .venv/bin/python bench/links.py             # asks for every source of every file: `make links`
    .venv/bin/python bench/links.py --hashes    # and downloads each, checking its content

Prints a table; exit status 1 when a source is dead or sends another file.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests

from moesimvae import registry
from moesimvae.data import catalogue
from moesimvae.data.download import fetch
from moesimvae.errors import UserError, one_sentence
from moesimvae.registry import Block

REGISTRY = Path(__file__).parents[1] / "workflow" / "registry" / "datasets.yaml"
BROWSER = {"User-Agent": "moesimvae link check", "Accept-Encoding": "identity"}


@dataclass
class Link:
    """One source of one file, and what came of it: `problem` is empty when nothing is wrong."""

    dataset: str
    file: Block
    url: str
    found: str = ""
    problem: str = ""


def links(blocks: dict[str, Block]) -> Iterator[Link]:
    """Every source once, with the first data set that names it."""
    seen = set()
    for name, block in catalogue.resolve(blocks, {}).items():
        for file in block.get("files", {}).values():
            for url in file.get("sources", []):
                if url not in seen:
                    seen.add(url)
                    yield Link(name, file, url)


def ask(link: Link, timeout: float) -> None:
    """HEAD, or the first byte where a server does not support it."""
    try:
        answer = requests.head(link.url, headers=BROWSER, timeout=timeout, allow_redirects=True)
        if answer.status_code >= 400:
            headers = BROWSER | {"Range": "bytes=0-0"}
            answer = requests.get(link.url, headers=headers, timeout=timeout, stream=True)
            answer.close()
    except requests.RequestException as error:
        link.problem = type(error).__name__
        return
    length = answer.headers.get("Content-Range", "").rpartition("/")[2]
    length = length or answer.headers.get("Content-Length", "")
    link.found = f"{answer.status_code}, {int(length):,} bytes" if length.isdigit() else "alive"
    if answer.status_code >= 400:
        link.problem = f"HTTP {answer.status_code}"
    elif length.isdigit() and int(length) > 1 and impossible(int(length), link.file):
        link.problem = f"{int(length):,} bytes cannot be this file"


def impossible(sent: int, file: Block) -> bool:
    """Whether this many bytes cannot unpack to the expected content."""
    expected = file.get("bytes")
    if expected is None:
        return False
    packed = file["name"].endswith(".gz")
    return sent > expected + expected // 1000 + (1 << 16) or (not packed and sent != expected)


def download(link: Link, folder: Path, timeout: float) -> None:
    """Fetch the file from this source alone; `fetch` compares size and hash."""
    alone = link.file | {"sources": [link.url]}
    target = folder / link.file["name"]
    try:
        fetch(alone, target, progress=False, retries=1, timeout=timeout)
    except UserError as error:
        link.problem = str(error).partition("(")[2].rpartition(");")[0] or str(error)
        return
    known = set(link.file["hash"]) if isinstance(link.file["hash"], dict) else {"no hash is known"}
    link.found = f"{target.stat().st_size:,} bytes, {', '.join(sorted(known))}"
    target.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hashes", action="store_true", help="download everything: gigabytes")
    parser.add_argument("--registry", type=Path, default=REGISTRY)
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds")
    options = parser.parse_args()
    with one_sentence(), tempfile.TemporaryDirectory() as folder:
        every = list(links(registry.load(options.registry)))
        for link in every:
            if options.hashes:
                download(link, Path(folder), options.timeout)
            else:
                ask(link, options.timeout)
            print(row(link), flush=True)
    dead = sum(bool(link.problem) for link in every)
    print(f"{len(every)} sources, {dead} of them dead or wrong")
    sys.exit(bool(dead))


def row(link: Link) -> str:
    verdict = "dead" if link.problem else "ok"
    return f"{verdict:5} {link.dataset:28} {link.problem or link.found:32} {link.url}"


if __name__ == "__main__":
    main()
