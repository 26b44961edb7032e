"""The rules of the verdicts, one by one, and every number of workflow/published under them."""

import copy

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from moesimvae import registry
from moesimvae.errors import UserError
from moesimvae.evaluation import verdicts as v
from moesimvae.nouns import Experiment, Facts, Variant

# --- one number


@pytest.mark.parametrize(
    ("published", "values", "verdict", "direction"),
    [
        (0.90, [0.905], v.REPRODUCED, "same"),
        (0.90, [0.91], v.REPRODUCED, "same"),  # on the edge of the tolerance
        (0.90, [0.9101, 0.9101, 0.9101], v.DIFFERENT, "better"),
        (0.90, [0.95], v.DIFFERENT, "better"),
        (0.90, [0.80], v.DIFFERENT, "worse"),
        (0.90, [0.70, 0.80, 0.95], v.NOISE, "worse"),
        (0.90, [0.80, 0.81, 0.82], v.DIFFERENT, "worse"),
        (0.90, [0.70, 0.95], v.DIFFERENT, "worse"),  # two seeds have no interval
    ],
)
def test_the_rules(published, values, verdict, direction):
    judged = v.judge(published, values, tolerance=0.01, better="higher")
    assert (judged.verdict, judged.direction) == (verdict, direction)


def test_what_is_lower_is_better_or_neither():
    assert v.judge(10, [20], 1, better="lower").direction == "worse"
    assert v.judge(10, [20], 1, better="none").direction == "above"
    assert v.judge(20, [10], 1, better="none").direction == "below"


def test_our_interval_is_students():
    values = np.array([0.70, 0.72, 0.75, 0.71])
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert v.interval(values) == pytest.approx((theirs.low, theirs.high))
    low, high = v.interval(values, one_more=True)
    half = stats.t.ppf(0.975, 3) * values.std(ddof=1) * np.sqrt(1 + 1 / 4)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half))
    assert np.isnan(v.interval(values[:2])).all()


def test_a_published_single_run_is_compared_with_one_further_run():
    values = 0.70 + 0.02 * np.tile([-1, 0, 1], 10)  # the mean is known to 0.006, a run to 0.035
    assert v.judge(0.73, values, 0.01).verdict == v.DIFFERENT
    assert v.judge(0.73, values, 0.01, published_n=1).verdict == v.NOISE


def test_a_published_spread_counts():
    values = [0.70, 0.701, 0.699]
    assert v.judge(0.72, values, 0.01).verdict == v.DIFFERENT
    assert v.judge(0.72, values, 0.01, published_sd=0.06, published_n=30).verdict == v.NOISE
    assert v.judge(0.75, values, 0.01, published_sd=0.06, published_n=30).verdict == v.DIFFERENT


def test_no_value_is_no_verdict():
    with pytest.raises(UserError, match="at least one value"):
        v.judge(0.9, [], 0.01)


# --- all numbers


@pytest.fixture(scope="module")
def published(root):
    read = {"keep_default_na": False, "na_values": [""]}
    paths = sorted((root / "workflow/published").glob("*.csv"))
    return pd.concat([pd.read_csv(path, **read) for path in paths], ignore_index=True)


@pytest.fixture(scope="module")
def comparison(root):
    return registry.load(root / "workflow/published/comparison.yaml")


@pytest.fixture(scope="module")
def metrics(root):
    return registry.metrics(root / "workflow/registry/metrics.yaml")


@pytest.fixture(scope="module")
def methods(root):
    return registry.methods(root / "workflow/registry/methods.yaml")


@pytest.fixture(scope="module")
def rules(comparison, published, methods):
    return v.Rules.of(comparison, published, methods)


RUN_COLUMNS = ["dataset", "method", "seed", "status", "reason", "clusters_found", "noise_share"]
V_COLUMNS = ["dataset", "method", "metric", "split", "seed", "value", "run"]


def results(values, datasets=None, status="ok", experiments=None, variants=None):
    """values: (dataset, method, metric, split) → values by seed."""
    scores = [
        dict(zip(V_COLUMNS, (*key, seed, value, f"runs/{key[0]}/{key[1]}/seed{seed}"), strict=True))
        for key, by_seed in values.items()
        for seed, value in enumerate(by_seed)
    ]
    runs = pd.DataFrame(
        [
            {"dataset": d, "method": m, "seed": s, "status": status, "reason": "too slow"}
            for (d, m, _, _), by_seed in values.items()
            for s in range(len(by_seed))
        ],
        columns=RUN_COLUMNS,
    )
    table = pd.DataFrame(scores if status == "ok" else [], columns=V_COLUMNS)
    if values:  # a table of nothing has no types, as where no file lies in the results folder
        table = table.astype({"value": float})
    return v.Results(table, runs, datasets or {}, experiments or {}, variants or {})


@pytest.fixture
def judged(published, rules, methods, metrics):
    def of(values=None, **more):
        found = results(values or {}, **more)
        return v.verdicts(published, found, rules, methods, metrics)

    return of


def row(table, number, method, dataset, metric, role=v.PAPER):
    is_it = (table["table"] == number) & (table["published_method"] == method)
    is_it &= (table["dataset"] == dataset) & (table["metric"] == metric) & (table["role"] == role)
    return table[is_it].iloc[0]


def test_where_nothing_was_run_every_number_says_so(judged):
    own = judged().query("role == @v.PAPER")
    assert len(own) > 100
    assert not set(own["verdict"]) & set(v.VERDICTS[:3])


def test_every_printed_number_has_a_row_a_verdict_and_a_reason(judged, published):
    table = judged()
    skipped = published["metric"] == "f_flowcap_lower_bound"
    assert len(table) == (published["value"].notna() & ~skipped).sum()
    assert table["verdict"].isin(v.VERDICTS).all()
    assert table["reason"].str.match(r"[A-Z].{5,}\.$").all()
    assert set(table["verdict"]) == {v.NOT_RUN, v.NOT_COMPARABLE}
    settings = table["role"] == v.SETTING
    assert set(table[settings]["metric"]) > {"experts", "n_runs", "posterior_threshold"}
    assert v.summary(table)["results"].sum() == (~settings).sum()


def test_every_tolerance_has_its_reason(judged):
    table = judged()
    compared = table[table["verdict"] != v.NOT_COMPARABLE]
    assert (compared["tolerance"] >= 0).all()
    assert compared["tolerance_reason"].str.len().gt(5).all()


def test_the_published_method_and_ours_beside_it(judged):
    key = ("mnist", "{}", "accuracy_hungarian", "all")
    table = judged(
        {
            tuple(p.format("moe_sim_vae_paper") for p in key): [0.97, 0.975, 0.98],
            tuple(p.format("moe_sim_vae") for p in key): [0.99, 0.99, 0.99],
        }
    )
    paper = row(table, "table1", "MoE-Sim-VAE", "mnist", "accuracy_hungarian")
    assert (paper["verdict"], paper["n"], paper["method"]) == (v.REPRODUCED, 3, "moe_sim_vae_paper")
    assert paper["runs"].split()[0] == "runs/mnist/moe_sim_vae_paper/seed0"
    ours = row(table, "table1", "MoE-Sim-VAE", "mnist", "accuracy_hungarian", role=v.BEYOND)
    assert (ours["verdict"], ours["direction"]) == (v.DIFFERENT, "better")
    assert v.summary(table).loc["table1", v.REPRODUCED] == 1
    assert v.summary(table)["results"].sum() == (table["role"] == v.PAPER).sum()
    second = row(table, "text", "MoE-Sim-VAE", "mnist", "rank_by_accuracy")
    assert (second["mean"], second["verdict"]) == (2, v.REPRODUCED)  # after IMSAT's 0.984


def test_an_nmi_stands_beside_ours_by_its_name(judged):
    table = judged({("mnist", "dec", "nmi_arithmetic", "all"): [0.79]})
    found = row(table, "table1", "DEC", "mnist", "nmi_unspecified")
    assert (found["ours"], found["verdict"]) == ("nmi_arithmetic", v.REPRODUCED)


FULL = [
    ("flowsom", "FlowSOM", 0.78),
    ("phenograph", "PhenoGraph", 0.563),
    ("kmeans", "k-means", 0.42),
]


@pytest.mark.parametrize(("method", "name", "printed"), FULL)
def test_table3_lands_on_full_sets_within_its_tolerance(judged, method, name, printed):
    key = ("levine_32dim", method, "f1_mean_hungarian", "all")
    near, far = [[printed + d + 0.001 * i for i in range(3)] for d in (0.02, 0.06)]
    where = ("table3", name, "levine_32dim", "f1_mean_hungarian")
    assert row(judged({key: near}), *where)["verdict"] == v.REPRODUCED
    assert row(judged({key: far}), *where)["verdict"] == v.DIFFERENT


def test_a_subset_is_not_comparable_and_the_whole_goes_before_it(judged):
    subset = ("levine_32dim_subset", "flowsom", "f1_mean_hungarian", "all")
    facts = {"levine_32dim_subset": Facts(title="A subset", partial=True)}
    where = ("table3", "FlowSOM", "levine_32dim", "f1_mean_hungarian")
    found = row(judged({subset: [0.78]}, datasets=facts), *where)
    assert (found["verdict"], found["ran_on"]) == (v.NOT_COMPARABLE, "levine_32dim_subset")
    assert "A subset" in found["reason"]
    assert found["direction"] == ""
    whole = ("levine_32dim", "flowsom", "f1_mean_hungarian", "all")
    found = row(judged({subset: [0.1], whole: [0.78]}, datasets=facts), *where)
    assert (found["verdict"], found["ran_on"]) == (v.REPRODUCED, "levine_32dim")


def test_simulated_cells_are_not_comparable_whatever_their_name(judged):
    facts = {"mnist": Facts(title="Made up", simulated=True)}
    table = judged({("mnist", "dec", "accuracy_hungarian", "all"): [0.843]}, datasets=facts)
    found = row(table, "table1", "DEC", "mnist", "accuracy_hungarian")
    assert found["verdict"] == v.NOT_COMPARABLE
    assert "simulated" in found["reason"]


def test_failed_runs_are_told(judged):
    key = ("mnist", "dec", "accuracy_hungarian", "all")
    found = row(judged({key: [0]}, status="timeout"), "table1", "DEC", "mnist", key[2])
    assert found["verdict"] == v.NOT_RUN
    assert "timeout: too slow" in found["reason"]


def test_one_failed_run_of_several_is_not_all(published, rules, methods, metrics):
    runs = pd.DataFrame(
        [("mnist", "vade", s, status, "") for s, status in enumerate(("timeout", "ok", "ok"))],
        columns=RUN_COLUMNS[:5],
    )
    experiments = {"table1": Experiment("E", ["mnist"], ["vade"])}
    runs = runs.reindex(columns=RUN_COLUMNS)
    found = v.Results(results({}).scores, runs, {}, experiments, {})
    table = v.verdicts(published, found, rules, methods, metrics)
    score = row(table, "table1", "VaDE", "mnist", "accuracy_hungarian")["reason"]
    assert score.startswith("Not run yet: snakemake --cores 2 table1.")
    studied = row(table, "text", "VaDE", "mnist", "mmd_generation")["reason"]
    assert studied == "Not run yet: snakemake --cores 2 supplement."


def test_numbers_measured_on_some_runs_do_not_make_others_failed(
    published, rules, methods, metrics
):
    made = results({("mnist", "vade", "mmd_generation", "all"): [350.0]})
    runs = [{"dataset": "mnist", "method": "vade", "seed": s, "status": "ok"} for s in range(5)]
    runs = pd.DataFrame(runs, columns=RUN_COLUMNS)
    found = v.Results(made.scores, runs, {}, {}, {})
    table = v.verdicts(published, found, rules, methods, metrics)
    one = row(table, "text", "VaDE", "mnist", "mmd_generation")
    assert (one["n"], one["n_planned"], one["verdict"]) == (1, 1, v.REPRODUCED)
    assert "failed" not in one["reason"]


def test_clusters_found_are_taken_from_the_runs(published, rules, methods, metrics):
    well = "bodenmiller_gdc_0941_a09"
    run = {"dataset": well, "method": "moe_sim_vae_paper_cytof", "run": "r"}
    runs = [
        run | {"seed": 0, "status": "ok", "clusters_found": 7.0},
        run | {"seed": 1, "status": "ok", "clusters_found": 6.0},
        run | {"seed": 2, "status": "timeout", "clusters_found": np.nan},
    ]
    found = v.Results(results({}).scores, pd.DataFrame(runs), {}, {}, {})
    table = v.verdicts(published, found, rules, methods, metrics)
    one = row(table, "text", "MoE-Sim-VAE", well, "experts_selected")
    assert (one["mean"], one["n"], one["n_planned"]) == (6.5, 2, 3)
    assert one["reason"].endswith("1 of 3 runs failed.")


def test_components_recovered_stand_beside_the_papers_and_are_not_compared(judged):
    key = ("synthetic_k40", "moe_sim_vae_paper_distance", "components_recovered", "all")
    found = row(judged({key: [40.0]}), "text", "MoE-Sim-VAE", "synthetic", key[2])
    assert (found["verdict"], found["mean"]) == (v.NOT_COMPARABLE, 40)
    missing = row(judged(), "text", "MoE-Sim-VAE", "synthetic", key[2])
    assert "snakemake --cores 2 synthetic" in missing["reason"]


def test_what_would_run_it_is_told(judged):
    experiments = {"table1": Experiment("E", ["mnist"], ["dec"])}
    table = judged(experiments=experiments)
    found = row(table, "table1", "DEC", "mnist", "accuracy_hungarian")
    assert "snakemake --cores 2 table1" in found["reason"]
    assert "No implementation" in row(table, "table1", "JULE", "mnist", "nmi_unspecified")["reason"]


def test_test_cells_and_printed_settings_count_in_table2(judged):
    variants = {
        "gmm_s01": Variant("GMM 10", screens="gmm", settings={"n_pca": 10}),
        "gmm_s02": Variant("GMM 20", screens="gmm", settings={"n_pca": 20}),
    }
    table = judged(
        {
            ("tabula_muris", "gmm_s01", "f_flowcap", "test"): [0.632],
            ("tabula_muris", "gmm_s02", "f_flowcap", "test"): [0.7],
            ("tabula_muris", "gmm_s02", "f_flowcap", "train"): [0.632],
        },
        variants=variants,
    )
    found = row(table, "table2", "GMM", "tabula_muris", "f_flowcap")
    assert (found["method"], found["split"], found["mean"]) == ("gmm_s02", "test", 0.7)


def test_experts_not_selected_follow_from_those_selected(judged):
    well = "bodenmiller_gdc_0941_a09"
    table = judged({(well, "moe_sim_vae_paper_cytof", "clusters_found", "all"): [6]})
    found = row(table, "text", "MoE-Sim-VAE", well, "experts_not_selected")
    assert (found["mean"], found["verdict"]) == (9, v.REPRODUCED)


def test_draws_are_compared_in_one_unit_only(judged):
    draws = {
        ("mnist", method, "generation_draws", "all"): [1e5 * more]
        for method, more in (("moe_sim_vae_paper", 1), ("vade", 21))
    }
    table = judged(draws)
    ours = row(table, "text", "MoE-Sim-VAE", "mnist", "generation_draws")
    assert ours["verdict"] == v.NOT_COMPARABLE
    assert row(table, "text", "VaDE", "mnist", "generation_draws")["verdict"] == v.REPRODUCED


def test_the_same_run_in_two_experiments_counts_once(published, rules, methods, metrics):
    once = results({("mnist", "dec", "accuracy_hungarian", "all"): [0.84, 0.85, 0.86]})
    twice = v.Results(pd.concat([once.scores] * 2), pd.concat([once.runs] * 2), {}, {}, {})
    table = v.verdicts(published, twice, rules, methods, metrics)
    found = row(table, "table1", "DEC", "mnist", "accuracy_hungarian")
    assert (found["n"], found["n_planned"]) == (3, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["metrics"].pop("f_flowcap"), "does not cover the published metric"),
        (lambda c: c["metrics"]["f_flowcap"].pop("reason"), "needs a tolerance"),
        (lambda c: c["metrics"]["f_flowcap"].update(tolerence=1), "unknown key 'tolerence'"),
        (lambda c: c["methods"]["table1"].update({"X": ["no_such"]}), "no method 'no_such'"),
    ],
)
def test_a_wrong_comparison_is_refused(published, comparison, methods, change, said):
    wrong = copy.deepcopy(comparison)
    change(wrong)
    with pytest.raises(UserError, match=said):
        v.Rules.of(wrong, published, methods)
