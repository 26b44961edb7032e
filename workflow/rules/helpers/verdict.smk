# What quality control and verdicts look at.


# What verdicts are made from, in the results folder.
TABLES = ["*/scores/*.csv", "*/measured.csv", "*/quality.csv", "data/*/dataset.json"]

CONTROLS = [name for name, block in METHODS.items() if block.get("control")]


def current_codes(wildcards):
    """Method → hash of its present code: quality is checked again when that changes."""
    from moesimvae.methods.runner import code_of

    codes = {}
    for method in [*experiment_of(wildcards)["methods"], *CONTROLS]:
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
    """One hash of all existing tables: verdicts are remade when it changes."""
    digest = hashlib.sha256()
    for path in sorted(path for p in TABLES for path in Path(RESULTS).glob(p)):
        digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()
