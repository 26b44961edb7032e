"""The workflow as its user meets it: targets, small runs, failing methods, bad downloads."""

import gzip
import json
import re
import runpy
import shutil
from datetime import datetime

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

TARGETS = [
    *("all", "demo", "table1", "ablation", "table2", "table2_semisynthetic", "figure3"),
    *("table3", "table3_subsets", "figure4", "scale", "figure2", "supplement", "verdict", "index"),
    *("synthetic", "own", "index"),
]


def the_sentence(printed: str) -> str:
    """The only `error:` line of a run's output."""
    lines = [line for line in printed.splitlines() if "error: " in line]
    assert len(lines) == 1, printed
    assert "Traceback" not in printed
    return lines[0]


def test_targets_are_listed_with_one_line_each(checkout):
    printed = checkout.snakemake("--list").stdout
    for target in TARGETS:
        assert re.search(rf"^{target} \(.+\.\)$", printed, re.MULTILINE), printed


def test_an_experiment_is_one_block_of_the_configuration(checkout):
    def add(config):
        config["experiments"]["mine"] = config["experiments"]["demo"] | {"title": "Of my own"}

    checkout.edit("config.yaml", add)
    assert "\nmine (Of my own.)\n" in checkout.snakemake("--list").stdout
    planned = checkout.snakemake("--dry-run", "mine")
    assert planned.returncode == 0
    assert "results/mine/report.html" in planned.stdout


@pytest.mark.parametrize("targets", [["demo"], ["all"], [t for t in TARGETS[2:] if t != "own"]])
def test_dry_run_of_every_target(checkout, targets):
    done = checkout.snakemake("--dry-run", *targets)
    assert done.returncode == 0, done.stdout


def test_all_leaves_out_what_is_made_on_request(checkout):
    planned = checkout.snakemake("--dry-run", "all").stdout
    assert "results/table3/table.csv" in planned
    assert "results/table2/selection.csv" in planned
    assert "results/table3_subsets" not in planned
    assert "results/table2_semisynthetic" not in planned
    assert "results/scale" not in planned


@pytest.mark.parametrize(("target", "screened"), [("demo", 0), ("table2_semisynthetic", 2 * 20)])
def test_no_clustering_job_has_labels_among_its_inputs(checkout, target, screened):
    printed = checkout.snakemake("--dry-run", target).stdout
    jobs = [job for job in re.split(r"\nrule ", printed) if job.startswith("cluster:")]
    assert len(jobs) > 20
    assert sum(bool(re.search(r"method=\w+_s\d\d,", job)) for job in jobs) >= screened
    for job in jobs:
        inputs = next(line for line in job.splitlines() if line.strip().startswith("input:"))
        assert "labels" not in inputs


def test_the_screening_can_be_left_out(checkout):
    printed = checkout.snakemake("--dry-run", "table2", "--config", "screening=false").stdout
    assert "results/table2/table.csv" in printed
    assert not re.search(r"method=\w+_s\d\d,", printed)
    assert "selection.csv" not in printed


def test_an_unknown_key_is_one_sentence_before_any_job(checkout):
    done = checkout.snakemake("demo", "--config", "miror=x")
    assert done.returncode != 0
    assert "key 'miror' is unknown; did you mean 'mirror'?" in the_sentence(done.stdout)
    assert not (checkout.folder / "results").exists()


BROKEN = {"crash": "error", "sleep": "timeout", "too_few": "invalid"}


@pytest.fixture
def small(root, checkout):
    """One data set, one good method and three that fail on purpose."""
    shutil.copytree(root / "tests/methods/lab", checkout.folder / "lab")

    def add_broken(methods):
        for name in BROKEN:
            methods[f"broken_{name}"] = {
                **methods["kmeans"],
                "title": f"Broken & <{name}>",
                "module": "lab.broken",
                "params": {"how": name, "note": str(checkout.folder / name)},
            }

    def one_experiment(config):
        config["limits"] = {"runtime": 0.5}
        config["experiments"] = {
            "demo": {
                "title": "Small",
                "datasets": ["digits"],
                "methods": ["kmeans", *(f"broken_{name}" for name in BROKEN)],
                "seeds": [0, 1],
                "showcase": "kmeans",
            }
        }

    checkout.edit("workflow/registry/methods.yaml", add_broken)
    checkout.edit("config.yaml", one_experiment)
    return checkout


def test_failing_methods_are_told_and_the_rest_of_the_table_appears(small):
    done = small.snakemake("index", "demo")
    assert done.returncode == 0, done.stdout
    results = small.folder / "results"
    run_on_page = '"href":"demo/report.html#run-digits-kmeans"'
    assert run_on_page in (results / "index.html").read_text()  # it waited for the page

    for name, status in BROKEN.items():
        run = results / "runs" / "digits" / f"broken_{name}" / "seed0"
        told = json.loads((run / "status.json").read_text())
        assert told["status"] == status
        assert told["reason"]
        assert not (run / "labels.parquet").exists()

    told = re.findall(r"^\[demo, (\d) of 8\] (.*)$", done.stdout, re.MULTILINE)
    assert [int(number) for number, _ in told][-1] == len(told) == 8
    assert all("results/demo/report.html" in line for _, line in told)
    assert sum("DNF: time-out after " in line for _, line in told) == 2
    assert "so far: results/demo/status.html" in done.stdout
    assert "url=report.html" in (results / "demo" / "status.html").read_text()

    markdown = (results / "demo" / "table.md").read_text()
    assert "k-means" in markdown
    assert markdown.count("DNF") >= len(BROKEN)
    runs = pd.read_csv(results / "demo" / "scores" / "digits.runs.csv")
    assert set(runs.query("status != 'ok'").method) == {f"broken_{name}" for name in BROKEN}
    page = (results / "demo" / "report.html").read_text()
    assert "Broken &amp; &lt;crash&gt;" in page

    again = small.snakemake("index", "demo")
    assert "Nothing to be done" in again.stdout, again.stdout

    (results / "index.html").unlink()
    assert small.snakemake("index").returncode == 0
    assert run_on_page in (results / "index.html").read_text()
    reported = small.snakemake("--report", "snakemake.html", "demo")
    assert reported.returncode == 0, reported.stdout
    filled = (small.folder / "snakemake.html").read_text()
    for title in ("methods, quality and cost", "the whole report on one page",
                  "Scores on scikit-learn", "Every seed is reported",
                  "Dots are single seeds"):  # fmt: skip
        assert title in filled, title

    retried = small.snakemake("demo", "--config", "rerun_failed=true")
    assert retried.stdout.count("to be run again: ") == 2 * len(BROKEN)
    assert re.search(rf"^cluster +{2 * len(BROKEN)}$", retried.stdout, re.MULTILINE)
    assert re.search(r"^table +1$", retried.stdout, re.MULTILINE)
    assert retried.returncode == 0, retried.stdout


def test_runs_of_edited_code_are_amber_and_made_again_on_request(checkout):
    def one_experiment(config):
        config["parameters"] = {"digits": {"moe_sim_vae": {"steps": 20, "refinements": 0}}}
        config["experiments"] = {
            "demo": {
                "title": "Small",
                "datasets": ["digits"],
                "methods": ["kmeans", "moe_sim_vae"],
                "seeds": [0],
                "showcase": "kmeans",
            }
        }

    def levels():
        table = pd.read_csv(checkout.folder / "results/demo/quality.csv")
        return table[table["check"] == "code as it is now"].fillna("")

    def jobs(done):
        assert done.returncode == 0, done.stdout
        return set(re.findall(r"^(\w+) +\d+$", done.stdout, re.MULTILINE)) - {"total"}

    checkout.edit("config.yaml", one_experiment)
    assert "cluster" in jobs(checkout.snakemake("demo"))
    assert list(levels()["level"]) == ["green"]

    def insert(file, line):
        path = checkout.folder / "src/moesimvae" / file
        path.write_text(path.read_text() + f"\n\n{line}\n")

    insert("report/style.py", "CAPTION = 'Of another word'")
    insert("model/losses.py", "# a remark")
    assert "Nothing to be done" in checkout.snakemake("demo").stdout

    insert("model/losses.py", "WEIGHT = 2")
    assert jobs(checkout.snakemake("demo")) == {"quality", "page", "demo"}
    (row,) = levels().to_dict("records")
    assert (row["level"], row["dataset"], row["method"]) == ("amber", "digits", "moe_sim_vae")
    page = (checkout.folder / "results/demo/report.html").read_text()
    assert "rerun with `snakemake --cores all demo --config rerun_stale=true`" in page

    mended = checkout.snakemake("demo", "--config", "rerun_stale=true")
    assert mended.stdout.count("to be run again: ") == 1
    assert re.search(r"^cluster +1$", mended.stdout, re.MULTILINE), mended.stdout
    assert list(levels()["level"]) == ["green"]


@pytest.fixture
def screened(root, checkout):
    """One small data set, a grid of k-means and one of which every setting fails."""
    shutil.copytree(root / "tests/methods/lab", checkout.folder / "lab")

    def add_broken(methods):
        methods["broken"] = {
            **methods["kmeans"],
            "title": "Broken",
            "module": "lab.broken",
            "params": {"how": "crash", "note": str(checkout.folder / "note")},
        }

    def one_experiment(config):
        config["experiments"] = {
            "demo": {
                "title": "Small",
                "datasets": ["digits"],
                "methods": {"kmeans": [0, 1], "broken": [0]},
                "screening": {"kmeans": {"n_pca": [2, 10, 20]}, "broken": {"how": ["crash"]}},
                "seeds": [0],
                "showcase": "kmeans",
            }
        }

    checkout.edit("workflow/registry/methods.yaml", add_broken)
    checkout.edit("config.yaml", one_experiment)
    return checkout


def test_screening_resumes_where_it_stopped_and_ends_in_two_choices(screened):
    variants = ["kmeans_s01", "kmeans_s02", "kmeans_s03", "broken_s01"]
    runs = screened.folder / "results/runs/digits"
    first = screened.snakemake(*(f"results/runs/digits/{v}/seed0" for v in variants[1:3]))
    assert first.returncode == 0, first.stdout
    before = {v: (runs / v / "seed0/status.json").stat().st_mtime_ns for v in variants[1:3]}
    # as a workflow that was killed leaves them: one run half written, the others not begun
    (runs / "kmeans_s01/.seed0.partial").mkdir(parents=True)
    (runs / "kmeans_s01/.seed0.partial/labels.parquet").write_text("half")

    done = screened.snakemake("demo")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^cluster +5$", done.stdout, re.MULTILINE), done.stdout
    for v, stamp in before.items():
        assert (runs / v / "seed0/status.json").stat().st_mtime_ns == stamp
    assert not (runs / "kmeans_s01/.seed0.partial").exists()
    told = {v: json.loads((runs / v / "seed0/status.json").read_text()) for v in variants}
    assert [told[v]["params"]["n_pca"] for v in variants[:3]] == [2, 10, 20]
    begun = {v: datetime.fromisoformat(told[v]["started"]) for v in variants[1:3]}
    apart = abs(begun[variants[1]] - begun[variants[2]]).total_seconds()
    assert apart < min(told[v]["wall_seconds"] for v in begun) + 1, "they ran one after the other"

    folder = screened.folder / "results/demo"
    selection = pd.read_csv(folder / "selection.csv", keep_default_na=False)
    tried = pd.read_csv(folder / "screening.csv", keep_default_na=False).set_index("variant")
    assert list(tried.index) == sorted(variants)
    assert tried.loc["broken_s01", "status"] == "error"
    kmeans = selection[selection["method"] == "kmeans"].set_index("choice")
    scores = tried.loc[variants[:3], ["f_flowcap_all", "silhouette_all"]].astype(float)
    assert kmeans["variant"]["oracle"] == scores["f_flowcap_all"].idxmax()
    assert kmeans["variant"]["label-free"] == scores["silhouette_all"].idxmax()
    broken = selection[selection["method"] == "broken"]
    assert set(broken["variant"]) == {""}
    assert all("none of the 1 settings of broken" in reason for reason in broken["reason"])

    again = screened.snakemake("demo")
    assert "Nothing to be done" in again.stdout, again.stdout


def test_a_wrong_file_in_the_mirror_and_no_network_is_one_sentence(checkout):
    def nowhere(datasets):
        for file in datasets["mnist"]["files"].values():
            file["sources"] = ["https://127.0.0.1:9/nothing-here"]

    checkout.edit("workflow/registry/datasets.yaml", nowhere)
    mirror = checkout.folder / "mirror" / "mnist"
    mirror.mkdir(parents=True)
    wrong = mirror / "train-images-idx3-ubyte.gz"
    wrong.write_bytes(gzip.compress(b"not the digits"))
    target = "resources/mnist/train-images-idx3-ubyte.gz"
    done = checkout.snakemake(target, "--config", "mirror=mirror")
    assert done.returncode != 0
    sentence = the_sentence(done.stdout)
    assert "train-images-idx3-ubyte" in sentence
    assert "mirror" in sentence
    assert not (checkout.folder / target).exists()
    assert wrong.exists()


@pytest.mark.shared
def test_mnist_from_the_mirror_without_network(checkout, shared_data):
    target = "results/data/mnist/features.h5ad"
    done = checkout.snakemake(target, "--config", f"mirror={shared_data}")
    assert done.returncode == 0, done.stdout
    facts = json.loads((checkout.folder / "results/data/mnist/dataset.json").read_text())
    assert facts["n_cells"] == 70_000


def test_a_folder_of_wells_becomes_data_sets_without_any_edit(root, checkout):
    bench = runpy.run_path(str(root / "bench" / "plan_wells.py"))
    bench["write_export"](checkout.folder / "export", n_wells=3)
    given = ("--config", "bodenmiller=export")
    planned = checkout.snakemake("--dry-run", "figure4", *given)
    assert planned.returncode == 0, planned.stdout
    assert re.search(r"^prepare_well +3$", planned.stdout, re.MULTILINE), planned.stdout
    assert re.search(r"^cluster_well +\d+$", planned.stdout, re.MULTILINE), planned.stdout
    assert "download" not in planned.stdout

    name = "bodenmiller_inhibitor_1_a02"
    done = checkout.snakemake(f"results/data/{name}/features.h5ad", *given)
    assert done.returncode == 0, done.stdout
    facts = json.loads((checkout.folder / f"results/data/{name}/dataset.json").read_text())
    assert (facts["n_cells"], facts["n_features"], facts["n_populations"]) == (280, 9, 14)
    assert facts["sources"][0]["url_or_path"] == "export/Inhibitor-1_cd14+hladr-_A02.fcs"


def test_a_subset_without_its_mirror_is_one_sentence(checkout):
    target = "results/data/samusik_01_subset/features.h5ad"
    done = checkout.snakemake(target)
    assert done.returncode != 0
    assert "is not published in this form; save it" in the_sentence(done.stdout)


@pytest.mark.shared
def test_a_cytometry_subset_is_prepared_and_clustered(checkout, shared_data):
    run = "results/runs/samusik_01_subset/kmeans/seed0"
    done = checkout.snakemake(run, "--config", f"mirror={shared_data}")
    assert done.returncode == 0, done.stdout
    status = json.loads((checkout.folder / run / "status.json").read_text())
    assert (status["status"], status["n_clusters"]) == ("ok", 40)


@pytest.mark.parametrize(("dataset", "wanted"), [("simulated_scrna", 1), ("simulated_cytof", 0)])
def test_the_study_of_cells_gets_scvi_s_where_there_are_counts(checkout, dataset, wanted):
    """With what it stands on as empty files, and a script that writes what it was given."""
    given = [
        f"results/generation/scvi/{dataset}_seed0.npz",
        f"results/runs/{dataset}/moe_sim_vae/seed0/status.json",
        f"results/data/{dataset}/features.h5ad",
        f"results/data/{dataset}/labels.parquet",
    ]
    for path in given:
        (checkout.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (checkout.folder / path).touch()
    (checkout.folder / "scripts" / "gen_cells.py").write_text(
        "from pathlib import Path\n"
        "folder = Path(snakemake.output.study)\n"
        "folder.mkdir(parents=True)\n"
        "(folder / 'given').write_text('\\n'.join(snakemake.input.get('predictive', [])))\n"
    )
    study = f"results/generation/cells/{dataset}/moe_sim_vae/seed0"
    done = checkout.snakemake(study, "--allowed-rules", "generate_cells")
    assert done.returncode == 0, done.stdout
    told = (checkout.folder / study / "given").read_text().splitlines()
    assert [line.rpartition("results/")[2] for line in told] == [
        path.removeprefix("results/") for path in given[:wanted]
    ]


@pytest.mark.slow
def test_s1_figure_on_a_reduced_grid(checkout):
    """As the declared grid, but few components, a tenth of the cells and fewer steps."""
    families = ("synthetic", "synthetic_k40")

    def fewer_cells(datasets):
        for family in families:
            datasets[family]["grid"]["n_components"] = [6]
            datasets[family]["simulate"]["n_cells"] = datasets[family]["cells"] = 1000

    def fewer_steps(config):
        config["experiments"]["synthetic"]["methods"]["moe_sim_vae_paper_distance"] = [0]
        for family in families:
            config["parameters"][family]["moe_sim_vae_paper_distance"]["steps"] = 200

    checkout.edit("workflow/registry/datasets.yaml", fewer_cells)
    checkout.edit("config.yaml", fewer_steps)
    done = checkout.snakemake("synthetic")
    assert done.returncode == 0, done.stdout
    results = checkout.folder / "results/synthetic"
    said = json.loads((results / "s1/figures.json").read_text())[0]["caption"]
    assert "40 clusters asked for" in said
    assert (results / "s1/s1_synthetic.png").stat().st_size > 10_000
    measured = pd.read_csv(results / "measured.csv").set_index("method")["value"]
    assert measured.to_dict() == {"moe_sim_vae_paper_distance": 6, "gmm": 0}
    table = pd.read_csv(results / "table.csv")
    table = table[(table["metric"] == "f_flowcap") & (table["kind"] == "method")]
    found = table.set_index(["dataset", "method"])["mean"]
    assert len(found) == 2 * 2
    asked_for_6, asked_for_40 = (found[f"{family}_6"] for family in families)
    assert asked_for_6["moe_sim_vae_paper_distance"] > 0.95
    assert asked_for_40["moe_sim_vae_paper_distance"] > 0.95 > asked_for_40["gmm"]
