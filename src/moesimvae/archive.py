"""An experiment as a folder and zip to publish, and a check that its labels yield its scores.

The archive holds the small files behind the tables: labels, status and scores of each run, report
page and tables, configuration, lock file and code. Features, embeddings and models are left out;
`left_out.csv` gives their hashes and sources. `ro-crate-metadata.json` describes the archive as an
RO-Crate (Soiland-Reyes et al. 2022, Data Science 5(2): 97-138), `.zenodo.json` for Zenodo.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import moesimvae
from moesimvae import files
from moesimvae.errors import UserError
from moesimvae.evaluation.scores import SCORE_COLUMNS, score_dataset
from moesimvae.names import listed

RESULTS = "results"  # in the archive, laid out as the workflow's own
OF_RUN = ("status.json", "labels.parquet", "log.txt")
OF_DATASET = ("dataset.json", "labels.parquet", "clusters.json")
SUMS = "SHA256SUMS"
TOLERANCE = 1e-6  # scores are stored with ten digits
KEYS = ["dataset", "method", "seed", "split", "metric"]
README = """# {title}

The results of the experiment `{name}` of moesimvae {version}, code at commit {commit}.

| what | where |
|---|---|
| report page | `results/{name}/report.html` |
| tables, figures, methods section, quality control | `results/{name}/` |
| labels and status of every run | `results/runs/` |
| true labels and facts of every data set | `results/data/` |
| configuration, exact versions, code | `config.yaml`, `requirements.lock`, `code.zip` |
| files left out, with hashes and sources | `left_out.csv` |

`moesimvae verify FOLDER` (or the zip file) recomputes every score from these labels and lists those
that differ.
"""


def write(experiment: str, results: str | Path, root: str | Path, out: str | Path) -> Path:
    """Write the folder `out`/moesimvae-<experiment> and its zip; return the zip's path.

    results: the workflow's folder; root: the checkout, whose commit and configuration are included.
    Raises UserError for an experiment without a report page, and for a root without a Git history.
    """
    results, root, out = Path(results), Path(root), Path(out)
    source = results / experiment
    if not (source / "report.html").is_file() or not (source / "scores").is_dir():
        raise UserError(
            f"{source} has no finished experiment (report.html and scores/); run "
            f"`make {experiment}` first."
        )
    name = f"moesimvae-{experiment}"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".") as temporary:
        folder = Path(temporary, name)
        shutil.copytree(source, folder / RESULTS / experiment, ignore=_hidden)
        datasets = [path.stem for path in _scores(source)]
        for run in _runs(source):
            _copy(results / run, folder / RESULTS / run, OF_RUN)
        for dataset in datasets:
            place = Path("data", dataset)
            _copy(results / place, folder / RESULTS / place, OF_DATASET)
        _left_out(results, datasets, _runs(source)).to_csv(folder / "left_out.csv", index=False)
        commit = _code(root, folder)
        title = _title(root, experiment)
        about = {"title": title, "name": experiment, "version": moesimvae.__version__}
        files.write_text(folder / "README.md", README.format(**about, commit=commit))
        _describe(root, folder, title, commit)
        _write_sums(folder)
        shutil.make_archive(str(Path(temporary, name)), "zip", temporary, name)
        shutil.rmtree(out / name, ignore_errors=True)
        folder.rename(out / name)
        os.replace(Path(temporary, f"{name}.zip"), out / f"{name}.zip")
    return out / f"{name}.zip"


def _hidden(_: str, names: list[str]) -> set[str]:
    """Hidden files left by Snakemake and the system."""
    return {name for name in names if name.startswith(".")}


def _copy(source: Path, target: Path, names: Iterable[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).is_file():
            shutil.copy2(source / name, target / name)


def _scores(experiment: Path) -> list[Path]:
    """An experiment's long-format score tables, one for each data set."""
    every = sorted((experiment / "scores").glob("*.csv"))
    return [path for path in every if not path.name.endswith((".runs.csv", ".populations.csv"))]


def _runs(experiment: Path) -> list[str]:
    """Every run, as its path in the results folder."""
    tables = [pd.read_csv(path) for path in sorted((experiment / "scores").glob("*.runs.csv"))]
    return list(dict.fromkeys(run for table in tables for run in table["run"]))


def _left_out(results: Path, datasets: Iterable[str], runs: Iterable[str]) -> pd.DataFrame:
    """Table of file, bytes, sha256, source: features, raw files and the runs' other files."""
    rows: list[dict[str, Any]] = []
    for dataset in datasets:
        facts = files.read_json(results / "data" / dataset / "dataset.json")
        made = f"made by the workflow from: {facts['citation']}"
        rows.append({"file": f"data/{dataset}/features.h5ad", "source": made}
                    | _known(results / "data" / dataset / "features.h5ad", facts))  # fmt: skip
        rows += [
            {"file": raw["file"], "bytes": raw.get("bytes"), "sha256": raw.get("sha256"),
             "source": raw.get("url_or_path", "")}
            for raw in facts["sources"]
        ]  # fmt: skip
    for run in runs:
        every = [path for path in sorted((results / run).rglob("*")) if path.is_file()]
        rows += [
            {"file": str(path.relative_to(results)), "source": "made by the run"} | _known(path, {})
            for path in every
            if path.parent != results / run or path.name not in OF_RUN
            if not path.name.startswith(".")
        ]
    return pd.DataFrame(rows, columns=["file", "bytes", "sha256", "source"])


def _known(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    if path.is_file():
        return {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
    return {"bytes": None, "sha256": facts.get("features_sha256")}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["git failed"])[-1]
        raise UserError(f"{root} is not a checkout whose code can be archived ({said}).")
    return done.stdout


def _code(root: Path, folder: Path) -> str:
    """Add code, configuration and lock file, uncommitted changes as a patch; return the commit."""
    commit = _git(root, "rev-parse", "HEAD").strip()
    target = (folder / "code.zip").resolve()
    _git(root, "archive", "--format=zip", f"--output={target}", "HEAD")
    if changes := _git(root, "diff", "HEAD"):
        files.write_text(folder / "changes.patch", changes)
        commit += " with changes.patch"
    for name in ("config.yaml", "requirements.lock", "LICENSE", "CITATION.cff"):
        if (root / name).is_file():
            shutil.copy2(root / name, folder / name)
    return commit


def _title(root: Path, experiment: str) -> str:
    configured = yaml.safe_load((root / "config.yaml").read_text("utf-8"))["experiments"]
    return configured.get(experiment, {"title": "Own data"})["title"]


def _describe(root: Path, folder: Path, title: str, commit: str) -> None:
    """Write .zenodo.json and ro-crate-metadata.json."""
    try:
        from rocrate.model.contextentity import ContextEntity
        from rocrate.rocrate import ROCrate
    except ImportError:
        raise UserError("the package rocrate is missing; `make setup` installs it.") from None
    cited = yaml.safe_load((root / "CITATION.cff").read_text("utf-8"))
    authors = [author.get("name") or author["family-names"] for author in cited["authors"]]
    description = (
        f"{title}: labels and status of every run, scores, tables, figures and report of "
        f"moesimvae {moesimvae.__version__}, with the code that produced them (commit {commit}). "
        "`moesimvae verify` recomputes the scores from the labels."
    )
    paper = cited["preferred-citation"]["doi"]
    files.write_json(
        folder / ".zenodo.json",
        {
            "title": title,
            "description": description,
            "upload_type": "dataset",
            "creators": [{"name": author} for author in authors],
            "license": cited["license"].lower(),
            "keywords": cited["keywords"],
            "version": moesimvae.__version__,
            "related_identifiers": [{"identifier": paper, "relation": "cites", "scheme": "doi"}],
        },
    )
    crate = ROCrate(version="1.1")  # supported by validators and repositories
    crate.name, crate.description = title, description
    crate.datePublished = datetime.now(UTC)
    licence = f"https://spdx.org/licenses/{cited['license']}"
    crate.license = crate.add(
        ContextEntity(crate, licence, {"@type": "CreativeWork", "name": cited["license"]})
    )
    people = [
        crate.add(ContextEntity(crate, f"#author-{i}", {"@type": "Organization", "name": author}))
        for i, author in enumerate(authors)
    ]
    crate.publisher = people[0]
    crate.root_dataset["author"] = people if len(people) > 1 else people[0]
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != "code.zip":
            crate.add_file(path, path.name, properties=_about(path))
    crate.add_file(
        folder / "code.zip",
        "code.zip",
        properties=_about(folder / "code.zip")
        | {
            "@type": ["File", "SoftwareSourceCode"],
            "name": f"Code, commit {commit}",
            "version": commit,
            "programmingLanguage": "Python",
        },
    )
    for place, name in _places(folder):
        crate.add_dataset(folder / place, f"{place}/", properties={"name": name})
    for path in sorted((folder / RESULTS).glob("*/*")):
        if path.is_file():
            crate.add_file(path, str(path.relative_to(folder)), properties=_about(path))
    crate.metadata.write(folder)


def _places(folder: Path) -> Iterator[tuple[str, str]]:
    told = {
        "runs": "Labels and status of every run",
        "data": "True labels and facts of every data set",
    }
    for path in sorted((folder / RESULTS).iterdir()):
        yield f"{RESULTS}/{path.name}", told.get(path.name, f"Page and tables of {path.name}")


def _about(path: Path) -> dict[str, Any]:
    kinds = {".html": "text/html", ".csv": "text/csv", ".md": "text/markdown",
             ".json": "application/json", ".zip": "application/zip", ".tex": "text/x-tex",
             ".yaml": "application/yaml"}  # fmt: skip
    return {
        "name": path.name,
        "contentSize": str(path.stat().st_size),
        "encodingFormat": kinds.get(path.suffix, "text/plain"),
    }


def _write_sums(folder: Path) -> None:
    every = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{files.sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in every]
    files.write_text(folder / SUMS, "".join(lines))


# ---------------------------------------------------------------------- verify


@dataclass
class Verified:
    """Outcome of `verify`. different: sentences; skipped: metrics that need absent features."""

    scores: int
    different: list[str]
    skipped: list[str]


def verify(archive: str | Path) -> Verified:
    """Recompute every score of an archive, folder or zip, from its labels; check files' hashes.

    Raises UserError if it is not an archive.
    """
    with _unpacked(Path(archive)) as folder:
        results = folder / RESULTS
        tables = [
            table for place in sorted(results.glob("*/scores")) for table in _scores(place.parent)
        ]
        if not tables:
            raise UserError(
                f"{archive} contains no scores; give an archive written by `moesimvae archive`."
            )
        different, skipped, n = _changed_files(folder), set(), 0
        for table in tables:
            stored = pd.read_csv(table)
            features = results / "data" / table.stem / "features.h5ad"
            metrics = list(dict.fromkeys(stored["metric"]))
            if "silhouette" in metrics and not features.is_file():
                metrics.remove("silhouette")
                skipped.add("silhouette")
            runs = pd.read_csv(table.with_suffix(".runs.csv"))["run"]
            anew, _, now = score_dataset(
                [results / run for run in runs],
                results / "data" / table.stem / "labels.parquet",
                metrics,
                results,
                features if features.is_file() else None,
            )
            stored = stored[stored["metric"].isin(metrics)]
            n += len(stored)
            different += _differences(stored, anew)
            broken = now[now["status"] == "invalid"]
            different += [
                f"{run}: {why}" for run, why in zip(broken["run"], broken["reason"], strict=True)
            ]
    return Verified(n, different, sorted(skipped))


def _differences(stored: pd.DataFrame, anew: pd.DataFrame) -> Iterator[str]:
    both = stored[SCORE_COLUMNS].merge(anew, "outer", KEYS, suffixes=("", "_anew"))
    apart = (both["value"] - both["value_anew"]).abs()
    undefined = both["value"].isna() & both["value_anew"].isna()
    for row in both[~(apart <= TOLERANCE) & ~undefined].itertuples():
        which = f"{row.dataset} {row.method} seed {row.seed} ({row.split}), {row.metric}"
        yield f"{which}: {row.value:.6g} is stored, its labels give {row.value_anew:.6g}"


def _changed_files(folder: Path) -> list[str]:
    if not (folder / SUMS).is_file():
        return [f"{SUMS} is missing"]
    found = []
    for line in (folder / SUMS).read_text("utf-8").splitlines():
        told, _, name = line.partition("  ")
        if not (folder / name).is_file():
            found.append(f"{name} is missing")
        elif files.sha256(folder / name) != told:
            found.append(f"{name} is not the file that was archived")
    return found


@contextmanager
def _unpacked(archive: Path) -> Iterator[Path]:
    if archive.is_dir():
        yield archive
        return
    if not zipfile.is_zipfile(archive):
        raise UserError(
            f"{archive} is neither a folder nor a zip; give one written by `moesimvae archive`."
        )
    with tempfile.TemporaryDirectory() as temporary:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(temporary)
        folders = [path for path in Path(temporary).iterdir() if path.is_dir()]
        if len(folders) != 1:
            raise UserError(
                f"{archive} contains {listed(folders) or 'no folder'}, not one archive."
            )
        yield folders[0]
