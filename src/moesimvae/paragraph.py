"""The paragraph of methods that a paper needs, written from what was run and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from importlib.resources import files as package
from typing import Any

from moesimvae.errors import UserError

USED = (
    *("anndata", "igraph", "numpy", "pandas", "pynndescent", "scikit-learn", "scipy", "torch"),
    "umap-learn",
)


def packages() -> dict[str, str]:
    """Package → version, of the installed ones that clustering rests on."""
    found = {}
    for name in USED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a bare checkout
            continue
    return found


def bibtex(keys: Iterable[str]) -> list[str]:
    """Entries of references.bib by their keys, in the order of the file."""
    wanted = set(keys)
    if unknown := wanted - set(_entries()):
        raise UserError(f"references.bib has no entry {', '.join(sorted(unknown))}; add it there.")
    return [entry for key, entry in _entries().items() if key in wanted]


def keys() -> list[str]:
    """Of all entries of references.bib."""
    return list(_entries())


@cache
def _entries() -> dict[str, str]:
    text = (package("moesimvae") / "references.bib").read_text("utf-8")
    return {m[1]: m[0] for m in re.finditer(r"^@\w+\{(\w+),\n.*?^\}", text, re.M | re.S)}


def of_cells(facts: Mapping[str, Any], n_cells: int) -> str:
    """Markdown of one clustering by `moesimvae cluster`.

    facts: uns["moesimvae"] of its cells.h5ad.
    """
    params, found = facts["params"], facts["facts"]
    samples = " of several samples" if facts["sample"] else ""
    compensated = {"": "", "file": " compensated by the matrix in the file,"}.get(
        facts["compensated"], f" compensated by the matrix in {facts['compensated']},"
    )
    sentences = [
        f"{n_cells:,} cells{samples} ({facts['file']}) with {facts['features']} features were"
        f"{compensated} transformed ({_plain(facts['transform'])}) and clustered by MoE-Sim-VAE "
        f"[@kopf2021moesimvae] as implemented in moesimvae {facts['version']}, with the settings "
        f"called {facts['preset']} and the seed {params['random_state']}.",
        f"The number of clusters, K = {facts['n_clusters']}, was {facts['clusters']}; "
        f"{facts['experts_in_use']} of them hold cells.",
        f"Training took {found['steps']} steps on {found['device']}.",
    ]
    cited = ["kopf2021moesimvae"]
    if n_cells > 50:
        sentences.append("Maps of the latent space are by UMAP [@mcinnes2018umap].")
        cited.append("mcinnes2018umap")
    return document(" ".join(sentences), facts["packages"], params, cited)


def _plain(transform: str) -> str:
    """Without why it was chosen, which is no fact of the run."""
    return transform.partition(" (automatic")[0]


def document(
    text: str, versions: Mapping[str, str], params: Mapping[str, Any], cited: Iterable[str]
) -> str:
    """The parts of methods.md: text, software, parameters, BibTeX."""
    software = ", ".join(f"{name} {version}" for name, version in versions.items())
    given = ", ".join(f"{name} = {_shown(value)}" for name, value in params.items())
    parts = ["# Methods", text, f"Software: {software}."]
    if given:
        parts.append(f"Parameters: {given}.")
    return "\n\n".join([*parts, "# References", "```bibtex", "\n\n".join(bibtex(cited)), "```"]) + "\n"


def _shown(value: Any) -> str:
    return str(value.tolist() if hasattr(value, "tolist") else value)
