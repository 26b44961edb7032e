"""The page and the scripts that the workflow runs, from files to files."""

import base64
import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import synthetic_results as synthetic

from moesimvae.evaluation import comparison, ranking, reference
from moesimvae.nouns import Facts, Metric
from moesimvae.report.pages import pictures, summary, viewer
from moesimvae.report.tables import reference as tables
from moesimvae.report.words import Comparison
from moesimvae.studies import views

SCRIPTS = Path(__file__).parents[2] / "scripts"


class Named(dict):
    """What Snakemake hands a script: names as attributes, positions by index."""

    def __getattr__(self, name):
        return self[name]

    def __getitem__(self, key):
        return list(self.values())[key] if isinstance(key, int) else super().__getitem__(key)


def run_script(name, folder, output, params=None, **given):
    job = SimpleNamespace(
        input=Named(given), output=Named(output), params=Named(params or {}), log=[folder / "log"]
    )
    runpy.run_path(str(SCRIPTS / f"{name}.py"), init_globals={"snakemake": job})


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The four scripts in the workflow's order; the folder results/demo."""
    root = tmp_path_factory.mktemp("work")
    made = synthetic.build(root, n_cells=45, datasets=["mnist", "tabula_muris_subset"])
    made.block["title"] = "<script>alert(1)</script> & all"
    registry = made.write_registries()
    demo = root / "results" / "demo"
    common = registry | {"runs": made.runs, "datasets": made.datasets}
    run_dirs = [path.parent for path in made.statuses]
    synthetic.say_how_sure(run_dirs[0].parents[2] / "mnist/moe_sim_vae/seed0/status.json")
    params = {"experiment": made.block}
    showcase = [d for d in run_dirs if d.parts[-2:] == ("moe_sim_vae", "seed0")]
    projections, decoded = [], []
    for folder, features in zip(showcase, made.features, strict=True):
        projections.append(root / "projections" / Path(*folder.parts[-3:]).with_suffix(".parquet"))
        projections[-1].parent.mkdir(parents=True)
        run_script("project", root, {"projection": projections[-1]}, run=folder)
        decoded.append(projections[-1].with_suffix(".experts.parquet"))
        run_script("reconstruct", root, {"decoded": decoded[-1]}, run=folder, features=features)
    remark = root / "remark.txt"
    remark.write_text("Two metrics & one <column>. Not comparable.\n")
    output = {kind: demo / f"table.{kind}" for kind in ("csv", "tex", "md", "html")}
    output |= {"by_dataset": demo / "by_dataset.csv", "by_dataset_tex": demo / "by_dataset.tex"}
    run_script(
        "table", root, output, params, scores=made.scores, run_dirs=run_dirs,
        published=str(made.published), remark=[remark], **common,
    )  # fmt: skip
    run_script(
        "figures", root, {"figures": demo / "figures"}, params, table=demo / "table.csv",
        labels=made.labels, projections=projections, showcase=showcase, decoded=decoded,
        features=made.features, populations=made.populations, **common,
    )  # fmt: skip
    made.checks(demo / "quality.csv")
    (demo / "significance").mkdir()
    (demo / "significance" / "figures.json").write_text("[]")
    (demo / "significance.md").touch()
    clustered = {name: [f"runs/{name}/moe_sim_vae/seed0", f"runs/{name}/gmm/seed0"]
                 for name in made.experiment.datasets}  # fmt: skip
    run_script(
        "page", root, {"report": demo / "report.html"}, params | {"clustered": clustered},
        table=demo / "table.csv", figures=demo / "figures", significance=demo / "significance",
        quality=demo / "quality.csv", run_dirs=run_dirs, remark=[remark], projections=projections,
        labels=made.labels, **common,
    )  # fmt: skip
    return demo


def test_the_scripts_leave_what_the_workflow_promises(report):
    assert {p.name for p in report.iterdir()} == {
        "table.csv", "table.tex", "table.md", "table.html", "figures", "report.html",
        "by_dataset.csv", "by_dataset.tex", "quality.csv", "significance", "significance.md",
    }  # fmt: skip
    names = {p["file"] for p in json.loads((report / "figures" / "figures.json").read_text())}
    assert "latent_mnist_moe_sim_vae_seed0.png" in names
    assert "losses_tabula_muris_subset_moe_sim_vae.png" in names
    assert "confusion_mnist_moe_sim_vae_seed0.png" in names
    assert "spread.png" in names
    assert not [name for name in names if name.startswith(("markers", "experts", "violins"))]
    html, tex = (report / "table.html").read_text(), (report / "table.tex").read_text()
    assert "Two metrics &amp; one &lt;column&gt;" in html
    assert r"Two metrics \& one \textless{}column" in tex


def without_libraries(html):
    """The page without what DataTables and Bokeh brought along."""
    html = re.sub(r'(<script type="text/plain"[^>]*>).*?</script>', "", html, flags=re.DOTALL)
    return re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


def test_the_page_loads_nothing_and_describes_every_picture(report):
    html = (report / "report.html").read_text()
    assert html.count("</script>") == 7  # no text ends a script before its end
    assert len(html) < 5e6
    html = without_libraries(html)
    assert "<link" not in html
    assert "url(" not in html
    assert "@import" not in html
    sources = re.findall(r'\ssrc="([^"]*)"', html)
    names = json.loads((report / "figures" / "figures.json").read_text())
    assert len(sources) == len(names) - 1 > 10  # the overview is the page's own
    assert "lazy" not in html
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    images = re.findall(r"<img [^>]*>", html)
    assert all(re.search(r'alt="[^"]{20,}"', image) for image in images)


def test_it_begins_with_every_method_at_a_glance(report):
    html = without_libraries((report / "report.html").read_text())
    glance = html[html.index('<section id="glance"') : html.index("</section>")]
    table = comparison.read_csv(report / "table.csv")
    found = ranking.rank(table, Metric.by_name(synthetic.metrics_block()))
    rows = re.findall(r"<tr><td class=\"rank\".*?</tr>", glance)
    assert len(rows) == len(found.of_methods)
    assert "MoE-Sim-VAE" in rows[0]
    assert f"<span>{found.of_methods['mean'].iloc[0]:.3f}</span>" in rows[0]
    assert "DNF" in glance
    assert "stopped after 60 minutes" in glance  # what one reads at a number that is not there
    assert "of all metric weightings" in glance
    assert "not comparable with results on the full data sets" in glance
    assert (report / "figures" / "overview.pdf").exists()


def test_its_links_lead_somewhere(report):
    html = (report / "report.html").read_text()
    board = data_of(html, "board-data")
    html = without_libraries(html)
    links = re.findall(r'<a [^>]*href="([^"]*)"', html)
    links += [row["href"] for row in board["rows"] if row["kind"] != "published"]
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert not [link for link in links if link.startswith("#") and link[1:] not in ids]
    files = [link for link in links if not re.match("#|https:|../index.html", link)]
    assert len([f for f in files if f.endswith("status.json")]) > 60
    assert not [link for link in files if not (report / link).resolve().exists()]


def data_of(html, name):
    return json.loads(re.search(rf'id="{name}">(.*?)</script>', html, re.DOTALL)[1])


def test_every_number_leads_to_runs_with_their_provenance(report):
    html = without_libraries((report / "report.html").read_text())
    cells = re.findall(r'<td class="number"><a href="#(run-mnist-[^"]*)">', html)
    assert "run-mnist-moe_sim_vae" in cells
    assert len(cells) > 80
    record = re.search(r'<details class="record" id="run-mnist-gmm">.*?</details>', html, re.S)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", record[0]))
    for phrase in (
        "3 of 3 runs finished", "snakemake --cores 1 -- results/runs/mnist/gmm/seed0",
        "ab" * 32, "cd" * 32, "Parameters",
    ):  # fmt: skip
        assert phrase in text, phrase
    assert 'href="../runs/mnist/gmm/seed1/status.json"' in record[0]
    assert 'href="#machine-1"' in record[0]


def test_the_leaderboard_holds_every_row_and_statistic(report):
    board = data_of((report / "report.html").read_text(), "board-data")
    rows = {(row["method"], row["dataset"], row["kind"]): row for row in board["rows"]}
    table = comparison.read_csv(report / "table.csv")
    values = table[
        (table["method"] == "gmm") & (table["dataset"] == "mnist") & (table["metric"] == "ari")
    ]["values"]
    seeds = list(json.loads(values.iloc[0]).values())
    told = rows["Gaussian mixture", "MNIST", "method"]["scores"]["ari"]
    want = [np.mean(seeds), np.median(seeds), min(seeds), max(seeds), np.std(seeds, ddof=1)]
    assert np.allclose(told, want, atol=1e-5)
    assert {row["kind"] for row in board["rows"]} == {"method", "oracle", "control", "published"}
    lost = rows["Fuzzy c-means, m < 2 & 100 %", "MNIST", "method"]
    assert lost["dnf"] == "DNF: time-out"
    assert not lost["scores"]


def test_latent_spaces_hold_the_cells_and_the_colours_of_their_labels(report):
    view = data_of((report / "report.html").read_text(), "cells-mnist")
    assert view["cells"] == view["of"] == 45
    assert [space["title"] for space in view["spaces"]] == ["MoE-Sim-VAE, seed 0"]
    xy = np.frombuffer(base64.b64decode(view["spaces"][0]["xy"]), "<i2").reshape(2, -1)
    assert xy.shape == (2, 45)
    assert np.abs(xy).max() == 32767
    truth, found = view["colours"]  # the other run left no labels
    assert found["title"].startswith("MoE-Sim-VAE (")
    codes = np.frombuffer(base64.b64decode(truth["codes"]), "u1")
    assert codes.max() < len(truth["names"]) == len(truth["colours"])
    by_name = dict(zip(truth["names"], truth["colours"], strict=True))
    matched = [name for name in found["names"] if ": " in name]
    assert matched
    colours = dict(zip(found["names"], found["colours"], strict=True))
    shades = {colours[name] for name in matched}
    assert shades & set(by_name.values())


def test_many_views_share_the_pages_bytes(tmp_path):
    made = synthetic.build(tmp_path, n_cells=400, datasets=["mnist", "levine_32dim"])
    runs = {
        d: [tmp_path / f"results/runs/{d}/moe_sim_vae/seed0"] for d in ("mnist", "levine_32dim")
    }
    paths = [path for path in made.projections if path.name == "seed0.parquet"]

    def viewed():
        read = views.read_spaces(paths, made.labels, runs)
        return [viewer.viewed(spaces, made.methods, "A") for spaces in read]

    some = viewed()
    assert [view["cells"] for view in some] == [400, 400]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "MOST_BYTES", 8000)
        few = viewed()
    assert few[0]["cells"] == few[1]["cells"] < 400
    assert len(json.dumps([view["spaces"] for view in few])) < 8000
    assert viewed() == some


def test_pictures_beyond_the_pages_share_are_reduced_and_say_so(report, monkeypatch):
    whole = pictures.pictures_of([report / "figures"], report)["mnist"]
    monkeypatch.setattr(pictures, "MOST_BYTES", 100_000)
    small = pictures.pictures_of([report / "figures"], report)["mnist"]
    assert not any(p["reduced"] for p in whole)
    assert all(p["reduced"] for p in small)
    assert sum(len(p["uri"]) for p in small) < sum(len(p["uri"]) for p in whole)
    assert [p["width"] for p in small] == [p["width"] for p in whole]


def test_names_from_data_and_configuration_are_escaped(report):
    html = without_libraries((report / "report.html").read_text())
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; all" in html
    assert "Mouse organs &lt;FACS &amp; v2&gt;" in html
    assert "Xeon &lt;Gold&gt; 6230 &amp; co" in html
    assert not re.search(r"<(FACS|covariance|Gold)", html)


def test_how_sure_the_clusters_are_has_a_section_with_its_pictures(report):
    html = without_libraries((report / "report.html").read_text())
    section = html.partition('<section id="sureness"')[2].partition("</section>")[0]
    assert "Cells of clusters 1 and 2 fall into one group 43% of the time." in section
    assert ">2?</th>" in section
    pictures = json.loads((report / "figures/figures.json").read_text())
    sure = [p["title"] for p in pictures if p["file"].startswith("sure_")]
    assert len(sure) == 2
    for title in sure:  # there, and nowhere else
        assert html.count(f'aria-label="{title}"') == section.count(f'aria-label="{title}"') == 1


def test_it_says_what_a_reader_must_know(report):
    html = without_libraries((report / "report.html").read_text())
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html))
    for phrase in (
        "DNF: time-out", "stopped after 60 minutes", "Noise (-1) counts as one cluster",
        "CC BY-SA 3.0", "Subset.", "Given K", "snakemake --cores 2 demo", "cd" * 32, "ab" * 32,
        "torch 2.13.0", "Quoted as printed", "not ranked", "Two metrics &amp; one",
        "Spread over runs", "no run failed", "How to cite", "10.1371/journal.pcbi.1009086",
        "not comparable with results on the full data sets: Mouse",
    ):  # fmt: skip
        assert phrase.lower() in text.lower(), phrase


def summary_of(values):
    """The sentence about two methods with these values on one data set."""
    import test_report_tables as small

    table = small.small(values, seeds=sorted({s for v in values.values() for s in v}))
    return summary.summary(Comparison(table, small.METRICS, small.FACTS))


def test_the_summary_claims_no_more_than_the_seeds_show():
    apart = summary_of({"a": {0: 0.9, 1: 0.91}, "d": {0: 0.5, 1: 0.51}})
    assert any("A 0.905 (n = 2, 0.900–0.910)" in s and "do not overlap" in s for s in apart)
    meet = summary_of({"a": {0: 0.9, 1: 0.5}, "d": {0: 0.6, 1: 0.51}})
    assert any("ranges overlap, so these seeds do not settle the order" in s for s in meet)
    once = summary_of({"a": {0: 0.9}, "d": {0: 0.5}})
    assert any("a single run says nothing about the spread" in s for s in once)
    lost = summary_of({"a": {0: 0.9}, "d": {0: ("error", "broke")}})
    assert "1 of 2 planned runs finished" in lost[0]
    assert "D did not finish on X for 1 of 1 seed: error: broke (seed 0)." in lost
    assert any("fewer than two methods can be compared" in s for s in lost)


def test_numbers_here_are_set_beside_those_of_docs(report, tmp_path):
    table = comparison.read_csv(report / "table.csv")
    there = table.copy()
    moved = (there["method"] == "gmm") & (there["metric"] == "ari") & (there["n"] > 1)
    there.loc[moved, "values"] = [
        json.dumps({seed: value + 0.5 for seed, value in json.loads(text).items()})
        for text in there.loc[moved, "values"]
    ]
    compared = reference.against(table, there)
    said = tables.headline(compared, "docs/demo")
    same = len(compared) - moved.sum()
    assert f"{same} are equal to three digits" in said
    assert said.endswith(f"{moved.sum()} outside it: Gaussian mixture.")
    facts = {d: Facts(title=d) for d in set(table["dataset"])}
    shown = Comparison(table, Metric.by_name(synthetic.metrics_block()), facts)
    made = tables.by_method(compared, {("mnist", "gmm"): 0.75}, shown)
    row = next(row for row in made.groups[0][1] if row.title == "Gaussian mixture")
    assert [cell.text for cell in row.cells][2:] == [
        str(moved.sum()),
        "0.500",
        "ARI, mnist",
        "0.750",
    ]
