"""Metrics: against scikit-learn, hand-worked examples, slow obvious Python, and properties."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
)

from moesimvae.errors import UserError
from moesimvae.evaluation import metrics as m

AGREEMENT = ["nmi_arithmetic", "ari", "ami", "accuracy_hungarian", "f_flowcap", "f1_mean_hungarian"]


@pytest.fixture(scope="module")
def registry_blocks(root):
    return yaml.safe_load((root / "workflow/registry/metrics.yaml").read_text(encoding="utf-8"))


@st.composite
def labellings(draw, max_cells=30, max_labels=6, lowest=-1):
    """truth and clusters of the same few cells; clusters may hold noise."""
    n = draw(st.integers(1, max_cells))
    truth = draw(st.lists(st.integers(0, max_labels - 1), min_size=n, max_size=n))
    clusters = draw(st.lists(st.integers(lowest, max_labels - 1), min_size=n, max_size=n))
    return np.array([f"population {i}" for i in truth]), np.array(clusters)


# --- against scikit-learn ---------------------------------------------------------------------


@given(labellings())
def test_information_and_pair_metrics_are_scikit_learns(pair):
    truth, clusters = pair  # scikit-learn takes -1 for one more cluster: the rule for noise
    assert m.nmi_arithmetic(*pair) == pytest.approx(normalized_mutual_info_score(truth, clusters))
    assert m.ari(*pair) == pytest.approx(adjusted_rand_score(truth, clusters))
    assert m.ami(*pair) == pytest.approx(adjusted_mutual_info_score(truth, clusters), abs=1e-9)


def test_scikit_learn_on_many_cells():
    rng = np.random.default_rng(0)
    truth = rng.choice(24, p=rng.dirichlet(np.full(24, 0.5)), size=200_000)
    clusters = np.where(rng.random(200_000) < 0.7, truth, rng.integers(-1, 40, 200_000))
    assert m.nmi_arithmetic(truth, clusters) == pytest.approx(
        normalized_mutual_info_score(truth, clusters)
    )
    assert m.ari(truth, clusters) == pytest.approx(adjusted_rand_score(truth, clusters))
    assert m.ami(truth, clusters) == pytest.approx(adjusted_mutual_info_score(truth, clusters))


# --- hand-worked ------------------------------------------------------------------------------

# counts (rows: populations A, B, C; columns: clusters 0, 1, 2), and 2 cells of B that are noise:
#        0  1  2  noise | size
#   A    5  1  0    0   |   6
#   B    4  0  0    2   |   6
#   C    0  1  2    0   |   3        N = 15, cluster sizes 9, 2, 2
HAND = {("A", 0): 5, ("A", 1): 1, ("B", 0): 4, ("B", -1): 2, ("C", 1): 1, ("C", 2): 2}


def cells_of(counts):
    """truth and clusters with so many cells of each pair."""
    pairs = [pair for pair, n in counts.items() for _ in range(n)]
    return np.array([p for p, _ in pairs]), np.array([c for _, c in pairs])


def test_accuracy_by_hand():
    # One to one, most cells: A-0 and C-2 give 5 + 2 = 7 with B left to cluster 1 (0 cells);
    # A-1, B-0, C-2 give 1 + 4 + 2 = 7 too. So 7 of 15, the 2 noise cells being errors.
    assert m.accuracy_hungarian(*cells_of(HAND)) == pytest.approx(7 / 15)


def test_flowcap_by_hand():
    # F1 = 2 n_ij / (n_i + n_j):
    #   A: 10/15 with 0, 2/8 with 1          -> best 2/3
    #   B:  8/15 with 0 (again 0)            -> best 8/15
    #   C:  2/5 with 1, 4/5 with 2           -> best 4/5
    # weighted: (6 · 2/3 + 6 · 8/15 + 3 · 4/5) / 15 = (4 + 3.2 + 2.4) / 15
    assert m.f_flowcap(*cells_of(HAND)) == pytest.approx(9.6 / 15)


def test_mean_f1_by_hand():
    # One to one, largest sum: A-1 (1/4), B-0 (8/15), C-2 (4/5) sums to 1.58333;
    # A-0 (2/3), C-2 (4/5), B unmatched (no cell in cluster 1) sums to 1.46667. Mean over 3.
    assert m.f1_mean_hungarian(*cells_of(HAND)) == pytest.approx((1 / 4 + 8 / 15 + 4 / 5) / 3)


def test_f1_matching_is_not_the_accuracy_matching():
    # Accuracy takes A-0 + B-1 = 10 + 1 over A-1 + B-0 = 5 + 5; mean F1 the other way round:
    #        0   1 | size    F1: A-0 20/30, B-1 2/12 -> 0.8333
    #   A   10   5 | 15          A-1 10/21, B-0 10/21 -> 0.9524
    #   B    5   1 |  6
    pair = cells_of({("A", 0): 10, ("A", 1): 5, ("B", 0): 5, ("B", 1): 1})
    assert m.accuracy_hungarian(*pair) == pytest.approx(11 / 21)
    assert m.f1_mean_hungarian(*pair) == pytest.approx(10 / 21)


def test_description_by_hand():
    truth, clusters = cells_of(HAND)
    assert m.clusters_found(truth, clusters) == 3
    assert m.noise_share(truth, clusters) == pytest.approx(2 / 15)


def test_per_population_by_hand():
    table = m.per_population_f1(*cells_of(HAND))
    assert list(table.columns) == ["population", "n_cells", "f1", "precision", "recall", "cluster"]
    assert list(table["population"]) == ["A", "B", "C"]
    assert list(table["n_cells"]) == [6, 6, 3]
    assert list(table["cluster"]) == [1, 0, 2]
    assert table["precision"].to_numpy() == pytest.approx([1 / 2, 4 / 9, 2 / 2])
    assert table["recall"].to_numpy() == pytest.approx([1 / 6, 4 / 6, 2 / 3])
    assert table["f1"].to_numpy() == pytest.approx([1 / 4, 8 / 15, 4 / 5])


def test_unmatched_population_says_so():
    table = m.per_population_f1(["A", "A", "B"], [0, 0, 0])
    assert table["cluster"].isna().tolist() == [False, True]
    assert table.loc[1, ["precision", "recall", "f1"]].tolist() == [0, 0, 0]


def test_matched_without_a_common_cell_is_unmatched():
    # F1: A-0 10/12, A-1 2/7, B-0 2/7, B-1 0; the best sum pairs A-0 and, for want of more, B-1.
    table = m.per_population_f1(*cells_of({("A", 0): 5, ("A", 1): 1, ("B", 0): 1}))
    assert table["cluster"].isna().tolist() == [False, True]


# --- slow, obvious Python ---------------------------------------------------------------------


def slow_f1(truth, clusters, population, cluster):
    found = sum(t == population and c == cluster for t, c in zip(truth, clusters, strict=True))
    if found == 0:
        return 0.0
    precision = found / sum(c == cluster for c in clusters)
    recall = found / sum(t == population for t in truth)
    return 2 * precision * recall / (precision + recall)


def slow_matchings(populations, clusters):
    """Every one-to-one matching as a list of pairs; None stands for no partner."""
    padded = [*clusters, *[None] * len(populations)]
    for order in set(permutations(padded, len(populations))):
        yield [(p, c) for p, c in zip(populations, order, strict=True) if c is not None]


@given(labellings(max_cells=12, max_labels=4))
def test_slow_versions_agree(pair):
    truth, clusters = pair
    populations, found = sorted(set(truth)), sorted(set(clusters) - {-1})
    f1 = {(p, c): slow_f1(truth, clusters, p, c) for p in populations for c in found}
    matchings = list(slow_matchings(populations, found))

    def right(matching):
        return sum((t, c) in matching for t, c in zip(truth, clusters, strict=True))

    best_accuracy = max(right(matching) for matching in matchings) / len(truth)
    best_sum = max(sum(f1[match] for match in matching) for matching in matchings)
    flowcap = sum(max([f1[t, c] for c in found], default=0) for t in truth) / len(truth)
    assert m.accuracy_hungarian(*pair) == pytest.approx(best_accuracy)
    assert m.f1_mean_hungarian(*pair) == pytest.approx(best_sum / len(populations))
    assert m.f_flowcap(*pair) == pytest.approx(flowcap)


@given(labellings())
def test_mean_f1_is_the_mean_of_the_table(pair):
    assert m.per_population_f1(*pair)["f1"].mean() == pytest.approx(m.f1_mean_hungarian(*pair))


# --- properties -------------------------------------------------------------------------------


@given(labellings(), st.randoms(use_true_random=False))
def test_names_and_order_do_not_matter(pair, random):
    truth, clusters = pair
    new = random.sample(range(1000), 6)
    renamed = np.array([-1 if c == -1 else new[c] for c in clusters])
    order = random.sample(range(len(truth)), len(truth))
    before, after = m.evaluate(*pair), m.evaluate(truth[order], renamed[order])
    assert after == pytest.approx(before, abs=1e-12, nan_ok=True)


@given(pair=labellings())
def test_values_lie_in_the_registrys_range(registry_blocks, pair):
    for name, value in m.evaluate(*pair).items():
        low, high = registry_blocks[name]["range"]
        assert np.isnan(value) or low - 1e-9 <= value <= high + 1e-9, name


@given(labellings())
def test_flowcap_is_at_least_its_published_lower_bound(pair):
    table = m.per_population_f1(*pair)
    bound = (table["n_cells"] * table["f1"]).sum() / table["n_cells"].sum()
    assert m.f_flowcap(*pair) >= bound - 1e-12


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_truth_as_clusters_is_perfect(truth):
    for name in AGREEMENT:
        assert getattr(m, name)(truth, truth) == pytest.approx(1, abs=1e-12), name


def test_one_cluster_for_all():
    truth = ["A"] * 6 + ["B"] * 3 + ["C"]
    values = m.evaluate(truth, np.zeros(10, dtype=int))
    assert values["nmi_arithmetic"] == values["ari"] == values["ami"] == 0
    assert values["accuracy_hungarian"] == 0.6
    # F1 with the one cluster: 12/16, 6/13, 2/11; FlowCAP weighs all three, mean F1 keeps the best
    assert values["f_flowcap"] == pytest.approx(0.6 * 12 / 16 + 0.3 * 6 / 13 + 0.1 * 2 / 11)
    assert values["f1_mean_hungarian"] == pytest.approx(12 / 16 / 3)


def test_f1_of_rare_populations_by_hand():
    # 2 of 300 cells (r) and 1 (s) are rare, 3 (t, exactly 1 %) are not. The matching is of all
    # populations: cluster 1 goes to r, F1 = 2 · 2 / (2 + 4), and s and t are left without one.
    counts = {("big", 0): 294, ("r", 1): 2, ("s", 1): 1, ("t", 0): 2, ("t", 1): 1}
    assert m.f1_rare_hungarian(*cells_of(counts)) == pytest.approx((2 / 3 + 0) / 2)
    counts["s", -1] = counts.pop(("s", 1))  # noise is no cluster, and no longer in r's way
    assert m.f1_rare_hungarian(*cells_of(counts)) == pytest.approx((2 * 2 / (2 + 3)) / 2)


@pytest.mark.parametrize("common", ["before", "then"])
def test_of_equal_matchings_the_best_for_rare_populations_counts(common):
    # cluster 1 holds 10 cells, 2 of 20 of a common population and 1 of 5 of the rare one: to either
    # it has the F1 2 / 15, and with either the sum of F1 is the same
    counts = {("big", 0): 568, ("big", 1): 7, (common, 0): 18, (common, 1): 2}
    counts |= {("rare", 0): 4, ("rare", 1): 1}
    assert m.f1_rare_hungarian(*cells_of(counts)) == pytest.approx(2 / 15)


def test_without_a_rare_population_there_is_no_f1_of_them():
    counts = {("big", 0): 99, ("small", 1): 1}  # of 100 cells, 1 % and not below
    assert np.isnan(m.f1_rare_hungarian(*cells_of(counts)))
    counts["big", 0] = 100
    assert m.f1_rare_hungarian(*cells_of(counts)) == 1


def test_each_cell_its_own_cluster():
    truth = ["A"] * 6 + ["B"] * 4
    values = m.evaluate(truth, np.arange(10) * 1_000_000)
    assert values["clusters_found"] == 10
    assert values["accuracy_hungarian"] == pytest.approx(2 / 10)
    assert values["f_flowcap"] == pytest.approx(0.6 * 2 / 7 + 0.4 * 2 / 5)
    assert values["ari"] == pytest.approx(0, abs=1e-12)
    assert values["ami"] == pytest.approx(0, abs=1e-9)
    assert values["nmi_arithmetic"] > 0.4  # not corrected for chance, as the registry says


def test_random_labels_are_about_zero_where_corrected_for_chance():
    rng = np.random.default_rng(1)
    truth, clusters = rng.integers(7, size=2000), rng.integers(50, size=2000)
    values = m.evaluate(truth, clusters)
    assert abs(values["ari"]) < 0.01
    assert abs(values["ami"]) < 0.01
    assert values["nmi_arithmetic"] > 0.02


# --- noise ------------------------------------------------------------------------------------


def test_noise_is_one_more_cluster_for_nmi_ari_ami():
    truth, clusters = np.array(list("AAABBBCC")), np.array([0, 0, -1, 1, 1, 1, -1, -1])
    as_cluster = np.where(clusters == -1, 9, clusters)
    for name in ("nmi_arithmetic", "ari", "ami"):
        metric = getattr(m, name)
        assert metric(truth, clusters) == pytest.approx(metric(truth, as_cluster)), name
        assert metric(truth, clusters) < metric(truth[clusters != -1], clusters[clusters != -1])


def test_noise_matches_no_population():
    truth, clusters = ["A", "A", "B", "B"], [0, 0, -1, -1]
    assert m.accuracy_hungarian(truth, clusters) == 0.5  # 1 if noise were a cluster
    assert m.f_flowcap(truth, clusters) == 0.5
    assert m.f1_mean_hungarian(truth, clusters) == 0.5
    assert m.per_population_f1(truth, clusters)["cluster"].isna().tolist() == [False, True]


def test_noise_costs_recall_and_not_precision():
    table = m.per_population_f1(["A"] * 4, [3, 3, 3, -1])
    assert table.loc[0, ["precision", "recall"]].tolist() == [1, 0.75]


def test_all_noise():
    values = m.evaluate(["A", "A", "B"], [-1, -1, -1])
    assert np.isnan(values.pop("f1_rare_hungarian"))  # no population is
    others = [name for name in m.METRICS if name != "f1_rare_hungarian"]
    assert values == dict.fromkeys(others, 0.0) | {"noise_share": 1.0}


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "clusters", "says"),
    [
        (["A", "B"], [0, 1, 2], r"shape \(2,\) and clusters \(3,\)"),
        ([["A"], ["B"]], [[0], [1]], "two vectors"),
        ([], [], "no scored cell"),
        (["A", None], [0, 1], "1 scored cells have no label"),
        ([1.0, np.nan], [0, 1], "1 scored cells have no label"),
        (["A", "B"], [0.0, np.nan], "1 missing values"),
        (["A", "B"], pd.array([0, None], dtype="Int64"), "1 missing values"),
        (["A", "B"], [0.0, 1.0], "type float64"),
        (["A", "B"], ["0", "1"], "expected integers"),
        (["A", "B"], [0, -2], "found -2"),
    ],
)
@pytest.mark.parametrize("name", ["ari", "f_flowcap", "per_population_f1"])
def test_bad_input_is_told(name, truth, clusters, says):
    with pytest.raises(UserError, match=says):
        getattr(m, name)(truth, clusters)


def test_unknown_metric_is_told():
    with pytest.raises(UserError, match=r"unknown metric 'purity'; choose from: nmi_arithmetic"):
        m.evaluate(["A"], [0], ["purity"])


def test_text_numbers_and_categories_are_labels_alike():
    clusters = [0, 0, 1]
    for truth in (["1", "1", "2"], [1, 1, 2], pd.Categorical(["1", "1", "2"], ["2", "1", "3"])):
        assert m.evaluate(truth, clusters, AGREEMENT) == pytest.approx(dict.fromkeys(AGREEMENT, 1))


def test_functions_keep_their_names_and_definitions():
    assert m.f_flowcap.__name__ == "f_flowcap"
    assert "Σ_i n_i/N" in m.f_flowcap.__doc__


# --- the registry -----------------------------------------------------------------------------


def test_registry_and_code_name_the_same_metrics(registry_blocks):
    assert list(registry_blocks) == [*m.METRICS, *m.LABEL_FREE]
    label_free = [name for name, block in registry_blocks.items() if block.get("label_free")]
    assert label_free == list(m.LABEL_FREE)


def test_registry_blocks_are_whole(registry_blocks):
    keys = {"title", "definition", "range", "better", "chance_corrected", "reference"}
    for name, block in registry_blocks.items():
        assert set(block) - {"label_free", "lacking"} == keys, name
        assert block["better"] in {"higher", "lower", "none"}, name
        assert block["range"][0] < block["range"][1], name
        assert "noise" in block["definition"].lower(), name
        assert "unscored" in block["definition"].lower(), name
