"""The comparison and its views: numbers, failures, ranks, escaping."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic
from hypothesis import given
from hypothesis import strategies as st

from moesimvae.errors import UserError
from moesimvae.evaluation import comparison
from moesimvae.nouns import Facts, Method, Metric, Plan, Status
from moesimvae.report import words
from moesimvae.report.tables import dataset, html, latex, markdown
from moesimvae.report.words import Comparison

METRICS = Metric.by_name(synthetic.metrics_block())
METHODS = Method.by_name(
    {
        name: {"title": title, "stochastic": True}
        for name, title in (("a", "A"), ("b", "B_1 & <b>"), ("c", "C 100 %"), ("d", "D"))
    }
    | {
        "once": {"title": "Once", "stochastic": False},
        "oracle": {"title": "Knows", "stochastic": False, "oracle": True},
        "true_labels": {"title": "True labels", "stochastic": False, "control": True},
    }
)
X = Facts(
    title="X", n_cells=10, n_features=2, n_clusters=3, simulated=True, partial=True,
    note="Every other cell.",
)  # fmt: skip
FACTS = {"x": X}
WHOLE = {"x": replace(X, simulated=False, partial=False)}


def small(results, metrics=("nmi_arithmetic",), published=None, seeds=(0, 1, 2)):
    """A comparison on data set x; results: method → seed → value or (status, reason)."""
    scores, runs = [], []
    for method, by_seed in results.items():
        for seed, value in by_seed.items():
            ok = not isinstance(value, tuple)
            status, reason = ("ok", np.nan) if ok else value
            run = f"runs/x/{method}/seed{seed}"
            runs.append(
                {"dataset": "x", "method": method, "seed": seed, "status": status,
                 "reason": reason, "wall_seconds": 10.0 * (seed + 1), "cpu_seconds": 1.0,
                 "peak_memory_mb": 100.0, "peak_gpu_memory_mb": np.nan, "device": "cpu",
                 "threads": 1, "clusters_found": 3.0 if ok else np.nan,
                 "noise_share": 0.0 if ok else np.nan, "run": run}
            )  # fmt: skip
            if ok:
                scores += [
                    {"dataset": "x", "method": method, "seed": seed, "split": "all",
                     "metric": metric, "value": value, "run": run}
                    for metric in metrics
                ]  # fmt: skip
    methods = {m: list(seeds) if METHODS[m].stochastic else [0] for m in results}
    methods = {m: s for m, s in methods.items() if m != "true_labels"}
    experiment = Plan("E", ["x"], methods, list(seeds), list(metrics), name="e")
    columns = ["dataset", "method", "seed", "split", "metric", "value", "run"]
    scores = pd.DataFrame(scores, columns=columns)
    return comparison.compare(
        scores, pd.DataFrame(runs), METHODS, METRICS, experiment, published
    )  # fmt: skip


def row(table, method, metric="nmi_arithmetic", source="run"):
    found = table[
        (table["method"] == method) & (table["metric"] == metric) & (table["source"] == source)
    ]
    assert len(found) == 1
    return found.iloc[0]


def quoted(*rows):
    columns = {"table": "t", "citation": "Who", "dataset": "x", "sd": np.nan, "n": np.nan,
               "definition": "as printed", "source": "a paper", "note": np.nan}  # fmt: skip
    return pd.DataFrame([columns | dict(zip(("method", "metric", "value"), r, strict=True))
                         for r in rows])  # fmt: skip


def view(table, facts=FACTS):
    return dataset.sections(Comparison(table, METRICS, facts), "a machine")[0]


def in_markdown(parts):
    return markdown.write(parts, "E")


def in_html(parts):
    return html.write(parts)


def in_latex(parts):
    return latex.write([small for part in parts for small in dataset.in_print(part)], "e")


def cells(part, title, *kinds):
    """The cells of a row in columns of these kinds."""
    row = shown(part, title)
    return [c for c, column in zip(row.cells, part.columns, strict=True) if column.kind in kinds]


def heads(part, kind):
    return [column.head for column in part.columns if column.kind == kind]


def shown(part, title):
    return next(r for _, rows in part.groups for r in rows if r.title == title)


def test_numbers_equal_a_calculation_by_hand():
    found = row(small({"a": {0: 0.9, 1: 0.8, 2: 0.7}}), "a")
    assert (found["n"], found["n_planned"]) == (3, 3)
    assert found["mean"] == pytest.approx(0.8)
    assert found["sd"] == pytest.approx(0.1)  # sqrt((0.01 + 0 + 0.01) / 2)
    assert (found["min"], found["max"]) == (0.7, 0.9)
    assert json.loads(found["values"]) == {"0": 0.9, "1": 0.8, "2": 0.7}
    assert found["wall_seconds"] == pytest.approx(20)
    assert found["runs"].split() == [f"runs/x/a/seed{s}" for s in range(3)]


def test_a_single_run_has_no_sd_and_no_plus_minus():
    table = small({"once": {0: 0.5}, "a": {0: 0.5}}, seeds=[0])
    assert np.isnan(row(table, "once")["sd"])
    part = view(table)
    for title, marks in (("Once", "†"), ("A", "")):
        found = shown(part, title)
        assert (cells(part, title, "score")[0].text, found.cells[0].text, found.marks) == (
            "0.500",
            "1",
            marks,
        )


def test_a_failed_method_is_dnf_with_its_reason_and_never_a_zero():
    failed = dict.fromkeys(range(3), ("timeout", "stopped after 60 minutes"))
    table = small({"a": {0: 0.5, 1: 0.5, 2: 0.5}, "c": failed})
    found = row(table, "c")
    assert (found["n"], found["status"]) == (0, "timeout")
    assert np.isnan(found["mean"])
    assert found["reason"] == "time-out: stopped after 60 minutes (seed 0, 1, 2)"
    part = view(table)
    assert shown(part, "C 100 %").failed.text == "DNF: time-out"
    assert cells(part, "C 100 %", "cost")[0].text == "> 20.0"
    reason = "stopped after 60 minutes (seed 0, 1, 2)"
    text = in_markdown([part])
    line = next(t for t in text.split("\n") if t.startswith("| C 100"))
    assert line == (
        "| C 100 % | 0 of 3 | DNF: time-out<sup>a</sup> | DNF | DNF | > 20.0 | 100 | cpu |"
    )
    page = in_html([part])
    line = page.split("C 100 %</th>")[1].split("</tr>")[0]
    assert re.findall(r">([^<>\n]+)</", line) == ["0 of 3", "a", "&gt; 20.0", "100", "cpu"]
    assert '<td class="dnf" colspan="3">DNF: time-out<sup>a</sup></td>' in line
    tex = in_latex([part])
    assert r"C 100 \% & 0 of 3 & \multicolumn{1}{l}{DNF: time-out\textsuperscript{a}} \\" in tex
    assert reason in text
    assert reason in page
    assert reason in tex


def test_a_half_failed_method_says_so_and_is_not_ranked():
    table = small(
        {
            "a": {0: 0.9, 1: 0.9, 2: ("out-of-memory", "too big")},
            "b": {0: 0.5, 1: 0.5, 2: 0.5},
            "c": {0: 0.4, 1: 0.4, 2: 0.4},
        }
    )
    found = row(table, "a")
    assert (found["n"], found["status"]) == (2, "partial")
    assert found["reason"] == "out of memory: too big (seed 2)"
    assert pd.isna(found["rank"])
    assert row(table, "b")["rank"] == 1
    part = view(table)
    assert shown(part, "A").cells[0].text == "2 of 3"
    assert part.notes[shown(part, "A").cells[0].notes[0]] == "out of memory: too big (seed 2)."


def test_a_planned_run_that_is_not_there_is_told():
    table = small({"a": {0: 0.9, 1: 0.8}})
    assert row(table, "a")["status"] == "partial"
    assert row(table, "a")["reason"] == "not run: no run was found in the results folder (seed 2)"


def test_a_run_without_a_value_of_the_metric_is_told_and_not_dnf():
    table = small({"a": {0: float("nan"), 1: 0.5, 2: 0.7}})
    assert row(table, "a")["n"] == 2
    assert "seed 0: finished, but without a value of this metric" in row(table, "a")["reason"]
    alone = small({"a": {0: float("nan")}}, seeds=[0])
    assert row(alone, "a")["status"] == "not scored"
    assert shown(view(alone), "A").failed is None
    assert cells(view(alone), "A", "score")[0].text == "–"


def test_of_a_metric_that_a_data_set_cannot_have_the_reason_is_told_once(monkeypatch):
    rare = replace(METRICS["nmi_arithmetic"], lacking="Nothing is rare here.")
    monkeypatch.setitem(METRICS, "nmi_arithmetic", rare)
    nothing = float("nan")
    table = small({"a": {0: nothing, 1: nothing, 2: nothing}, "b": {0: nothing, 1: ("error", "")}})
    assert row(table, "a")["status"] == "not scored"
    part = view(table)
    assert cells(part, "A", "score") == cells(part, "B_1 & <b>", "score") == []
    assert part.caption.endswith("Nothing is rare here.")
    assert not any("without a value of this metric" in note for note in part.notes)
    some = small({"a": {0: nothing, 1: nothing, 2: nothing}, "b": {0: 0.5, 1: 0.5, 2: 0.5}})
    assert cells(view(some), "A", "score")[0].text == "–"  # others have it


def test_ranks_leave_out_controls_oracles_and_published_values():
    table = small(
        {
            "a": {0: 0.9, 1: 0.9, 2: 0.9},
            "b": {0: 0.8, 1: 0.8, 2: 0.8},
            "once": {0: 0.7},
            "oracle": {0: 0.99},
            "true_labels": {0: 1.0},
        },
        published=quoted(("Other", "nmi_arithmetic", 0.999)),
    )
    ranks = {m: row(table, m)["rank"] for m in ("a", "b", "once")}
    assert ranks == {"a": 1, "b": 2, "once": 3}
    assert pd.isna(row(table, "oracle")["rank"])
    assert pd.isna(row(table, "true_labels")["rank"])
    part = view(table)
    text, page, tex = in_markdown([part]), in_html([part]), in_latex([part])
    assert re.findall(r"\*\*(.*?)\*\*", text) == ["0.900 ± 0"]
    assert re.findall(r"<u>(.*?)</u>", text) == ["0.800 ± 0"]
    assert re.findall(r"<strong>(0.*?)</strong>", page) == ["0.900 ± 0"]
    assert re.findall(r"\\textbf\{(.*?)\}", tex) == [r"0.900 $\pm$ 0"]
    assert re.findall(r"\\underline\{(.*?)\}", tex) == [r"0.800 $\pm$ 0"]
    assert [heading for heading, _ in part.groups][-1] == "Controls"


def test_what_looks_equal_is_a_tie_without_a_second():
    table = small({"a": {0: 0.90001}, "b": {0: 0.90004}, "c": {0: 0.5}}, seeds=[0])
    assert [row(table, m)["rank"] for m in "abc"] == [1, 1, 3]
    assert in_markdown([view(table)]).count("**0.900**") == 2


def test_lower_is_better_where_the_metric_says_so(monkeypatch):
    monkeypatch.setitem(
        METRICS, "nmi_arithmetic", replace(METRICS["nmi_arithmetic"], better="lower")
    )
    table = small({"a": {0: 0.1}, "b": {0: 0.2}}, seeds=[0])
    assert (row(table, "a")["rank"], row(table, "b")["rank"]) == (1, 2)
    assert [r.title for r in view(table).groups[0][1]] == ["A", "B_1 & <b>"]


def test_clusters_that_only_the_runs_count_are_told_as_such():
    table = small({"a": {0: 0.1}}, seeds=[0])
    assert row(table, "a", "clusters_found")["mean"] == 3
    assert "Clusters found and noise: over all cells, scored or not." in view(table).legend["cost"]
    scored = small({"a": {0: 0.1}}, metrics=["nmi_arithmetic", *comparison.FOUND], seeds=[0])
    assert row(scored, "a", "clusters_found")["mean"] == 0.1
    assert "over all cells" not in view(scored).legend["cost"]


def test_one_method_alone_is_not_the_best():
    assert pd.isna(row(small({"a": {0: 0.1}}, seeds=[0]), "a")["rank"])


def test_published_values_stand_beside_the_method_they_map_to(monkeypatch):
    monkeypatch.setitem(METHODS, "a", replace(METHODS["a"], published_as="A of others"))
    table = small(
        {"a": {0: 0.5}, "b": {0: 0.4}},
        seeds=[0],
        published=quoted(
            ("A of others", "nmi_arithmetic", 0.80),
            ("Elsewhere", "nmi_arithmetic", np.nan),
            ("Elsewhere", "f_lower_bound", 0.7123),
        ),
    )
    part = view(table, WHOLE)
    assert [c.text for c in cells(part, "A", "published")] == ["0.80", ""]
    assert [c.text for c in cells(part, "Elsewhere", "published")] == ["–", "0.7123"]
    assert [c.text for c in heads(part, "published")] == ["NMI", "F lower bound"]
    assert part.notes[heads(part, "published")[0].notes[0]] == "As published: as printed."
    assert [r.title for r in dict(part.groups)["Published, not run here"]] == ["Elsewhere"]
    assert "quoted from a paper, not run here" in part.legend["quality"]


@pytest.mark.parametrize("what", ["simulated", "partial"])
def test_published_numbers_are_never_a_column_beside_a_subset_or_a_simulation(what):
    table = small({"a": {0: 0.5}}, seeds=[0], published=quoted(("A", "nmi_arithmetic", 0.7)))
    facts = {"x": replace(WHOLE["x"], **{what: True})}
    here, apart = dataset.sections(Comparison(table, METRICS, facts))
    assert (here.key, apart.key) == ("x", "x-published")
    assert not heads(here, "published")
    assert [row.title for _, rows in here.groups for row in rows] == ["A"]
    assert "published numbers only" in apart.caption
    assert [c.text for c in cells(apart, "A", "published")] == ["0.70"]


def test_published_numbers_of_a_data_set_that_was_not_run_have_their_own_table():
    other = quoted(("Elsewhere", "nmi_arithmetic", 0.7)).assign(dataset="y")
    table = small({"a": {0: 0.5}}, seeds=[0], published=other)
    parts = dataset.sections(Comparison(table, METRICS, FACTS))
    assert [p.dataset for p in parts] == ["x", "y"]
    assert "not run in this experiment" in parts[1].caption
    assert r"\begin{tabular}{lrr}" in in_latex(parts).split("tab:e-y")[1]


def test_the_caption_says_simulated_subset_n_and_machine():
    part = view(small({"a": {0: 0.5, 1: 0.6, 2: 0.7}}))
    assert part.heading == "X (simulated, subset)"
    assert part.caption == (
        "X (simulated, subset). 10 cells, 2 features, 3 clusters asked for; n = 3 seeds. "
        "Every other cell."
    )
    assert part.legend["machine"] == "Machine: a machine."
    assert "sample standard deviation" in part.legend["general"]


def test_the_caption_says_how_many_genes_methods_see():
    table = small({"a": {0: 0.5}}, seeds=[0])
    genes = {"x": replace(X, n_features=5000, genes={"of": 5000, "names": ["G"] * 2000})}
    assert "5,000 features (methods see 2,000)," in view(table, genes).caption
    assert "methods see" not in view(table).caption


def test_the_number_of_clusters_is_what_the_runs_asked_for(tmp_path):
    (tmp_path / "dataset.json").write_text('{"name": "x", "n_clusters": 10}')
    paths = [tmp_path / "dataset.json"]
    assert comparison.read_facts(paths)["x"].n_clusters == 10
    asked = Status(dataset="x", method="a", n_clusters=15)
    assert comparison.read_facts(paths, [asked])["x"].n_clusters == 15
    assert comparison.read_facts(paths, [replace(asked, n_clusters=0)])["x"].n_clusters == 10
    known = Status(dataset="x", method="oracle", n_clusters=3)
    told = comparison.read_facts(paths, [asked, known], METHODS)
    assert told["x"].n_clusters == 15  # and not what an oracle is told


@pytest.mark.parametrize("change", ["twice", "unknown run", "failed run", "unknown metric"])
def test_tables_that_contradict_themselves_are_refused(change):
    experiment = Plan("E", ["x"], {"a": [0]}, [0], ["nmi_arithmetic"])
    runs = pd.DataFrame([{"dataset": "x", "method": "a", "seed": 0, "status": "ok", "reason": "",
                          "wall_seconds": 1, "peak_memory_mb": 1, "device": "cpu",
                          "clusters_found": 1, "noise_share": 0, "run": "r"}])  # fmt: skip
    scores = pd.DataFrame([{"dataset": "x", "method": "a", "seed": 0, "split": "all",
                            "metric": "nmi_arithmetic", "value": 0.5, "run": "r"}])  # fmt: skip
    comparison.compare(scores, runs, METHODS, METRICS, experiment)
    if change == "twice":
        scores = pd.concat([scores, scores])
    elif change == "unknown run":
        scores = scores.assign(seed=7)
    elif change == "failed run":
        runs = runs.assign(status="timeout")
    else:
        experiment = replace(experiment, metrics=["nmi_aritmetic"])
    with pytest.raises(UserError, match=r"twice|in the table of|ended as timeout|did you mean"):
        comparison.compare(scores, runs, METHODS, METRICS, experiment)


def test_names_are_escaped():
    part = view(small({"b": {0: 0.5}, "c": {0: 0.4}}, seeds=[0]))
    page = in_html([part])
    assert "B_1 &amp; &lt;b&gt;" in page
    assert "<b>" not in page
    tex = in_latex([part])
    assert r"B\_1 \& \textless{}b\textgreater{}" in tex
    assert r"C 100 \%" in tex
    assert "B\\_1 &amp; &lt;b>" in in_markdown([part])


@given(st.text(max_size=40))
def test_no_text_breaks_a_latex_row(text):
    escaped = latex.escape(text)
    bare = re.sub(
        r"\\(text[a-z]+|ldots|dagger|ddagger|pm|times|[lg]eq|mu|S|[&%$#_{},])", "", escaped
    )
    assert not re.search(r"[&%#_~\\]", bare)
    assert escaped.replace(r"\{", "").count("{") == escaped.replace(r"\}", "").count("}")


class _Shape(HTMLParser):
    """Counts the cells of each table row, spans included, and looks at what is nested."""

    def __init__(self):
        super().__init__()
        self.rows, self.open = [], []

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += int(dict(attrs).get("colspan", 1))
            assert tag == "td" or dict(attrs)["scope"]
        if tag not in ("img", "meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    made = synthetic.build(tmp_path_factory.mktemp("results"), n_cells=60)
    published = comparison.read_many([made.published])
    table = comparison.compare(
        comparison.read_many(made.scores), comparison.read_many(made.runs), made.methods,
        made.metrics, made.experiment, published,
    )  # fmt: skip
    return made, table


def test_all_rows_of_a_table_are_equally_wide(everything):
    made, table = everything
    facts = comparison.read_facts(made.datasets)
    parts = dataset.sections(Comparison(table, made.metrics, facts))
    for part in parts:
        shape = _Shape()
        shape.feed(in_html([part]))
        assert not shape.open
        # The first header row leaves two columns to the second, which has none for them.
        assert set(shape.rows[2:]) | {shape.rows[0], shape.rows[1] + 2} == {part.width}
        lines = [t for t in in_markdown([part]).split("\n") if t.startswith("| ")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    for tabular in re.findall(
        r"\\begin\{tabular\}\{(.*?)\}(.*?)\\end\{tabular\}", in_latex(parts), re.S
    ):
        for line in re.findall(r"^(.*) \\\\", tabular[1], re.M):
            spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            assert len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) == len(tabular[0]), line


def test_the_same_input_gives_the_same_bytes_and_csv_keeps_everything(everything, tmp_path):
    made, table = everything
    again = comparison.compare(
        comparison.read_many(made.scores), comparison.read_many(made.runs), made.methods,
        made.metrics, made.experiment, comparison.read_many([made.published]),
    )  # fmt: skip
    assert comparison.to_csv(table) == comparison.to_csv(again)
    path = tmp_path / "table.csv"
    path.write_text(comparison.to_csv(table))
    pd.testing.assert_frame_equal(comparison.read_csv(path), table)
    assert comparison.to_csv(comparison.read_csv(path)) == comparison.to_csv(table)
    facts = comparison.read_facts(made.datasets)
    first, second = (dataset.sections(Comparison(t, made.metrics, facts)) for t in (table, again))
    for write in (in_html, in_latex):
        assert write(first) == write(second)


def test_every_planned_method_has_a_row_for_every_metric(everything):
    _, table = everything
    own = table[table["source"] == "run"]
    assert len(own) == len(synthetic.DATASETS) * len(synthetic.METHODS) * len(synthetic.METRICS)
    gone = own[(own["dataset"] == "tabula_muris_subset") & (own["method"] == "gmm")]
    assert set(gone["status"]) == {"mixed"}
    assert gone["mean"].isna().all()
    assert "time-out" in gone["reason"].iloc[0]
    assert "invalid labels" in gone["reason"].iloc[0]


def test_a_small_negative_number_is_not_minus_zero():
    assert [words.fixed(value) for value in (-0.0001, 0.0, -0.25)] == ["0.000", "0", "-0.250"]
