"""Every rule of the quality control fires where it should and nowhere else."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest

from moesimvae.evaluation import quality as q
from moesimvae.nouns import Facts, Method, Metric, Plan, Status

METHODS = {
    "good": Method("Good"),
    "fixed": Method("Fixed", stochastic=False),
    **{c: Method(c, control=True) for c in ("true_labels", "random_labels", "one_cluster")},
}
METRICS = {
    "ari": Metric("higher", (-0.5, 1), chance_corrected=True),
    "clusters_found": Metric("none", (0, math.inf)),
}
D = Facts(title="D", features_sha256="f")
EXPERIMENT = Plan("E", ["d"], {"good": [0, 1], "fixed": [0]})
VALUES = {"good": 0.9, "fixed": 0.5, "true_labels": 1.0, "random_labels": 0.01, "one_cluster": 0.0}
POPULATIONS = ["dataset", "split", "population", "n_cells"]
PLANNED = [("good", 0), ("good", 1), ("fixed", 0)]
CONTROLS = [("true_labels", 0), ("random_labels", 0), ("one_cluster", 0)]


def scores(**changed):
    return pd.DataFrame(
        [
            {
                **{"dataset": "d", "method": m, "seed": s, "split": "all", "metric": "ari"},
                **{"value": (VALUES | changed)[m], "run": f"runs/d/{m}/seed{s}"},
            }
            for m, s in PLANNED + CONTROLS
            if (VALUES | changed)[m] is not None
        ]
    )


def runs(**status):
    return pd.DataFrame(
        [
            {
                **{"dataset": "d", "method": m, "seed": s, "reason": "took too long"},
                "status": status.get(f"{m}{s}", "ok"),
            }
            for m, s in PLANNED + CONTROLS
            if status.get(f"{m}{s}") != "absent"
        ]
    )


def statuses(code=("a", "a", "b"), features=("f", "f", "f")):
    return [
        Status(dataset="d", method=m, seed=s, code_sha256=c, features_sha256=f)
        for (m, s), c, f in zip(PLANNED, code, features, strict=True)
    ]


def checked(**changed):
    given = {
        **{"scores": scores(), "runs": runs(), "experiment": EXPERIMENT, "datasets": {"d": D}},
        "populations": pd.DataFrame([("d", "all", "a", 500)], columns=POPULATIONS),
        **{"methods": METHODS, "metrics": METRICS, "statuses": statuses()},
        "codes": {"good": "a", "fixed": "b"},
    }
    return q.check(**given | changed)


def fired(table):
    return {(row.check, row.level) for row in table.itertuples() if row.level in (q.RED, q.AMBER)}


def test_runs_of_other_code_than_there_is_now():
    table = checked(experiment=replace(EXPERIMENT, name="x"), codes={"good": "c", "fixed": "b"})
    assert fired(table) == {("code as it is now", q.AMBER)}
    (row,) = table[table["level"] == q.AMBER].to_dict("records")
    assert (row["dataset"], row["method"]) == ("d", "good")
    assert "seed 0, 1 made with other code" in row["found"]
    assert "`snakemake --cores all x --config rerun_stale=true`" in row["found"]
    unchecked = checked(codes=None).set_index("check")["level"]
    assert unchecked["code as it is now"] == q.UNCHECKED


def test_all_is_well():
    table = checked()
    assert list(table.columns) == q.COLUMNS
    assert fired(table) == set()
    assert q.overall(table) == q.GREEN
    assert set(table["check"]) == set(q.RULES)  # every rule was looked at, or says it was not
    assert set(table[table["level"] == q.UNCHECKED]["check"]) == {"same seed"}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"runs": runs(good0="timeout")}, {("runs that failed", q.RED)}),
        ({"runs": runs(good1="absent")}, {("seeds missing", q.AMBER)}),
        ({"runs": runs(fixed0="absent")}, {("seeds missing", q.RED)}),
        ({"scores": scores(true_labels=0.9)}, {("controls", q.RED)}),
        ({"scores": scores(random_labels=0.3)}, {("controls", q.RED)}),
        ({"scores": scores(one_cluster=None)}, {("controls", q.RED)}),
        ({"scores": scores(good=1.2)}, {("control range", q.RED)}),
        ({"scores": scores(fixed=-0.1)}, {("control range", q.AMBER)}),
        ({"statuses": statuses(code="abc"), "codes": {}}, {("same code", q.AMBER)}),
        ({"statuses": statuses(features="fgf")}, {("same data", q.RED)}),
        ({"datasets": {"d": replace(D, partial=True)}}, {("the data", q.AMBER)}),
        ({"datasets": {"d": replace(D, simulated=True)}}, {("the data", q.AMBER)}),
        ({"datasets": {"d": replace(D, n_scored=99)}}, {("the data", q.AMBER)}),
    ],
)
def test_each_rule_fires(changed, expected):
    table = checked(**changed)
    assert fired(table) == expected
    assert q.overall(table) == next(iter(expected))[1]
    assert table.iloc[0]["level"] == next(iter(expected))[1]  # the worst first


def test_a_label_free_metric_has_no_truth_to_stay_below():
    free = Metric("higher", (-1, 1), label_free=True)
    values = {"good": 0.9, "fixed": 0.5, "true_labels": 0.2, "random_labels": 0, "one_cluster": -1}
    more = scores().assign(metric="silhouette", value=lambda t: t["method"].map(values))
    table = checked(scores=pd.concat([scores(), more]), metrics=METRICS | {"silhouette": free})
    assert fired(table) == set()


def test_a_method_outside_the_range_has_one_row_for_all_its_metrics():
    block = METRICS["ari"]
    low = scores(fixed=-0.1)
    table = checked(
        scores=pd.concat([low, low.assign(metric="ami")]), metrics=METRICS | {"ami": block}
    )
    row = table[table["check"] == "control range"]
    assert list(row["method"]) == ["fixed"]
    assert "ami -0.100" in row["found"].item()
    assert "ari -0.100" in row["found"].item()


def test_one_seed_alone_is_amber_for_random_methods_only():
    one = replace(EXPERIMENT, methods={"good": [0], "fixed": [0]})
    table = checked(experiment=one)
    assert fired(table) == {("one seed alone", q.AMBER)}
    assert "good" in table.iloc[0]["found"]
    assert "fixed" not in table.iloc[0]["found"]


def test_few_failures_are_amber_and_their_reasons_told():
    many = pd.concat([runs()] + [runs().assign(dataset=f"e{i}") for i in range(5)])
    many.iloc[0, many.columns.get_loc("status")] = "out-of-memory"
    table = checked(runs=many)
    assert fired(table) == {("runs that failed", q.AMBER)}
    assert "1 of 18" in table["found"].iloc[0]
    assert table["found"].str.contains("out-of-memory, seed 0: took too long").any()


def run_folder(folder, labels, status="ok"):
    run = folder / "runs/d/good/seed0"
    run.mkdir(parents=True)
    (run / "status.json").write_text(json.dumps({"status": status}))
    if status == "ok":
        cells = [f"c{i}" for i in range(len(labels))]
        pd.DataFrame({"cell": cells, "label": labels}).to_parquet(run / "labels.parquet")
    return run


@pytest.mark.parametrize(
    ("again", "status", "level"),
    [
        ([0, 0, 1, 1], "ok", q.GREEN),
        ([0, 1, 1, 1], "ok", q.AMBER),
        ([0, 1, 2, 2], "ok", q.RED),
        ([], "timeout", q.RED),
    ],
)
def test_repeats(tmp_path, again, status, level):
    first = run_folder(tmp_path / "first", [0, 0, 1, 1])
    second = run_folder(tmp_path / "second", again, status)
    table = checked(repeats=[(first, second)])
    row = table[table["check"] == "same seed"].iloc[0]
    assert row["level"] == level
    assert q.overall(table) == level
