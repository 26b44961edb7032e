"""Settings chosen by the test cells' labels and without any; screened runs in one table."""

import json
import runpy
from dataclasses import asdict
from itertools import product
from types import SimpleNamespace

import pandas as pd
import pytest

from moesimvae.errors import UserError
from moesimvae.evaluation.selection import SELECTION_COLUMNS, screening, select
from moesimvae.nouns import Metric, Variant

METRICS = {"f_flowcap": Metric("higher"), "silhouette": Metric("higher")}
DIMENSIONS = [10, 20, 30]


def variant(method, number, **settings):
    return Variant(f"{method} {number}", screens=method, settings=settings)


VARIANTS = {
    **{f"kmeans_s0{i}": variant("kmeans", i, n_pca=d) for i, d in enumerate(DIMENSIONS, 1)},
    **{f"gmm_s0{i}": variant("gmm", i, n_pca=d) for i, d in enumerate(DIMENSIONS, 1)},
}


def long_table(values, dataset="toy", splits=("test", "train")):
    """Scores of {method: (F on test cells, silhouette)}; on the training cells F is turned over."""
    rows = []
    for method, (f, apart) in values.items():
        for split, value in zip(splits, (f, 1 - f), strict=False):
            rows.append([dataset, method, 0, split, "f_flowcap", value, ""])
        rows.append([dataset, method, 0, splits[-1], "silhouette", apart, ""])
    columns = ["dataset", "method", "seed", "split", "metric", "value", "run"]
    return pd.DataFrame(rows, columns=columns)


ALL = {
    "kmeans": (0.99, 0.99),
    "kmeans_s01": (0.5, 0.3),
    "kmeans_s02": (0.6, 0.1),
    "kmeans_s03": (0.4, 0.2),
    "gmm_s01": (0.2, 0.0),
    "gmm_s02": (0.1, -0.5),
    "gmm_s03": (0.3, -0.1),
}


def chosen(table, dataset="toy"):
    rows = table[table["dataset"] == dataset]
    return {(r.method, r.choice): r.variant for r in rows.itertuples()}


def test_two_choices_for_each_method():
    table = select(long_table(ALL), VARIANTS, METRICS)
    assert list(table.columns) == SELECTION_COLUMNS
    assert table[["method", "choice"]].to_numpy().tolist() == [
        *(["kmeans", "oracle"], ["kmeans", "label-free"]),
        *(["gmm", "oracle"], ["gmm", "label-free"]),
    ]
    assert list(table["variant"]) == ["kmeans_s02", "kmeans_s01", "gmm_s03", "gmm_s01"]
    assert list(table["value"]) == [0.6, 0.3, 0.3, 0.0]
    assert list(table["criterion"]) == ["f_flowcap", "silhouette"] * 2
    assert [json.loads(s)["n_pca"] for s in table["settings"]] == [20, 10, 30, 10]
    assert set(table["reason"]) == {""}


def test_the_label_free_choice_does_not_change_with_the_labels():
    """Whatever the agreement with the truth, the silhouette alone decides."""
    scores = long_table(ALL)
    other = scores.copy()
    other.loc[other["metric"] == "f_flowcap", "value"] *= -1
    free = [select(s, VARIANTS, METRICS).query("choice == 'label-free'") for s in (scores, other)]
    pd.testing.assert_frame_equal(*free)
    assert chosen(select(scores, VARIANTS, METRICS)) != chosen(select(other, VARIANTS, METRICS))


def test_the_first_of_equal_settings_whatever_the_order_of_the_scores():
    scores = long_table(dict.fromkeys(ALL, (0.5, 0.5)))
    for order in (scores, scores[::-1], scores.sample(frac=1, random_state=0)):
        assert set(select(order, VARIANTS, METRICS)["variant"]) == {"kmeans_s01", "gmm_s01"}


def test_failed_variants_are_never_chosen_and_a_sentence_says_when_none_is_left():
    left = {name: v for name, v in ALL.items() if name != "kmeans_s02" and "gmm" not in name}
    table = select(long_table(left), VARIANTS, METRICS)
    assert chosen(table)["kmeans", "oracle"] == "kmeans_s01"
    none = table[table["method"] == "gmm"]
    assert set(none["variant"]) == set(none["settings"]) == {""}
    assert none["value"].isna().all()
    for reason in none["reason"]:
        assert reason.startswith("none of the 3 settings of gmm tried on toy produced")
        assert reason.endswith(".")


def test_each_data_set_has_its_own_choice_and_without_a_split_it_is_of_all_cells():
    other = {name: (1 - f, -apart) for name, (f, apart) in ALL.items()}
    scores = pd.concat([long_table(ALL), long_table(other, "whole", ["all"])])
    table = select(scores, VARIANTS, METRICS)
    assert chosen(table)["kmeans", "oracle"] == "kmeans_s02"
    assert chosen(table, "whole")["kmeans", "oracle"] == "kmeans_s03"
    assert chosen(table, "whole")["kmeans", "label-free"] == "kmeans_s02"


def test_the_mean_over_seeds_decides():
    scores = long_table(ALL)
    lucky = scores[scores["method"] == "kmeans_s03"].assign(seed=1, value=0.7)
    table = select(pd.concat([scores, lucky]), VARIANTS, METRICS)
    assert chosen(table)["kmeans", "oracle"] == "kmeans_s02"  # 0.55 = mean of 0.4 and 0.7


def test_scores_without_the_criterion_are_told():
    scores = long_table(ALL).query("metric != 'silhouette'")
    with pytest.raises(UserError, match="no silhouette for the split 'train'"):
        select(scores, VARIANTS, METRICS)


def test_without_variants_nothing_is_chosen():
    assert select(long_table(ALL), {}, METRICS).empty


def runs_table():
    names = ["kmeans", *(f"{m}_s0{i}" for m, i in product(["kmeans", "gmm"], [1, 2, 3]))]
    runs = pd.DataFrame({"dataset": "toy", "method": names, "seed": 0, "status": "ok"})
    runs["reason"] = ""
    runs[["clusters_found", "noise_share", "wall_seconds", "cpu_seconds", "peak_memory_mb"]] = 1.0
    runs.loc[runs["method"] == "gmm_s02", ["status", "reason"]] = ["timeout", "stopped"]
    return runs


def test_screening_shows_every_setting_and_what_became_of_it(root, tmp_path):
    scores = long_table({name: v for name, v in ALL.items() if name != "gmm_s02"})
    table = screening(scores, runs_table(), VARIANTS, METRICS, ["f_flowcap", "silhouette"])
    assert len(table) == 6
    assert list(table.columns[-3:]) == ["f_flowcap_test", "f_flowcap_train", "silhouette_train"]
    by_name = table.set_index("variant")
    assert by_name.loc["kmeans_s02", ["chosen", "f_flowcap_test"]].tolist() == ["oracle", 0.6]
    assert by_name.loc["gmm_s01", "chosen"] == "label-free"
    assert by_name.loc["gmm_s02", ["status", "reason"]].tolist() == ["timeout", "stopped"]
    assert pd.isna(by_name.loc["gmm_s02", "silhouette_train"])

    paths = {name: str(tmp_path / f"{name}.csv") for name in ("scores", "runs")}
    scores.to_csv(paths["scores"], index=False)
    runs_table().to_csv(paths["runs"], index=False)
    made = {name: str(tmp_path / f"{name}.csv") for name in ("screening", "selection")}
    job = SimpleNamespace(
        input=SimpleNamespace(
            **{name: [path] for name, path in paths.items()},
            metrics=root / "workflow/registry/metrics.yaml",
        ),
        output=SimpleNamespace(**made),
        params=SimpleNamespace(
            variants={n: asdict(v) for n, v in VARIANTS.items()},
            metrics=["f_flowcap", "silhouette"],
        ),
        log=[str(tmp_path / "log.txt")],
    )
    runpy.run_path(str(root / "scripts/screening.py"), init_globals={"snakemake": job})
    assert len(pd.read_csv(made["screening"])) == 6
    assert (
        pd.read_csv(made["selection"])["variant"].tolist()
        == select(scores, VARIANTS, METRICS)["variant"].to_list()
    )
