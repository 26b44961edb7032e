"""Conda environments: equal to the lock, and holding what their family's code imports."""

import os
import re
import runpy
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from moesimvae import closure, registry

ROOT = Path(__file__).parents[1]
METHODS = registry.load(ROOT / "workflow/registry/methods.yaml")
ENVIRONMENTS = sorted(path.stem for path in (ROOT / "envs").glob("*.yaml"))
STAND_IN = ROOT / "tests" / "conda" / "bin"
# ClustPy's methods never ask for a UMAP projection, which the code around them could make, and
# figures show what the job `reconstruct` made of a model.
NOT_CALLED = {
    "clustpy": {"umap", "numba", "pynndescent"},
    "scripts/figures.py": {"torch", "safetensors"},
}


def pins(name):
    content = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())
    (found,) = [d["pip"] for d in content["dependencies"] if isinstance(d, dict)]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in found)
    return found


def test_environment_files_are_what_the_lock_says():
    torch = f"torch=={metadata.version('torch').partition('+')[0]}"
    locked = torch in (ROOT / "requirements.lock").read_text().splitlines()
    if sys.version_info[:2] != (3, 11) or not locked:
        pytest.skip("what packages need is looked up where the lock is installed, on Python 3.11")
    written = runpy.run_path(str(ROOT / "envs" / "write.py"))["environment_files"]()
    assert sorted(written) == ENVIRONMENTS
    for name, text in written.items():
        stale = f"envs/{name}.yaml is stale; run `.venv/bin/python envs/write.py`"
        assert (ROOT / "envs" / f"{name}.yaml").read_text() == text, stale


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_pin_is_a_line_of_the_lock(name):
    lock = ROOT / ("envs/clustpy.lock" if name == "clustpy" else "requirements.lock")
    assert set(pins(name)) <= set(lock.read_text().splitlines())


# What a script or a method can come to import, and what its environment has


def reached(modules):
    """Names of the libraries that modules import, themselves or through this project's modules."""
    names = {n.partition(".")[0] for f in closure.files_of(modules) for n in closure.imports(f)}
    return names - sys.stdlib_module_names - {"snakemake", "moesimvae"}


@cache
def given(name):
    """Names that can be imported in an environment, from the pins of its file."""
    packages = {re.sub(r"[-_.]+", "-", pin.partition("==")[0]).lower() for pin in pins(name)}
    names = {
        module
        for module, distributions in metadata.packages_distributions().items()
        if packages & {re.sub(r"[-_.]+", "-", d).lower() for d in distributions}
    }
    return names | packages


def jobs():
    """(environment, script) of every rule."""
    for file in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        for rule in re.split(r"\n\s*rule ", file.read_text())[1:]:
            script = re.search(r'script:\s+"(?:\.\./)+(scripts/\w+\.py)"', rule)
            conda = re.search(r'conda:\s+"(?:\.\./)+envs/(\w+)\.yaml"', rule)
            if script and conda:
                yield conda[1], script[1]


@pytest.mark.parametrize(("environment", "script"), sorted(set(jobs())))
def test_a_job_imports_what_its_environment_has(environment, script):
    assert reached([ROOT / script]) - NOT_CALLED.get(script, set()) <= given(environment)


def test_every_job_has_an_environment():
    scripts = re.findall(
        r'script:\s+"(?:\.\./)+scripts/(\w+)\.py"',
        "".join(file.read_text() for file in (ROOT / "workflow/rules").glob("*.smk")),
    )
    with_file = {Path(script).stem for _, script in jobs()}
    assert set(scripts) - with_file == {"cluster"}, "`cluster` chooses by its method"


def families():
    return sorted({(block["environment"], block["module"]) for block in METHODS.values()})


@pytest.mark.parametrize(("environment", "module"), families())
def test_a_run_imports_what_its_environment_has(environment, module):
    around = [ROOT / "scripts/cluster.py", "moesimvae.methods.worker"]
    # controls are made by a job of the workflow, not by a run
    wanted = reached([*around, f"moesimvae.methods.{module}"])
    assert wanted - NOT_CALLED.get(environment, set()) <= given(environment)


@pytest.fixture
def with_stand_in(tmp_path):
    """Environment variables under which Snakemake finds the stand-in for conda."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "PYTHON"))}
    path = os.pathsep.join([str(STAND_IN), kept["PATH"]])
    return kept | {"PATH": path, "CONDA_STAND_IN_LOG": str(tmp_path / "conda.log")}


@pytest.mark.slow
def test_dry_run_of_everything_with_conda(with_stand_in, tmp_path):
    targets = ["all", "table2_semisynthetic", "table3_subsets", "scale", "figure2", "supplement"]
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--use-conda", "--dry-run"]
    command += ["--nolock", *targets, "synthetic", "verdict", "--config", f"results={tmp_path}/r"]
    done = subprocess.run(
        command, cwd=ROOT, env=with_stand_in, text=True, capture_output=True, check=False
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    named = set(re.findall(r"Conda environment envs/(\w+)\.yaml will be created", printed))
    assert named == set(ENVIRONMENTS) - {"clustpy"}, "only the cross-check needs ClustPy's"


def test_the_stand_in_refuses_what_it_does_not_know(with_stand_in):
    done = subprocess.run(
        ["conda", "install", "x"], env=with_stand_in, text=True, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "error: the stand-in for conda knows no `conda install x`.\n"


def test_the_stand_in_reads_an_environment_file(root):
    read = runpy.run_path(str(STAND_IN / "conda"))["read"]
    conda, found = read(root / "envs" / "clustpy.yaml")
    assert conda == {"python": "3.11", "pip": None, "c-compiler": None}
    assert found == pins("clustpy")


def test_jobs_in_conda_environments_find_the_library_and_nothing_else(root):
    """Snakemake takes PYTHONPATH away from such jobs unless it is told not to."""
    common = (root / "workflow/rules/common.smk").read_text()
    assert "conda_not_block_search_path_envvars = True" in common
