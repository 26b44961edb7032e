"""The methods section of an experiment, to paste into a paper: nothing but facts of its runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import h5py

from moesimvae.evaluation import provenance
from moesimvae.paragraph import bibtex, listed_with_values
from moesimvae.registry import Block
from moesimvae.report.words import counted, joined, machine_of, sentence


def steps_of(features: Iterable[str | Path]) -> dict[str, list[Block]]:
    """Data set → its steps of preprocessing, as its features.h5ad tell."""
    found = {}
    for path in features:
        with h5py.File(path) as stored:
            told = stored.get("uns/preprocessing")
            text = "[]" if told is None else told.asstr()[()]
        found[Path(path).parent.name] = json.loads(text)
    return found


def document(
    title: str,
    datasets: Mapping[str, Block],
    steps: Mapping[str, Sequence[Block]],
    methods: Mapping[str, Block],
    metrics: Mapping[str, Block],
    statuses: Mapping[str, Block],
) -> str:
    """Markdown, with BibTeX at its end.

    datasets: name → dataset.json; steps: from `steps_of`; methods, metrics: the registry's blocks
    of what the experiment has; statuses: path of each run → its status.json.
    """
    environments = provenance.environments(statuses)[0]
    cited = [
        *(methods[name]["reference"] for name in methods),
        *(facts["citation"] for facts in datasets.values()),
        *(block["reference"] for block in metrics.values()),
    ]
    software = [
        f"{counted(e.runs, 'run')} of moesimvae {e.version} on {machine_of([e.machine])}: "
        f"{listed_with_values(e.packages, ' ')}."
        for e in environments
    ]
    parts = [
        "# Methods",
        f"{sentence(title)} {counted(len(statuses), 'run')} of {counted(len(methods), 'method')} "
        f"on {counted(len(datasets), 'data set')}.",
        "## Data",
        *(_data(facts, steps.get(name, ()), statuses) for name, facts in datasets.items()),
        "## Clustering",
        *(text for name, block in methods.items() for text in _method(name, block, statuses)),
        "## Scores",
        " ".join(
            f"{block['title']}: {sentence(block['definition'])}" for block in metrics.values()
        ),
        "## Software",
        *software,
        "## References",
        "```bibtex\n" + "\n\n".join(bibtex(cited)) + "\n```",
    ]
    return "\n\n".join(" ".join(p.split()) if not p.startswith("```") else p for p in parts) + "\n"


def _data(facts: Block, steps: Sequence[Block], statuses: Mapping[str, Block]) -> str:
    mine = [s for s in statuses.values() if s["dataset"] == facts["name"]]
    asked = sorted({s["n_clusters"] for s in mine if "existing" not in s["facts"]})
    how = (
        "estimated from the cells, without labels" if facts.get("n_clusters_estimated") else "given"
    )
    done = "; ".join(
        " ".join(filter(None, [name, listed_with_values(rest)]))
        for name, rest in ((s["step"], {k: v for k, v in s.items() if k != "step"}) for s in steps)
    )
    numbers = joined([str(number) for number in asked])
    text = f"{facts['title']}: {facts['n_cells']:,} cells with {facts['n_features']:,} features."
    if done:
        text += f" Preprocessing, in this order: {done}."
    if numbers:
        text += f" Number of clusters asked for: K = {numbers} ({how})."
    text += f" Scored: {facts['scored']}."
    for name in ("simulated", "partial"):
        text += f" The data are {name}." * facts[name]
    files = [f"{s['file']} (SHA-256 {s['sha256']})" for s in facts["sources"] if s.get("sha256")]
    return f"{text} Files: {', '.join(files)}." if files else text


def _method(name: str, block: Block, statuses: Mapping[str, Block]) -> Iterator[str]:
    mine = [s for s in statuses.values() if s["method"] == name]
    if not mine:
        return
    if block.get("existing"):
        yield f"{block['title']}. {sentence(block['reference'])}"
        return
    seeds = sorted({s["seed"] for s in mine})
    finished = sum(s["status"] == "ok" for s in mine)
    same, varying = provenance.parameters([s["params"] for s in mine])
    text = f"{block['title']} (module {block['module']}): {sentence(block['reference'])}"
    text += f" {'Seed' if len(seeds) == 1 else 'Seeds'} {joined([str(seed) for seed in seeds])};"
    text += f" {finished} of {counted(len(mine), 'run')} finished."
    if same:
        text += f" Parameters: {listed_with_values(same)}."
    for parameter, values in varying.items():
        told = ", ".join(f"{value} ({counted(n, 'run')})" for value, n in values)
        text += f" {parameter}: {told}."
    yield text
