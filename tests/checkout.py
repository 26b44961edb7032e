"""A copy of the project that a test may change and run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

PARTS = ["Snakefile", "config.yaml", "workflow", "scripts", "src", "envs", "profiles"]


class Checkout:
    """The copy, in `folder`."""

    def __init__(self, root: Path, folder: Path):
        self.folder = folder
        folder.mkdir()
        for part in PARTS:
            if (root / part).is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(root / part, folder / part, ignore=ignore)
            else:
                shutil.copy(root / part, folder / part)

    def edit(self, file: str, change) -> None:
        """Apply `change` to the content of a YAML file."""
        path = self.folder / file
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def snakemake(
        self, *arguments: str, python: str | Path = sys.executable, **variables: str
    ) -> subprocess.CompletedProcess:
        command = [str(python), "-m", "snakemake", "--cores", "2", *arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE")}
        return subprocess.run(
            command,
            cwd=self.folder,
            env=environment | {"PYTHONPATH": str(self.folder)} | variables,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=500,
            check=False,
        )
