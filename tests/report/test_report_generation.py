"""Figure 2 and the supplement's figures, from studies made up for the test."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from moesimvae.nouns import Run
from moesimvae.report.figures import catalogue, figure2, mixtures
from moesimvae.report.style import write
from moesimvae.report.tables import generation
from moesimvae.studies import summaries

TITLES = {"moe_sim_vae": "MoE-Sim-VAE", "vade": "VaDE"}
PUBLISHED = {"MoE-Sim-VAE": {"own": 0.970}, "VaDE": {"own": 0.944}}
JUDGE = "a network right on 99 % of 5 images"
DIGITS = ["0", "1", "2"]


def studies(folder):
    """Two runs' folders as the studies leave them."""
    rng = np.random.default_rng(0)
    for method, gaussians, thresholds in (
        ("moe_sim_vae", ["standard", "fitted"], [0.0]),
        ("vade", ["component"], [0.0, 0.9]),
    ):
        run = {"dataset": "mnist", "method": method, "seed": 0}
        accuracy, confusion, quality = [], [], []
        for gaussian in gaussians:
            for k, digit in enumerate(DIGITS):
                quality.append(
                    run
                    | {"gaussian": gaussian, "cluster": k, "digit": digit, "n": 50, "frechet": 3.0,
                       "frechet_real": 0.5, "precision": 0.8, "recall": 0.4, "precision_real": 0.95,
                       "recall_real": 0.95}
                )  # fmt: skip
                for t in thresholds:
                    accuracy.append(
                        run
                        | {"gaussian": gaussian, "threshold": t, "cluster": k, "digit": digit,
                           "n": 100, "draws": int(100 / (1 - t)), "seconds": 0.5 + t,
                           "assigned_back": 0.9, "own": 0.8 + 0.1 * t, "judge": 0.7 + 0.1 * t}
                    )  # fmt: skip
                    for by in ("own", "judge"):
                        for found, n in ((digit, 70), (DIGITS[k - 1], 30)):
                            confusion.append(
                                run
                                | {"gaussian": gaussian, "threshold": t, "by": by, "asked": digit,
                                   "found": found, "n": n}
                            )  # fmt: skip
        place = folder / "mnist" / method / "seed0"
        place.mkdir(parents=True)
        for name, rows in (("accuracy", accuracy), ("confusion", confusion), ("quality", quality)):
            pd.DataFrame(rows).to_csv(place / f"{name}.csv", index=False)
        np.savez(place / "examples.npz", **{g: rng.random((3, 12, 64)) for g in gaussians})
        yield place


def distances():
    rows = []
    for method, spaces in (
        ("moe_sim_vae", ["encoded", "standard", "fitted"]),
        ("vade", ["encoded", "component"]),
    ):
        for space in spaces:
            for i in range(3):
                for j in range(i, 3):
                    rows.append(
                        {"dataset": "mnist", "method": method, "seed": 0, "first": i, "second": j,
                         "n": 10, "m": 10, "statistic": 0.1 if i == j else 100.0 + i + j,
                         "p_value": 0.5 if i == j else 0.01, "first_name": DIGITS[i],
                         "second_name": DIGITS[j], "space": space}
                    )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return list(studies(tmp_path_factory.mktemp("images")))


@pytest.fixture(scope="module")
def accuracy(folders):
    return summaries.read(folder / "accuracy.csv" for folder in folders)


def test_digits_stay_text(accuracy):
    assert set(accuracy["digit"]) == set(DIGITS)


def test_summary_adds_draws_and_averages_shares(accuracy):
    table = summaries.summary(accuracy).set_index(["method", "gaussian", "threshold"])
    strict = table.loc[("vade", "component", 0.9)]
    assert strict["draws"] == 3 * 1000 or strict["draws"] == 3 * 999
    assert strict["images"] == 300
    assert strict["digits"] == 3
    assert strict["judge"] == pytest.approx(0.79)
    assert len(table) == 4


def test_measured_numbers_have_the_names_of_the_papers(accuracy):
    table = summaries.measured(accuracy, distances())
    assert list(table.columns) == ["dataset", "method", "seed", "split", "metric", "value", "run"]
    values = table.set_index(["method", "metric"])["value"]
    assert values.index.is_unique
    assert values["vade", "generation_accuracy_mean"] == pytest.approx(0.845)
    assert values["vade", "generation_accuracy_best"] == pytest.approx(0.89)
    assert values["vade", "generation_accuracy_mean_judge"] == pytest.approx(0.745)
    assert values["moe_sim_vae", "generation_accuracy_mean_judge_fitted"] == pytest.approx(0.7)
    assert values["moe_sim_vae", "generation_draws"] == 300
    assert values["vade", "generation_draws"] >= 2997
    assert values["moe_sim_vae", "mmd_between_clusters"] == pytest.approx(102)
    assert values["moe_sim_vae", "mmd_same_cluster"] == pytest.approx(0.1)
    assert values["vade", "mmd_generation"] == pytest.approx(102)
    assert set(table["run"]) == {"runs/mnist/moe_sim_vae/seed0", "runs/mnist/vade/seed0"}


def test_figure2_sets_the_model_beside_vade(folders, tmp_path):
    examples = [e for f in folders for e in figure2.read_examples(f, TITLES, (8, 8))]
    assert len(examples) == 3
    pictures = list(figure2.pictures(examples, "mnist", JUDGE))
    assert [p.name for p in pictures] == ["figure2_mnist", "figure2_mnist_all"]
    assert "mixture of Gaussians" in pictures[0].caption
    assert "N(μ, I)" not in pictures[0].caption
    assert "90.0 % assigned back, 70.0 % the right digit" in pictures[0].caption
    write(pictures, tmp_path)
    assert len(json.loads((tmp_path / "figures.json").read_text())) == 2


@pytest.mark.slow
def test_supplement(folders, accuracy, tmp_path):
    tables = {
        name: summaries.read(folder / f"{name}.csv" for folder in folders)
        for name in ("accuracy", "confusion", "quality")
    }
    tables["distances"] = distances()
    cells = {"dataset": "cytof", "method": "moe_sim_vae", "seed": 0}
    shown = {"correlation_difference": 0.1, "correlation_alike": 0.9, "ks": 0.1, "n": 200}
    sources = ["real", "observations", "means", "gaussian", "scvi"]
    tables["sources"] = pd.DataFrame(
        [cells | shown
         | {"source": source, "auc": 0.5 + 0.1 * i, "cluster_auc": 0.6, "slope": 0.97,
            "trained_on": 0.9, "nearest": 1.25 if i else np.nan, "nearest_held_out": 1.5}
         for i, source in enumerate(sources)]
    )  # fmt: skip
    tables["populations"] = pd.DataFrame(
        [cells | shown | {"source": source, "cluster": k, "name": "T", "cluster_auc": 0.6}
         for k in range(3) for source in sources]
    )  # fmt: skip
    tables["features"] = pd.DataFrame(
        [cells | {"source": "observations", "cluster": 0, "name": "T", "feature": f,
                  "mean_real": 0.1 * i, "mean_generated": 0.1 * i, "sd_real": 0.2,
                  "sd_generated": 0.1, "ks": 0.2, "wasserstein": 0.1}
         for i, f in enumerate(["CD3", "CD4"])]
    )  # fmt: skip
    points = pd.DataFrame({"cell": ["a", "b", "c"], "x": [0.0, 1, 2], "y": [0.0, 1, 0]})
    views = {Run("mnist", m, 0): (points, np.array(DIGITS)) for m in TITLES}
    study = summaries.Generation(
        **tables, views=views, titles=TITLES, published=PUBLISHED, similarity=["moe_sim_vae"],
        judge=JUDGE,
    )  # fmt: skip
    pictures = list(catalogue.supplement(study))
    names = [p.name for p in pictures]
    assert names == [
        "s2_mmd_mnist", "s3_mmd_mnist", "s4_accuracy_mnist", "s5_confusion_mnist_moe_sim_vae_seed0",
        "s6_confusion_mnist_vade_seed0", "quality_mnist", "cells_cytof",
    ]  # fmt: skip
    alone = catalogue.supplement(replace(study, similarity=[]))
    assert [p.name for p in alone] == names[1:]
    said = {p.name: p.caption for p in pictures}
    assert "102.0 between different clusters" in said["s2_mmd_mnist"]
    assert "The paper reports 0.944 for VaDE" in said["s4_accuracy_mnist"]
    assert "own clustering φ = 0.9 0.700" in said["s6_confusion_mnist_vade_seed0"]
    write(pictures, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 7
    measured = summaries.measured(accuracy, tables["distances"])
    text = generation.to_markdown(study, measured)
    assert "| VaDE | 0 | its own mixture | 0.9 | 3 | 300 |" in text
    assert "VaDE 0.944" in text
    assert "| cytof | observations | 200 | 0.600 | 0.600 |" in text
    assert "| cytof | other real cells | 200 | 0.500 | 0.600 |" in text
    assert "AUC 0.600" in said["cells_cytof"]
    assert "0.500 for other real cells" in said["cells_cytof"]


def test_synthetic_study(tmp_path):
    datasets = {f"synthetic_{k}": (k, "the true number asked for") for k in (2, 5)}
    datasets |= {"synthetic_40_2": (2, "40 clusters asked for")}
    scores = pd.DataFrame(
        [(d, m, s, "all", metric, value)
         for d in datasets for m in [*TITLES, "random_labels"] for s in (0, 1)
         for metric, value in (("f_flowcap", 0.9), ("clusters_found", 2.0), ("ari", 0.1))],
        columns=["dataset", "method", "seed", "split", "metric", "value"],
    )  # fmt: skip
    picture = mixtures.picture(scores, datasets, TITLES)
    assert "VaDE, 40 clusters asked for: F 0.900" in picture.caption
    assert len(picture.figure.axes) == 4
    shown = [text.get_text() for text in picture.figure.legends[0].get_texts()]
    assert shown == list(TITLES.values())  # and no controls
    write([picture], tmp_path)
    assert (tmp_path / "s1_synthetic.png").exists()


def test_components_recovered():
    counts = {1: 40.0, 2: 2.0, 5: 5.0, 10: 9.0, 15: 15.0}
    rows = [(f"few_{k}", "a", 0, "clusters_found", found) for k, found in counts.items()]
    rows += [(f"few_{k}", "a", 1, "clusters_found", float(k)) for k in (2, 5, 15)]  # 10: failed
    rows += [("few_2", "b", 0, "clusters_found", 3.0), ("other_2", "b", 0, "clusters_found", 2.0)]
    rows += [("few_5", "b", 0, "f_flowcap", 5.0)]
    scores = pd.DataFrame(rows, columns=["dataset", "method", "seed", "metric", "value"])
    found = summaries.recovered(scores, {f"few_{k}": k for k in counts})
    assert set(found["dataset"]) == {"few"}
    assert list(found["metric"].unique()) == ["components_recovered"]
    values = found.set_index(["method", "seed"])["value"].to_dict()
    assert values == {("a", 0): 5, ("a", 1): 5, ("b", 0): 0}


def test_without_studies_of_cells_there_are_no_rows():
    assert summaries.read([]).empty
