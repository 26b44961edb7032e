"""Profiles for clusters: planned by all, run with a submit script of a few lines and with SLURM."""

import json
import os
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from fences import code_blocks

sys.path.insert(0, str(Path(__file__).parent))
import one_node_slurm

import small

pytestmark = pytest.mark.slow

PROFILES = sorted(path.parent.name for path in (small.ROOT / "profiles").glob("*/config.yaml"))
RUN = "results/runs/digits/kmeans/seed0"
SUBMIT = '#!/bin/sh\n{ sh "$6"; } >>generic.log 2>&1 &\necho $!\n'
STATUS = '#!/bin/sh\nif kill -0 "$1" 2>/dev/null; then echo running; else echo failed; fi\n'


@pytest.fixture
def project(tmp_path):
    small.copy_project(tmp_path / "project")
    small.write_experiment(tmp_path / "project", {"kmeans": [0]})
    return tmp_path / "project"


def status(project):
    return json.loads((project / RUN / "status.json").read_text())["status"]


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_restarts_without_a_word(name):
    profile = yaml.safe_load((small.ROOT / "profiles" / name / "config.yaml").read_text())
    assert profile["rerun-incomplete"]
    assert profile["nolock"]
    assert profile["keep-going"]


@pytest.mark.parametrize("name", ["slurm", "cluster-generic"])
def test_a_profile_plans_with_memory_time_and_groups(name, project):
    pytest.importorskip(f"snakemake_executor_plugin_{name.replace('-', '_')}")
    profile = ["--workflow-profile", f"profiles/{name}", "--dry-run", "demo"]
    process = small.snakemake(project, *profile)
    assert process.wait() == 0, (project / "snakemake.log").read_text()
    planned = (project / "snakemake.log").read_text()
    (run,) = (job for job in planned.split("\nrule ") if job.startswith("cluster:"))
    assert "mem_mb=9000" in run
    assert "runtime=65" in run
    assert "gpu=0" in run


def documented():
    """The commands of docs/clusters.md that start the workflow."""
    page = (small.ROOT / "docs/clusters.md").read_text()
    lines = [line for block in code_blocks(page, "sh") for line in block.splitlines()]
    lines = [words for line in lines if (words := shlex.split(line, comments=True))]
    return [words[1:] for words in lines if words[0] == ".venv/bin/snakemake"]


@pytest.mark.parametrize("words", documented(), ids=" ".join)
def test_a_documented_command_can_be_planned(words, project):
    path = os.pathsep.join([str(small.ROOT / "tests/conda/bin"), os.environ["PATH"]])
    process = small.snakemake(project, "--dry-run", *words, environment=os.environ | {"PATH": path})
    assert process.wait() == 0, (project / "snakemake.log").read_text()


def test_a_submit_script_of_a_few_lines(project):
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    for name, text in {"submit.sh": SUBMIT, "status.sh": STATUS}.items():
        script = project / "profiles/cluster-generic" / name
        script.write_text(text)
        script.chmod(0o755)
    options = ["--workflow-profile", "profiles/cluster-generic", "--latency-wait", "5"]
    process = small.snakemake(project, *options, "--", RUN)
    assert process.wait() == 0, (project / "snakemake.log").read_text()
    assert status(project) == "ok"
    assert "rule cluster:" in (project / "generic.log").read_text(), "made by a submitted job"


@pytest.mark.slow
def test_slurm(project, tmp_path):
    pytest.importorskip("snakemake_executor_plugin_slurm")
    if why := one_node_slurm.missing():
        pytest.skip(why)
    options = [
        *("--workflow-profile", "profiles/slurm", "--slurm-status-command", "squeue"),
        *("--slurm-no-account", "--slurm-init-seconds-before-status-checks", "2", "--cores", "2"),
    ]
    with one_node_slurm.OneNode(tmp_path / "slurm") as cluster:
        command = [*options, "--", RUN]
        process = small.snakemake(project, *command, environment=cluster.environment)
        assert process.wait(300) == 0, (project / "snakemake.log").read_text()
    assert status(project) == "ok"
    assert "submitted with SLURM jobid 2" in (project / "snakemake.log").read_text()


def test_without_slurm_it_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(one_node_slurm, "search_path", lambda: "/nowhere")
    assert one_node_slurm.missing().startswith("needs SLURM (Debian: slurm-wlm, munge); not found:")
