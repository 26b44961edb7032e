"""How many clusters there are, and how certain each of them is: in sentences and as a table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from moesimvae.nouns import Facts, Method, Run, Status
from moesimvae.report.tables import Cell, Table, plain
from moesimvae.report.words import counted
from moesimvae.studies.views import unstable

TOLD = 5  # pairs of clusters mentioned in sentences
HARDLY = "?"  # after the number of a cluster that is hardly one
UNSTRUCTURED = (
    "No structure was found: the cells are no closer to each other than when the values of each "
    "feature are shuffled, so clusters are arbitrary parts of one cloud."
)


@dataclass
class Sureness:
    """The text and tables on one data set."""

    heading: str
    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def sureness(
    statuses: Mapping[str, Status], datasets: Mapping[str, Facts], methods: Mapping[str, Method]
) -> dict[str, Sureness]:
    """Data set → how certain its clusters are, where that is known.

    statuses: by run path. For each method, the run with the smallest seed is reported.
    """
    first: dict[tuple[str, str], tuple[Run, Status]] = {}
    for path, status in statuses.items():
        run = Run.of(path)
        known = first.get((run.dataset, run.method))
        if known is None or int(run.seed) < int(known[0].seed):
            first[run.dataset, run.method] = run, status
    found = {}
    for name, prepared in datasets.items():
        part = Sureness(prepared.title)
        if evidence := prepared.n_clusters_evidence:
            part.sentences.append(f"Number of clusters asked for: {how_many(evidence)}.")
        for run, status in (told for told in first.values() if told[0].dataset == name):
            title = f"{methods[run.method].title}, seed {run.seed}"
            if evidence := status.facts.get("evidence"):
                part.sentences.append(f"{title}: {how_many(evidence)}.")
            if stability := status.facts.get("stability"):
                part.sentences += _said(title, stability)
                part.tables.append(_table(title, stability))
        if part.sentences:
            found[name] = part
    return found


def how_many(evidence: Mapping[str, Any]) -> str:
    """The estimated number of clusters, with its interval."""
    if not evidence["structure"]:
        return "no structure was found that would determine the number of clusters"
    low, high = evidence["interval"]
    interval = f"{low} to {high}" if low < high else "the same"
    return f"{evidence['n_clusters']}, estimated without labels; {interval} by resampling"


def mark(cluster: int, unstable: frozenset[int]) -> str:
    """A cluster's number, marked if it is hardly a cluster."""
    return f"{cluster}{HARDLY if cluster in unstable else ''}"


def _said(title: str, stability: Mapping[str, Any]) -> Iterator[str]:
    if not stability["structure"]:
        yield UNSTRUCTURED
    n = sum(value is not None for value in stability["clusters"])
    yield (
        f"{title}: {n - len(unstable(stability))} of {n} clusters are recovered from half of the "
        f"cells (stability {stability['stable_from']} or more)."
    )
    if not stability["structure"]:
        return
    for a, b, share in stability["together"][:TOLD]:
        yield f"Cells of clusters {a} and {b} fall into one group {share:.0%} of the time."
    if (more := len(stability["together"]) - TOLD) > 0:
        yield f"{counted(more, 'further pair')} of clusters, with smaller shares: see the table."


def _table(title: str, stability: Mapping[str, Any]) -> Table:
    total = sum(stability["cells"])
    with_others: dict[int, list[str]] = {}
    for a, b, share in stability["together"]:
        with_others.setdefault(a, []).append(f"{b} ({share:.0%})")
        with_others.setdefault(b, []).append(f"{a} ({share:.0%})")
    rows = []
    hardly = unstable(stability)
    for k, (cells, value) in enumerate(zip(stability["cells"], stability["clusters"], strict=True)):
        rows.append(
            (
                mark(k, hardly),
                f"{cells:,}",
                f"{cells / total:.1%}",
                "" if value is None else f"{value:.2f}",
                Cell(", ".join(with_others.get(k, [])), kind="text"),
            )
        )
    return plain(
        f"Clusters of {title}",
        ["Cluster", "Cells", "Share", "Stability", "Often in one group with"],
        rows,
        numbers=(1, 2, 3),
        caption="Stability: how well the cluster is recovered when half of the cells are grouped "
        f"again (mean Jaccard index over {stability['resamples']} resamples). "
        f"{HARDLY}: below {stability['stable_from']}, hardly a cluster. Often in one group with: "
        "share of pairs of cells, one from each cluster, that fall into one group, if above 10 %.",
        key="sureness",
    )
