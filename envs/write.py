"""Write one conda environment file per family of methods: conda gives Python and pip, pip the rest.

Every package a family needs, with all that these need in turn, is pinned as in requirements.lock
(clustpy: envs/clustpy.lock). Snakemake copies an environment file before it uses it, so the pins
stand in the file itself. Run it in the environment of the lock, as `make lock` does.
"""

from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ENVS = Path(__file__).parent
LOCK = ENVS.parent / "requirements.lock"
PYTHON = "3.11"
# torch pins what it needs for GPUs itself; setuptools comes with pip
NOT_LOCKED = ("nvidia-", "cuda-", "triton", "setuptools")

# What supervises a run and what is inside of it (moesimvae.methods.runner, worker).
RUN = ["anndata", "numpy", "pandas", "psutil", "pyarrow", "scikit-learn", "scipy", "threadpoolctl"]
GRAPHS = ["igraph", "pynndescent", "umap-learn"]
PICTURES = ["jinja2", "matplotlib", "pillow"]
PAGES = ["bokeh", "itables"]
FAMILIES = {
    "base": (
        "The workflow's own jobs: downloads, data sets, scores, tables, figures, the report.",
        [
            *RUN,
            *GRAPHS,
            *PICTURES,
            *PAGES,
            "flowio",
            "h5py",
            "pyyaml",
            "requests",
            "tqdm",
            "urllib3",
        ],
    ),
    "classic": (
        "Classic methods: k-means, mixtures, Ward, HDBSCAN, fuzzy c-means, Louvain, UMAP.",
        [*RUN, *GRAPHS, "hdbscan", "pyyaml", "scikit-fuzzy"],
    ),
    "cytometry": (
        "Methods for mass cytometry: FlowSOM, PhenoGraph, X-shift.",
        [*RUN, *GRAPHS, "flowsom", "pyyaml"],
    ),
    "deep": (
        "MoE-Sim-VAE and its deep peers, what trained models generate, your own cells.",
        [*RUN, *GRAPHS, *PICTURES, "flowio", "h5py", "pyyaml", "safetensors", "torch", "tqdm"],
    ),
    "scvi": (
        "scVI, followed by Leiden.",
        [*RUN, *GRAPHS, "leidenalg", "pyyaml", "scanpy", "scvi-tools"],
    ),
}
CLUSTPY = (
    "ClustPy, for the cross-check of VaDE and DEC: an environment of its own, since it imports\n"
    "# torchvision, which needs another torch than the rest. Linux."
)


def main() -> None:
    for name, text in environment_files().items():
        (ENVS / f"{name}.yaml").write_text(text, encoding="utf-8")
        print(f"envs/{name}.yaml")


def environment_files() -> dict[str, str]:
    """Text of every environment file, by its name."""
    locked = read_lock(LOCK)
    texts = {
        name: environment_file(about, "requirements.lock", pins(needs, locked))
        for name, (about, needs) in FAMILIES.items()
    }
    own = list(read_lock(ENVS / "clustpy.lock").values())
    compiler = ["c-compiler # ClustPy has an extension module and is built from source"]
    return texts | {"clustpy": environment_file(CLUSTPY, "envs/clustpy.lock", own, compiler)}


def environment_file(
    about: str, lock: str, packages: Iterable[str], further: Iterable[str] = ()
) -> str:
    """further: what conda gives beside Python and pip."""
    conda = [f"python ={PYTHON}", "pip", *further]
    return "\n".join(
        [
            f"# {about}",
            f"# Written by envs/write.py; its pins are those of {lock}.",
            *("channels:", "  - conda-forge", "  - nodefaults", "dependencies:"),
            *(f"  - {package}" for package in conda),
            "  - pip:",
            *(f"      - {pin}" for pin in packages),
            "",
        ]
    )


def read_lock(path: Path) -> dict[str, str]:
    """Its lines `name==version` by canonical name."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {
        canonicalize_name(line.partition("==")[0]): line
        for line in lines
        if line and not line.startswith("#")
    }


def pins(packages: Iterable[str], locked: dict[str, str]) -> list[str]:
    """The locked lines of packages and of all that they need here, sorted.

    Raises SystemExit when a package is not in the lock.
    """
    needed: set[str] = set()
    todo = [Requirement(package) for package in packages]
    seen = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        asked = (name, *sorted(requirement.extras))
        if asked in seen or name.startswith(NOT_LOCKED):
            continue
        seen.add(asked)
        if name not in locked:
            raise SystemExit(f"error: {name} is not in requirements.lock; run `make lock` first.")
        needed.add(name)
        todo += required_by(name, requirement.extras or {""})
    return sorted((locked[name] for name in needed), key=str.lower)


def required_by(name: str, extras: set[str]) -> list[Requirement]:
    """What an installed distribution needs on this platform, with these extras."""
    every = [Requirement(line) for line in metadata.requires(name) or []]
    return [
        requirement
        for requirement in every
        if requirement.marker is None
        or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)
    ]


if __name__ == "__main__":
    main()
