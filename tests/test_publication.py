"""What is published: the package, and the files around it that others' machines read.

`make test-wheel` and `make test-sdist` do in environments of their own what is done in this one.
"""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import yaml

import moesimvae

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ENVS = runpy.run_path(str(ROOT / "envs" / "write.py"))


def run(*command, cwd, **variables):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=kept | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=1500,
        check=False,
    )


@pytest.fixture(scope="session")
def clone(tmp_path_factory) -> Path:
    """What git would hand to others of this checkout, as it stands now."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    if listed.returncode or not shutil.which("git"):
        pytest.skip("needs git and a checkout, not a source distribution")
    folder = tmp_path_factory.mktemp("clone")
    for name in listed.stdout.splitlines():
        source = ROOT / name
        if source.is_file() or source.is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name, follow_symlinks=False)
    return folder


# The package


@pytest.fixture(scope="session")
def built(clone) -> Path:
    """The folder of the wheel and the source distribution, built as `make dist` does."""
    done = run(sys.executable, "-m", "build", "--outdir", "dist", ".", cwd=clone)
    if done.returncode and re.search(
        r"No matching distribution|Max retries|getaddrinfo", done.stdout
    ):
        pytest.skip("building takes setuptools from the package index, which is out of reach")
    assert done.returncode == 0, done.stdout[-2000:]
    return clone / "dist"


REFUSES = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name in {} else find(name, *more)
"""


@pytest.mark.slow
def test_the_wheel_works_with_what_it_asks_for_alone(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")  # of its own: something is added
    assert (tmp_path / "site/moesimvae/py.typed").is_file()
    for name in ("registry", "published"):
        there = {
            p.name: p.read_bytes()
            for p in (tmp_path / "site/moesimvae/repository" / name).iterdir()
        }
        assert there == {p.name: p.read_bytes() for p in (ROOT / "workflow" / name).iterdir()}
    needs = [re.match(r"[\w-]+", need)[0] for need in PROJECT["dependencies"]]
    pins = ENVS["pins"](needs, ENVS["read_lock"](ROOT / "requirements.lock"))
    given = {ENVS["canonicalize_name"](pin.partition("==")[0]) for pin in pins} | {"setuptools"}
    refused = {
        name
        for name, distributions in metadata.packages_distributions().items()
        if not given & {ENVS["canonicalize_name"](d) for d in distributions}
    } - {"moesimvae", "nvidia", "triton", "cuda"}  # of torch's build for GPUs
    assert {"psutil", "pyarrow", "snakemake", "umap"} <= refused
    (tmp_path / "site/sitecustomize.py").write_text(REFUSES.format(sorted(refused)))
    place = {"PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    # the package itself comes from the wheel, not from the checkout
    done = run(sys.executable, ROOT / "tests/bare.py", cwd=tmp_path, **place)
    assert done.returncode == 0, done.stdout[-2000:]
    assert str(tmp_path / "site") in done.stdout
    assert done.stdout.endswith("wheel ok\n")


@pytest.mark.slow
def test_the_source_distribution_holds_what_its_tests_need(built, clone):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    there = {p.relative_to(clone).as_posix() for p in clone.rglob("*") if p.is_file()}
    missing = {
        n for n in there - held if not n.startswith(("dist/", "build/")) and ".egg-info" not in n
    }
    assert missing == set(), "name them in MANIFEST.in"


@pytest.mark.slow
def test_on_pypi_no_link_of_the_readme_leads_nowhere(site):
    (told,) = site.glob("*.dist-info/METADATA")
    text = told.read_text("utf-8")
    assert "Description-Content-Type: text/markdown" in text
    links = re.findall(r"\]\(([^)#]+)", text.partition("\n\n")[2])
    assert all(link.startswith("https://") for link in links)
    place = rf"{re.escape(PROJECT['urls']['Homepage'])}/(?:raw|blob)/v{moesimvae.__version__}/(.+)"
    ours = [found[1] for link in links if (found := re.fullmatch(place, link))]
    assert len(ours) > 5
    assert [name for name in ours if not (ROOT / name).exists()] == []


@pytest.fixture(scope="session")
def site(built, tmp_path_factory) -> Path:
    """The wheel, unpacked."""
    folder = tmp_path_factory.mktemp("site")
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


@pytest.mark.slow
def test_as_a_module_fetched_by_git_with_the_library_from_the_wheel(clone, site, tmp_path):
    """As `snakedeploy deploy-workflow` sets it up, in a folder that is no clone."""
    repository, user = tmp_path / "repository", tmp_path / "user"
    ignored = shutil.ignore_patterns("dist", "build", ".venv", "*.egg-info")
    shutil.copytree(clone, repository, symlinks=True, ignore=ignored)
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "all"],
        ["tag", "v1"],
    ):
        done = run("git", *words, cwd=repository)
        assert done.returncode == 0, done.stdout
    (user / "workflow").mkdir(parents=True)
    shutil.copytree(repository / "config", user / "config")  # what the user may edit
    (user / "workflow/Snakefile").write_text(
        'configfile: "config/config.yaml"\n\n\n'
        "module moesimvae:\n"
        '    snakefile: github("a/b", path="workflow/Snakefile", tag="v1")\n'
        "    config: config\n\n\n"
        "use rule * from moesimvae\n"
    )
    points = np.random.default_rng(0).normal(size=(150, 5)) + 5 * np.eye(5)[np.arange(150) % 3]
    np.savez(user / "cells.npz", X=points)
    own = ["own", "--config", "data=cells.npz", "clusters=3", "methods=[kmeans]", "seeds=[0]"]
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "2"]
    conda = str(ROOT / "tests/conda/bin")
    (tmp_path / "gitconfig").write_text(  # GitHub, as git is told, lies here
        f'[url "file://{repository}"]\n\tinsteadOf = https://github.com/a/b\n'
    )
    place = {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    place |= {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"), "XDG_CACHE_HOME": str(tmp_path)}
    place |= {"PATH": f"{conda}{os.pathsep}{os.environ['PATH']}"}
    place |= {"CONDA_STAND_IN_LOG": str(tmp_path / "conda.log")}

    done = run(*snakemake, "--dry-run", "--use-conda", *own, cwd=user, **place)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "base.yaml" in done.stdout

    own[0] = "results/own/table.csv"  # the page takes most of the time, and is made alike
    done = run(*snakemake, *own, cwd=user, **place)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "k-means" in (user / "results/own/table.csv").read_text("utf-8")

    (site / "moesimvae/__init__.py").rename(tmp_path / "kept")
    (site / "moesimvae/__init__.py").write_text('__version__ = "0"\n')
    done = run(*snakemake, "--dry-run", *own, cwd=user, **place)
    (tmp_path / "kept").replace(site / "moesimvae/__init__.py")
    assert done.returncode != 0
    assert "pip install 'moesimvae[benchmark]==" in done.stdout
    assert "Traceback" not in done.stdout


def test_one_place_for_the_version_and_the_citation_in_step():
    version = moesimvae.__version__
    assert "version" in PROJECT["dynamic"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    newest = re.search(r"^## (\S+) \((\S+)\)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert (newest[1], newest[2]) == (version, str(citation["date-released"]))
    assert citation["version"] == version
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]
    assert set(citation["keywords"]) <= set(PROJECT["keywords"])
    assert citation["repository-code"] == PROJECT["urls"]["Homepage"]


def test_addresses_are_those_of_pyproject(clone):
    """Whoever moves the project changes `urls` there; this tells where else it is named."""
    name, urls = PROJECT["name"], PROJECT["urls"]
    place = urls["Homepage"].removeprefix("https://github.com/")
    site = urls["Documentation"].removeprefix("https://")
    assert place.endswith(f"/{name}")
    address = rf"(?:github\.com|ghcr\.io)/[\w-]+/{name}\b|[\w-]*{name}[\w-]*\.readthedocs\.io"
    read = {"", ".cff", ".md", ".py", ".smk", ".toml", ".yaml", ".yml"}
    found = {
        (found, path.name)
        for path in clone.rglob("*")
        if path.suffix in read and path.is_file()
        for found in re.findall(address, path.read_text("utf-8"))
    }
    assert {"CITATION.cff", "Makefile", "common.smk"} <= {file for _, file in found}
    known = {f"github.com/{place}", f"ghcr.io/{place}", site}
    assert {(found, file) for found, file in found if found not in known} == set()


# What runs on others' machines

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def lines():
    """Every line that a workflow file runs, matrices filled in; each once."""
    found = {}
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text("utf-8"))["jobs"].values():
            matrix = job.get("strategy", {}).get("matrix", {})
            for line in (step["run"] for step in job["steps"] if "run" in step):
                for name, values in matrix.items():
                    line = line.replace(f"${{{{ matrix.{name} }}}}", values[-1])  # noqa: PLW2901
                found[line] = path.name
    return sorted(found)


# .ci/run does the first three; others are too long for every run: WORKFLOW_LINES=1 runs them
LONG = {"lint", "demo", "test-fast", "test-against", "test-wheel", "test-sdist", "hooks"}
LONG |= {"docs-site", "links", "image"}


@pytest.mark.parametrize("line", lines())
def test_a_line_of_the_workflow_files_works_in_a_clone(line, clone):
    words = line.split()
    if words[0] in ("gh", "echo"):
        pytest.skip("publishing needs GitHub; what it reads is made by `make release-notes`")
    assert words[0] == "make", "a line that people can run, too"
    known = run(*words, "--dry-run", cwd=clone)
    assert known.returncode == 0, known.stdout
    if words[1] in LONG and "WORKFLOW_LINES" not in os.environ:
        return
    if words[1] == "image" and not shutil.which("docker"):
        pytest.skip("needs Docker")
    if words[1] == "push-image":
        pytest.skip("needs the registry")
    prefix = Path(sys.prefix) if (Path(sys.prefix) / "installed").exists() else None
    if prefix and not (clone / ".venv").exists():  # not made anew for this
        (clone / ".venv").symlink_to(prefix)
    done = run(*words, "--assume-old", ".venv/installed", f"PYTHON={sys.executable}", cwd=clone)
    assert done.returncode == 0, done.stdout[-3000:]
    if words[1] == "release-notes":
        notes = (clone / "release-notes.md").read_text("utf-8").splitlines()
        assert notes[0] == f"v{moesimvae.__version__}"
        assert any(note.startswith("- **") for note in notes)


def test_hooks_are_the_tools_of_the_lock():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    pins = [p for r in hooks["repos"] for h in r["hooks"] for p in h["additional_dependencies"]]
    lock = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    ours = {pin for pin in pins if pin.partition("==")[0] in ("ruff", "snakefmt")}
    assert len(ours) == 2
    assert ours <= set(lock)
    assert all("==" in pin for pin in pins)


def test_workflow_files_take_no_more_than_they_need():
    for path in WORKFLOWS:
        content = yaml.safe_load(path.read_text("utf-8"))
        assert content["permissions"] == {"contents": "read"}, path.name
        for job in content["jobs"].values():
            assert job["timeout-minutes"] <= 60
            for step in job["steps"]:
                if step.get("uses", "").startswith("actions/checkout"):
                    assert step["with"]["persist-credentials"] is False


# Containers


def runs() -> list[str]:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    return re.findall(r"^RUN (.+)$", text, re.M)


def test_the_container_is_made_from_the_lock_by_no_root():
    text = (ROOT / "Dockerfile").read_text("utf-8")
    assert text.index("USER moesimvae") < text.index("COPY ")
    assert "-c requirements.lock" in text
    python = re.search(r"^FROM python:(3\.\d+)-slim", text, re.M)[1]
    assert python == ENVS["PYTHON"]
    for line in runs():
        assert run("sh", "-n", "-c", line, cwd=ROOT).returncode == 0


@pytest.mark.slow
def test_the_lines_of_the_container_run_in_an_empty_home(clone, tmp_path):
    if "WORKFLOW_LINES" not in os.environ:
        pytest.skip("installs everything once more: WORKFLOW_LINES=1")
    shutil.copytree(clone, tmp_path / "clone", symlinks=True)
    place = {"HOME": str(tmp_path), "VIRTUAL_ENV": f"{tmp_path}/env"}
    place |= {"PATH": f"{tmp_path}/env/bin{os.pathsep}{os.environ['PATH']}"}
    for line in runs():
        if not line.startswith("useradd"):  # would make a user of this machine
            done = run("sh", "-c", line, cwd=tmp_path / "clone", **place)
            assert done.returncode == 0, done.stdout[-2000:]
    assert "plan" in run("snakemake", "--help", cwd=tmp_path, **place).stdout
