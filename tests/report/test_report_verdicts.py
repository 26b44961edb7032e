"""The verdicts and the significance as people read them."""

import re

import numpy as np
import pandas as pd
import pytest

from moesimvae.evaluation import finished, quality, statistics, verdicts
from moesimvae.nouns import Facts, Method, Metric, Plan
from moesimvae.report import words
from moesimvae.report.figures import differences, ranks
from moesimvae.report.pages.verdicts import page
from moesimvae.report.style import write
from moesimvae.report.tables import significance
from moesimvae.report.tables import verdicts as report

METRICS = {
    "ari": Metric("higher", title="ARI"),
    "accuracy_hungarian": Metric("higher", title="ACC"),
}


def row(**changed):
    return dict.fromkeys(verdicts.COLUMNS, "") | {
        **{"table": "table1", "published_method": "DEC & Co <1>", "dataset": "mnist"},
        **{"metric": "accuracy_hungarian", "published": 0.8, "published_sd": np.nan},
        **{"published_n": pd.NA, "role": verdicts.PAPER, "title": "Ours", "ran_on": "mnist"},
        **{"split": "all", "mean": 0.81, "low": 0.7, "high": 0.92, "n": 3, "n_planned": 4},
        **{"difference": 0.01, "tolerance": 0.01, "verdict": verdicts.REPRODUCED},
        **{"direction": "same", "reason": "Because.", "runs": "runs/mnist/dec/seed0"},
        **changed,
    }


@pytest.fixture(scope="module")
def table():
    none = {**dict.fromkeys(("mean", "low", "high", "difference"), np.nan), "n": 0, "runs": ""}
    other = {"verdict": verdicts.DIFFERENT, "direction": "worse", "published_method": "VaDE"}
    beyond = {"role": verdicts.BEYOND, "verdict": verdicts.DIFFERENT, "direction": "better"}
    subset = {"verdict": verdicts.NOT_COMPARABLE, "ran_on": "mnist_subset", "table": "table3"}
    setting = {"role": verdicts.SETTING, "verdict": verdicts.NOT_COMPARABLE, "table": "text"}
    rows = [
        row(),
        row(**other, published_sd=0.04, published_n=30),
        row(**beyond),
        row(**subset),
        row(published_method="JULE", verdict=verdicts.NOT_RUN, ran_on="", **none),
        row(**setting, metric="experts", published=10.0, **none),
    ]
    return pd.DataFrame(rows, columns=verdicts.COLUMNS)


@pytest.fixture(scope="module")
def checks():
    rows = [
        ("runs that failed", quality.RED, "mnist", "dec", "no run failed", "timeout <b>"),
        ("controls", quality.GREEN, "", "", "best", "as expected"),
        ("same seed", quality.UNCHECKED, "", "", "same", ""),
    ]
    return {"table1": pd.DataFrame(rows, columns=quality.COLUMNS)}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.8, "0.80"), (0.8606, "0.8606"), (221.66, "221.66"), (2e6, "2,000,000"), (7, "7")],
)
def test_numbers_as_papers_print_them(value, text):
    assert words.large(value) == text


def test_the_headline_counts_the_papers_results_only(table):
    assert report.headline(table) == (
        "Of 4 printed results: 1 reproduced, 0 within noise, 1 not reproduced, 1 not comparable, "
        "1 not run here."
    )


def test_the_page_is_whole_and_escapes_names(table, checks):
    html = page(table, checks, METRICS)
    assert "DEC &amp; Co &lt;1&gt;" in html
    assert "timeout &lt;b&gt;" in html
    assert not re.search(r'(src|href)="https?:', html)  # it loads nothing
    assert 'href="../runs/mnist/dec/seed0/status.json"' in html
    assert html.count('<tr class="beyond">') == 1
    assert "3 of 4" in html
    assert "0.80 ± 0.04 (n = 30)" in html
    assert "run on mnist_subset" in html
    assert "▼ worse" in html
    assert html.count("<details>") == 2  # JULE, and the setting
    for target in re.findall(r'href="#([^"]+)"', html):
        assert f'id="{target}"' in html


def test_markdown_has_whole_tables_and_links_to_the_runs(table, checks):
    text = report.to_markdown(table, checks, METRICS)
    assert "[runs](../runs/mnist/dec)" in text
    assert "JULE" in text
    assert "## Quality control" in text
    widths: dict[int, set[int]] = {}
    block = 0
    for line in text.splitlines():
        if line.startswith("|"):
            widths.setdefault(block, set()).add(len(re.findall(r"(?<!\\)\|", line)))
        else:
            block += 1
    assert all(len(found) == 1 for found in widths.values())


def test_latex_is_escaped_and_balanced(table):
    text = report.to_latex(table, METRICS)
    assert r"DEC \& Co \textless{}1\textgreater{}" in text
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 2
    assert re.sub(r"\\[{}]", "", text).count("{") == re.sub(r"\\[{}]", "", text).count("}")


def test_results_are_read_from_their_files(tmp_path):
    scores = tmp_path / "table1/scores"
    scores.mkdir(parents=True)
    head = "dataset,method,seed,split,metric,value,run\n"
    (scores / "mnist.csv").write_text(head + "mnist,dec,0,all,ari,0.5,runs/mnist/dec/seed0\n")
    (scores / "mnist.runs.csv").write_text("dataset,method,seed,status,reason\nmnist,dec,0,ok,\n")
    (scores / "mnist.populations.csv").write_text("what,else\n1,2\n")
    (tmp_path / "table1/measured.csv").write_text(head + "mnist,vade,0,all,mmd,355,\n")
    checked = ",".join(quality.COLUMNS) + "\ncontrols,green,,,,\n"
    (tmp_path / "table1/quality.csv").write_text(checked)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/quality.csv").write_text("another,table\n1,2\n")
    found, runs, datasets, checks = finished.read_results(tmp_path.rglob("*.csv"))
    assert set(found["method"]) == {"dec", "vade"}
    assert len(runs) == 1
    assert datasets == {}
    assert list(checks) == ["table1"]
    nothing = finished.read_results([])
    assert len(nothing[0]) == len(nothing[1]) == 0


# --- significance


METHODS = {m: Method(m.title()) for m in ("good", "fair", "poor")}
TITLES = {name: method.title for name, method in METHODS.items()}


@pytest.fixture(scope="module")
def compared():
    rng = np.random.default_rng(0)
    level = {"good": 0.9, "fair": 0.7, "poor": 0.5}
    rows = [
        {
            **{"dataset": f"d{i}", "method": m, "seed": k, "split": "all", "metric": "ari"},
            "value": level[m] + rng.normal(0, 0.01),
        }
        for i in range(8)
        for m in METHODS
        for k in range(5)
    ]
    experiment = Plan("Trial", [], dict.fromkeys(METHODS, range(5)), metrics=["ari"])
    return statistics.significance(pd.DataFrame(rows), METHODS, METRICS, experiment)


def test_pictures_of_a_tested_experiment(compared, tmp_path):
    facts = {f"d{i}": Facts(title=f"Data {i}") for i in range(8)}
    drawn = [
        *ranks.pictures(compared, TITLES, METRICS),
        *differences.pictures(compared, TITLES, METRICS, facts),
    ]
    assert [picture.name for picture in drawn][:2] == ["ranks_ari", "differences_d0"]
    assert "8 data sets" in drawn[0].caption
    write(drawn[:2], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"ranks_ari.png", "differences_d0.pdf"}


def test_what_is_said_of_it(compared):
    text = significance.to_markdown(compared, TITLES, METRICS, "Trial")
    assert "average ranks Good 1.00, Fair 2.00, Poor 3.00" in text
    assert "Good and Poor" in text
    assert "Best mean: Good." in text
    assert "| Fair | -0." in text


def test_against_turns_differences_round():
    part = pd.DataFrame(
        {
            **{"method_a": ["a"], "method_b": ["b"], "difference": [0.2], "low": [0.1]},
            **{"high": [0.3], "n": [5], "different": ["yes"]},
        }
    )
    to_a = statistics.against(part, "a").iloc[0]
    assert (to_a["other"], to_a["difference"], to_a["low"], to_a["high"]) == ("b", -0.2, -0.3, -0.1)
    to_b = statistics.against(part, "b").iloc[0]
    assert (to_b["other"], to_b["difference"], to_b["low"]) == ("a", 0.2, 0.1)
