"""Tables across data sets: the overview with published numbers beside, and by_dataset."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic

from moesimvae.evaluation import comparison
from moesimvae.nouns import Facts, Method, Metric, Plan
from moesimvae.report.tables import dataset, html, latex, markdown, overview
from moesimvae.report.words import Comparison

REMARK = "One column, two metrics & <no> comparison. Read both."


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    names = ["mnist", "levine_32dim", "tabula_muris_subset"]
    return synthetic.build(tmp_path_factory.mktemp("results"), n_cells=30, datasets=names)


def quoted(*rows):
    """Published numbers: method, data set, metric, value, sd."""
    names = ("method", "dataset", "metric", "value", "sd")
    frame = pd.DataFrame([dict(zip(names, row, strict=True)) for row in rows])
    return frame.assign(table="t", citation="Who", n=[1, 30, 1, 1, 1][: len(rows)], note="",
                        definition="as printed", source="a paper")  # fmt: skip


PUBLISHED = quoted(
    ("FlowSOM", "levine_32dim", "f1_mean_hungarian", 0.78, np.nan),
    ("MoE-Sim-VAE", "levine_32dim", "f_flowcap", 0.70, 0.04),
    ("FlowSOM", "levine_32dim", "f_flowcap_lower_bound", 0.88, np.nan),
    ("FlowSOM", "elsewhere", "f1_mean_hungarian", 0.6, np.nan),
    ("SPADE", "levine_32dim", "f1_mean_hungarian", np.nan, np.nan),
)


def compare(made, published=None):
    experiment = replace(made.experiment, metrics=["f_flowcap", "f1_mean_hungarian", "ari"])
    return comparison.compare(
        comparison.read_many(made.scores), comparison.read_many(made.runs), made.methods,
        made.metrics, experiment, published,
    )  # fmt: skip


def views(made, published=None, remark=""):
    facts = comparison.read_facts(made.datasets)
    return overview.overviews(Comparison(compare(made, published), made.metrics, facts), remark)


def titles(view):
    return [column.head.text for column in view.columns]


def rows_of(view, heading):
    return {row.title: row for row in dict(view.groups)[heading]}


def test_both_f_measures_stand_side_by_side_and_published_values_in_their_own_metric(made):
    first, second = views(made, PUBLISHED, REMARK)
    assert first.spans == [("", "", 1), ("F (FlowCAP)", "", 3), ("Mean F1", "", 3)]
    assert second.spans == [("", "", 1), ("ARI", "", 3)]
    where = titles(first).index("Levine_32dim")
    published = rows_of(first, "Published, not run here")
    assert list(published) == ["FlowSOM", "MoE-Sim-VAE"]  # SPADE has no value at all
    flowsom, ours = published["FlowSOM"].cells, published["MoE-Sim-VAE"].cells
    assert (flowsom[where].text, flowsom[where + 3].text) == ("≥ 0.88", "0.78")
    assert (ours[where].text, ours[where + 3].text) == ("0.70 ± 0.04", "–")
    assert (published["FlowSOM"].cells[0].text, published["MoE-Sim-VAE"].cells[0].text) == (
        "1",
        "30",
    )
    others = [c.text for row in published.values() for c in row.cells[1:]]
    assert others.count("–") == len(others) - 3  # nothing under the other data sets
    assert "Published, not run here" not in dict(second.groups)
    assert "published values" not in second.legend["general"]
    assert (first.remark, second.remark) == (REMARK, "")


def test_numbers_here_are_those_of_the_comparison(made):
    table, (first, _) = compare(made), views(made)
    row = table[(table["dataset"] == "mnist") & (table["method"] == "gmm")
                & (table["metric"] == "f1_mean_hungarian")].iloc[0]  # fmt: skip
    cell = rows_of(first, "Run here")["Gaussian mixture"].cells[titles(first).index("MNIST") + 3]
    assert cell.text == f"{row['mean']:.3f} ± {row['sd']:.3f}"
    assert cell.below == f"{row['min']:.3f}–{row['max']:.3f}"
    order = list(rows_of(first, "Run here"))
    assert order[0] == "MoE-Sim-VAE"
    assert order.index("FlowSOM_100") > order.index("PhenoGraph")


def test_failures_keep_their_reason_and_range_of_n(made):
    first, _ = views(made)
    rows = rows_of(first, "Run here")
    lost = rows["Fuzzy c-means, m < 2 & 100 %"]
    cell = lost.cells[titles(first).index("MNIST")]
    assert (cell.text, lost.cells[0].text) == ("DNF", "0–3")
    assert "stopped after 60 minutes" in first.notes[cell.notes[0]]
    half = rows["VaDE"].cells[titles(first).index("Levine_32dim")]
    assert "(seed 2)" in first.notes[half.notes[0]]
    assert "DNF: no run finished" in first.legend["general"]


def test_subsets_are_said_and_published_values_of_the_whole_kept_away(made):
    elsewhere = PUBLISHED[PUBLISHED["dataset"] == "elsewhere"]
    first, _ = views(made, elsewhere, REMARK)
    assert "Published, not run here" not in dict(first.groups)
    assert "published values are for other, full data sets" in first.legend["general"]
    assert "Subsets, so not comparable" in first.caption
    assert "Mouse organs <FACS & v2> (subset)" in titles(first)


def test_a_single_data_set_needs_no_overview_but_a_remark_is_never_lost(made):
    one = compare(made)
    one = one[one["dataset"] == "mnist"]
    facts = comparison.read_facts(made.datasets)
    one = Comparison(one, made.metrics, facts)
    assert overview.overviews(one) == []
    assert overview.overviews(one, REMARK) == []
    first, *others = dataset.sections(one, remark=REMARK)
    assert first.legend["quality"].endswith(f"Note: {REMARK}")
    both = dataset.sections(Comparison(compare(made), made.metrics, facts), remark=REMARK)
    assert not any(REMARK in said for part in (*others, *both) for said in part.legend.values())


class Widths(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows = []

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += int(dict(attrs).get("colspan", 1))


def test_every_format_has_every_row_equally_wide_and_the_remark_escaped(made):
    first, second = views(made, PUBLISHED, REMARK)
    for view in (first, second):
        width = view.width
        shape = Widths()
        shape.feed(html.write([view]))
        assert set(shape.rows[2:]) | {shape.rows[0], shape.rows[1] + 2} == {width}
        lines = [t for t in markdown.write([view], "E").split("\n") if t[:2] == "| "]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {width + 1}
        body = re.search(r"\\begin\{tabular\}\{(.*?)\}(.*?)\\end\{tabular\}",
                         latex.write([view], "e"), re.S)  # fmt: skip
        assert len(body[1]) == width
        for line in re.findall(r"^(.*) \\\\", body[2], re.M):
            spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            assert len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) == width, line
    assert "two metrics &amp; &lt;no&gt; comparison" in html.write([first])
    assert r"two metrics \& \textless{}no\textgreater{}" in latex.write([first], "e")
    assert "**Note.** One column" in markdown.write([first], "E")


def many(n):
    """A comparison of two methods on n data sets; the second fails on the last one."""
    scores, runs = [], []
    for i in range(n):
        for method, value in (("kmeans", 0.1 * (i % 5)), ("gmm", 0.5)):
            ok = not (method == "gmm" and i == n - 1)
            run = {"dataset": f"w{i}", "method": method, "seed": 0, "run": f"runs/w{i}/{method}"}
            runs.append(run | {"status": "ok" if ok else "timeout", "reason": "" if ok else "slow",
                               "wall_seconds": 1.0, "peak_memory_mb": 1.0, "device": "cpu",
                               "clusters_found": 3.0, "noise_share": 0.0})  # fmt: skip
            if ok:
                scores.append(run | {"split": "all", "metric": "f_flowcap", "value": value})
    names, seeds = [f"w{i}" for i in range(n)], {"kmeans": [0], "gmm": [0]}
    experiment = Plan("Wells", names, seeds, metrics=["f_flowcap"])
    methods = Method.by_name(synthetic.methods_block())
    metrics = Metric.by_name(synthetic.metrics_block())
    table = comparison.compare(
        pd.DataFrame(scores), pd.DataFrame(runs), methods, metrics, experiment
    )
    facts = {f"w{i}": Facts(title=f"Well {i}", group=f"drug {i // 5}") for i in range(n)}
    return table, facts, metrics


def test_many_data_sets_are_one_column_and_all_of_them_stand_in_by_dataset():
    table, facts, metrics = many(20)
    (view,) = overview.overviews(Comparison(table, metrics, facts))
    rows = rows_of(view, "Run here")
    assert titles(view) == ["n", "all 20 data sets"]
    assert list(rows) == ["Gaussian mixture", "k-means"]
    values = [0.1 * (i % 5) for i in range(20)]
    text = f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert [cell.text for cell in rows["k-means"].cells] == ["20 of 20", text]
    assert rows["Gaussian mixture"].cells[0].text == "19 of 20"
    every = comparison.by_dataset(table, facts)
    assert len(every) == 40
    assert every["group"].tolist()[::10] == ["drug 0", "drug 1", "drug 2", "drug 3"]
    lost = every[every["n"] == 0]
    assert lost[["dataset", "method", "status", "reason"]].to_numpy().tolist() == [
        ["w19", "gmm", "timeout", "time-out: slow (seed 0)"]
    ]
    assert lost["f_flowcap_mean"].isna().all()
    tex = overview.by_dataset_latex(every, metrics, "figure4")
    assert tex.count(r"\addlinespace") == 19
    assert tex.count("DNF: time-out") == 1
    for line in (t for t in tex.split("\n") if " & " in t):  # method, n, F, clusters
        spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
        assert len(re.findall(r"(?<!\\)&", line)) + sum(spans) == 3
    for i in range(20):
        _, well = tex.split(rf"\textit{{Well {i}}}")
        assert f"k-means & 1 & {0.1 * (i % 5):.3f} & 3.0" in well.split(r"\addlinespace")[0]


def test_by_dataset_has_every_pair_at_full_precision(made):
    table, facts = compare(made), comparison.read_facts(made.datasets)
    every = comparison.by_dataset(table, facts)
    assert len(every) == 3 * len(synthetic.METHODS)
    own = table[(table["metric"] == "ari") & (table["source"] == "run")]
    np.testing.assert_array_equal(every["ari_mean"], own["mean"])
    np.testing.assert_array_equal(every["ari_sd"], own["sd"])
    assert set(every[every["partial"]]["dataset"]) == {"tabula_muris_subset"}
    assert r"Fuzzy c-means, m \textless{} 2 \& 100 \%" in overview.by_dataset_latex(
        every, made.metrics, "e"
    )
    assert "True labels" not in overview.by_dataset_latex(every, made.metrics, "e")
