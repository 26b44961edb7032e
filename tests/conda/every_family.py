"""Run every family of methods only in the environment that its file in envs/ describes.

    .venv/bin/python tests/conda/every_family.py --out FOLDER [--mirror FOLDER] [--clustpy]

Conda itself is stood in for by tests/conda/bin/conda, which makes venvs from the pip sections.
Snakemake runs in an environment with nothing but Snakemake, so that no job finds by chance what
its own environment lacks. A small experiment uses every method; the last lines printed tell which
rule ran how often in which environment. It downloads some gigabytes and takes half an hour on two
cores. With a mirror also data sets that are read from files; with --clustpy also its environment.
"""

import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from moesimvae import registry

ROOT = Path(__file__).parents[2]
PARTS = ["Snakefile", "config.yaml", "workflow", "scripts", "src", "envs", "profiles"]
FEW = {"pretraining_steps": 20, "steps": 20}
SMALL = {"encoder_layers": [32], "expert_layers": [16], "gate_layers": [16], "steps": 40}
SHORT = {
    "moe_sim_vae": SMALL | {"refinements": 1},
    "moe_sim_vae_no_similarity": SMALL,
    "ae_kmeans": {"pretraining_steps": 20},
    "dec": FEW,
    "n2d": {"pretraining_steps": 20},
    "vade": FEW,
    "clustpy_vade": FEW,
    "clustpy_dec": FEW,
    "scvi_leiden": {"epochs": 2},
}


def main() -> None:
    options = parse()
    folder = options.out.resolve()
    checkout, snakemake = folder / "checkout", folder / "snakemake"
    copy_project(checkout)
    targets = write_config(checkout / "config.yaml", options.clustpy, options.mirror)
    if not snakemake.exists():
        only_snakemake(snakemake)
    path = [str(ROOT / "tests/conda/bin"), str(snakemake / "bin"), "/usr/bin", "/bin"]
    path.insert(2, str(Path(sys._base_executable).parent))  # for python3.11 itself
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"PATH": os.pathsep.join(path), "CONDA_STAND_IN_LOG": str(folder / "conda.log")}
    mirror = ["--config", f"mirror={options.mirror.resolve()}"] if options.mirror else []
    command = ["snakemake", "--cores", "1", "--use-conda", *mirror, "--"]
    ended = 0
    with open(folder / "snakemake.log", "w", encoding="utf-8") as log:
        for wanted in (targets, ["verdict"]):  # verdicts are views of the tables made before
            ended |= subprocess.run(
                [*command, *wanted],
                cwd=checkout,
                env=environment,
                stdout=log,
                stderr=log,
                check=False,
            ).returncode
    summary(checkout, folder)
    sys.exit(ended or any(run["status"] != "ok" for run in runs(checkout)))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder, made or gone on with")
    parser.add_argument("--mirror", type=Path, help="folder with data files")
    parser.add_argument("--clustpy", action="store_true", help="its environment takes 6 GB")
    return parser.parse_args()


def copy_project(folder: Path) -> None:
    """The project without results; the environments made there before stay."""
    folder.mkdir(parents=True, exist_ok=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.rmtree(folder / part, ignore_errors=True)
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, folder / part)


def write_config(path: Path, clustpy: bool, mirror: Path | None) -> list[str]:
    """A configuration with one short run of every method; the targets to be made."""
    methods = registry.load(ROOT / "workflow/registry/methods.yaml")
    usable = [
        name
        for name, block in methods.items()
        if not block.get("control") and (clustpy or block["environment"] != "clustpy")
    ]
    variants = [name for name in usable if name.startswith("moe_sim_vae_")]
    counts = ["scvi_leiden", "moe_sim_vae", "kmeans"]
    others = [name for name in usable if name not in [*variants, *counts]]
    experiments = {
        "demo": {
            "title": "Every family",
            "datasets": ["digits", "simulated_cytof"],
            "methods": [*others, "moe_sim_vae", "kmeans", "moe_sim_vae_no_similarity"],
            "seeds": [0],
            "screening": {"kmeans": {"n_pca": [5, 10]}},
        },
        "table1": {
            "title": "Counts",
            "datasets": ["simulated_scrna"],
            "methods": counts,
            "seeds": [0],
            "published": "table1",
        },
    }
    datasets = ["digits", "simulated_cytof", "simulated_scrna"]
    if mirror:
        experiments["table2"] = {
            "title": "Files",
            "datasets": ["pbmc_facs", "samusik_01_subset"],
            "methods": ["kmeans"],
            "seeds": [0],
            "showcase": "kmeans",
        }
    generation = {
        "dataset": "digits",
        "runs": {"moe_sim_vae": [0], "vade": [0]},
        "similarity": {"moe_sim_vae": [0], "moe_sim_vae_no_similarity": [0]},
        "cells": ["simulated_cytof"],
        "images": 10,
        "thresholds": [0.0],
        "epochs": 1,
    }
    config = {
        "experiments": experiments,
        "generation": generation,
        "parameters": {name: {m: p for m, p in SHORT.items() if m in usable} for name in datasets},
    }
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return [*experiments, "figure2", "supplement"]


def only_snakemake(folder: Path) -> None:
    """A venv with the locked Snakemake and what it needs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    lock = str(ROOT / "requirements.lock")
    pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", lock, "snakemake"], check=True)


def runs(checkout: Path) -> list[dict]:
    """What every run of a method says of itself."""
    paths = sorted(checkout.glob("results/runs/*/*/seed*/status.json"))
    return [json.loads(path.read_text()) for path in paths]


def summary(checkout: Path, folder: Path) -> None:
    for run in runs(checkout):
        where = f"{run['dataset']}/{run['method']}"
        print(f"{run['status']:6} {where:45} {run['reason']}")
    ran: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    rule, activated = "", False
    for line in (folder / "snakemake.log").read_text().splitlines():
        if found := re.match(r"(?:local)?(?:rule|checkpoint) (\w+):", line):
            rule = found[1]
            activated = False
        elif (found := re.match(r"Activating conda environment: (\S+)", line)) and not activated:
            activated = True  # it says so twice, once to ask for Python's version
            file = next((checkout / found[1]).parent.glob(f"{Path(found[1]).name}.yaml"))
            ran[file.read_text().splitlines()[0]][rule] += 1
    for about, rules in ran.items():
        print(about.lstrip("# "))
        print("    " + ", ".join(f"{rule} {count}" for rule, count in sorted(rules.items())))


if __name__ == "__main__":
    main()
