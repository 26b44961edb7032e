# Every helper function of the workflow. Configuration and registries are read and checked here,
# before any job exists.
import contextlib
import hashlib
import json
import os
import re
import shlex
import sys
from pathlib import Path

# Where this file lies, and not the Snakefile that was called: another workflow may use this one as
# a module.
ROOT = Path(str(workflow.current_basedir)).parent.parent
REGISTRY = ROOT / "workflow" / "registry"
PUBLISHED = ROOT / "workflow" / "published"

# The library is used from this checkout, by this process and by the jobs in their environments.
# Snakemake would take PYTHONPATH away from jobs in conda environments, where nothing else leads
# to the library; so it stays, and then holds the library alone.
WITH_CONDA = bool(workflow.deployment_settings.deployment_method)
workflow.deployment_settings.conda_not_block_search_path_envvars = True
LIBRARY = str(ROOT / "src")
sys.path.insert(0, LIBRARY)
others = "" if WITH_CONDA else dict(os.environ).get("PYTHONPATH", "")
os.environ.update(
    PYTHONPATH=os.pathsep.join(
        dict.fromkeys([LIBRARY, *filter(None, others.split(os.pathsep))])
    )
)

# Snakemake writes the path of its Python into the commands of jobs as it is.
sys.executable = shlex.quote(sys.executable)

from moesimvae import config as configuration, registry, surroundings, workflow_lock
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
    ]
    BENCHMARK = configuration.check(
        config,
        datasets=DATASETS,
        methods=registry.load(METHOD_FILES),
        metrics=METRICS,
        published=sorted(path.stem for path in PUBLISHED.glob("*.csv")),
    )

ATTEMPTS = 3  # at a run; the last one only gives up
METHODS = BENCHMARK.methods  # the registry's and the variants of the screening
RESULTS = BENCHMARK.config["results"]
DOWNLOADS = BENCHMARK.config["downloads"]
WELLS = [name for name, block in DATASETS.items() if "well" in block]
OWN = [name for name, block in DATASETS.items() if "own" in block]
GENERATION = BENCHMARK.config["generation"]
# What verdicts are made from, in the results folder.
TABLES = ["*/scores/*.csv", "*/measured.csv", "*/quality.csv", "data/*/dataset.json"]
A_RUN = Run("{dataset}", "{method}", "{seed}")  # in the paths of rules
CONTROLS = [name for name, block in METHODS.items() if block.get("control")]


wildcard_constraints:
    dataset="|".join(DATASETS),
    folder="|".join(
        sorted(
            {re.escape(catalogue.folder(name, block)) for name, block in DATASETS.items()}
        )
    ),
    method="|".join(METHODS),
    experiment="|".join(BENCHMARK.experiments()),
    seed=r"\d+",


# In place of Snakemake's own lock, which a killed workflow leaves behind (profiles have nolock).
os.environ.update(workflow_lock.marked(RESULTS))


onstart:
    with one_sentence():
        workflow_lock.hold(RESULTS)
        if left := workflow_lock.end_jobs_of_killed(RESULTS):
            print(f"ended {left} processes of a killed workflow", file=sys.stderr)
    if ahead := workflow_lock.date_back([RESULTS, DOWNLOADS]):
        print(f"dated back {ahead} files from the future", file=sys.stderr)


# Runs that failed, or that other code made, are forgotten only by the user's own invocation that
# is about to run.
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
        print(f"forgotten, to be run again: {folder}", file=sys.stderr)


def experiment_outputs(name):
    """What a named target makes: the table in four formats, figures, page, and what holds of it.

    With signature genes also S1 Table; with a screening also what every setting reached and which
    ones were chosen.
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
    ]
    experiment = BENCHMARK.experiment(name)
    if any("signature" in DATASETS[dataset] for dataset in experiment["datasets"]):
        files += ["signature.csv", "signature.tex", "signature.md", "measured.csv"]
    if experiment["variants"]:
        files += ["screening.csv", "selection.csv"]
    return [f"{RESULTS}/{name}/{file}" for file in files]


# Named targets: every experiment but that on the user's own cells, which is a target of its own.
TARGETS = [name for name in BENCHMARK.experiments() if name != configuration.OWN]


def extra_outputs(name):
    """What the target of an experiment makes beside its tables, figures and page."""
    return [f"{RESULTS}/synthetic/s1"] if name == "synthetic" else []


def own_outputs(wildcards):
    """What the target `own` makes; one sentence where nobody said of which cells."""
    if not OWN:
        with one_sentence():
            raise UserError(
                "the target 'own' needs your cells; give them as --config data=FILE."
            )
    return experiment_outputs(configuration.OWN)


def own_settings(wildcards):
    """How the user's cells are prepared. Where the label is a column among the features, its name
    is told so that it is left out; elsewhere the features owe nothing to it.
    """
    settings = {key: BENCHMARK.config[key] for key in configuration.OWN_SETTINGS}
    tabular = DATASETS[wildcards.dataset]["tabular"]
    return settings | {"label": BENCHMARK.config["label"] if tabular else None}


def raw_files(wildcards):
    """Downloaded files of a data set, or the user's own; none for embedded and simulated ones."""
    block = DATASETS[wildcards.dataset]
    own = f"{DOWNLOADS}/{catalogue.folder(wildcards.dataset, block)}"
    place = block.get("local", own)
    return [f"{place}/{file['name']}" for file in block.get("files", {}).values()]


FILES = {
    (catalogue.folder(name, block), file["name"]): file
    for name, block in DATASETS.items()
    for file in block.get("files", {}).values()
}


def file_block(wildcards):
    """The registry entry of one file to download."""
    return FILES[wildcards.folder, wildcards.file]


def run_folder(dataset, method, seed):
    return f"{RESULTS}/{Run(dataset, method, seed).path}"


def projection(run, ending=".parquet"):
    """The two-dimensional view of a run's latent space."""
    return Run.of(run).named(f"{RESULTS}/projections", ending)


def run_folders(wildcards):
    """Every run of an experiment on one data set."""
    runs = BENCHMARK.runs(wildcards.experiment)
    return [run_folder(wildcards.dataset, method, seed) for method, seed in runs]


def method_block(wildcards):
    """What of a method's block decides its labels; changing the rest runs nothing again."""
    keys = ("module", "input", "gpu")
    block = METHODS[wildcards.method]
    if "files_sha256" in block:  # the user's own: what its files hold counts, too
        keys += tuple(
            k for k in ("files_sha256", "command", "folder", "format") if k in block
        )
    # only where it is so: without this key a method does not see the prior
    prior = {"uses_prior": True} if block["uses_prior"] else {}
    # of one lock, all environments are the same: moving a method between them runs nothing again
    lock = family(wildcards.method) if own_lock(wildcards.method) else "base"
    return {key: block[key] for key in keys} | {"environment": lock} | prior


def metrics_scored(wildcards):
    """The metrics of an experiment's tables, and those by which its settings are chosen."""
    experiment = BENCHMARK.experiment(wildcards.experiment)
    criteria = registry.CRITERIA.values() if experiment["variants"] else []
    return list(dict.fromkeys([*experiment["metrics"], *criteria]))


def features_scored(wildcards):
    """The features, for experiments that measure anything by them."""
    names = metrics_scored(wildcards)
    label_free = any(METRICS[name].get("label_free") for name in names)
    return f"{RESULTS}/data/{wildcards.dataset}/features.h5ad" if label_free else []


def method_threads(wildcards):
    """A method's own number; 1 on a small data set, so that short runs go side by side."""
    small = DATASETS[wildcards.dataset].get("cells", 10_000) < 10_000
    return 1 if small else METHODS[wildcards.method]["threads"]


def well_limit(method, kind):
    """What a run may take on the some ten thousand cells of a well: `runtime` or `mem_mb`."""
    return min(BENCHMARK.limit(method, kind), {"runtime": 20, "mem_mb": 4000}[kind])


def control_folder(wildcards):
    return f"{RESULTS}/{Run.controls(wildcards.dataset)}"


def showcase_folders(wildcards):
    """The runs whose latent space and loss curves are drawn, first seed, one per data set."""
    experiment = BENCHMARK.experiment(wildcards.experiment)
    method = experiment["showcase"]
    seeds = experiment["methods"].get(method, [])
    return [run_folder(d, method, s) for d in experiment["datasets"] for s in seeds[:1]]


def showcase_projections(wildcards):
    """Their two-dimensional views."""
    return [projection(run) for run in showcase_folders(wildcards)]


def in_detail(paths):
    """Input function: the first of what `paths` gives for every data set of the experiment."""
    return lambda wildcards: paths(wildcards)[:IN_DETAIL]


def showcase_decoded(wildcards):
    """What the experts of the showcase runs make of the cells, one per data set."""
    return [projection(run, ".experts.parquet") for run in showcase_folders(wildcards)]


def published_remark(wildcards):
    """What must be said below a table with these published numbers, if anything."""
    remarks = [path.with_suffix(".txt") for path in published_file(wildcards)]
    return [path for path in remarks if path.exists()]


def all_run_folders(wildcards):
    """Every run of an experiment, on all of its data sets."""
    datasets = BENCHMARK.experiment(wildcards.experiment)["datasets"]
    runs = BENCHMARK.runs(wildcards.experiment)
    return [run_folder(d, method, seed) for d in datasets for method, seed in runs]


def published_file(wildcards):
    """The paper's own numbers for this experiment, if it has any."""
    name = BENCHMARK.experiment(wildcards.experiment)["published"]
    return [PUBLISHED / f"{name}.csv"] if name else []


def of_datasets(pattern):
    """Input function: `pattern` for every data set of the experiment."""

    def paths(wildcards):
        names = BENCHMARK.experiment(wildcards.experiment)["datasets"]
        return [
            pattern.format(
                results=RESULTS, dataset=name, experiment=wildcards.experiment
            )
            for name in names
        ]

    return paths


def family(method):
    """The family of methods that a method's environment is for."""
    return METHODS[method].get("environment", "base")


def own_lock(method):
    """Whether a method needs other packages than requirements.lock has."""
    return (ROOT / "envs" / f"{family(method)}.lock").exists()


def environment(wildcards):
    """Conda environment file of a method's family."""
    return str(ROOT / "envs" / f"{family(wildcards.method)}.yaml")


def interpreter(wildcards):
    """Python for a method that does not run in the workflow's own; None: the job's Python.

    With conda, the job itself already runs in the right environment.
    """
    name = family(wildcards.method)
    if WITH_CONDA:
        return None
    own = str(ROOT / f".venv-{name}/bin/python") if own_lock(wildcards.method) else None
    return BENCHMARK.config["interpreters"].get(name, own)


def screening_file(wildcards):
    """Every setting that an experiment screens, for its page."""
    screened = BENCHMARK.experiment(wildcards.experiment)["variants"]
    return [f"{RESULTS}/{wildcards.experiment}/screening.csv"] if screened else []


def with_signature(pattern):
    """Input function: `pattern` for every data set of the experiment with signature genes."""

    def paths(wildcards):
        names = BENCHMARK.experiment(wildcards.experiment)["datasets"]
        every = zip(names, of_datasets(pattern)(wildcards), strict=True)
        return [path for name, path in every if "signature" in DATASETS[name]]

    return paths


def signature_file(wildcards):
    """How well signature genes tell the organs; nothing without such data sets."""
    given = with_signature("{dataset}")(wildcards)
    return [f"{RESULTS}/{wildcards.experiment}/signature.csv"] if given else []


def figure3_runs(wildcards):
    """The runs of Figure 3, first seed: the showcase method's and those of its other panels."""
    experiment = BENCHMARK.experiment(wildcards.experiment)
    names = dict.fromkeys([experiment["showcase"], *FIGURE3])
    return [
        run_folder(dataset, method, experiment["methods"][method][0])
        for dataset in with_signature("{dataset}")(wildcards)
        for method in names
        if method in experiment["methods"]
    ]


def figure3_projections(wildcards):
    """The latent spaces of Figure 3: the showcase method's and scVI's own."""
    own = (BENCHMARK.experiment(wildcards.experiment)["showcase"], OWN_SPACE)
    return [projection(r) for r in figure3_runs(wildcards) if Run.of(r).method in own]


def first_runs(wildcards):
    """Data set → the run of each method with its first seed, of the data sets shown in detail."""
    experiment = BENCHMARK.experiment(wildcards.experiment)
    return {
        dataset: [
            Run(dataset, method, seeds[0]).path
            for method, seeds in experiment["methods"].items()
        ]
        for dataset in experiment["datasets"][:IN_DETAIL]
    }


def latent_spaces(wildcards):
    """Two-dimensional views of the runs among these that leave a latent space."""
    return [
        projection(run)
        for runs in first_runs(wildcards).values()
        for run in runs
        if METHODS[Run.of(run).method].get("embedding")
    ]


def current_codes(wildcards):
    """Method → hash of the code that it has now: quality is looked at again when that changes."""
    from moesimvae.methods.runner import code_of

    codes = {}
    for method in [*BENCHMARK.experiment(wildcards.experiment)["methods"], *CONTROLS]:
        with contextlib.suppress(
            UserError
        ):  # of a module that only its own environment has
            codes[method] = code_of(method, METHODS[method])
    return codes


def repeats(wildcards):
    """Runs of an experiment that were made a second time with the same seed.

    snakemake --config results=results/repeats -- results/repeats/runs/DATASET/METHOD/seedN
    """
    again = f"{RESULTS}/repeats/runs"
    pairs = [(run, Run.of(run).named(again)) for run in all_run_folders(wildcards)]
    return [pair for pair in pairs if Path(pair[1], "status.json").exists()]


def tables_hash(wildcards):
    """One hash of all tables that lie there now: verdicts are made again when it changes."""
    digest = hashlib.sha256()
    for path in sorted(path for p in TABLES for path in Path(RESULTS).glob(p)):
        digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()


def everything():
    """What the target `all` makes: every experiment but those on request."""
    return [
        path
        for name in BENCHMARK.experiments()
        if not BENCHMARK.experiment(name)["on_request"]
        for path in experiment_outputs(name)
    ]


def pages_before_index(wildcards):
    """What is asked for in the same call; alone, the index takes what lies there."""
    targets = set(workflow.dag_settings.targets) or {"all"}
    if "all" in targets:
        return everything()
    named = {
        "figure2": figure2_outputs(),
        "supplement": supplement_outputs(),
        "figure3": experiment_outputs("table2"),
        **{name: experiment_outputs(name) for name in BENCHMARK.experiments()},
    }
    return [path for name in named if name in targets for path in named[name]]


def pages_hash(wildcards, input):
    """Pages and verdicts that lie there now: the index is made again when this changes."""
    if input.after:
        return ""
    patterns = ("*/report.html", "verdict/verdict.csv", "*/*/figures.json")
    found = sorted({path for p in patterns for path in Path(RESULTS).glob(p)})
    digest = hashlib.sha256()
    for path in found:
        digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()


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


def generation_runs(kinds):
    """The runs that the configuration lists under `kinds`."""
    runs = [
        Run(GENERATION["dataset"], method, seed)
        for kind in kinds
        for method, seeds in GENERATION[kind].items()
        for seed in seeds
    ]
    return list(dict.fromkeys(runs))


def generation_paths(folder, kinds, ending=""):
    """What is named after each of these runs in a folder of the results."""
    return [run.named(f"{RESULTS}/{folder}", ending) for run in generation_runs(kinds)]


def generated_cells():
    """Where the cells that the default method generates for each data set lie."""
    names = GENERATION["cells"]
    runs = [Run(name, "moe_sim_vae", 0) for name in names]
    return [run.named(f"{RESULTS}/generation/cells") for run in runs]


def figure2_outputs():
    return [f"{RESULTS}/figure2/figures", f"{RESULTS}/figure2/table.csv"]


def supplement_outputs():
    files = [
        "figures",
        "generation.csv",
        "mmd.csv",
        "quality.csv",
        "cells.csv",
        "measured.csv",
        "summary.md",
    ]
    return [f"{RESULTS}/supplement/{file}" for file in files]
