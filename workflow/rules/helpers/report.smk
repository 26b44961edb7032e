# What tables, figures and pages are made from.


def projection(run, ending=".parquet"):
    """The two-dimensional view of a run's latent space."""
    return Run.of(run).named(f"{RESULTS}/projections", ending)


def showcase_folders(wildcards):
    """The runs whose latent space and loss curves are drawn, first seed, one per data set."""
    experiment = experiment_of(wildcards)
    method = experiment["showcase"]
    seeds = experiment["methods"].get(method, [])
    return [run_folder(d, method, s) for d in experiment["datasets"] for s in seeds[:1]]


def showcase_projections(wildcards):
    """Their two-dimensional views."""
    return [projection(run) for run in showcase_folders(wildcards)]


def in_detail(paths):
    """Input function: the first IN_DETAIL of the paths that `paths` gives, one per data set."""
    return lambda wildcards: paths(wildcards)[:IN_DETAIL]


def showcase_decoded(wildcards):
    """The cells as the experts of the showcase runs decode them, one per data set."""
    return [projection(run, ".experts.parquet") for run in showcase_folders(wildcards)]


def published_remark(wildcards):
    """The remark to print below a table with these published numbers, if any."""
    remarks = [path.with_suffix(".txt") for path in published_file(wildcards)]
    return [path for path in remarks if path.exists()]


def published_file(wildcards):
    """The paper's own numbers for this experiment, if it has any."""
    name = experiment_of(wildcards)["published"]
    return [PUBLISHED / f"{name}.csv"] if name else []


def kept_in_docs(wildcards):
    """The numbers of this experiment that the repository shows, and the labels behind them."""
    folder = ROOT / "docs" / wildcards.experiment
    paths = [folder / name for name in ("table.csv", "labels.parquet")]
    return [path for path in paths if path.exists()]


def screening_file(wildcards):
    """Every setting that an experiment screens, for its page."""
    screened = experiment_of(wildcards)["variants"]
    return [f"{RESULTS}/{wildcards.experiment}/screening.csv"] if screened else []


def with_signature(pattern):
    """Input function: `pattern` for every data set of the experiment with signature genes."""

    def paths(wildcards):
        names = experiment_of(wildcards)["datasets"]
        every = zip(names, of_datasets(pattern)(wildcards), strict=True)
        return [path for name, path in every if "signature" in DATASETS[name]]

    return paths


def signature_file(wildcards):
    """How well signature genes tell organs apart; nothing without such data sets."""
    given = with_signature("{dataset}")(wildcards)
    return [f"{RESULTS}/{wildcards.experiment}/signature.csv"] if given else []


def figure3_runs(wildcards):
    """The runs of Figure 3, first seed: the showcase method's and those of its other panels."""
    experiment = experiment_of(wildcards)
    names = dict.fromkeys([experiment["showcase"], *FIGURE3])
    return [
        run_folder(dataset, method, experiment["methods"][method][0])
        for dataset in with_signature("{dataset}")(wildcards)
        for method in names
        if method in experiment["methods"]
    ]


def figure3_projections(wildcards):
    """The latent spaces of Figure 3: the showcase method's and scVI's own."""
    own = (experiment_of(wildcards)["showcase"], OWN_SPACE)
    return [projection(r) for r in figure3_runs(wildcards) if Run.of(r).method in own]


def first_runs(wildcards):
    """Data set → the run of each method with its first seed, of the data sets shown in detail."""
    experiment = experiment_of(wildcards)
    return {
        dataset: [
            Run(dataset, method, seeds[0]).path
            for method, seeds in experiment["methods"].items()
        ]
        for dataset in experiment["datasets"][:IN_DETAIL]
    }


def latent_spaces(wildcards):
    """Two-dimensional views of those first runs that leave a latent space."""
    return [
        projection(run)
        for runs in first_runs(wildcards).values()
        for run in runs
        if METHODS[Run.of(run).method].get("embedding")
    ]


def pages_before_index(wildcards):
    """What the same call asks for; on its own, the index takes what already exists."""
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
    """Hash of existing pages and verdicts: the index is remade when it changes."""
    if input.after:
        return ""
    patterns = ("*/report.html", "verdict/verdict.csv", "*/*/figures.json")
    found = sorted({path for p in patterns for path in Path(RESULTS).glob(p)})
    digest = hashlib.sha256()
    for path in found:
        digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()
