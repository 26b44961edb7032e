# What a run is given: block, threads, environment.

# families that need other packages than requirements.lock has: envs/NAME.lock
LOCKS = {"clustpy"}


def method_block(wildcards):
    """The part of a method's block that decides its labels; changing the rest reruns nothing."""
    keys = ("module", "input", "gpu")
    block = METHODS[wildcards.method]
    if "existing" in block:
        keys += ("existing",)
    if "files_sha256" in block:  # the user's own: the content of its files counts
        keys += tuple(
            k for k in ("files_sha256", "command", "folder", "format") if k in block
        )
    # only where true: without these keys a method sees neither the prior nor all genes
    seen = {key: True for key in ("uses_prior", "all_genes") if block[key]}
    # environments of one lock are the same: moving a method between them reruns nothing
    lock = family(wildcards.method) if own_lock(wildcards.method) else "base"
    return {key: block[key] for key in keys} | {"environment": lock} | seen


def method_threads(wildcards):
    """A method's own number; 1 on a small data set, so that short runs go side by side."""
    small = DATASETS[wildcards.dataset].get("cells", 10_000) < 10_000
    return 1 if small else METHODS[wildcards.method]["threads"]


def family(method):
    """The family of methods that a method's environment is for."""
    return METHODS[method]["environment"]


def own_lock(method):
    """Whether a method's family has a lock of its own."""
    return family(method) in LOCKS


def environment(wildcards):
    """Conda environment file of a method's family."""
    return of_repository(f"envs/{family(wildcards.method)}.yaml")


def interpreter(wildcards):
    """Python for a method that does not run in the workflow's own; None: the job's Python.

    With conda, the job itself already runs in the right environment.
    """
    name = family(wildcards.method)
    if WITH_CONDA:
        return None
    own = str(ROOT / f".venv-{name}/bin/python") if own_lock(wildcards.method) else None
    return BENCHMARK.config["interpreters"].get(name, own)
