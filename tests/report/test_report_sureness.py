"""How many clusters and how sure: in words, in the table of clusters, in pictures and on maps."""

import json
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import synthetic_results as synthetic

from moesimvae.evaluation import comparison
from moesimvae.nouns import Facts, Method, Status
from moesimvae.report.figures import latent_space, sureness
from moesimvae.report.figures.inputs import Experiment
from moesimvae.report.pages import viewer
from moesimvae.report.tables.sureness import UNSTRUCTURED
from moesimvae.report.tables.sureness import sureness as told
from moesimvae.studies import views

EVIDENCE = {
    "n_clusters": 4,
    "interval": [3, 5],
    "structure": True,
    "crowding": 0.4,
    "curve": [
        {"n_clusters": k, "stability": s, "stable": k, "score": k * (s - 0.6)}
        for k, s in ((2, 0.9), (3, 0.92), (4, 0.95), (5, 0.7))
    ],
}
STABILITY = synthetic.STABILITY
METHODS = {"moe_sim_vae": Method("MoE-Sim-VAE"), "auto": Method("Auto")}
X = {"x": Facts(title="X")}


def statuses(stability=STABILITY, **others):
    second = stability | {"clusters": [0.1] * 4}
    runs = {
        "runs/x/moe_sim_vae/seed1": Status(facts={"stability": second}),
        "runs/x/moe_sim_vae/seed0": Status(facts={"stability": stability}),
    }
    return runs | {f"runs/x/{name}/seed0": Status(facts=facts) for name, facts in others.items()}


def test_the_first_seeds_clusters_are_told_of_and_those_below_the_threshold_marked():
    part = told(statuses(), X, METHODS)["x"]
    assert part.sentences == [
        "MoE-Sim-VAE, seed 0: 2 of 3 clusters are recovered from half of the cells (stability 0.6 "
        "or more).",
        "Cells of clusters 1 and 2 fall into one group 43% of the time.",
        "Cells of clusters 0 and 2 fall into one group 12% of the time.",
    ]
    (table,) = part.tables
    rows = [[row.head.text, *(cell.text for cell in row.cells)] for row in table.groups[0][1]]
    assert rows == [
        ["0", "70", "70.0%", "0.95", "2 (12%)"],
        ["1", "20", "20.0%", "0.60", "2 (43%)"],
        ["2?", "10", "10.0%", "0.41", "1 (43%), 0 (12%)"],
        ["3", "0", "0.0%", "", ""],
    ]
    assert "below 0.6" in table.caption


def test_the_estimate_stands_with_its_interval_and_no_structure_in_words():
    data = {"x": Facts(title="X", n_clusters_evidence=EVIDENCE)}
    part = told(statuses(auto={"evidence": EVIDENCE | {"structure": False}}), data, METHODS)["x"]
    assert part.sentences[0] == (
        "Number of clusters asked for: 4, estimated without labels; 3 to 5 by resampling."
    )
    assert part.sentences[-1].startswith("Auto, seed 0: no structure was found")
    assert UNSTRUCTURED not in part.sentences
    # also where the number was the user's own
    part = told(statuses(STABILITY | {"structure": False}), X, METHODS)["x"]
    assert part.sentences[0] == UNSTRUCTURED
    assert len(part.sentences) == 2  # which clusters are together in one cloud is arbitrary


def test_where_nothing_is_known_nothing_is_said():
    runs = {"runs/x/moe_sim_vae/seed0": Status(), "runs/x/auto/seed0": Status()}
    assert told(runs, X, METHODS) == {}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    return synthetic.build(folder, n_cells=60, datasets=["tabula_muris_subset"])


@pytest.fixture
def run(made):
    """A run that says how sure its clusters are."""
    folder = made.root / "results/runs/tabula_muris_subset/moe_sim_vae/seed0"
    before = (folder / "status.json").read_text()
    synthetic.say_how_sure(folder / "status.json")
    yield folder
    (folder / "status.json").write_text(before)


def texts(figure):
    return [t.get_text() for t in figure.findobj(mpl.text.Text)]


def pictures(made, run, evidence):
    table = comparison.compare(
        comparison.read_many(made.scores), comparison.read_many(made.runs), made.methods,
        made.metrics, made.experiment,
    )  # fmt: skip
    showcase = views.read_showcase(run, made.labels[0], made.features[0], made.decoded[0])
    facts = {
        name: replace(told, n_clusters_evidence=evidence)
        for name, told in comparison.read_facts(made.datasets).items()
    }
    experiment = Experiment(
        table, made.metrics, facts, comparison.read_many(made.runs), made.methods,
        showcases=[showcase],
    )  # fmt: skip
    (part,) = [part for part in experiment.parts() if part.first]
    return list(sureness.pictures(part))


def test_the_curve_the_tree_and_the_reliability_are_drawn_where_they_are_known(made, run):
    number, merges, reliability = pictures(made, run, EVIDENCE)
    assert "Number of groups (chosen: 4)" in texts(number.figure)
    assert "3 to 5, the range of this number" in number.caption
    assert {"1  (20 cells)", "2?  (10 cells)"} <= set(texts(merges.figure))
    assert "temperature 2.50" in reliability.caption
    given = pictures(made, run, None)
    assert [p.name.split("_")[1] for p in given] == ["merges", "reliability"]


def test_without_resamples_nothing_is_drawn(made, run):
    shown = views.read_showcase(run, made.labels[0], made.features[0], made.decoded[0])
    assert shown.facts["stability"] == STABILITY
    status = json.loads((run / "status.json").read_text()) | {"facts": {}}
    (run / "status.json").write_text(json.dumps(status))
    assert pictures(made, run, None) == []
    assert views.unstable_of(run) == frozenset()


def test_maps_mark_clusters_that_hardly_are_any(made, run):
    view = views.read_view(made.projections[0], made.labels[0], run)
    assert view.unstable == {2}
    points, clusters = np.random.default_rng(0).normal(size=(40, 2)), np.repeat([0, 2], 20)
    truth = np.full(40, "")
    drawn = latent_space.draw(points, truth, clusters, "Cells", unstable=view.unstable)
    assert {"0", "2?"} <= set(texts(drawn))
    assert any("hardly a cluster" in text for text in texts(drawn))
    plain = latent_space.draw(points, truth, clusters, "Cells", unstable=frozenset({7}))
    assert not any("?" in text for text in texts(plain))


def test_the_viewer_marks_them_too(made, run):
    (spaces,) = views.read_spaces(
        [made.projections[0]], [made.labels[0]], {"tabula_muris_subset": [run]}
    )
    clusters = {spaces_run: np.arange(len(c)) % 3 for spaces_run, c in spaces.clusters.items()}
    shown = viewer.viewed(replace(spaces, clusters=clusters), made.methods, "X")
    (names,) = [c["names"] for c in shown["colours"] if c.get("method")]
    marked = [name for name in names if name.partition(":")[0].endswith("?")]
    assert [name.partition("?")[0] for name in marked] == ["2"]
