"""A copy of the project with a small experiment, for tests on clusters and of faults."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PARTS = ["Snakefile", "config.yaml", "workflow", "scripts", "src", "envs", "profiles"]


def copy_project(folder: Path) -> None:
    """The project without results, and the methods that fail on purpose in lab/."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=ignore)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / part, folder / part)
    shutil.copytree(ROOT / "tests/methods/lab", folder / "lab", ignore=ignore)


def write_experiment(
    folder: Path,
    methods: dict[str, list[int]],
    sleeping: tuple[str, ...] = (),
    showcase: str = "kmeans",
    **config: object,
) -> None:
    """The experiment `demo` on digits; `sleeping`: methods made up that only sleep."""
    path = folder / "workflow/registry/methods.yaml"
    registry = yaml.safe_load(path.read_text())
    for name in sleeping:
        registry[name] = registry["kmeans"] | {
            "title": f"Sleeps ({name})",
            "module": "lab.broken",
            "params": {"how": "sleep", "note": str(folder / f"{name}.pids")},
        }
    path.write_text(yaml.safe_dump(registry, sort_keys=False))
    demo = {"title": "Small", "datasets": ["digits"], "methods": methods, "showcase": showcase}
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"experiments": {"demo": demo}}))


def snakemake(folder: Path, *arguments: str, environment: dict | None = None) -> subprocess.Popen:
    """Snakemake started in `folder`, in a process group of its own, its output in snakemake.log."""
    kept = {
        key: value
        for key, value in (environment or os.environ).items()
        if not key.startswith("SNAKEMAKE")
    }
    with open(folder / "snakemake.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=folder,
            env=kept | {"PYTHONPATH": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
