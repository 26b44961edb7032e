# Reads and checks configuration and registries before any job exists, and holds what several rule
# files share. What only one of them needs is in helpers/.
import contextlib
import hashlib
import json
import os
import re
import shlex
import sys
from pathlib import Path

# Relative to this file, not to the Snakefile that was called: another workflow may use this one
# as a module.
ROOT = Path(str(workflow.current_basedir)).parent.parent
REMOTE = (
    not ROOT.is_dir()
)  # Snakemake fetched the rules from another machine, file by file


def of_repository(path):
    """Local path of a file of this repository."""
    return workflow.source_path(f"../../{path}") if REMOTE else str(ROOT / path)


# This process, and the jobs in their environments, use the library of this checkout, or the
# installed one where there is no checkout. Snakemake would unset PYTHONPATH for jobs in conda
# environments, where nothing else leads to the library; so it is kept, holding only the library.
WITH_CONDA = bool(workflow.deployment_settings.deployment_method)
workflow.deployment_settings.conda_not_block_search_path_envvars = True
if REMOTE:
    wanted = re.search(
        '__version__ = "(.*)"',
        Path(of_repository("src/moesimvae/__init__.py")).read_text("utf-8"),
    )[1]
    try:
        import moesimvae as library
    except ModuleNotFoundError:
        library = None
    if library is None or library.__version__ != wanted:
        sys.exit(
            "error: this workflow needs its library where Snakemake runs; "
            f"pip install 'moesimvae[benchmark]=={wanted}'."
        )
    FILES = Path(library.__file__).parent / "repository"
    REGISTRY, PUBLISHED = FILES / "registry", FILES / "published"
    LIBRARY = os.path.abspath(".snakemake/moesimvae")
    os.makedirs(LIBRARY, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.symlink(Path(library.__file__).parent, f"{LIBRARY}/moesimvae")
else:
    REGISTRY, PUBLISHED = (
        ROOT / "workflow" / "registry",
        ROOT / "workflow" / "published",
    )
    LIBRARY = str(ROOT / "src")
sys.path.insert(0, LIBRARY)
others = "" if WITH_CONDA else dict(os.environ).get("PYTHONPATH", "")
os.environ.update(
    PYTHONPATH=os.pathsep.join(
        dict.fromkeys([LIBRARY, *filter(None, others.split(os.pathsep))])
    )
)

# Snakemake writes the path of its Python into job commands unquoted.
sys.executable = shlex.quote(sys.executable)

from moesimvae import (
    __version__,
    config as configuration,
    registry,
    surroundings,
    workflow_lock,
)
from moesimvae.data import catalogue
from moesimvae.errors import UserError, one_sentence
from moesimvae.nouns import Configuration, Run
from moesimvae.report import FIGURE3, IN_DETAIL, OWN_SPACE

with one_sentence():
    surroundings.require_plain_path(ROOT)
    if workflow.is_main_process:
        surroundings.require_working_folder()
surroundings.provide_caches()

with one_sentence():
    DATASETS = catalogue.resolve(
        registry.load(REGISTRY / "datasets.yaml"),
        {"downloads": Configuration.downloads, **config},
    )
    METRICS = registry.load(REGISTRY / "metrics.yaml")
    METHOD_FILES = [
        REGISTRY / "methods.yaml",
        *registry.own_methods(config.get("own_methods")),
        *registry.existing(
            config.get("existing") if config.get("data") else None,
            Path(config.get("results", Configuration.results), "own"),
        ),
    ]
    BENCHMARK = configuration.check(
        config,
        datasets=DATASETS,
        methods=registry.load(METHOD_FILES),
        metrics=METRICS,
        published=sorted(path.stem for path in PUBLISHED.glob("*.csv")),
    )

# Only on request: Snakemake reruns jobs whose software environment has changed.
if "apptainer" in map(str, workflow.deployment_settings.deployment_method):

    container: f"docker://ghcr.io/moesimvae/moesimvae:{__version__}"


ATTEMPTS = 3  # per run; the last one only gives up
METHODS = BENCHMARK.methods  # the registry's and the variants of the screening
RESULTS = BENCHMARK.config["results"]
DOWNLOADS = BENCHMARK.config["downloads"]
A_RUN = Run("{dataset}", "{method}", "{seed}")  # in the paths of rules


wildcard_constraints:
    dataset="|".join(DATASETS),
    folder="|".join(
        sorted(
            {
                re.escape(catalogue.folder(name, block))
                for name, block in DATASETS.items()
            }
        )
    ),
    method="|".join(METHODS),
    experiment="|".join(BENCHMARK.experiments()),
    seed=r"\d+",


include: "helpers/status.smk"


# In place of Snakemake's own lock, which a killed workflow leaves behind (profiles have nolock).
os.environ.update(workflow_lock.marked(RESULTS))


onstart:
    with one_sentence():
        workflow_lock.hold(RESULTS)
        if left := workflow_lock.end_jobs_of_killed(RESULTS):
            print(f"ended {left} processes of a killed workflow", file=sys.stderr)
    if ahead := workflow_lock.date_back([RESULTS, DOWNLOADS]):
        print(f"reset times of {ahead} files dated in the future", file=sys.stderr)
    start_watch()


onsuccess:
    end_watch()


onerror:
    end_watch()


# Only the user's own invocation, when about to run, forgets runs that failed or that other code
# made.
if workflow.is_main_process and not workflow.output_settings.dryrun:
    from moesimvae.methods import runner

    forgotten = []
    with one_sentence():
        if BENCHMARK.config["rerun_failed"] or BENCHMARK.config["rerun_stale"]:
            workflow_lock.check_free(RESULTS)
        if BENCHMARK.config["rerun_failed"]:
            forgotten += runner.forget_failed(Path(RESULTS, "runs"))
        if BENCHMARK.config["rerun_stale"]:
            forgotten += runner.forget_stale(Path(RESULTS, "runs"), METHODS)
    for folder in dict.fromkeys(forgotten):
        print(f"to be run again: {folder}", file=sys.stderr)


def experiment_of(wildcards):
    """The checked block of the experiment that a rule works for."""
    return BENCHMARK.experiment(wildcards.experiment)


def experiment_outputs(name):
    """What a named target makes: the table in four formats, figures, page, significance, quality.

    With signature genes also S1 Table; with a screening also what every setting reached and which
    were chosen.
    """
    if name not in BENCHMARK.experiments():
        return []
    files = [
        "table.csv",
        "table.tex",
        "table.md",
        "table.html",
        "figures",
        "report.html",
        "significance.csv",
        "quality.csv",
        "methods.md",
    ]
    experiment = BENCHMARK.experiment(name)
    if any("signature" in DATASETS[dataset] for dataset in experiment["datasets"]):
        files += ["signature.csv", "signature.tex", "signature.md", "measured.csv"]
    if experiment["variants"]:
        files += ["screening.csv", "selection.csv"]
    return [f"{RESULTS}/{name}/{file}" for file in files]


# Named targets: every experiment but the one on the user's own cells, which has its own target.
TARGETS = [name for name in BENCHMARK.experiments() if name != configuration.OWN]


def extra_outputs(name):
    """What the target of an experiment makes besides its tables, figures and page."""
    return [f"{RESULTS}/synthetic/s1"] if name == "synthetic" else []


def run_folder(dataset, method, seed):
    return f"{RESULTS}/{Run(dataset, method, seed).path}"


def all_run_folders(wildcards):
    """Every run of an experiment, on all of its data sets."""
    datasets = experiment_of(wildcards)["datasets"]
    runs = BENCHMARK.runs(wildcards.experiment)
    return [run_folder(d, method, seed) for d in datasets for method, seed in runs]


def of_datasets(pattern):
    """Input function: `pattern` for every data set of the experiment."""

    def paths(wildcards):
        names = experiment_of(wildcards)["datasets"]
        return [
            pattern.format(
                results=RESULTS, dataset=name, experiment=wildcards.experiment
            )
            for name in names
        ]

    return paths


def everything():
    """What the target `all` makes: every experiment but those on request."""
    return [
        path
        for name in BENCHMARK.experiments()
        if not BENCHMARK.experiment(name)["on_request"]
        for path in experiment_outputs(name)
    ]


def picture_labels(wildcards, output):
    """Kind and title of a picture, for Snakemake's own report."""
    name = f"{wildcards.name}.png"
    for folder in output:
        listed = Path(folder, "figures.json")
        for picture in json.loads(listed.read_text("utf-8")) if listed.exists() else []:
            if picture["file"] == name:
                return {"kind": "picture", "title": picture["title"]}
    return {"kind": "picture", "title": name}


def pictures(folder, category):
    """A folder of pictures as an output, all of them in Snakemake's own report."""
    return report(
        directory(folder),
        patterns=["{name}.png"],
        caption="../report/figures.rst",
        category=category,
        subcategory="pictures",
        labels=picture_labels,
    )
