"""Published numbers: whole, well-formed and, on a sample, digit for digit those of the paper."""

import re

import pandas as pd
import pytest
import yaml

COLUMNS = [
    *("table", "method", "citation", "dataset", "metric", "value", "sd", "n"),
    *("definition", "source", "note"),
]
ROWS = {"table1": 19 * 2, "table2": 8 * 2, "table3": 19 * 4 + 11 * 4, "text": 33}
OWN_METRICS = {"nmi_unspecified", "f_flowcap_lower_bound"}


@pytest.fixture(scope="module")
def tables(root):
    """Every file as text, so that digits are compared and not numbers."""
    folder = root / "workflow/published"
    read = {"dtype": str, "keep_default_na": False}
    return {path.stem: pd.read_csv(path, **read) for path in sorted(folder.glob("*.csv"))}


@pytest.fixture(scope="module")
def registry_metrics(root):
    return set(yaml.safe_load((root / "workflow/registry/metrics.yaml").read_text("utf-8")))


def value(table, method, dataset, metric, column="value"):
    is_it = (table["method"] == method) & (table["dataset"] == dataset)
    return table[is_it & (table["metric"] == metric)][column].item()


def test_rows_and_columns(tables):
    assert {name: len(table) for name, table in tables.items()} == ROWS
    for name, table in tables.items():
        assert list(table.columns) == COLUMNS
        assert set(table["table"]) == {name}
        assert not table.duplicated(["method", "dataset", "metric"]).any(), name


def test_every_number_has_a_definition_and_a_source(tables):
    for table in tables.values():
        assert (table["definition"].str.len() > 20).all()
        assert table["source"].str.contains("https://").all()
        assert (table["citation"].ne("") | table["method"].eq("one cluster")).all()


def test_numbers_are_numbers_and_shares_lie_in_the_unit_interval(tables):
    for name, table in tables.items():
        numbers = table[["value", "sd", "n"]].apply(pd.to_numeric)  # raises on anything else
        if name != "text":
            assert numbers["value"].dropna().between(0, 1).all()


def test_metrics_are_the_registrys_or_documented_as_their_own(tables, registry_metrics, root):
    readme = (root / "workflow/published/README.md").read_text("utf-8")
    assert not OWN_METRICS & registry_metrics
    for name in ("table1", "table2", "table3"):
        assert set(tables[name]["metric"]) <= registry_metrics | OWN_METRICS
    for metric in OWN_METRICS:
        assert f"`{metric}`" in readme


def test_one_definition_per_metric_and_table(tables):
    for table in tables.values():
        assert (table.groupby("metric")["definition"].nunique() == 1).all()


def test_not_reported_is_empty_and_said(tables):
    missing = {name: table[table["value"] == ""] for name, table in tables.items()}
    counts = {name: len(rows) for name, rows in missing.items()}
    # Table 1: ACC of JULE, CCNN, UMMC; NMI of Neural Clustering, IMSAT, MIXAE.
    # Table 3: Levine_32dim of flowClust, flowMerge, SPADE.
    assert counts == {"table1": 6, "table2": 0, "table3": 3, "text": 0}
    for rows in missing.values():
        assert rows["note"].ne("").all()
    assert set(missing["table3"]["method"]) == {"flowClust", "flowMerge", "SPADE"}


@pytest.mark.parametrize(
    ("table", "method", "dataset", "metric", "printed"),
    [
        ("table1", "JULE", "mnist", "nmi_unspecified", "0.915"),
        ("table1", "DEC", "mnist", "nmi_unspecified", "0.80"),
        ("table1", "VaDE", "mnist", "accuracy_hungarian", "0.945"),
        ("table1", "IMSAT", "mnist", "accuracy_hungarian", "0.984"),
        ("table1", "Spectral clustering", "mnist", "accuracy_hungarian", "0.717"),
        ("table1", "GAN with bp", "mnist", "nmi_unspecified", "0.90"),
        ("table1", "MoE-Sim-VAE", "mnist", "nmi_unspecified", "0.935"),
        ("table1", "MoE-Sim-VAE", "mnist", "accuracy_hungarian", "0.975"),
        ("table2", "GMM", "tabula_muris", "f_flowcap", "0.632"),
        ("table2", "Louvain", "tabula_muris", "nmi_unspecified", "0.584"),
        ("table2", "MoE-Sim-VAE", "tabula_muris", "f_flowcap", "0.748"),
        ("table2", "MoE-Sim-VAE", "tabula_muris", "nmi_unspecified", "0.519"),
        ("table3", "FlowSOM", "levine_32dim", "f1_mean_hungarian", "0.78"),
        ("table3", "FlowSOM", "levine_13dim", "f1_mean_hungarian", "0.495"),
        ("table3", "FlowSOM_pre", "samusik_all", "f1_mean_hungarian", "0.528"),
        ("table3", "X-Shift", "samusik_01", "f1_mean_hungarian", "0.679"),
        ("table3", "MoE-Sim-VAE", "levine_32dim", "f_flowcap", "0.70"),
        ("table3", "MoE-Sim-VAE", "samusik_01", "f_flowcap", "0.76"),
        ("table3", "FlowSOM", "levine_32dim", "f_flowcap_lower_bound", "0.880"),
        ("table3", "one cluster", "samusik_all", "f_flowcap_lower_bound", "0.236"),
        ("text", "MoE-Sim-VAE", "mnist", "generation_accuracy_mean", "0.970"),
        ("text", "VaDE", "mnist", "generation_accuracy_mean", "0.944"),
        ("text", "VaDE", "mnist", "mmd_generation", "355.14"),
        ("text", "MoE-Sim-VAE without similarity", "mnist", "mmd_between_clusters", "49.29"),
        ("text", "signature genes", "tabula_muris", "signature_accuracy_mean", "0.92"),
        ("text", "MoE-Sim-VAE", "mnist", "rank_by_accuracy", "2"),
        ("text", "MoE-Sim-VAE", "bodenmiller_gdc_0941_a09", "experts_selected", "7"),
        ("text", "VaDE", "mnist", "posterior_threshold_mmd", "0.8"),
    ],
)
def test_spot_values(tables, table, method, dataset, metric, printed):
    assert value(tables[table], method, dataset, metric) == printed


def test_table3_keeps_its_two_f_measures_apart(tables):
    table = tables["table3"]
    ours = table[table["method"] == "MoE-Sim-VAE"]
    assert set(ours["metric"]) == {"f_flowcap"}
    assert list(ours["sd"]) == ["0.04", "0.01", "0.03", "0.02"]
    assert set(ours["n"]) == {"30"}
    printed = table[table["metric"] == "f1_mean_hungarian"]
    assert printed["method"].nunique() == 18
    assert set(printed["n"]) == {"1", ""}
    assert "MoE-Sim-VAE" not in set(printed["method"])


def test_readme_names_the_competitors_above_on_all_four_sets(tables, root):
    """A lower bound above MoE-Sim-VAE's F everywhere: exactly the five that the README names."""
    table = tables["table3"].assign(value=pd.to_numeric(tables["table3"]["value"]))
    ours = table[table["metric"] == "f_flowcap"].set_index("dataset")["value"]
    bound = table[table["metric"] == "f_flowcap_lower_bound"]
    above = bound[bound["value"] > bound["dataset"].map(ours)].groupby("method").size()
    names = set(above[above == 4].index)
    assert names == {"FlowSOM", "flowMeans", "PhenoGraph", "X-Shift", "DensVM"}


def test_the_note_below_table3_is_two_sentences_that_the_numbers_bear_out(tables, root):
    note = (root / "workflow/published/table3.txt").read_text("utf-8").strip()
    assert len(re.findall(r"\.(?=\s|$)", note)) == 2
    table = tables["table3"].assign(value=pd.to_numeric(tables["table3"]["value"]))
    ours = table[table["metric"] == "f_flowcap"].set_index("dataset")["value"]
    bound = table[table["metric"] == "f_flowcap_lower_bound"]
    above = bound[bound["value"] > bound["dataset"].map(ours)].groupby("method").size()
    for name, sets in above.items():
        assert (name in note) == (sets == 4), name


def test_oracle_settings_of_table2_are_noted(tables):
    competitors = tables["table2"][tables["table2"]["method"] != "MoE-Sim-VAE"]
    assert competitors["note"].str.contains("oracle").all()
    assert value(tables["table2"], "HDBSCAN", "tabula_muris", "f_flowcap", "note").startswith(
        "PCA k = 20 min cluster size = 50"
    )


def test_f_margin_contradicts_table2(tables):
    """The text's 'close to 0.1' against 0.069 in Table 2 is noted, not smoothed over."""
    f = tables["table2"].query("metric == 'f_flowcap'").set_index("method")["value"].astype(float)
    assert f["MoE-Sim-VAE"] - f.drop("MoE-Sim-VAE").max() == pytest.approx(0.069)
    assert "0.069" in value(tables["text"], "MoE-Sim-VAE", "tabula_muris", "f_margin", "note")


def test_ranks_of_the_text_follow_from_table1(tables):
    table = tables["table1"].assign(value=pd.to_numeric(tables["table1"]["value"]))
    metrics = {"rank_by_nmi": "nmi_unspecified", "rank_by_accuracy": "accuracy_hungarian"}
    for rank, metric in metrics.items():
        values = table[table["metric"] == metric].set_index("method")["value"]
        place = 1 + (values > values["MoE-Sim-VAE"]).sum()
        assert str(place) == value(tables["text"], "MoE-Sim-VAE", "mnist", rank)
