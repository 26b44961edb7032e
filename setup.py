"""What pyproject.toml cannot say: on PyPI, the README's links lead to the repository."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
HOME = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Homepage"]
VERSION = re.search(
    r'^__version__ = "(.+)"', (ROOT / "src/moesimvae/__init__.py").read_text(), re.M
)[1]
LINK = re.compile(r"(!?\[[^\]]*\])\((?!\w+:|#)([^)]+)\)")


def absolute(match: re.Match[str]) -> str:
    kind = "raw" if match[1].startswith("!") else "blob"
    return f"{match[1]}({HOME}/{kind}/v{VERSION}/{match[2]})"


setup(
    long_description=LINK.sub(absolute, (ROOT / "README.md").read_text("utf-8")),
    long_description_content_type="text/markdown",
)
