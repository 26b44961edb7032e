"""Pictures of cytometry: spread, wells by inhibitor, populations, markers, experts."""

import shutil
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import synthetic_results as synthetic
from matplotlib.collections import PathCollection

from moesimvae.errors import UserError
from moesimvae.evaluation import comparison
from moesimvae.evaluation.matching import confusion_counts, named_clusters
from moesimvae.model.estimator import MoESimVAE
from moesimvae.nouns import Facts
from moesimvae.report import words
from moesimvae.report.figures import (
    catalogue,
    clusters,
    experts,
    groups,
    markers,
    populations,
    runs,
)
from moesimvae.report.figures.inputs import Experiment, Part
from moesimvae.report.style import write
from moesimvae.studies import panels, reconstruction, views

SHOWCASE = "moe_sim_vae"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return synthetic.build(
        tmp_path_factory.mktemp("results"), n_cells=200, datasets=["levine_32dim", *synthetic.WELLS]
    )


def compare(made, datasets, published=None):
    experiment = replace(made.experiment, datasets=datasets)
    return comparison.compare(
        comparison.read_many(made.scores), comparison.read_many(made.runs), made.methods,
        made.metrics, experiment, published,
    )  # fmt: skip


def facts_of(made, names):
    facts = comparison.read_facts(made.datasets)
    return {name: facts[name] for name in names}


def experiment(made, names, table=None, **given):
    table = compare(made, names) if table is None else table
    return Experiment(
        table, made.metrics, facts_of(made, names), comparison.read_many(made.runs), made.methods,
        populations=comparison.read_many(made.populations), **given,
    )  # fmt: skip


@pytest.mark.slow
def test_an_experiment_gets_the_pictures_that_its_data_call_for(made, monkeypatch):
    for module in (words, runs):
        monkeypatch.setattr(module, "IN_DETAIL", 8)
    wells = list(synthetic.WELLS)
    table = compare(made, wells)
    drawn = catalogue.pictures(experiment(made, wells, table))
    names = [picture.name for picture in drawn]
    # 10: no spread
    assert names[:3] == ["overview", "violins_f_flowcap", "violins_f1_mean_hungarian"]
    with_own = {n.removeprefix("scores_") for n in names if n.startswith("scores_")}
    assert with_own == set(wells[:8])
    few = catalogue.pictures(experiment(made, wells[:3]))
    assert [picture.name for picture in few][1:3] == ["spread", "violins_f_flowcap"]


def test_spread_shows_every_run_and_marks_what_did_not_finish(made):
    names = ["levine_32dim", "well_a_1"]
    table = compare(made, names)
    (picture,) = runs.pictures(experiment(made, names, table))
    own = table[(table["source"] == "run") & (table["kind"] != "control")]
    for panel, (dataset, metric) in zip(
        [p for p in picture.figure.axes if p.get_visible()],
        [(d, m) for m in runs.F_MEASURES for d in names],
        strict=True,
    ):
        rows = own[(own["dataset"] == dataset) & (own["metric"] == metric)]
        expected = sorted(v for _, row in rows.iterrows() for v in comparison.values(row).values())
        dots = [c for c in panel.collections if isinstance(c, PathCollection)]
        np.testing.assert_allclose(sorted(np.concatenate([c.get_offsets() for c in dots])[:, 1]),
                                   expected)  # fmt: skip
        crosses = [line for line in panel.lines if line.get_marker() == "x"]
        assert len(crosses) == (rows["n"] == 0).sum()
    lost = own[(own["n"] == 0)]["dataset"].unique()
    assert list(lost) == ["levine_32dim"]  # so that the crosses above were tested


def test_spread_sets_published_values_only_where_method_and_metric_are_the_same(made):
    published = pd.DataFrame(
        [
            {"method": m, "dataset": "levine_32dim", "metric": metric, "value": v, "sd": sd}
            for m, metric, v, sd in (
                ("MoE-Sim-VAE", "f_flowcap", 0.70, 0.04),
                ("FlowSOM", "f_flowcap_lower_bound", 0.88, np.nan),
                ("Nobody's", "f_flowcap", 0.5, np.nan),
                ("MoE-Sim-VAE", "nmi_unspecified", 0.5, np.nan),
            )
        ]
    ).assign(table="t", citation="", n=np.nan, definition="as printed", source="a", note="")
    made.blocks["methods"]["flowsom"]["published_as"] = "FlowSOM"
    names = ["levine_32dim", "well_a_1"]
    table = compare(made, names, published)
    shown = experiment(made, names, table)
    quoted = runs._quoted(shown, runs.F_MEASURES, table[table["source"] == "run"])
    found = [(r.method, r.metric, r.mean, r.bound) for r in quoted.itertuples()]
    assert found == [(SHOWCASE, "f_flowcap", 0.70, False), ("flowsom", "f_flowcap", 0.88, True)]
    (picture,) = runs.pictures(shown)
    keys = [t.get_text() for t in picture.figure.legends[0].get_texts()]
    assert keys[2:] == ["published", "published, lower bound"]


def test_violins_join_the_means_of_each_group(made):
    wells = list(synthetic.WELLS)
    table, by_group = compare(made, wells), groups.grouped(facts_of(made, wells))
    assert {g: len(m) for g, m in by_group.items()} == {
        "Inhibitor A": 6, "Inhibitor B": 3, "Inhibitor C": 1,
    }  # fmt: skip
    picture = next(groups.pictures(experiment(made, wells, table)))
    means = table[(table["metric"] == "f_flowcap") & (table["method"] == "gmm")]
    means = means.set_index("dataset")["mean"]
    expected = [means.loc[members].mean() for members in by_group.values()]
    lines = [line.get_ydata() for line in picture.figure.axes[0].lines]
    assert any(len(y) == 3 and np.allclose(y, expected) for y in lines)
    assert "Inhibitor A 6, Inhibitor B 3, Inhibitor C 1" in picture.caption


def test_data_sets_without_a_common_group_have_no_violins():
    alone = {"a": Facts(group="x"), "b": Facts(group="y"), "c": Facts()}
    assert groups.grouped(alone) == {}
    assert groups.grouped(alone | {"d": Facts(group="y")}) == {"x": ["a"], "y": ["b", "d"]}


# --- populations ------------------------------------------------------------------------------

TRUTH = np.array(["big"] * 10 + ["small"] * 3 + [""] * 4)
CLUSTERS = np.array([0] * 6 + [1] * 4 + [2] * 2 + [-1] + [3] * 3 + [-1])


def test_clusters_are_named_by_their_match_or_by_most_of_their_cells():
    assert named_clusters(TRUTH, CLUSTERS) == {
        0: ("big", True), 1: ("big", False), 2: ("small", True), 3: ("", False),
    }  # fmt: skip


def test_confusion_counts_scored_cells_in_the_order_of_the_matching():
    counts, names = confusion_counts(TRUTH, CLUSTERS, 60)
    assert list(counts.columns) == ["big", "small"]
    assert list(counts.index) == [0, 1, 2, 3, -1]
    assert counts.to_numpy().tolist() == [[6, 0], [4, 0], [0, 2], [0, 0], [0, 1]]
    assert names[-1] == ("", False)
    figure = clusters.draw(TRUTH, CLUSTERS, "Title")
    image = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(np.asarray(image)[:3], [[1, 0], [1, 0], [0, 1]])
    frames = [p for p in figure.axes[0].patches if not p.get_fill()]
    assert [(p.get_x(), p.get_y()) for p in frames] == [(-0.5, -0.5), (0.5, 1.5)]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["0", "1", "2", "3", "noise"]


def test_only_the_largest_of_very_many_clusters_are_drawn():
    counts, _ = confusion_counts(TRUTH, CLUSTERS, 2)
    assert list(counts.index) == [0, 1, -1]


def test_populations_are_compared_with_the_best_others(made):
    table = compare(made, ["levine_32dim"])
    frame = comparison.read_many(made.populations)
    methods = comparison.with_the_best(table, SHOWCASE, "levine_32dim")
    assert methods[0] == SHOWCASE
    f1 = table[(table["metric"] == "f1_mean_hungarian") & (table["kind"] == "method")]
    best = f1[f1["method"] != SHOWCASE].sort_values("mean", ascending=False)["method"]
    assert methods[1:] == list(best[:2])
    shown = experiment(made, ["levine_32dim"], table)
    (part,) = shown.parts()
    (picture,) = populations.pictures(part)
    here = frame[(frame["dataset"] == "levine_32dim") & (frame["method"] == SHOWCASE)]
    sizes = here.groupby("population")["n_cells"].first().sort_values(ascending=False)
    left, right = picture.figure.axes
    assert [bar.get_width() for bar in left.patches] == list(sizes)
    dots = right.collections[1].get_offsets()[:, 0]  # of the showcase method
    np.testing.assert_allclose(dots, here.groupby("population")["f1"].mean().loc[sizes.index])
    assert f"with {sizes.min():,} cells" in picture.alt
    even = replace(shown, populations=frame.assign(n_cells=100))
    assert not list(populations.pictures(replace(part, experiment=even)))


# --- markers ----------------------------------------------------------------------------------


def write_features(path, n_markers=4, arcsinh=True, counts=False, steps="[]"):
    raw = np.random.default_rng(0).gamma(1, 20, (12, n_markers)).astype("float32")
    cells = anndata.AnnData(raw / raw.max(axis=0))
    cells.uns["preprocessing"] = steps
    if arcsinh:
        cells.layers["arcsinh"] = np.arcsinh(raw / 5)
    if counts:
        cells.layers["counts"] = raw
    cells.write_h5ad(path)
    return np.arcsinh(raw / 5)


def test_a_panel_is_read_on_arcsinh_scale_or_not_at_all(tmp_path):
    path = tmp_path / "features.h5ad"
    expected = write_features(path)
    np.testing.assert_allclose(panels.read_panel(path).values, expected)
    steps = '[{"step": "arcsinh", "cofactor": 5}, {"step": "minmax"}]'
    expected = write_features(path, arcsinh=False, counts=True, steps=steps)
    np.testing.assert_allclose(panels.read_panel(path).values, expected, rtol=1e-6)
    write_features(path, arcsinh=False, counts=True)
    assert panels.read_panel(path) is None  # counts that nobody transformed
    write_features(path, n_markers=panels.MARKERS + 1)
    assert panels.read_panel(path) is None


def test_medians_by_cluster_and_both_axes_in_tree_order():
    rng = np.random.default_rng(0)
    centres = np.array([[5, 0, 5, 0], [0, 5, 0, 5], [5, 0.2, 5, 0], [0, 5, 0.1, 5]], float)
    found = np.repeat([0, 1, 2, 3, -1], 20)
    values = np.vstack([np.repeat(centres, 20, axis=0), np.full((20, 4), 99)])
    values = values + rng.normal(0, 0.01, values.shape)
    values[::20] = 1000  # one cell of each cluster: medians do not care
    table = panels.medians(panels.Panel(values, list("abcd")), found, 60)
    np.testing.assert_allclose(table, centres, atol=0.02)
    rows, columns = (panels.tree(v)["leaves"] for v in (table.to_numpy(), table.to_numpy().T))
    assert {frozenset(rows[:2]), frozenset(rows[2:])} == {frozenset({0, 2}), frozenset({1, 3})}
    assert {frozenset(columns[:2]), frozenset(columns[2:])} == {
        frozenset({0, 2}), frozenset({1, 3}),
    }  # fmt: skip
    sizes = pd.Series(found).value_counts()
    figure = markers.draw(table, sizes, {0: ("x", True), 1: ("y", False)}, "Title")
    heat = next(p for p in figure.axes if p.images)
    shown = [t.get_text() for t in heat.get_xticklabels()]
    np.testing.assert_allclose(heat.images[0].get_array(), table.iloc[rows][shown])
    labels = [t.get_text() for p in figure.axes for t in p.get_yticklabels()]
    assert {"0  x", "1  (y)", "2"} <= set(labels)


def test_one_cluster_has_a_heat_map_too():
    panel = panels.Panel(np.ones((5, 2)), ["a", "b"])
    table = panels.medians(panel, np.zeros(5, int), 60)
    assert markers.draw(table, pd.Series({0: 5}), {}, "Title").axes


# --- experts ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A model after a few steps, in a run folder, and the features that it clustered."""
    folder = tmp_path_factory.mktemp("run") / "x" / SHOWCASE / "seed0"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    cells = anndata.AnnData((rng.random((60, 5)) * [1, 0.9, 0.2, 0.1, 0.1]).astype("float32"))
    cells.obs_names = [f"cell{i}" for i in range(60)]
    features = folder.parents[1] / "features.h5ad"
    cells.write_h5ad(features)
    half = np.arange(60) < 30
    together = scipy.sparse.csr_matrix((half[:, None] == half).astype("float32"))
    model = MoESimVAE(
        4, encoder_layers=[8], expert_layers=[8], gate_layers=[8], n_latent=2,
        steps=4, refinements=0, batch_size=16, progress=False,
    ).fit(cells, similarity=together)  # fmt: skip
    model.save(folder / "model")
    pd.DataFrame({"cell": cells.obs_names, "label": model.labels_}).to_parquet(
        folder / "labels.parquet"
    )
    return folder, features, model, cells


def test_reconstruction_lies_on_the_axes_of_the_cells(fitted):
    folder, features, model, cells = fitted
    table = reconstruction.reconstruct_run(folder, features)
    assert list(table.columns) == reconstruction.COLUMNS
    assert table["expert"].tolist() == model.labels_.tolist()
    values = cells.X.astype(float)
    left, sizes, right = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(table[["x", "y"]]), np.abs(left[:, :2] * sizes[:2]),
                               atol=1e-4)  # fmt: skip
    shares = sizes**2 / (sizes**2).sum()
    np.testing.assert_allclose(table.attrs["explained"], shares[:2], rtol=1e-5)
    decoded = np.abs((model.reconstruct(cells) - values.mean(axis=0)) @ right[:2].T)
    np.testing.assert_allclose(np.abs(table[["decoded_x", "decoded_y"]]), decoded, atol=1e-4)


def test_attributes_survive_the_file_and_silent_experts_are_named(fitted, tmp_path):
    table = reconstruction.reconstruct_run(*fitted[:2])
    table.to_parquet(tmp_path / "decoded.parquet", index=False)
    again = pd.read_parquet(tmp_path / "decoded.parquet")
    assert again.attrs["experts"] == 4
    used = set(fitted[2].labels_.tolist())
    assert experts.silent(again, fitted[2].labels_) == sorted(set(range(4)) - used)
    again.attrs["experts"] = 6
    assert experts.silent(again, np.array([0, 2, 2, -1])) == [1, 3, 4, 5]
    assert experts.listed([0, 2, 3, 4, 9, 10]) == "0, 2–4, 9, 10"
    assert experts.listed([]) == ""


def test_only_panels_with_a_model_are_reconstructed(fitted, tmp_path):
    folder, features, _, cells = fitted
    assert reconstruction.reconstruct_run(folder.parent, features).empty  # no model there
    images = cells.copy()
    images.uns["image_shape"] = [1, 5]
    images.write_h5ad(tmp_path / "images.h5ad")
    assert reconstruction.reconstruct_run(folder, tmp_path / "images.h5ad").empty
    old = tmp_path / "x" / SHOWCASE / "seed0"
    shutil.copytree(folder, old)
    (old / "model" / "config.json").write_text("{}")
    table = reconstruction.reconstruct_run(old, features)
    assert table.empty
    assert table.attrs["reason"].startswith("model/config.json")
    table.to_parquet(tmp_path / "decoded.parquet", index=False)
    assert pd.read_parquet(tmp_path / "decoded.parquet").attrs == table.attrs
    cells[::-1].copy().write_h5ad(tmp_path / "turned.h5ad")
    with pytest.raises(UserError, match="lists other cells"):
        reconstruction.reconstruct_run(folder, tmp_path / "turned.h5ad")


@pytest.mark.slow
def test_pictures_of_a_showcase_run_say_silent_experts_and_ungated_cells(made, tmp_path):
    run = made.root / "results/runs/levine_32dim/moe_sim_vae/seed0"
    shown = views.read_showcase(run, made.labels[0], made.features[0], made.decoded[0])
    part = Part(experiment(made, ["levine_32dim"], showcases=[shown]), "levine_32dim", "all", None)
    drawn = [p for figure in (clusters, markers, experts) for p in figure.pictures(part)]
    assert [p.name.split("_levine")[0] for p in drawn] == ["confusion", "markers", "experts"]
    ungated = int((shown.truth == "").sum())
    assert 0 < ungated < 200
    confusion, heat, decoded = drawn
    assert f"{ungated} of 200 cells have no true label" in confusion.caption
    assert "Noise cells are left out" in heat.caption
    quiet = experts.silent(shown.decoded, shown.clusters)
    assert quiet
    assert f"silent (no cells assigned): {experts.listed(quiet)}" in decoded.caption
    write(drawn, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_a_run_without_labels_has_no_pictures(made):
    run = made.root / "results/runs/levine_32dim/hierarchical/seed0"
    assert views.read_showcase(run, made.labels[0], made.features[0], made.decoded[0]) is None
