"""Pictures are written, not blank, the same each time, and say what is missing."""

import json

import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic
from matplotlib.image import imread
from PIL import Image

from moesimvae.errors import UserError
from moesimvae.evaluation import comparison
from moesimvae.evaluation.matching import match
from moesimvae.evaluation.statistics import on_front
from moesimvae.report import style
from moesimvae.report.figures import catalogue, latent_space
from moesimvae.report.figures.inputs import Experiment
from moesimvae.studies import projections, views


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return synthetic.build(
        tmp_path_factory.mktemp("results"), n_cells=150, datasets=["tabula_muris_subset"]
    )


@pytest.fixture(scope="module")
def drawn(made):
    run = made.root / "results/runs/tabula_muris_subset/moe_sim_vae/seed0"
    table = comparison.compare(
        comparison.read_many(made.scores), comparison.read_many(made.runs), made.methods,
        made.metrics, made.experiment,
    )  # fmt: skip
    return list(
        catalogue.pictures(
            Experiment(
                table,
                made.metrics,
                comparison.read_facts(made.datasets),
                comparison.read_many(made.runs),
                made.methods,
                [views.read_view(made.projections[0], made.labels[0], run)],
                views.read_histories([run, run.with_name("seed1"), run.parents[1] / "gmm/seed0"]),
                comparison.read_many(made.populations),
                [views.read_showcase(run, made.labels[0], made.features[0], made.decoded[0])],
            )
        )
    )


def drawn_of(made, table, runs, facts):
    return catalogue.pictures(Experiment(table, made.metrics, facts, runs, made.methods))


def texts(figure):
    return [t.get_text() for panel in figure.axes for t in panel.texts] + [
        t.get_text() for panel in figure.axes for t in panel.get_yticklabels()
    ]


@pytest.mark.slow
def test_every_picture_is_written_and_not_blank(drawn, tmp_path):
    style.write(drawn, tmp_path)
    said = json.loads((tmp_path / "figures.json").read_text())
    assert [p["file"].split("_tabula")[0] for p in said] == [
        "overview.png", "scores", "quality_vs_time", "populations", "latent", "confusion",
        "experts", "losses",
    ]  # fmt: skip
    for picture in said:
        pixels = imread(tmp_path / picture["file"])[..., :3]
        assert pixels.std() > 0.02
        # Nothing is cut off: the outermost pixels are white.
        edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (edge == 1).all(), picture["file"]
        assert (tmp_path / picture["file"]).with_suffix(".pdf").stat().st_size > 5000
        assert picture["alt"]
        assert picture["caption"].endswith(".")


def test_the_same_picture_gives_the_same_bytes(made, tmp_path):
    for name in ("a", "b"):
        figure = style.unavailable("Title", "No cells.")
        style.write([style.Picture("p", "x", "t", "c", "a", figure)], tmp_path / name)
    for kind in ("png", "pdf"):
        first, second = (tmp_path / name / f"p.{kind}" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
    assert b"CreationDate" not in (tmp_path / "a" / "p.pdf").read_bytes()


def test_pictures_are_made_small_only_where_no_colour_changes(tmp_path):
    rng = np.random.default_rng(0)
    many = rng.integers(0, 256, (120, 120, 3)).astype(np.uint8)
    few = np.kron(many[:4, :4], np.ones((30, 30, 1), np.uint8))
    for name, pixels, mode in (("many", many, "RGB"), ("few", few, "P")):
        path = tmp_path / f"{name}.png"
        Image.fromarray(pixels).save(path)
        style._to_palette(path)
        with Image.open(path) as image:
            assert image.mode == mode
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pixels)


def test_labels_of_groups_that_they_would_hide_stand_above_them():
    rng = np.random.default_rng(0)
    wide, small = rng.normal(0, 1, (200, 2)), rng.normal([9, 9], 0.01, (9, 2))
    truth = np.array(["a wide population"] * 200 + ["a small one"] * 9)
    clusters = np.array([0] * 200 + [1] * 9)
    figure = latent_space.draw(np.vstack([wide, small]), truth, clusters, "Title")
    places = {t.get_text(): t.get_position() for t in figure.axes[0].texts}
    assert set(places) == {"1", "2"}  # sorted by name: the small one first
    assert places["1"][1] > small[:, 1].max() + 0.1
    assert np.linalg.norm(places["2"]) < 1
    entries = [t.get_text() for t in figure.legends[0].get_texts()]
    assert entries[:2] == ["1  a small one", "2  a wide population"]


def test_what_did_not_finish_is_written_into_the_pictures(drawn):
    overview, scores, time = drawn[:3]
    assert texts(scores.figure).count("DNF: several reasons") == 6  # one in each metric's panel
    shown = texts(overview.figure)
    assert "DNF" in shown
    assert "Gaussian mixture" in shown
    assert "Gaussian mixture (several reasons)" in scores.caption
    assert "Gaussian mixture (several reasons)" in time.caption
    assert not any(t == "Gaussian mixture" for t in texts(time.figure))


def test_runs_that_finished_without_a_value_of_a_metric_are_not_called_dnf(made):
    scores = comparison.read_many(made.scores)
    metric = scores["metric"].iloc[0]
    scores.loc[(scores["method"] == "kmeans") & (scores["metric"] == metric), "value"] = np.nan
    runs = comparison.read_many(made.runs)
    table = comparison.compare(scores, runs, made.methods, made.metrics, made.experiment)
    facts = comparison.read_facts(made.datasets)
    _, first, *_ = drawn_of(made, table, runs, facts)
    assert "not scored" in texts(first.figure)
    assert "k-means" not in first.caption.partition("Did not finish")[2]


def test_the_line_of_blind_controls_is_not_the_true_labels(made):
    """Where these score below 1, as in metrics that look at no truth."""
    scores = comparison.read_many(made.scores)
    scores.loc[scores["method"] == "true_labels", "value"] = 0.7
    runs = comparison.read_many(made.runs)
    table = comparison.compare(scores, runs, made.methods, made.metrics, made.experiment)
    facts = comparison.read_facts(made.datasets)
    _, first, *_ = drawn_of(made, table, runs, facts)
    blind = table[table["method"].isin(["random_labels", "one_cluster"])].groupby("metric")["mean"]
    dotted = [line for line in first.figure.axes[0].lines if line.get_linestyle() == ":"]
    assert dotted[0].get_xdata()[0] == pytest.approx(blind.max()[made.experiment.metrics[0]])


@pytest.mark.slow
def test_a_data_set_on_which_nothing_finished_still_has_its_pictures(made, tmp_path):
    runs = comparison.read_many(made.runs).assign(status="timeout", reason="too slow")
    runs[["clusters_found", "noise_share"]] = np.nan
    empty = tmp_path / "scores.csv"
    empty.write_text(made.scores[0].read_text().split("\n")[0] + "\n")
    table = comparison.compare(
        comparison.read_many([empty]), runs, made.methods, made.metrics, made.experiment
    )
    facts = comparison.read_facts(made.datasets)
    drawn = drawn_of(made, table, runs, facts)
    drawn = {p.name.split("_tabula")[0]: p for p in drawn}
    assert list(drawn) == ["overview", "scores"]
    assert "DNF: time-out" in texts(drawn["scores"].figure)
    style.write(drawn.values(), tmp_path)


def test_a_run_without_embedding_is_a_picture_that_says_why(made, tmp_path):
    run = made.root / "results/runs/tabula_muris_subset/gmm/seed2"
    projection = projections.project_run(run)
    assert list(projection) == ["cell", "x", "y"]
    assert projection.empty
    projection.to_parquet(tmp_path / "seed2.parquet", index=False)
    found = views.read_view(tmp_path / "seed2.parquet", made.labels[0], run)
    assert found.missing == "DNF: time-out: stopped after 60 minutes"
    quiet = made.root / "results/runs/tabula_muris_subset/kmeans/seed0"
    found = views.read_view(tmp_path / "seed2.parquet", made.labels[0], quiet)
    assert found.missing == "This method produces no embedding."


def test_cells_are_joined_by_name_and_unknown_ones_refused(made, tmp_path):
    run = made.root / "results/runs/tabula_muris_subset/moe_sim_vae/seed0"
    points = pd.read_parquet(made.projections[0]).iloc[::-1]
    points.to_parquet(tmp_path / "turned.parquet")
    turned = views.read_view(tmp_path / "turned.parquet", made.labels[0], run)
    straight = views.read_view(made.projections[0], made.labels[0], run)
    np.testing.assert_array_equal(turned.truth, straight.truth[::-1])
    np.testing.assert_array_equal(turned.clusters, straight.clusters[::-1])
    points.assign(cell="stranger").to_parquet(tmp_path / "strange.parquet")
    with pytest.raises(UserError, match="stranger"):
        views.read_view(tmp_path / "strange.parquet", made.labels[0], run)


def test_clusters_are_matched_one_to_one_and_the_rest_by_majority():
    truth = np.array(["a"] * 10 + ["b"] * 4 + [""] * 3)
    clusters = np.array([0] * 6 + [1] * 4 + [2] * 3 + [-1] + [3] * 3)
    assert match(truth, clusters) == {0: ("a", True), 1: ("a", False), 2: ("b", True)}


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((30, 5), "PC"), ((40, 1), "latent dimension"), ((60, 2), "latent dimension")],
)
def test_few_cells_and_flat_embeddings_need_no_umap(shape, axes):
    embedding = np.random.default_rng(0).normal(size=shape)
    points, found = projections.project(embedding, seed=0)
    assert points.shape == (shape[0], 2)
    assert found == axes


def test_principal_components_are_those_of_the_covariance():
    embedding = np.random.default_rng(0).normal(size=(40, 3)) * [5, 1, 0.1]
    points, _ = projections.project(embedding, seed=0)
    largest = np.linalg.eigvalsh(np.cov(embedding.T))[::-1][:2]
    np.testing.assert_allclose(points.var(axis=0, ddof=1), largest, rtol=1e-4)


def test_a_collapsed_embedding_is_one_point():
    points, _ = projections.project(np.ones((80, 4)), seed=0)
    assert np.ptp(points, axis=0).max() == 0
    figure = latent_space.draw(points, np.array(["a"] * 80), np.zeros(80, int), "Collapsed")
    assert len(figure.axes) == 2


def test_an_embedding_with_nan_is_refused():
    with pytest.raises(UserError, match="finite"):
        projections.project(np.full((60, 3), np.nan), seed=0)


@pytest.mark.slow
def test_umap_gives_the_same_points_for_the_same_seed():
    embedding = np.random.default_rng(0).normal(size=(120, 6))
    first, axes = projections.project(embedding, seed=3)
    second, _ = projections.project(embedding, seed=3)
    np.testing.assert_array_equal(first, second)
    assert axes == "UMAP"


def test_large_runs_are_subsampled(monkeypatch):
    monkeypatch.setattr(projections, "MAX_POINTS", 25)
    cells = [f"c{i}" for i in range(100)]
    embedding = np.arange(200.0).reshape(100, 2)
    table = projections.projection(cells, embedding, seed=1)
    assert len(table) == table["cell"].nunique() == 25
    assert table["x"].tolist() == [2.0 * int(c[1:]) for c in table["cell"]]
    assert table.attrs["axes"] == "latent dimension"


def test_axes_survive_the_file(tmp_path, made):
    run = made.root / "results/runs/tabula_muris_subset/moe_sim_vae/seed0"
    table = pd.read_parquet(made.projections[0]).head(5)
    table.attrs["axes"] = "PC"
    table.to_parquet(tmp_path / "seed0.parquet", index=False)
    assert views.read_view(tmp_path / "seed0.parquet", made.labels[0], run).axes == "PC"


def test_methods_keep_their_colours(made):
    colours = style.method_colours(made.methods)
    contestants = [m for m, block in made.methods.items() if not block.control]
    assert len({colours[m] for m in contestants}) == len(contestants)
    assert {colours[m] for m in made.methods if m not in contestants} == {style.CONTROL}


def test_the_pareto_front_is_of_methods_that_compete():
    rows = pd.DataFrame(
        [("method", False, 1.0, 0.5), ("method", False, 2.0, 0.4), ("method", False, 3.0, 0.9),
         ("method", True, 0.1, 0.99), ("oracle", False, 0.1, 0.99)],
        columns=["kind", "uses_prior", "wall_seconds", "mean"],
    )  # fmt: skip
    assert list(on_front(rows, "higher")) == [True, False, True, False, False]
    assert list(on_front(rows, "lower")) == [True, True, False, False, False]


def test_the_picture_of_quality_and_time_draws_and_names_the_front(drawn):
    picture = next(p for p in drawn if p.name.startswith("quality_vs_time"))
    (dashed,) = [line for line in picture.figure.axes[0].lines if line.get_linestyle() == "--"]
    assert len(dashed.get_xdata()) >= 2
    assert (np.diff(dashed.get_ydata()) > 0).all()  # slower and on the front: better
    assert "k-means" in picture.caption
