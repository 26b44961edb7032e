"""Studies of what trained models generate: accuracy and cost, variety, distances between clusters.

Clusters are named after most of their real cells, the one place where labels enter;
what was generated is then judged by the model's own clustering, as in the paper, and by a
classifier that knows nothing of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch

from moesimvae.errors import UserError
from moesimvae.evaluation import generation as compare
from moesimvae.evaluation import mmd
from moesimvae.evaluation.judge import Judge, majority_names
from moesimvae.evaluation.scores import read_clusters
from moesimvae.methods import generators
from moesimvae.methods.generators import FITTED, STANDARD, Drawn, Generator
from moesimvae.nouns import Run

EXAMPLES = 12  # images kept of each cluster
COMPARED = 1000  # images or cells of each side where samples are compared
GENERATED_CELLS = 500  # of each cluster, in the h5ad
MOST_FEATURES = 200  # of genes, when whole cells are compared
COMPONENT = "component"  # VaDE's own mixture component, the counterpart of STANDARD and FITTED
MMD_THRESHOLD = 0.8  # the paper's for VaDE in S3 Figure


@dataclass
class ImageStudy:
    """accuracy: a row for each Gaussian, threshold and cluster; confusion: counts by digit asked
    and found; quality: a row for each Gaussian and cluster; examples: Gaussian → images
    (n_clusters, EXAMPLES, pixels); names: the digit that each cluster stands for."""

    accuracy: pd.DataFrame
    confusion: pd.DataFrame
    quality: pd.DataFrame
    examples: dict[str, np.ndarray]
    names: list[str]


def every_generator(run: str | Path) -> Iterator[tuple[str, Generator]]:
    """(name of its Gaussians, generator): two for MoE-Sim-VAE, one for VaDE."""
    first = generators.read(run, STANDARD)
    if first.posterior is not None:
        yield COMPONENT, first
        return
    yield STANDARD, first
    yield FITTED, generators.read(run, FITTED)


def study_images(
    run: str | Path,
    cells: anndata.AnnData,
    labels: np.ndarray,
    judge: Judge,
    *,
    n: int = 10_000,
    thresholds: Sequence[float] = (0.0,),
) -> ImageStudy:
    """Fig 2 and S4 to S6 Figures for one run.

    cells: the images that the run clustered; labels: (n_cells,) their names, "" = unscored. n
    images of every cluster at every threshold on the posterior; a model that needs none draws n
    in all. Raises UserError for a run without a model that generates, or of other cells.
    """
    clusters, seed = read_clusters(run, cells.obs_names), Run.of(run).seed
    accuracy, confusion, quality, examples = [], [], [], {}
    for gaussian, generator in every_generator(run):
        names = majority_names(labels, clusters, generator.n_clusters)
        wanted = list(thresholds) if generator.posterior is not None else [0.0]
        shown = np.zeros((generator.n_clusters, EXAMPLES, cells.n_vars), dtype=np.float32)
        for k, name in enumerate(names):
            if name == "":
                continue
            drawn = generators.generate(generator, k, n, wanted, seed)
            rows, asked = _judged(drawn, k, names, generator, judge)
            accuracy += [{"gaussian": gaussian} | row for row in rows]
            confusion += [{"gaussian": gaussian} | row for row in asked]
            first = drawn.cells[drawn.accepted[wanted[0]]]
            shown[k, : len(first[:EXAMPLES])] = first[:EXAMPLES]
            real = _rows(cells, np.flatnonzero(clusters == k), 2 * COMPARED, seed)
            quality.append(
                {"gaussian": gaussian, "cluster": k, "digit": name} | _alike(real, first, judge)
            )
        examples[gaussian] = shown
    tables = [pd.DataFrame(rows) for rows in (accuracy, confusion, quality)]
    return ImageStudy(*(_of_run(table, run) for table in tables), examples, names)


def _judged(
    drawn: Drawn, k: int, names: list[str], generator: Generator, judge: Judge
) -> tuple[list[dict], list[dict]]:
    """Rows of accuracy and of confusion for one cluster."""
    assigned = generator.assign(drawn.cells)
    found = {"own": np.array(names)[assigned], "judge": judge.predict(drawn.cells)}
    rows, asked = [], []
    for threshold, some in drawn.accepted.items():
        rows.append(
            {
                "threshold": threshold,
                "cluster": k,
                "digit": names[k],
                "n": len(some),
                "draws": drawn.draws[threshold],
                "seconds": round(drawn.seconds[threshold], 4),
                "assigned_back": _share(assigned[some] == k),
                "own": _share(found["own"][some] == names[k]),
                "judge": _share(found["judge"][some] == names[k]),
            }
        )
        for by, digits in found.items():
            values, counts = np.unique(digits[some], return_counts=True)
            asked += [
                {"threshold": threshold, "by": by, "asked": names[k], "found": v, "n": int(c)}
                for v, c in zip(values, counts, strict=True)
            ]
    return rows, asked


def _alike(real: np.ndarray, made: np.ndarray, judge: Judge) -> dict[str, float]:
    """Real images of a cluster against generated ones, and against as many other real ones."""
    size = min(len(real) // 2, len(made), COMPARED)
    row = {"n": size}
    if size < 5:
        return row
    first, second, generated = (
        judge.features(v) for v in (real[:size], real[size : 2 * size], made[:size])
    )
    row["frechet"] = compare.frechet_distance(first, generated)
    row["frechet_real"] = compare.frechet_distance(first, second)
    row["precision"], row["recall"] = compare.precision_recall(first, generated)
    row["precision_real"], row["recall_real"] = compare.precision_recall(first, second)
    return row


def latent_distances(
    run: str | Path, labels: np.ndarray, cells: anndata.AnnData, *, n: int = 1000
) -> pd.DataFrame:
    """MMD between all pairs of clusters in latent space: S2 and S3 Figures.

    In two ways ("space"): "encoded", the codes of real cells; and draws of the clusters' Gaussians
    (STANDARD and FITTED, or COMPONENT with VaDE's threshold of 0.8). Columns of `mmd.pairs`, with
    the names of both clusters. Raises UserError as `study_images` does.
    """
    clusters, seed = read_clusters(run, cells.obs_names), Run.of(run).seed
    codes = np.load(Path(run) / "embedding.npy")
    spaces: dict[str, list[np.ndarray]] = {}
    for gaussian, generator in every_generator(run):
        names = majority_names(labels, clusters, generator.n_clusters)
        used = [k for k, name in enumerate(names) if name]
        spaces.setdefault("encoded", [codes[clusters == k] for k in used])
        threshold = MMD_THRESHOLD if generator.posterior is not None else 0.0
        spaces[gaussian] = [
            _codes(generator, k, 2 * n, threshold, 1_000_003 * seed + k) for k in used
        ]
    tables = []
    for space, samples in spaces.items():
        table = mmd.pairs(samples, n=n, seed=seed)
        for side in ("first", "second"):
            table[side] = [used[i] for i in table[side]]
            table[f"{side}_name"] = [names[k] for k in table[side]]
        tables.append(table.assign(space=space))
    return _of_run(pd.concat(tables, ignore_index=True), run)


def _codes(generator: Generator, k: int, n: int, threshold: float, seed: int) -> np.ndarray:
    """Up to n accepted codes of a cluster; nothing is decoded."""
    random, accepted, total = torch.Generator().manual_seed(seed), [], 0
    while sum(map(len, accepted)) < n and total < generators.MOST_DRAWS * n:
        z = generator.draw(k, n, random)
        if threshold > 0:
            z = z[generator.posterior(z)[:, k] > threshold]
        accepted.append(z)
        total += n
    return torch.cat(accepted)[:n].numpy()


@dataclass
class CellStudy:
    """populations: a row for each cluster (MMD, two-sample classifier, correlations); features: a
    row for each cluster and feature (marginals); generated: cells × features, in obs their
    cluster, its name and generated = True."""

    populations: pd.DataFrame
    features: pd.DataFrame
    generated: anndata.AnnData


def study_cells(run: str | Path, cells: anndata.AnnData, labels: np.ndarray) -> CellStudy:
    """Generated cells against the real cells of their cluster, for one run of MoE-Sim-VAE.

    Values are those the model was fitted on. For each cluster of 20 real cells or more, up to
    COMPARED real and as many generated cells: MMD with its p-value and, for scale, its value
    between two halves of the real ones; correlations; and, of FITTED alone, a two-sample
    classifier and the marginals. MOST_FEATURES, those that vary most, enter all but the marginals.
    """
    clusters, seed = read_clusters(run, cells.obs_names), Run.of(run).seed
    populations, features, made = [], [], []
    for gaussian, generator in every_generator(run):
        names = majority_names(labels, clusters, generator.n_clusters)
        for k, name in enumerate(names):
            members = np.flatnonzero(clusters == k)
            if len(members) < 20:
                continue
            real = _rows(cells, members, COMPARED, seed)
            new = generators.generate(generator, k, max(len(real), GENERATED_CELLS), seed=seed)
            row = {"gaussian": gaussian, "cluster": k, "name": name, "n": len(real)}
            populations.append(row | _alike_cells(real, new.cells[: len(real)], seed))
            if gaussian == STANDARD:
                continue
            populations[-1] |= _told_apart(real, new.cells[: len(real)], seed)
            table = compare.marginals(real, new.cells[: len(real)], cells.var_names)
            features.append(table.assign(gaussian=gaussian, cluster=k, name=name))
            made.append(_annotated(new.cells[:GENERATED_CELLS], cells, k, name))
    if not made:
        raise UserError(f"{run} has no cluster of 20 cells or more whose cells could be compared.")
    generated = anndata.concat(made, merge="same")
    generated.uns["generated_by"] = Run.of(run).name
    return CellStudy(
        _of_run(pd.DataFrame(populations), run),
        _of_run(pd.concat(features, ignore_index=True), run),
        generated,
    )


def _told_apart(real: np.ndarray, made: np.ndarray, seed: int) -> dict[str, float]:
    kept = _varying(real)
    told = compare.two_sample_classifier(real[:, kept], made[:, kept], folds=3, seed=seed)
    return {"classifier_accuracy": told["accuracy"], "classifier_auc": told["auc"]}


def _varying(real: np.ndarray) -> np.ndarray:
    """The MOST_FEATURES features that vary most."""
    return np.sort(np.argsort(-real.var(axis=0), kind="stable")[:MOST_FEATURES])


def _alike_cells(real: np.ndarray, made: np.ndarray, seed: int) -> dict[str, float]:
    kept = _varying(real)
    real, made = real[:, kept], made[:, kept]
    half = len(real) // 2
    tested = mmd.two_sample_test(real[:half], made[:half], n_permutations=100, seed=seed)
    among_real = mmd.two_sample_test(real[:half], real[half:], n_permutations=100, seed=seed)
    difference, alike = compare.correlation_agreement(real, made)
    return {
        "mmd": tested.statistic,
        "mmd_p_value": tested.p_value,
        "mmd_real": among_real.statistic,
        "correlation_difference": difference,
        "correlation_alike": alike,
    }


def _annotated(values: np.ndarray, cells: anndata.AnnData, k: int, name: str) -> anndata.AnnData:
    index = pd.Index([f"generated_{k}_{i:04d}" for i in range(len(values))])
    obs = pd.DataFrame({"cluster": k, "name": name, "generated": True}, index=index)
    var = pd.DataFrame(index=cells.var_names.copy())
    return anndata.AnnData(values.astype(np.float32), obs=obs, var=var)


def _rows(cells: anndata.AnnData, members: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Up to `most` of the cells, in random order, dense."""
    some = np.random.default_rng(seed).permutation(members)[:most]
    values = cells.X[some]
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float32)


def _share(right: np.ndarray) -> float:
    return float(right.mean()) if len(right) else float("nan")


def _of_run(table: pd.DataFrame, run: str | Path) -> pd.DataFrame:
    """The table with its run's data set, method and seed in front."""
    of = Run.of(run)
    first = {"dataset": of.dataset, "method": of.method, "seed": of.seed}
    first = pd.DataFrame(first, table.index)
    return pd.concat([first, table], axis=1)
