"""Table 2, its screening, S1 Table and Figure 3: held-out cells, prior knowledge, choices."""

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic
from test_report_page import run_script

from moesimvae.evaluation import comparison, selection
from moesimvae.evaluation.metrics import f_flowcap
from moesimvae.report import FIGURE3, style
from moesimvae.report.figures import figure3, scores
from moesimvae.report.figures.inputs import Experiment
from moesimvae.report.pages import summary
from moesimvae.report.tables import dataset, overview
from moesimvae.report.tables.signatures import signature_sections
from moesimvae.report.words import Comparison
from moesimvae.studies import projections, signatures, views

SEMI = "tabula_muris_semisynthetic"
REMARK = "The published numbers are of the full data."


def compare(made, published=True):
    return comparison.compare(
        comparison.read_many(made.scores), comparison.read_many(made.runs), made.methods,
        made.metrics, made.experiment,
        comparison.read_many([made.published]) if published else None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return synthetic.organs(tmp_path_factory.mktemp("organs"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    sets = {SEMI: True, "other_organs": False}
    return synthetic.organs(tmp_path_factory.mktemp("mixed"), sets)


def row(table, method, split, metric="f_flowcap", dataset="tabula_muris"):
    where = (
        (table["method"] == method) & (table["split"] == split) & (table["metric"] == metric)
        & (table["source"] == "run") & (table["dataset"] == dataset)
    )  # fmt: skip
    return table[where].squeeze()


# --- the comparison -----------------------------------------------------------------------------


def test_test_cells_come_first_and_all_cells_together_do_not_come(made):
    table = compare(made, published=False)
    assert list(dict.fromkeys(table["split"])) == ["test", "train"]
    scores = comparison.read_many(made.scores)
    ours = scores[(scores["method"] == "gmm") & (scores["metric"] == "ari")]
    for split in ("test", "train"):
        found = row(table, "gmm", split, "ari")
        assert found["mean"] == pytest.approx(ours[ours["split"] == split]["value"].mean())
        assert (found["n"], found["min"] <= found["mean"] <= found["max"]) == (2, True)


def test_each_screened_method_has_a_row_for_each_choice_and_its_settings_have_none(made):
    table = compare(made)
    assert not any("_s0" in method for method in table["method"])
    assert "silhouette" not in set(table["metric"])
    scores, variants = comparison.read_many(made.scores), made.experiment.variants
    chosen = selection.select(scores, variants, made.metrics)
    chosen = chosen.set_index(["method", "choice"])["variant"]
    best = row(table, "kmeans_oracle", "test")
    assert chosen["kmeans", "oracle"] == "kmeans_s02"
    assert (best["kind"], best["settings"], best["base"]) == ("oracle", "n_pca 40", "kmeans")
    assert "/kmeans_s02/seed0" in best["runs"]
    blind = row(table, "kmeans_label_free", "test")
    assert blind["kind"] == "method"
    assert f"/{chosen['kmeans', 'label-free']}/" in blind["runs"]
    assert (blind["title"], blind["n"]) == ("k-means, chosen without labels", 1)
    own = row(table, "kmeans", "test")
    assert (own["n"], own["choice"]) == (2, "")


def test_where_every_setting_failed_the_choice_says_why(made):
    lost = row(compare(made), "louvain_oracle", "test")
    assert (lost["n"], lost["status"], lost["settings"]) == (0, "timeout", "")
    assert "stopped after 60 minutes" in lost["reason"]


def test_published_numbers_stand_beside_the_choice_that_was_made_in_the_same_way(made):
    table = compare(made)
    quoted = table[table["source"] == "published"].set_index("title")["method"].to_dict()
    assert quoted == {
        "GMM": "gmm", "k-means": "kmeans_oracle", "MoE-Sim-VAE": "moe_sim_vae_released",
    }  # fmt: skip
    assert set(table[table["source"] == "published"]["split"]) == {"test"}


def test_methods_with_prior_knowledge_and_oracles_are_not_ranked(made):
    table = compare(made)
    ranked = table[(table["split"] == "test") & (table["metric"] == "f_flowcap")]
    ranked = ranked[ranked["rank"].notna()]["method"]
    assert {"moe_sim_vae", "kmeans_label_free"} <= set(ranked)
    assert not {"moe_sim_vae_released", "kmeans_oracle", "one_cluster"} & set(ranked)


def test_the_table_survives_its_file_and_an_older_one_is_read(made, tmp_path):
    table = compare(made)
    (tmp_path / "t.csv").write_text(comparison.to_csv(table))
    pd.testing.assert_frame_equal(comparison.read_csv(tmp_path / "t.csv"), table)
    older = table.drop(columns=["base", "choice", "settings"])
    (tmp_path / "old.csv").write_text(comparison.to_csv(older))
    assert (comparison.read_csv(tmp_path / "old.csv")["choice"] == "").all()


# --- the tables that people read ------------------------------------------------------------------


def test_training_cells_stand_beside_test_cells_in_one_table(made):
    facts = comparison.read_facts(made.datasets)
    (part,) = dataset.sections(Comparison(compare(made), made.metrics, facts))
    assert part.spans == [
        ("", "", 1), ("Published", "published", 2), ("Run here: test cells", "score", 4),
        ("training cells", "score", 4), ("all cells", "found", 2), ("Cost", "cost", 3),
    ]  # fmt: skip
    rows = {row.title: row for _, rows in part.groups for row in rows}
    table = compare(made)
    cells = rows["Gaussian mixture"].cells[3:]
    for i, split in ((0, "test"), (4, "train")):
        assert cells[i].text.startswith(f"{row(table, 'gmm', split)['mean']:.3f} ±")
    assert rows["MoE-Sim-VAE (released)"].marks == "‡"
    assert "k-means, oracle: n_pca 40" in rows
    assert rows["k-means, oracle: n_pca 40"].marks == "§"
    assert rows["Louvain & co, oracle"].failed.text == "DNF: time-out"
    assert "‡ uses prior knowledge" in part.legend["general"]
    assert "test cells, which were not used for fitting" in part.caption


def test_several_data_sets_are_compared_on_their_test_cells(mixed):
    facts = comparison.read_facts(mixed.datasets)
    first, *_ = overview.overviews(Comparison(compare(mixed), mixed.metrics, facts), REMARK)
    assert [column.head.text for column in first.columns[1:3]] == [
        "Mouse organs (semi-synthetic) (test cells)", "Mouse organs (test cells)",
    ]  # fmt: skip
    assert "Semi-synthetic, so no evidence about the real data set: Mouse organs" in first.caption
    assert "uses prior knowledge" in first.legend["general"]
    titles = [row.title for _, rows in first.groups for row in rows]
    assert "k-means, oracle" in titles
    assert len(titles) == len(set(titles))


# --- S1 Table -------------------------------------------------------------------------------------


def test_signature_accuracies_are_those_of_the_rule(made):
    table = signatures.table(made.features, made.labels)
    labels = pd.read_parquet(made.labels[0])
    shown = anndata.read_h5ad(made.features[0]).obsm["signature"][:, 1]
    test = (labels["split"] == "test").to_numpy()
    kidney = (labels["label"] == "Kidney").to_numpy()
    found = table[(table["group"] == "Kidney") & (table["split"] == "test")].squeeze()
    assert found["accuracy"] == pytest.approx((shown == kidney)[test].mean())
    halves = shown[test & kidney].mean(), 1 - shown[test & ~kidney].mean()
    assert found["balanced_accuracy"] == pytest.approx(np.mean(halves))
    assert (found["gene"], found["n_group"]) == ("Miox", (test & kidney).sum())


def test_the_papers_mean_stands_only_beside_its_own_organs(made, mixed):
    text = pd.DataFrame([{"dataset": "tabula_muris", "metric": "signature_accuracy_mean",
                          "value": 0.92}])  # fmt: skip
    for results, expected in ((made, {"tabula_muris"}), (mixed, {SEMI})):
        table = signatures.table(results.features, results.labels, text)
        beside = table[table["published_accuracy"].notna()]
        assert set(beside["dataset"]) == expected
        assert set(beside["group"]) == {"mean"}
        parts = signature_sections(table, comparison.read_facts(results.datasets))
        last = [part.groups[-1][1][-1].title for part in parts]
        assert last[0] == "Paper, mean"
        assert ("not directly comparable" in parts[0].legend["general"]) == (results is mixed)
    assert last[1] == "Mean"


def test_the_means_are_left_for_the_comparison_with_the_paper(made):
    table = signatures.table(made.features, made.labels)
    means = signatures.measured(table)
    assert list(means.columns) == ["dataset", "method", "seed", "split", "metric", "value", "run"]
    plain = means[(means["metric"] == "signature_accuracy_mean") & (means["split"] == "train")]
    groups = table[(table["split"] == "train") & (table["group"] != "mean")]
    assert plain["value"].item() == pytest.approx(groups["accuracy"].mean())


# --- Figure 3 -------------------------------------------------------------------------------------


def test_components_are_those_of_the_training_cells(made):
    table = projections.components(made.features[0])
    cells = anndata.read_h5ad(made.features[0])
    values = cells.layers["lognorm"].toarray().astype(float)
    train = values[(cells.obs["split"] == "train").to_numpy()]
    _, _, axes = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)
    expected = (values - train.mean(axis=0)) @ axes[:2].T
    np.testing.assert_allclose(np.abs(table[["x", "y"]]), np.abs(expected), atol=1e-3)
    assert table.attrs["values"] == "log-normalised counts"


@pytest.fixture(scope="module")
def drawn(made):
    """Figure 3's parts from files, projections without UMAP."""
    folder = made.root / "results" / "projections" / "tabula_muris"
    folder.mkdir(parents=True)
    projections.components(made.features[0]).to_parquet(folder / "components.parquet", index=False)
    spaces = []
    for method in ("moe_sim_vae", "scvi_leiden"):
        run = made.root / "results" / "runs" / "tabula_muris" / method / "seed0"
        points = np.load(run / "embedding.npy")
        cells = pd.read_parquet(run / "labels.parquet")["cell"]
        view = pd.DataFrame({"cell": cells, "x": points[:, 0], "y": points[:, 1]})
        (folder / method).mkdir()
        spaces.append(folder / method / "seed0.parquet")
        view.to_parquet(spaces[-1], index=False)
    runs = [run for run in made.run_dirs if run.name == "seed0"]
    return views.read_figure3(made.labels[0], folder / "components.parquet", runs, spaces,
                              ("moe_sim_vae", *FIGURE3))  # fmt: skip


def test_figure_3_has_the_papers_panels_with_the_f_of_test_cells(made, drawn):
    facts = comparison.read_facts(made.datasets)["tabula_muris"]
    picture = figure3.picture(drawn, made.methods, facts)
    texts = [[t.get_text() for t in panel.texts] for panel in picture.figure.axes]
    assert [t[0] for t in texts[:11]] == [*"ABCDEFGHIJ", ""]
    labels = pd.read_parquet(made.labels[0])
    run = made.root / "results/runs/tabula_muris/gmm/seed0/labels.parquet"
    clusters = pd.read_parquet(run)["label"]
    test = (labels["split"] == "test").to_numpy()
    expected = f_flowcap(labels["label"][test], clusters[test])
    assert texts[3][1] == f"Gaussian mixture\ntest F {expected:.3f}, 3 clusters"
    assert texts[5][1] == "hierarchical\nnot run here"
    assert texts[7][1] == "Fuzzy c-means\nDNF: time-out"
    assert picture.dpi == 300
    assert "the 30 test cells" in picture.caption
    assert "All 150 cells, training and test cells together" in picture.caption
    assert "Fuzzy c-means (DNF: time-out)" in picture.caption


def test_a_cluster_has_its_populations_colour_in_every_panel_and_noise_is_grey(drawn):
    colour = {"Heart": "#000001", "Kidney": "#000002", "Large_Intestine": "#000003"}
    truth = np.array(["Heart"] * 4 + ["Kidney"] * 3)
    clusters = np.array([7, 7, 7, 2, 5, 5, -1])
    shades, more = figure3._cluster_colours(truth, clusters, colour)
    assert list(shades[:3]) == ["#000001"] * 3
    assert list(shades[4:6]) == ["#000002"] * 2
    assert shades[3] not in colour.values()
    assert (shades[6], more) == (style.NOISE, True)


def test_without_a_latent_space_figure_3_says_so(made, drawn):
    facts = comparison.read_facts(made.datasets)["tabula_muris"]
    nothing = views.Figure3(**(vars(drawn) | {"latent": np.full_like(drawn.latent, np.nan)}))
    picture = figure3.picture(nothing, made.methods, facts)
    assert "cannot be shown" in picture.caption


# --- files and page -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The scripts in the workflow's order; the folder results/table2."""
    mixed = synthetic.organs(tmp_path_factory.mktemp("work"), {SEMI: True}, n_cells=60)
    root, folder = mixed.root, mixed.root / "results" / "table2"
    common = mixed.write_registries() | {"runs": mixed.runs, "datasets": mixed.datasets}
    params = {"experiment": mixed.block, "showcase": "moe_sim_vae"}
    text = Path(__file__).parents[2] / "workflow" / "published" / "text.csv"
    run_script(
        "signature", root,
        {kind: folder / f"signature.{kind}" for kind in ("csv", "tex", "md")}
        | {"measured": folder / "measured.csv"},
        params, features=mixed.features, labels=mixed.labels, datasets=mixed.datasets,
        published=text,
    )  # fmt: skip
    variants = {"variants": mixed.block["variants"],
                "metrics": [*mixed.experiment.metrics, "silhouette"]}  # fmt: skip
    run_script(
        "screening", root,
        {"screening": folder / "screening.csv", "selection": folder / "selection.csv"},
        variants, scores=mixed.scores, runs=mixed.runs, metrics=root / "metrics.yaml",
    )  # fmt: skip
    (root / "remark.txt").write_text(REMARK)
    output = {kind: folder / f"table.{kind}" for kind in ("csv", "tex", "md", "html")}
    output |= {"by_dataset": folder / "by_dataset.csv", "by_dataset_tex": folder / "by_dataset.tex"}
    run_script(
        "table", root, output, params, scores=mixed.scores, run_dirs=mixed.run_dirs,
        published=[mixed.published], remark=[root / "remark.txt"], **common,
    )  # fmt: skip
    first = [run for run in mixed.run_dirs if run.name == "seed0"]
    spaces = [run for run in first if run.parts[-2] in ("moe_sim_vae", "scvi_leiden")]
    projections, components, decoded = [], [], []
    for run in spaces:
        view = root / "projections" / Path(*run.parts[-3:]).with_suffix(".parquet")
        view.parent.mkdir(parents=True)
        run_script("project", root, {"projection": view}, run=run)
        projections.append(view)
    for name, features in zip(mixed.experiment.datasets, mixed.features, strict=True):
        components.append(root / "projections" / name / "components.parquet")
        run_script("components", root, {"components": components[-1]}, features=features)
        run = next(r for r in spaces if r.parts[-3:-1] == (name, "moe_sim_vae"))
        decoded.append(root / "projections" / name / "experts.parquet")
        run_script("reconstruct", root, {"decoded": decoded[-1]}, run=run, features=features)
    run_script(
        "figures", root, {"figures": folder / "figures"}, params, table=folder / "table.csv",
        labels=mixed.labels, features=mixed.features, populations=mixed.populations,
        showcase=[run for run in spaces if run.parts[-2] == "moe_sim_vae"],
        projections=[view for view in projections if view.parts[-2] == "moe_sim_vae"],
        decoded=decoded, components=components, figure3=first, figure3_projections=projections,
        **common,
    )  # fmt: skip
    (folder / "quality.csv").write_text("check,level,dataset,method,rule,found\n")
    clustered = {
        name: [
            "/".join(run.parts[-4:])
            for run in first
            if name in run.parts and run.parent.name in mixed.experiment.methods
        ]
        for name in mixed.experiment.datasets
    }
    run_script(
        "page", root, {"report": folder / "report.html"}, params | {"clustered": clustered},
        table=folder / "table.csv", figures=folder / "figures", significance=folder / "figures",
        quality=folder / "quality.csv", projections=projections, labels=mixed.labels,
        run_dirs=mixed.run_dirs, remark=[root / "remark.txt"],
        signature=[folder / "signature.csv"], screening=[folder / "screening.csv"], **common,
    )  # fmt: skip
    return folder


@pytest.mark.slow
def test_the_figures_are_there_for_each_data_set(report):
    said = {p["file"]: p for p in json.loads((report / "figures" / "figures.json").read_text())}
    assert f"figure3_{SEMI}.png" in said
    assert (report / "figures" / f"figure3_{SEMI}.pdf").exists()
    assert {f"scores_{SEMI}_test.png", f"scores_{SEMI}_train.png"} <= set(said)
    assert "overview.png" in said
    assert all("semi-synthetic" in p["caption"].lower() for p in said.values())


@pytest.mark.slow
def test_prior_knowledge_is_marked_in_every_format(report):
    csv = comparison.read_csv(report / "table.csv")
    assert set(csv[csv["uses_prior"]]["method"]) == {"moe_sim_vae_released"}
    assert "uses_prior" in pd.read_csv(report / "by_dataset.csv")
    for name in ("table.md", "table.html", "report.html"):
        text = unescape((report / name).read_text())
        assert re.search(r"MoE-Sim-VAE \(released\)\s*(<span[^>]*>)?‡", text), name
        assert "‡ uses prior knowledge" in text
    for name in ("table.tex", "by_dataset.tex"):
        tex = (report / name).read_text()
        assert r"MoE-Sim-VAE (released) $\ddagger$" in tex
        assert r"$\ddagger$ uses prior knowledge" in tex


@pytest.mark.slow
def test_every_table_of_semi_synthetic_cells_says_so(report):
    tex = (report / "table.tex").read_text()
    captions = re.findall(r"\\caption\{(.*)\}\n\\label\{tab:table2-tabula-muris-semi", tex)
    assert len(captions) == 3  # test cells, training cells, cost
    assert all("(semi-synthetic)" in caption for caption in captions)
    for name in ("signature.md", "signature.tex"):
        assert "Semi-synthetic, so no evidence" in (report / name).read_text()


class Widths(HTMLParser):
    """Cells of each row of each table, those that reach down from a row above among them."""

    def __init__(self):
        super().__init__()
        self.tables = []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "table":
            self.tables.append({"rows": [], "down": 0})
        if tag == "tr":
            table = self.tables[-1]
            table["rows"].append(table["down"])
            table["down"] = 0
        if tag in ("td", "th"):
            self.tables[-1]["rows"][-1] += int(attrs.get("colspan", 1))
            self.tables[-1]["down"] += int(attrs.get("rowspan", 1)) - 1


@pytest.mark.slow
def test_every_table_of_the_page_has_rows_of_one_width(report):
    parser = Widths()
    parser.feed((report / "report.html").read_text())
    assert len(parser.tables) > 6
    board, *static = sorted(parser.tables, key=lambda table: len(table["rows"]))
    assert not board["rows"]  # the leaderboard, which the browser fills
    for table in static:
        assert len(set(table["rows"])) == 1, table["rows"]


@pytest.mark.slow
def test_the_page_has_the_screening_and_s1_table(report):
    html = (report / "report.html").read_text()
    assert 'href="#screening"' in html
    assert 'href="#signature"' in html
    screening = html.split('id="screening"')[1].split("</section>")[0]
    assert screening.count('<th scope="row">') == len(synthetic.SCREENED)
    assert "DNF: time-out" in screening
    assert "n_pca 40" in screening
    s1 = html.split('id="signature"')[1].split("</section>")[0]
    assert "Miox" in s1
    assert "0.92" in s1
    assert "with prior knowledge (‡, not ranked): MoE-Sim-VAE (released)" in html
    assert "Screened: 4 settings of 2 methods" in html
    assert html.count("kmeans_s02/seed0/status.json") == 1  # among the runs
    assert f"Note: {REMARK}" in html
    assert "indices test: identical, byte for byte" in html


def test_a_summary_counts_each_run_once(made):
    facts = comparison.read_facts(made.datasets)
    said = summary.summary(Comparison(compare(made), made.metrics, facts))
    planned = sum(len(seeds) for seeds in made.experiment.methods.values())
    assert said[0].startswith("8 methods on 1 data set")
    assert f"{planned - 2} of {planned} planned runs finished" in said[0]


def test_scores_are_of_default_and_of_chosen_settings(made):
    runs, facts = comparison.read_many(made.runs), comparison.read_facts(made.datasets)
    experiment = Experiment(compare(made), made.metrics, facts, runs, made.methods)
    part = next(iter(experiment.parts()))
    assert part.split == "test"
    names = [t.get_text() for t in scores.draw(part, "t").axes[0].get_yticklabels()]
    assert {"k-means, oracle", "k-means, label-free"} <= set(names)
