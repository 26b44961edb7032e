"""Every command of README, docs and contributing guide is one that works.

What takes minutes is planned and not run: `make` and `snakemake` are asked what they would do, a
bench is asked for its options. The command line and the Python of docs/cells.md run for real, in
their order, on a small file of the same channels.
"""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import anndata
import flowio
import numpy as np
import pytest
from packaging.requirements import Requirement

from fences import code_blocks
from moesimvae import MoESimVAE, cli

ROOT = Path(__file__).resolve().parent.parent
# own_data.md, own_method.md: tests/test_own_docs.py; clusters.md: tests/cluster
TESTED_ELSEWHERE = {"own_data.md", "own_method.md", "clusters.md"}
PAGES = [
    path
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
    ]
    if path.name not in TESTED_ELSEWHERE
]
MARKERS = 39
# of Samusik_01, as docs/cells.md names them
OTHER_CHANNELS = [
    *("Time", "Cell_length", "BC1", "BC2", "DNA1", "DNA2", "Cisplatin", "beadDist"),
    *("sample", "event", "label"),
]


def blocks(language: str, *pages: Path) -> list[str]:
    """The code blocks of a language, with continued lines joined."""
    found = [b for page in pages for b in code_blocks(page.read_text("utf-8"), language)]
    return [block.replace("\\\n", " ") for block in found]


def commands() -> list[list[str]]:
    """Every command in blocks, and in the text between backticks, as words; each once."""
    lines = [line for block in blocks("sh", *PAGES) for line in block.splitlines()]
    begins = r"(?:make |snakemake |moesimvae (?!…)|\.venv/bin/\w+ )"
    for page in PAGES:
        text = re.sub(r"^[ ]*```.*?^[ ]*```", "", page.read_text("utf-8"), flags=re.M | re.S)
        lines += [" ".join(c.split()) for c in re.findall(rf"`({begins}[^`]+)`", text)]
    words = [shlex.split(line, comments=True) for line in lines]
    return [list(w) for w in dict.fromkeys(tuple(w) for w in words if w)]


COMMANDS = commands()


def of(*programs: str) -> list[list[str]]:
    return [c for c in COMMANDS if any(c[0] == p or c[0].endswith(f"/{p}") for p in programs)]


def test_every_command_is_of_a_kind_that_is_tested():
    known = [*of("make", "snakemake", "moesimvae", "dot", "pip"), *benches()]
    assert [c for c in COMMANDS if c not in known] == []
    assert len(COMMANDS) > 20


def benches() -> list[list[str]]:
    return [c for c in of("python") if c[1].startswith("bench/")]


def test_what_pip_installs_is_the_package_with_extras_that_it_has(root):
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    assert of("pip")
    for words in of("pip"):
        assert words[:2] == ["pip", "install"]
        asked = Requirement(words[2])
        assert asked.name == project["name"]
        assert asked.extras <= set(project["optional-dependencies"])


def test_make_knows_its_targets(root):
    for words in of("make"):
        done = subprocess.run(
            ["make", "--dry-run", *words[1:]], cwd=root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"


@pytest.mark.slow
def test_snakemake_can_plan_what_is_asked_of_it(root, checkout):
    folder = checkout.folder / "FOLDER"
    folder.mkdir()
    write_fcs(folder / "A_cells_B1.fcs", ["CD3", "CD4"], np.ones((5, 2)))
    cells = anndata.AnnData(np.random.default_rng(0).random((30, 4), dtype=np.float32))
    cells.obs["cell_type"] = ["a", "b", "c"] * 10
    cells.write_h5ad(checkout.folder / "cells.h5ad")
    rules = {line.split()[0] for line in checkout.snakemake("--list").stdout.splitlines() if line}
    planned = {}
    for words in of("snakemake"):
        rest = [w for w in words[1:] if w not in ("--use-conda",)]
        if "--workflow-profile" in rest:  # its options are tested in tests/cluster
            at = rest.index("--workflow-profile")
            assert (root / rest[at + 1] / "config.yaml").is_file()
            rest = rest[:at] + rest[at + 2 :]
        rest = [w.replace("../shared/data", "FOLDER").replace("=…", "=FOLDER") for w in rest]
        if "--config" not in rest and "--list" not in rest:
            targets = [w for w in rest if not w.startswith("-") and not w.isdigit() and w != "all"]
            assert set(targets) <= rules | {"--cores"}, words
            continue
        rest = [seed for w in rest for seed in seeds_of(w)]
        planned[tuple(rest)] = words
    assert len(planned) >= 4
    for rest, words in planned.items():
        done = checkout.snakemake(*([] if "--list" in rest else ["--dry-run"]), *rest)
        assert done.returncode == 0, f"{words}: {done.stdout}"


def seeds_of(word: str) -> list[str]:
    """As a shell reads {0..9}; a word without it is itself."""
    match = re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}", word)
    if match is None:
        return [word]
    return [f"{match[1]}{i}" for i in range(int(match[2]), int(match[3]) + 1)]


@pytest.mark.slow
def test_benches_have_the_options_that_are_shown(root):
    helps = {}
    for words in benches():
        script = words[1]
        if script not in helps:
            helps[script] = subprocess.run(
                [sys.executable, script, "--help"],
                cwd=root,
                env=os.environ | {"PYTHONPATH": str(root / "src")},
                capture_output=True,
                text=True,
                check=False,
            ).stdout
        for option in (w for w in words[2:] if w.startswith("--")):
            assert option in helps[script], f"{' '.join(words)}: no {option}"


def write_fcs(path: Path, channels: list[str], values: np.ndarray) -> None:
    with open(path, "wb") as file:
        names = [f"{name}(X{i})Dd" for i, name in enumerate(channels)]
        flowio.create_fcs(file, values.ravel().astype(float), names, channels)


@pytest.fixture
def few_steps(monkeypatch):
    """Trains for so few steps that only the way is tested."""
    monkeypatch.setitem(MoESimVAE.__init__.__kwdefaults__, "steps", 3)


@pytest.mark.slow
def test_the_command_line_and_python_of_the_docs_run_in_their_order(
    root, tmp_path, monkeypatch, few_steps
):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    channels = [*OTHER_CHANNELS, *(f"CD{i}" for i in range(MARKERS))]
    values = random.gamma(1.0, 5.0, (300, len(channels)))
    values[::2, 15:30] += 60
    for name in ("samusik.fcs", "new.fcs"):
        write_fcs(Path(name), channels, values)
    cells = anndata.AnnData(values[:, 11:].astype(np.float32))
    cells.var_names = channels[11:]
    cells.write_h5ad("cells.h5ad")

    page = root / "docs" / "cells.md"
    shown = [
        shlex.split(line, comments=True) for b in blocks("sh", page) for line in b.splitlines()
    ]
    shown = [words for words in shown if words]
    assert [w[1] for w in shown] == ["cluster", "report", "cluster", "predict", "generate"]
    for words in shown:
        assert cli.main(quick(words[1:])) == 0, words
    assert Path("generated.csv").is_file()
    for block in blocks("python", page):
        exec(compile(block, str(page), "exec"), {"X": values[:, 11:]})

    for words in blocks("sh", root / "README.md"):
        for line in words.splitlines():
            if line.startswith("moesimvae"):
                assert cli.main(quick(shlex.split(line, comments=True)[1:])) == 0
    assert Path("cells_clustered", "report.html").is_file()


def quick(words: list[str]) -> list[str]:
    """The same command with three steps of training."""
    if words[0] != "cluster":
        return words
    if "--steps" in words:
        words = list(words)
        words[words.index("--steps") + 1] = "3"
        return words
    return [*words, "--steps", "3"]
