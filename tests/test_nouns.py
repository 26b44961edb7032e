"""The nouns: one place for what several parts of the benchmark agree on."""

import pytest

from moesimvae.errors import UserError
from moesimvae.nouns import Run

RUNS = [
    (Run("mnist", "kmeans", 3), "runs/mnist/kmeans/seed3"),
    (Run("mnist", "true_labels", 0, control=True), "runs/mnist/controls/true_labels/seed0"),
]


@pytest.mark.parametrize(("run", "path"), RUNS)
def test_a_run_is_its_path_and_back(run, path):
    assert run.path == path
    assert Run.of(path) == run
    assert Run.of(f"/somewhere/results/{path}") == run
    assert Run.of(run.named("results/projections", ".experts.parquet")) == run


def test_controls_of_a_data_set_lie_in_one_folder():
    for run, path in RUNS:
        assert path.startswith(Run.controls("mnist") + "/") == run.control


def test_with_wildcards_a_run_is_a_pattern_of_paths():
    pattern = Run("{dataset}", "{method}", "{seed}").path
    assert pattern.format(dataset="mnist", method="kmeans", seed=3) == RUNS[0][1]


@pytest.mark.parametrize("path", ["kmeans/seed0", "runs/mnist/kmeans", "runs/mnist/kmeans/seed"])
def test_what_is_no_run_is_told(path):
    with pytest.raises(UserError, match=r"is no run folder; expected …/runs/<dataset>/<method>/se"):
        Run.of(path)
