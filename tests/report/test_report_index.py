"""The index: every experiment that lies in the results folder, and a sentence for each other."""

import json
import re

import numpy as np
import pytest
import synthetic_results as synthetic
from PIL import Image
from test_report_page import Named, data_of, without_libraries

from moesimvae.evaluation import comparison
from moesimvae.report.pages import index as index_page
from moesimvae.report.pages import leaderboard
from moesimvae.report.words import Comparison


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder with one experiment, one verdict and the pictures of one study."""
    made = synthetic.build(tmp_path_factory.mktemp("work"), n_cells=30, datasets=["mnist"])
    folder = made.root / "results" / "demo"
    folder.mkdir()
    table = comparison.compare(
        made.frame("scores"), made.frame("runs"), made.methods, made.metrics, made.experiment
    )
    (folder / "table.csv").write_text(comparison.to_csv(table))
    (folder / "report.html").write_text("<p>")
    made.checks(folder / "quality.csv")
    study = made.root / "results" / "figure2" / "figures"
    study.mkdir(parents=True)
    picture = {"file": "f.png", "dataset": "mnist", "title": "Digits",
               "caption": "Digits & <more>.", "alt": "Ten rows of digits."}  # fmt: skip
    (study / "figures.json").write_text(json.dumps([picture]))
    Image.new("RGB", (40, 20), "white").save(study / "f.png")
    return made


TITLES = {"demo": "A demo & <more>", "table2": "Table 2"}


def test_it_names_what_is_there_and_what_is_not(results):
    html = index_page.index(results.root / "results", TITLES, results.metrics)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", without_libraries(html)))
    assert "A demo &amp; &lt;more&gt;" in text
    assert "Table 2 has not been run here: snakemake --cores 2 table2 runs it." in text
    assert "There are no verdicts here yet" in text
    done, planned = re.search(r">(\d+) of (\d+)</td>", html).groups()
    runs = results.frame("runs")
    ours = runs[~runs["method"].isin(["one_cluster", "random_labels", "true_labels"])]
    assert int(done) == (ours["status"] == "ok").sum() < int(planned) == len(ours)
    assert "● red" in text
    assert "Digits &amp; &lt;more&gt;." in text
    assert 'href="figure2/figures/f.pdf"' in html
    assert 'href="demo/report.html"' in html


def test_its_numbers_lead_to_the_lists_of_runs_on_the_experiments_pages(results):
    html = index_page.index(results.root / "results", TITLES, results.metrics)
    rows = data_of(html, "board-data")["rows"]
    assert {row["experiment"] for row in rows} == {"demo"}
    assert all(row["href"].startswith("demo/report.html#run-mnist-") for row in rows)


def test_runs_that_no_page_lists_are_linked_themselves(results, monkeypatch):
    monkeypatch.setattr("moesimvae.report.words.IN_DETAIL", 0)
    table = comparison.read_csv(results.root / "results/demo/table.csv")
    facts = comparison.read_facts(results.datasets)
    shown = Comparison(table, results.metrics, facts)
    for where, start in (("", "../runs/mnist/"), ("demo/report.html", "runs/mnist/")):
        board = leaderboard.leaderboard([(where, "demo", shown)], results.metrics)
        assert all(row["href"].startswith(start) for row in board["rows"])


def test_metrics_stand_as_the_experiment_lists_them_whichever_method_lacks_one(results):
    table = comparison.read_csv(results.root / "results/demo/table.csv")
    names = list(dict.fromkeys(table["metric"]))
    first = table.iloc[0]
    without = (table["method"] == first["method"]) & (table["metric"] == first["metric"])
    table.loc[without, "mean"] = np.nan
    shown = Comparison(table, results.metrics, {})
    metrics = leaderboard.leaderboard([("", "demo", shown)], results.metrics)["metrics"]
    assert [metric["name"] for metric in metrics] == names


def test_an_empty_results_folder_still_gives_a_page(tmp_path, results):
    html = index_page.index(tmp_path, TITLES, results.metrics)
    assert html.count("has not been run here") == 2
    assert 'id="board"' not in html


def test_verdicts_stand_on_the_index(results, tmp_path):
    import runpy
    from pathlib import Path
    from types import SimpleNamespace

    import yaml

    root = Path(__file__).parents[2]
    folder = tmp_path / "results"
    (folder / "verdict").mkdir(parents=True)
    row = {
        "table": "table1", "published_method": "DEC", "dataset": "mnist", "metric": "ari",
        "definition": "as printed", "published": 0.8, "source": "Table 1", "role": "the paper's",
        "method": "dec", "title": "DEC", "ran_on": "mnist", "split": "all", "mean": 0.79, "n": 1,
        "n_planned": 1, "tolerance": 0.02, "tolerance_reason": "two digits",
        "verdict": "reproduced", "direction": "same", "reason": "within the tolerance.",
        "runs": "runs/mnist/dec/seed0",
    }  # fmt: skip
    columns = [*row, "published_sd", "published_n", "sd", "low", "high", "difference", "ours"]
    text = index_page.pd.DataFrame([row], columns=columns).to_csv(index=False)
    (folder / "verdict" / "verdict.csv").write_text(text)
    (tmp_path / "metrics.yaml").write_text(yaml.safe_dump(results.blocks["metrics"]))
    job = SimpleNamespace(
        input=Named(metrics=tmp_path / "metrics.yaml"), log=[tmp_path / "log"],
        output=Named(index=folder / "index.html"), params=Named(titles=TITLES),
    )  # fmt: skip
    runpy.run_path(str(root / "scripts" / "index.py"), init_globals={"snakemake": job})
    html = (folder / "index.html").read_text()
    assert "Of 1 printed results: 1 reproduced" in html
    assert 'href="runs/mnist/dec/seed0/status.json"' in html
