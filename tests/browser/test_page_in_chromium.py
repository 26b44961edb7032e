"""The page as its reader meets it, in a real browser: sorting, filters, links, a phone, print."""

import base64
import json
import shutil
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic
from PIL import Image, ImageDraw
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from moesimvae import files
from moesimvae.evaluation import comparison
from moesimvae.nouns import Facts, Method, Metric, Plan, Status
from moesimvae.report.pages import index, viewer
from moesimvae.report.pages.experiment import page
from moesimvae.report.words import Comparison
from moesimvae.studies.views import read_spaces

pytestmark = pytest.mark.slow


def picture_folder(folder, datasets, many=1):
    """Pictures like those that an experiment's data sets have."""
    folder.mkdir(parents=True)
    said = []
    rng = np.random.default_rng(0)
    for dataset in datasets:
        for i in range(many):
            name = f"scores_{dataset}_{i}.png"
            image = Image.new("RGB", (1150, 600), "white")
            draw = ImageDraw.Draw(image)
            for x, y, *colour in rng.integers(0, (1150, 600, 255, 255, 255), (1500, 5)):
                draw.ellipse((x, y, x + 6, y + 6), tuple(map(int, colour)))
            image.save(folder / name)
            said.append({"file": name, "dataset": dataset, "title": f"Scores {i} on {dataset}",
                         "caption": "Dots.", "alt": "Dots of many colours."})  # fmt: skip
    (folder / "figures.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """results/ with one experiment's page and the index."""
    made = synthetic.build(
        tmp_path_factory.mktemp("work"), n_cells=300, datasets=["mnist", "tabula_muris_subset"]
    )
    made.blocks["methods"]["louvain"]["uses_prior"] = True
    results = made.root / "results"
    table = comparison.compare(
        made.frame("scores"), made.frame("runs"), made.methods, made.metrics, made.experiment,
        comparison.read_many([made.published]),
    )  # fmt: skip
    facts = comparison.read_facts(made.datasets)
    clustered = {d: [results / f"runs/{d}/moe_sim_vae/seed0"] for d in facts}
    projections = [path for path in made.projections if path.name == "seed0.parquet"]
    views = [
        viewer.viewed(spaces, made.methods, facts[spaces.dataset].title)
        for spaces in read_spaces(projections, made.labels, clustered)
    ]
    runs = made.frame("runs")
    statuses = {
        run: Status.of(files.read_json(results / run / "status.json")) for run in runs["run"]
    }
    figures = picture_folder(results / "demo" / "figures", facts)
    shown = Comparison(table, made.metrics, facts)
    html = page(shown, runs, statuses, made.experiment, made.methods, [figures], views)
    (results / "demo" / "report.html").write_text(html)
    (results / "demo" / "table.csv").write_text(comparison.to_csv(table))
    titles = {"demo": "Eleven methods", "table2": "Table 2"}
    (results / "index.html").write_text(index.index(results, titles, made.metrics))
    return results


def rows(browser):
    """The leaderboard's rows, each a list of texts."""
    script = (
        "return [...document.querySelectorAll('#board tbody tr')]"
        ".map(tr => [...tr.cells].map(td => td.innerText.replaceAll('\u00a0', ' ')))"
    )
    return browser.run(script)


def heads(browser):
    script = "return [...document.querySelectorAll('#board thead th')].map(th => th.innerText)"
    return [text.strip() for text in browser.run(script)]


def first_numbers(browser, title):
    column = heads(browser).index(title)
    shown = [row[column].split()[0] for row in rows(browser)]
    return [float(text) for text in shown if text not in ("DNF", "–")]


def pick(browser, name, text):
    Select(browser.find(f"#filters [name={name}]")).select_by_visible_text(text)


def test_a_click_on_a_heading_sorts_and_says_so(desktop, site):
    desktop.open(site / "demo" / "report.html")
    best_first = first_numbers(desktop, "NMI")
    assert best_first == sorted(best_first, reverse=True)
    assert len(best_first) > 5
    column = heads(desktop).index("ARI") + 1
    heading = desktop.find(f"#board thead th:nth-child({column})")
    says = f"return document.querySelectorAll('#board thead th')[{column - 1}].ariaSort"
    heading.click()  # DataTables sorts in a later task of the page
    desktop.wait(f"{says} === 'descending'")
    ari = first_numbers(desktop, "ARI")
    assert ari == sorted(ari, reverse=True)
    heading.find_element("css selector", "[tabindex='0']").send_keys(Keys.ENTER)
    desktop.wait(f"{says} === 'ascending'")
    ari = first_numbers(desktop, "ARI")
    assert ari == sorted(ari)
    assert desktop.complaints() == []


def test_the_leaderboard_shows_all_its_columns_on_a_desk(desktop, site):
    desktop.open(site / "demo" / "report.html")
    hidden = (
        "const board = document.querySelector('#board'); const frame = board.closest('.scroll');"
    )
    assert desktop.run(f"{hidden} return frame.scrollWidth - frame.clientWidth") == 0


def test_rows_are_filtered_by_data_set_metric_and_kind(desktop, site):
    desktop.open(site / "demo" / "report.html")
    names = [row[0] for row in rows(desktop)]
    assert "Louvain ‡" in names
    assert not [name for name in names if "by label" in name or "control" in name]
    desktop.find("#filters [name=oracle]").click()
    assert "Louvain, resolution by label §" in [row[0] for row in rows(desktop)]
    desktop.find("#filters [name=prior]").click()
    assert "Louvain ‡" not in [row[0] for row in rows(desktop)]
    desktop.find("#filters [name=control]").click()
    assert any("True labels" in row[0] for row in rows(desktop))
    desktop.find("#filters [name=published]").click()
    assert any("JULE [22]" in row[0] for row in rows(desktop))
    pick(desktop, "dataset", "Mouse organs <FACS & v2> (subset)")
    assert not any("JULE [22]" in row[0] for row in rows(desktop))
    assert "Mouse organs <FACS & v2>" in desktop.find("#board caption").text
    pick(desktop, "dataset", "all data sets")
    assert {row[1] for row in rows(desktop)} == {"MNIST", "Mouse organs <FACS & v2> (subset)"}
    pick(desktop, "metric", "ARI")
    assert heads(desktop)[2:4] == ["ARI", "Seeds"]
    assert desktop.complaints() == []


def test_the_statistic_over_seeds_can_be_chosen(desktop, site):
    table = comparison.read_csv(site / "demo" / "table.csv")
    row = table[(table["dataset"] == "mnist") & (table["method"] == "gmm")
                & (table["metric"] == "ari")].iloc[0]  # fmt: skip
    values = list(comparison.values(row).values())
    desktop.open(site / "demo" / "report.html")
    for name, value in (("min", min(values)), ("max", max(values)),
                        ("median", np.median(values)), ("mean", np.mean(values))):  # fmt: skip
        pick(desktop, "statistic", name)
        shown = next(r for r in rows(desktop) if r[0] == "Gaussian mixture")
        assert shown[heads(desktop).index("ARI")].split()[0] == f"{value:.3f}"


def test_a_click_leads_from_a_number_to_its_run(desktop, site):
    desktop.open(site / "demo" / "report.html")
    row = next(tr for tr in desktop.find_all("#board tbody tr") if "k-means" in tr.text)
    row.find_element("css selector", "a").click()
    record = desktop.find("#run-mnist-kmeans")
    desktop.wait("return document.querySelector('#run-mnist-kmeans').open")
    assert record.is_displayed()
    assert "results/runs/mnist/kmeans/seed0" in record.text
    assert "ab" * 32 in record.text
    desktop.wait("const box = document.querySelector('#run-mnist-kmeans').getBoundingClientRect();"
                 "return box.top > -5 && box.top < innerHeight")  # fmt: skip
    record.find_element("css selector", "[href$='seed1/status.json']").click()
    desktop.wait("return location.pathname.endsWith('runs/mnist/kmeans/seed1/status.json')")
    assert json.loads(desktop.find("body").text)["seed"] == 1


def test_from_the_index_to_a_run_on_an_experiments_page(desktop, site):
    desktop.open(site / "index.html")
    assert "Table 2 has not been run here" in desktop.find("main").text
    row = next(tr for tr in desktop.find_all("#board tbody tr") if "k-means" in tr.text)
    row.find_element("css selector", "a").click()
    desktop.wait("return document.querySelector('#run-mnist-kmeans')?.open")
    assert desktop.complaints() == []


DRAWN = "return document.querySelectorAll('#groups-right button').length > 5"


def test_it_begins_with_the_result_and_not_with_text(desktop, site):
    desktop.open(site / "demo" / "report.html")
    bottom = "return document.querySelector('{}').getBoundingClientRect().bottom"
    assert desktop.run(bottom.format("#overview")) < 900
    assert desktop.run("return document.querySelector('main > section').id") == "glance"
    drawn = desktop.run(
        "return [...document.querySelectorAll('#overview tbody tr:first-child .circle i')]"
        ".map(i => i.getBoundingClientRect().width)"
    )
    assert len(drawn) > 5
    assert all(5 < width < 25 for width in drawn)
    frame = "const f = document.querySelector('#glance .scroll');"
    assert desktop.run(f"{frame} return f.scrollWidth - f.clientWidth") == 0


def column_of(browser, title):
    heads = browser.run("return [...document.querySelectorAll('#overview thead tr:last-child th')]"
                        ".map(th => th.innerText.trim())")  # fmt: skip
    i = heads.index(title)
    shown = browser.run("return [...document.querySelectorAll('#overview tbody tr')].map(tr => "
                        "tr.cells[arguments[0]].textContent.trim())", i)  # fmt: skip
    return i, shown


def test_the_overview_is_sorted_by_its_heads_also_on_the_keyboard(desktop, site):
    desktop.open(site / "demo" / "report.html")
    _, ranks = column_of(desktop, "Rank")
    given = [int(rank) for rank in ranks if rank != "–"]
    assert given == sorted(given)
    i, _ = column_of(desktop, "Seconds")
    head = desktop.find_all("#overview thead tr:last-child th")[i]
    for order in ("ascending", "descending"):
        head.find_element("css selector", "[tabindex='0']").send_keys(Keys.ENTER)
        desktop.wait(
            f"return document.querySelectorAll('#overview thead tr:last-child th')[{i}].ariaSort"
            f" === '{order}'"
        )
        seconds = [float(s.replace(",", "")) for s in column_of(desktop, "Seconds")[1] if s != "–"]
        assert seconds == sorted(seconds, reverse=order == "descending")


def test_the_overviews_numbers_can_be_read_and_shown(desktop, site):
    desktop.open(site / "demo" / "report.html")
    number = desktop.find("#overview tbody td.circle span")
    assert number.get_attribute("textContent").startswith("0.")  # for a screen reader, always
    width = "return document.querySelector('#overview tbody td.circle i').offsetWidth"
    assert desktop.run(width) > 0
    desktop.find("#numbers").click()
    assert desktop.run(width) == 0
    assert number.is_displayed()


def test_latent_spaces_are_open_by_truth_and_by_cluster(desktop, site):
    desktop.open(site / "demo" / "report.html")
    desktop.wait(DRAWN)
    find = "Bokeh.documents.at(-1).get_model_by_name('{}')"
    cells = find.format("cells") + ".data"
    assert desktop.run(f"return {cells}.x.length") == 300
    sides = desktop.run(
        "const { left, right } = document.querySelector('#view').elements;"
        "return [left, right].map(side => side.selectedOptions[0].text)"
    )
    assert sides[0] == "True label"
    assert sides[1].startswith("MoE-Sim-VAE (")
    before = desktop.run(f"return {cells}.right_colour")
    colouring = Select(desktop.find("#view [name=right]"))
    colouring.select_by_index(0)
    assert desktop.run(f"return {cells}.right_colour") == desktop.run(f"return {cells}.left_colour")
    colouring.select_by_index(1)
    assert desktop.run(f"return {cells}.right_colour") == before
    left, right = (find.format(side) + ".x_range" for side in ("left", "right"))
    width = "return {0}.end - {0}.start"
    whole = desktop.run(width.format(left))
    desktop.find("#view [name=in]").click()
    assert desktop.run(width.format(left)) == desktop.run(width.format(right)) < whole
    desktop.find("#space-right").send_keys("0")
    assert desktop.run(width.format(left)) == pytest.approx(whole)
    desktop.find("#groups-left button").click()
    assert desktop.find("#groups-left button").get_attribute("aria-pressed") == "true"
    assert desktop.run(f"return new Set({cells}.alpha).size") == 2
    assert "300 of 300 cells" in desktop.find("#space-said").text
    assert desktop.complaints() == []


def test_it_can_be_read_in_the_dark(desktop, site):
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    desktop.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    try:
        desktop.open(site / "demo" / "report.html")
        style = "const s = getComputedStyle(document.querySelector('{}')); return s.{}"
        assert desktop.run(style.format("body", "backgroundColor")) == "rgb(22, 24, 27)"
        assert desktop.run(style.format("h1", "color")) == "rgb(232, 232, 230)"
        assert desktop.run(style.format("figure img", "backgroundColor")) == "rgb(255, 255, 255)"
    finally:
        desktop.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_phone_shows_it_without_scrolling_sideways(phone, site):
    for path in (site / "demo" / "report.html", site / "index.html"):
        phone.open(path)
        assert phone.run("return document.documentElement.scrollWidth") <= 390
        assert len(heads(phone)) == 5  # method, one metric, seeds, seconds, memory
    phone.open(site / "demo" / "report.html", "#spaces")
    phone.wait(DRAWN)
    assert phone.run("return document.documentElement.scrollWidth") <= 390
    assert phone.complaints() == []


def test_print_unfolds_what_is_folded_and_hides_the_controls(desktop, site, tmp_path):
    desktop.open(site / "demo" / "report.html")
    desktop.wait(DRAWN)
    desktop.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not desktop.find("#filters").is_displayed()
        assert not desktop.find("#view").is_displayed()
        assert desktop.find("#space-left").is_displayed()
        frame = "const f = document.querySelector('#overview');"
        assert desktop.run(f"{frame} return f.scrollWidth - f.parentElement.clientWidth") <= 0
        height = "return document.querySelector('#run-mnist-gmm').getBoundingClientRect().height"
        assert desktop.run(height) > 100
    finally:
        desktop.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert desktop.run(height) < 60
    pdf = desktop.driver.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert base64.b64decode(pdf).startswith(b"%PDF")


def test_it_can_be_read_with_the_keyboard_and_a_screen_reader(desktop, site):
    for path in (site / "demo" / "report.html", site / "index.html"):
        desktop.open(path)
        desktop.find("body").send_keys(Keys.TAB)
        assert desktop.run("return document.activeElement.className") == "skip"
        unnamed = desktop.run(
            "return [...document.querySelectorAll('select, input, button, summary, a, img')]"
            ".filter(e => !(e.textContent.trim() || e.alt || e.ariaLabel || e.labels?.length))"
            ".map(e => e.outerHTML.slice(0, 80))"
        )
        assert unnamed == []
        bare = desktop.run(
            "return [...document.querySelectorAll('thead th')].filter(e => !e.scope).length"
        )
        assert bare == 0
        levels = desktop.run(
            "return [...document.querySelectorAll('h1, h2, h3')].map(h => +h.tagName[1])"
        )
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        ids = desktop.run("return [...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids))


# --- twenty methods on ten data sets, 60,000 points in each projection ---------------------------

METHODS, DATASETS, CELLS = 20, 10, 60_000


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    """The page of such an experiment, with as many latent spaces and pictures as it could have."""
    root = tmp_path_factory.mktemp("heavy") / "results"
    rng = np.random.default_rng(0)
    methods = {
        f"m{i}": Method(
            f"Method {i} of twenty", params={"n": i}, reference=f"Somebody ({1990 + i})"
        )
        for i in range(METHODS)
    }
    metrics, seeds = Metric.by_name(synthetic.metrics_block()), [0, 1, 2]
    experiment = Plan(
        "Twenty on ten", [f"d{i}" for i in range(DATASETS)], dict.fromkeys(methods, seeds),
        metrics=[*metrics], name="heavy",
    )  # fmt: skip
    made = synthetic._status("mnist", "kmeans", 0, 10, rng)
    cells = [f"cell{i}" for i in range(CELLS)]
    scores, runs, statuses, labels, projections, clustered, facts = [], [], {}, [], [], {}, {}
    for d in experiment.datasets:
        folder = root / "data" / d
        folder.mkdir(parents=True)
        truth = rng.integers(0, 20, CELLS)
        names = np.array([f"Population {k}" for k in range(20)])
        frame = pd.DataFrame({"cell": cells, "label": names[truth], "scored": True})
        frame.to_parquet(folder / "labels.parquet")
        labels.append(folder / "labels.parquet")
        facts[d] = Facts(
            d, f"Data set {d}", CELLS, n_features=30, n_clusters=20, citation="Somebody",
            licence="CC0", features_sha256="ab" * 32,
        )  # fmt: skip
        first = root / "projections" / d / "m0" / "seed0.parquet"
        first.parent.mkdir(parents=True)
        points = rng.normal(0, 9, (20, 2))[truth] + rng.normal(0, 1, (CELLS, 2))
        pd.DataFrame({"cell": cells, "x": points[:, 0], "y": points[:, 1]}).to_parquet(first)
        found = root / "runs" / d / "m0" / "seed0" / "labels.parquet"
        found.parent.mkdir(parents=True)
        pd.DataFrame({"cell": cells, "label": truth.astype("int32")}).to_parquet(found)
        found.with_name("status.json").write_text("{}")
        clustered[d] = []
        for m in methods:
            copy, own = (path.parents[1] / m for path in (first, found.parent))
            if m != "m0":
                shutil.copytree(first.parent, copy)
                shutil.copytree(found.parents[1], own)
            projections.append(copy / "seed0.parquet")
            clustered[d].append(own / "seed0")
            for seed in seeds:
                run = f"runs/{d}/{m}/seed{seed}"
                status = made | {"dataset": d, "method": m, "seed": seed}
                statuses[run] = Status.of(status)
                runs.append({k: status[k] for k in synthetic.RUN_COLUMNS[:-1]}
                            | {"run": run})  # fmt: skip
                scores += [{"dataset": d, "method": m, "seed": seed, "split": "all", "run": run,
                            "metric": metric, "value": rng.random()}
                           for metric in list(metrics)[:6]]  # fmt: skip
    table = comparison.compare(
        pd.DataFrame(scores), pd.DataFrame(runs), methods, metrics, experiment
    )
    titles = {name: fact.title for name, fact in facts.items()}
    views = [
        viewer.viewed(spaces, methods, titles[spaces.dataset])
        for spaces in read_spaces(projections, labels, clustered)
    ]
    figures = picture_folder(root / "heavy" / "figures", facts, many=6)
    shown = Comparison(table, metrics, facts)
    html = page(shown, pd.DataFrame(runs), statuses, experiment, methods, [figures], views)
    path = root / "heavy" / "report.html"
    path.write_text(html)
    return path, views


def test_a_heavy_page_stays_below_ten_megabytes(heavy):
    path, views = heavy
    size = path.stat().st_size
    shown = sum(len(view["spaces"]) for view in views)
    each = views[0]["cells"]
    print(f"\n{size / 1e6:.2f} MB with {shown} latent spaces, {each} cells in each")
    assert len(views) == DATASETS
    assert all(len(view["spaces"]) == METHODS for view in views)
    assert min(view["cells"] for view in views) > 500
    assert size < 10e6


def test_a_heavy_page_builds_little_before_it_is_asked(heavy, desktop):
    """Counts, since seconds depend on the machine: elements and layouts."""
    path, _ = heavy
    desktop.driver.execute_cdp_cmd("Performance.enable", {})
    desktop.open(path)
    told = desktop.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    layouts = next(m["value"] for m in told if m["name"] == "LayoutCount")
    elements = desktop.run("return document.querySelectorAll('*').length")
    print(f"\n{elements} elements, laid out {layouts:.0f} times")
    assert elements < 50_000
    assert layouts < 100
    desktop.wait(DRAWN)
    assert len(rows(desktop)) == METHODS
    assert desktop.complaints() == []
