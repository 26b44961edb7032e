"""An experiment whose runs are still being made: what has ended, what is scored, what is not."""

import shutil
from dataclasses import replace

import pytest
import synthetic_results as synthetic

from moesimvae.evaluation.making import Making
from moesimvae.nouns import Facts, Run
from moesimvae.report.pages import status


@pytest.fixture
def making(tmp_path):
    """Two methods with three seeds each, of which no run has ended; their folders, put aside."""
    made = synthetic.build(tmp_path, n_cells=60, datasets=["tabula_muris_subset"])
    results = tmp_path / "results"
    (results / "runs").rename(tmp_path / "aside")
    experiment = replace(made.experiment, methods={"moe_sim_vae": [0, 1, 2], "gmm": [0, 1, 2]})
    runs = [(m, s) for m, seeds in experiment.methods.items() for s in seeds]
    datasets = {"tabula_muris_subset": Facts(title="Organs")}
    return Making(results, experiment, runs, made.methods, made.metrics, datasets)


def end(making, method, seed):
    run = Run("tabula_muris_subset", method, seed)
    aside = making.results.parent / "aside" / run.path.removeprefix("runs/")
    shutil.copytree(aside, making.results / run.path)
    return run


def test_a_run_is_told_of_once_with_its_time_and_what_is_left(making):
    assert making.look() == []
    run = end(making, "moe_sim_vae", 0)
    assert making.look() == [run]
    assert making.look() == []
    seconds = making.ended[run].wall_seconds
    said = status.line(making, run)
    assert said.startswith("[demo, 1 of 6] MoE-Sim-VAE, seed 0, on tabula_muris_subset: ")
    assert f"{seconds:.1f}" in said or f"{seconds:.2f}" in said
    assert said.endswith(f"5 runs left before {making.results / 'demo' / 'report.html'}")


def test_a_run_that_is_made_again_is_waited_for_again(making):
    run = end(making, "moe_sim_vae", 0)
    making.look()
    shutil.rmtree(making.results / run.path)
    assert making.look() == []
    assert making.left == 6
    end(making, "moe_sim_vae", 0)
    assert making.look() == [run]


def test_the_page_has_what_there_is_and_marks_what_is_missing(making):
    empty = status.page(making, "12:00:00")
    assert "0 of 6 runs ended" in empty
    assert "No method finished all of its runs" in empty
    for seed in (0, 1, 2):
        end(making, "moe_sim_vae", seed)
    making.look()
    table = making.comparison().set_index(["method", "metric"])
    metric = making.experiment.metrics[0]
    assert table.loc[("moe_sim_vae", metric), "n"] == 3
    assert table.loc[("gmm", metric), "status"] == "missing"
    html = status.page(making, "12:00:00")
    assert "3 of 6 runs ended" in html
    assert 'content="5"' in html  # loaded anew
    assert "no run was found in the results folder" in html  # what one reads at an empty place
    assert "Best mean: MoE-Sim-VAE" in html


def test_at_the_end_it_leads_to_the_report_or_says_that_there_is_none(making):
    assert "before all runs were done" in status.page(making, "12:00:00", over=True)
    making.report.parent.mkdir(exist_ok=True)
    making.report.touch()
    assert "0; url=report.html" in status.page(making, "12:00:00", over=True)
