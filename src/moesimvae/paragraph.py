"""The methods paragraph that a paper needs, written solely from what was run."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

MODEL = (
    "Kopf A., Fortuin V., Somnath V. R., Claassen M. (2021) Mixture-of-Experts Variational "
    "Autoencoder for clustering and generating from similarity-based representations on single "
    "cell data. PLoS Comput. Biol. 17(6): e1009086."
)
UMAP = (
    "McInnes L., Healy J., Melville J. (2018) UMAP: Uniform manifold approximation and projection. "
    "arXiv:1802.03426."
)
USED = (
    *("anndata", "igraph", "numpy", "pandas", "pynndescent", "scikit-learn", "scipy", "torch"),
    "umap-learn",
)


def packages() -> dict[str, str]:
    """Package → version, for the installed packages that clustering depends on."""
    found = {}
    for name in USED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a bare checkout
            continue
    return found


def bibtex(citations: Iterable[str]) -> list[str]:
    """Convert citations in the registries' format to BibTeX, each work once.

    "Authors (year) title. Where; further works, or remarks." Parts that do not match, such as
    remarks on the implementation, are skipped.
    """
    parts = [part for text in citations for part in text.strip().rstrip(".").split("; ")]
    works = [found.groupdict() for found in map(_WORK.fullmatch, parts) if found]
    return list(dict(map(_entry, reversed(works))).values())[::-1]


_SPECIAL, _ESCAPED = re.compile("([&%#_])"), r"\\\1"  # in LaTeX
# "prepared by", "Leiden of" and the like may precede the authors
_WORK = re.compile(
    r"(?:[\w ]+ (?:by|of) )?(?P<author>[^()]+?) \((?P<year>\d{4})\)\.? "
    r"(?P<title>.+?)(?<![ .][A-Z])\. (?P<howpublished>.+?)(, followed by .+)?"
)


def _entry(work: Mapping[str, str]) -> tuple[str, str]:
    """A work's key and entry."""
    people = work["author"].replace(" et al.", ", others").split(", ")
    authors = [_person(name) for name in people]
    plain = unicodedata.normalize("NFKD", authors[0].split(",")[0]).encode("ascii", "ignore")
    surname = re.sub(r"\W", "", plain.decode()).lower()
    first = next((w for w in re.findall(r"[A-Za-z]+", work["title"]) if len(w) > 3), "")
    key = f"{surname}{work['year']}{first.lower()}"
    fields = {
        "author": " and ".join(authors),
        "title": f"{{{work['title']}}}",
        "howpublished": work["howpublished"],
        "year": work["year"],
    }
    lines = [f"  {name} = {{{_SPECIAL.sub(_ESCAPED, text)}}}" for name, text in fields.items()]
    return key, f"@misc{{{key},\n" + ",\n".join(lines) + "\n}"


def _person(name: str) -> str:
    """Kopf A. → Kopf, A.; a consortium in braces."""
    found = re.fullmatch(r"(.+?)((?: [A-Z]\.(?:-?[A-Z]\.)*)+)", name)
    if found:
        return f"{found[1]}, {found[2].strip()}"
    return f"{{{name}}}" if " " in name else name


def of_cells(facts: Mapping[str, Any], n_cells: int) -> str:
    """Methods, as Markdown, of one clustering by `moesimvae cluster`.

    facts: uns["moesimvae"] of its cells.h5ad.
    """
    params, found = facts["params"], facts["facts"]
    samples = " from several samples" if facts["sample"] else ""
    compensated = {"": "", "file": " compensated with the matrix in the file,"}.get(
        facts["compensated"], f" compensated with the matrix in {facts['compensated']},"
    )
    sentences = [
        f"{n_cells:,} cells{samples} ({facts['file']}) with {facts['features']} features were"
        f"{compensated} transformed ({_plain(facts['transform'])}) and clustered with MoE-Sim-VAE "
        f"[@kopf2021mixture] as implemented in moesimvae {facts['version']}, using the preset "
        f"{facts['preset']} and the seed {params['random_state']}.",
        f"The number of clusters, K, was {facts['clusters']}; "
        f"{facts['experts_in_use']} of them contain cells.",
        f"Training took {found['steps']} steps on {found['device']}.",
    ]
    cited = [MODEL]
    if facts["map"] == "UMAP":
        sentences.append("Maps of the latent space were computed with UMAP [@mcinnes2018umap].")
        cited.append(UMAP)
    return document(" ".join(sentences), facts["packages"], params, cited)


def _plain(transform: str) -> str:
    """The transform without the reason for choosing it, which is no fact of the run."""
    return transform.partition(" (automatic")[0]


def document(
    text: str, versions: Mapping[str, str], params: Mapping[str, Any], cited: Iterable[str]
) -> str:
    """The parts of methods.md: text, software, parameters, BibTeX of the works cited."""
    parts = ["# Methods", text, f"Software: {listed_with_values(versions, ' ')}."]
    if params:
        parts.append(f"Parameters: {listed_with_values(params)}.")
    entries = "\n\n".join(bibtex(cited))
    return "\n\n".join([*parts, "# References", f"```bibtex\n{entries}\n```"]) + "\n"


def listed_with_values(values: Mapping[str, Any], sign: str = " = ") -> str:
    """Names with their values: a = 1, b = 2."""
    plain = {n: v.tolist() if hasattr(v, "tolist") else v for n, v in values.items()}
    return ", ".join(f"{name}{sign}{value}" for name, value in plain.items())
