"""The methods section of an experiment, to paste into a paper: only facts of its runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py

from moesimvae.evaluation import provenance
from moesimvae.nouns import Facts, Method, Metric, Status
from moesimvae.paragraph import bibtex, listed_with_values
from moesimvae.report.words import counted, joined, machine_of, sentence

Step = dict[str, Any]


def steps_of(features: Iterable[str | Path]) -> dict[str, list[Step]]:
    """Data set → its preprocessing steps, read from its features.h5ad."""
    found = {}
    for path in features:
        with h5py.File(path) as stored:
            told = stored.get("uns/preprocessing")
            text = "[]" if told is None else told.asstr()[()]
        found[Path(path).parent.name] = json.loads(text)
    return found


def document(
    title: str,
    datasets: Mapping[str, Facts],
    steps: Mapping[str, Sequence[Step]],
    methods: Mapping[str, Method],
    metrics: Mapping[str, Metric],
    statuses: Mapping[str, Status],
) -> str:
    """Markdown, with BibTeX at the end.

    steps: from `steps_of`; methods, metrics: the experiment's; statuses: by run path.
    """
    environments = provenance.environments(statuses)[0]
    cited = [
        *(method.reference for method in methods.values()),
        *(facts.citation for facts in datasets.values()),
        *(metric.reference for metric in metrics.values()),
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
        *(text for name, method in methods.items() for text in _method(name, method, statuses)),
        "## Scores",
        " ".join(f"{metric.title}: {sentence(metric.definition)}" for metric in metrics.values()),
        "## Software",
        *software,
        "## References",
        "```bibtex\n" + "\n\n".join(bibtex(cited)) + "\n```",
    ]
    return "\n\n".join(" ".join(p.split()) if not p.startswith("```") else p for p in parts) + "\n"


def _data(facts: Facts, steps: Sequence[Step], statuses: Mapping[str, Status]) -> str:
    mine = [s for s in statuses.values() if s.dataset == facts.name]
    asked = sorted({s.n_clusters for s in mine if "existing" not in s.facts})
    how = "estimated from the cells, without labels" if facts.n_clusters_estimated else "given"
    done = "; ".join(
        " ".join(filter(None, [name, listed_with_values(rest)]))
        for name, rest in ((s["step"], {k: v for k, v in s.items() if k != "step"}) for s in steps)
    )
    numbers = joined([str(number) for number in asked])
    text = f"{facts.title}: {facts.n_cells:,} cells with {facts.n_features:,} features."
    if done:
        text += f" Preprocessing, in this order: {done}."
    if numbers:
        text += f" Number of clusters asked for: K = {numbers} ({how})."
    text += f" Scored: {facts.scored}."
    for name, what in (("simulated", "simulated"), ("partial", "a subset")):
        text += f" The data are {what}." * getattr(facts, name)
    files = [f"{s['file']} (SHA-256 {s['sha256']})" for s in facts.sources if s.get("sha256")]
    return f"{text} Files: {', '.join(files)}." if files else text


def _method(name: str, method: Method, statuses: Mapping[str, Status]) -> Iterator[str]:
    mine = [s for s in statuses.values() if s.method == name]
    if not mine:
        return
    if method.existing:
        yield f"{method.title}. {sentence(method.reference)}"
        return
    seeds = sorted({s.seed for s in mine})
    finished = sum(s.status == "ok" for s in mine)
    same, varying = provenance.parameters([s.params for s in mine])
    text = f"{method.title} (module {method.module}): {sentence(method.reference)}"
    text += f" {'Seed' if len(seeds) == 1 else 'Seeds'} {joined([str(seed) for seed in seeds])};"
    text += f" {finished} of {counted(len(mine), 'run')} finished."
    if same:
        text += f" Parameters: {listed_with_values(same)}."
    for parameter, values in varying.items():
        told = ", ".join(f"{value} ({counted(n, 'run')})" for value, n in values)
        text += f" {parameter}: {told}."
    yield text
