"""Studies of what trained models generate: accuracy and cost, variety, distances between clusters.

Clusters are named after the majority of their real cells, the only place where labels enter; what
was generated is then judged by the model's own clustering, as in the paper, and by a classifier
that knows nothing of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import torch
from scipy import sparse, stats
from sklearn.covariance import ledoit_wolf_shrinkage

from moesimvae.errors import UserError
from moesimvae.evaluation import generation as compare
from moesimvae.evaluation import mmd
from moesimvae.evaluation.judge import Judge, majority_names
from moesimvae.evaluation.scores import read_clusters
from moesimvae.methods import generators
from moesimvae.methods.generators import STANDARD, Drawn, Generator
from moesimvae.model.cells import are_whole
from moesimvae.model.estimator import MoESimVAE
from moesimvae.model.observation import MOST_MARKERS
from moesimvae.nouns import Run

EXAMPLES = 12  # images kept of each cluster
COMPARED = 1000  # images or cells of each side where samples are compared
GENERATED_CELLS = 500  # of each cluster, in the h5ad
MOST_FEATURES = 200  # of genes, when the cells of one cluster are compared
POOLED = 4000  # cells of each side where all clusters are compared together
LEAST = 20  # cells of a cluster that is compared
# which cells are compared with held-out ones; beside STANDARD, which is N(μ, I), by the means
REAL, DRAWN, MEANS, GAUSSIAN, PREDICTIVE = "real", "observations", "means", "gaussian", "scvi"
MEANS_OF_CLUSTERS = ("ks", "correlation_difference", "correlation_alike")
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
    in all. Raises UserError for a run without a model that generates, or one of other cells.
    """
    clusters, seed = read_clusters(run, cells.obs_names), Run.of(run).seed
    accuracy, confusion, quality, examples = [], [], [], {}
    found = generators.read(run, lambda model: model.learn_to_draw(cells))
    for gaussian, generator in found.items():
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
    """Compare a cluster's real images with generated ones, and with as many other real ones."""
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
    found = generators.read(run, lambda model: model.describe_codes(cells))
    for gaussian, generator in found.items():
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
    """sources: a row for REAL and each way to make cells; populations: a row for each of them and
    each cluster; features: a row for each cluster and feature (marginals, of DRAWN, or of MEANS
    where no observations are drawn); generated: cells × features, in obs their cluster, its name
    and generated = True."""

    sources: pd.DataFrame
    populations: pd.DataFrame
    features: pd.DataFrame
    generated: anndata.AnnData


def study_cells(
    run: str | Path,
    cells: anndata.AnnData,
    labels: np.ndarray,
    predictive: sparse.csr_matrix | None = None,
) -> CellStudy:
    """Compare generated cells with real ones that the generator has not seen, for one MoE-Sim-VAE.

    The run's model relearns, from half of the cells (`halves`), how cells are drawn; its clusters
    stay. What it draws, as many of each cluster as that half has, is compared with the other half,
    and so is the half itself, as the best attainable. predictive: what scVI makes of the half,
    counts (n, n_genes) of `compare.compared_genes`.

    Counts are compared as `compare.normalised`, over the genes that vary most in the half; panels
    in the units that the model was fitted on. For all clusters together: two-sample AUC;
    `contrast_slope`; trained_on, accuracy on the other half of a classifier of clusters trained on
    the source; nearest, mean distance to the nearest cell of the half, beside that of the other
    half. For each cluster of LEAST cells or more: AUC and correlations, over the MOST_FEATURES that
    vary most, and KS, the mean over features of the largest difference in distribution functions.
    Raises UserError when no cluster is large enough.
    """
    clusters, seed = read_clusters(run, cells.obs_names), Run.of(run).seed
    counts = _counts_to_draw(cells)
    model = generators.read_model(run).learn_to_draw(cells, counts)
    names = majority_names(labels, clusters, model.n_clusters)
    generated = _annotated(model, cells, clusters, names, seed)
    generated.uns["generated_by"] = Run.of(run).name
    half, rest = compare.halves(cells.n_obs, seed)
    model.learn_to_draw(cells[half], None if counts is None else counts[half])
    if not model.draws_counts:
        chosen = np.arange(cells.n_vars) if cells.n_vars <= MOST_FEATURES else _varying(cells.X)
        real, view = _dense(cells.X[:, chosen]), lambda values: values[:, chosen]
    else:
        chosen = compare.compared_genes(counts[half])
        real = compare.normalised(counts[:, chosen])

        def view(values: np.ndarray) -> np.ndarray:
            return compare.normalised(sparse.csr_matrix(values[:, chosen]))

    known, groups = real[half], clusters[half]
    drawn = {
        REAL: (known, groups),
        DRAWN: _of_clusters(groups, lambda k, n: view(model.generate(k, n, seed + k))),
        MEANS: _of_clusters(groups, lambda k, n: view(model.generate(k, n, seed + k, mean=True))),
        STANDARD: _of_clusters(groups, lambda k, n: view(model.generate(k, n, seed + k, True))),
        GAUSSIAN: _of_clusters(groups, lambda k, n: _gaussian(known[groups == k], n, seed)),
    }
    if predictive is not None:
        drawn[PREDICTIVE] = compare.normalised(predictive), groups
    if model.observation_ is None:
        del drawn[DRAWN]
    other, others = real[rest], clusters[rest]
    sources, populations, features = [], [], []
    for source, (values, of) in drawn.items():
        mine = list(_each_cluster(other, others, values, of, seed))
        populations += [{"source": source, "name": names[row["cluster"]]} | row for row in mine]
        sources.append(
            {"source": source, "n": len(values)}
            | pd.DataFrame(mine)[["cluster_auc", *MEANS_OF_CLUSTERS]].mean().to_dict()
            | _together(known, other, others, values, of, seed)
        )
        if source == DRAWN or (source == MEANS and DRAWN not in drawn):
            features = [
                compare.marginals(
                    other[others == k], values[of == k], cells.var_names[chosen]
                ).assign(source=source, cluster=k, name=names[k])
                for k in (row["cluster"] for row in mine)
            ]
    if not features:
        raise UserError(f"{run} has no cluster with 20 or more cells to compare in each half.")
    return CellStudy(
        _of_run(pd.DataFrame(sources), run),
        _of_run(pd.DataFrame(populations), run),
        _of_run(pd.concat(features, ignore_index=True), run),
        generated,
    )


def _of_clusters(
    groups: np.ndarray, draw: Callable[[int, int], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """As many cells of each cluster as groups (n,) has, by draw(cluster, n), and their clusters."""
    used, sizes = np.unique(groups[groups >= 0], return_counts=True)
    parts = [draw(int(k), int(n)) for k, n in zip(used, sizes, strict=True)]
    return np.concatenate(parts), np.repeat(used, sizes)


def _gaussian(cells: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n draws of the Gaussian of cells (m, d) with a full covariance, shrunk by Ledoit and Wolf.

    The root of (1 − s) S + s t I is not computed: the cells' own deviations are a root of S.
    """
    random, shifted = np.random.default_rng(seed), cells - cells.mean(axis=0)
    shrinkage = float(ledoit_wolf_shrinkage(cells)) if len(cells) > 1 else 1.0
    own = random.standard_normal((n, len(cells))) @ shifted * np.sqrt((1 - shrinkage) / len(cells))
    spread = np.sqrt(shrinkage * shifted.var())
    drawn = cells.mean(axis=0) + own + spread * random.standard_normal((n, cells.shape[1]))
    return drawn.astype(np.float32)


def _each_cluster(
    other: np.ndarray, others: np.ndarray, values: np.ndarray, of: np.ndarray, seed: int
) -> Iterator[dict[str, Any]]:
    """Compare real cells with drawn ones in each cluster of LEAST cells or more on both sides."""
    kept = _varying(other)
    for k in np.unique(others[others >= 0]):
        real, made = (_some(v[w == k], COMPARED, seed) for v, w in ((other, others), (values, of)))
        if min(len(real), len(made)) < LEAST:
            continue
        told = compare.two_sample_classifier(real[:, kept], made[:, kept], folds=3, seed=seed)
        difference, alike = compare.correlation_agreement(real[:, kept], made[:, kept])
        ks = [
            stats.ks_2samp(a, b, method="asymp").statistic
            for a, b in zip(real.T, made.T, strict=True)
        ]
        yield {
            "cluster": int(k),
            "n": len(real),
            "cluster_auc": told["auc"],
            "ks": float(np.mean(ks)),
            "correlation_difference": difference,
            "correlation_alike": alike,
        }


def _together(
    known: np.ndarray,
    other: np.ndarray,
    others: np.ndarray,
    values: np.ndarray,
    of: np.ndarray,
    seed: int,
) -> dict[str, float]:
    """Compare all clusters together; known: the cells that the generator was made from."""
    pair = _some(other, POOLED, seed), _some(values, POOLED, seed)
    some = np.random.default_rng(seed).permutation(len(values))[:POOLED]
    return {
        "auc": compare.two_sample_classifier(*pair, folds=3, seed=seed)["auc"],
        "slope": compare.contrast_slope(other, others, values, of),
        "trained_on": compare.trained_on(values[some], of[some], other, others, seed),
        "nearest": np.nan if values is known else compare.nearest(known, pair[1]),
        "nearest_held_out": compare.nearest(known, pair[0]),
    }


def _counts_to_draw(cells: anndata.AnnData) -> sparse.csr_matrix | None:
    """The molecule counts that the model learns to draw; None where it draws values instead.

    That is, for a panel, whose markers have distributions of their own, and for corrected counts.
    """
    counts = cells.layers.get("counts")
    if counts is None or cells.n_vars <= MOST_MARKERS or not are_whole(counts):
        return None
    return sparse.csr_matrix(counts)


def _some(values: np.ndarray, most: int, seed: int) -> np.ndarray:
    return values[np.random.default_rng(seed).permutation(len(values))[:most]]


def _varying(values: np.ndarray | sparse.spmatrix) -> np.ndarray:
    """The MOST_FEATURES features that vary most."""
    return np.sort(np.argsort(-_dense(values).var(axis=0), kind="stable")[:MOST_FEATURES])


def _annotated(
    model: MoESimVAE, cells: anndata.AnnData, clusters: np.ndarray, names: list[str], seed: int
) -> anndata.AnnData:
    """GENERATED_CELLS of each cluster of LEAST cells or more, by the model of the whole run."""
    used, sizes = np.unique(clusters[clusters >= 0], return_counts=True)
    used = used[sizes >= LEAST]
    made = [model.generate(int(k), GENERATED_CELLS, seed + int(k)) for k in used]
    if not made:
        raise UserError("no cluster has 20 or more cells; there is nothing to compare.")
    of = np.repeat(used, GENERATED_CELLS)
    index = pd.Index([f"generated_{k}_{i % GENERATED_CELLS:04d}" for i, k in enumerate(of)])
    obs = pd.DataFrame({"cluster": of, "name": np.array(names)[of], "generated": True}, index=index)
    var = pd.DataFrame(index=cells.var_names.copy())
    values = np.concatenate(made)
    return anndata.AnnData(sparse.csr_matrix(values) if model.draws_counts else values, obs, var)


def _dense(values: Any) -> np.ndarray:
    return np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float32)


def _rows(cells: anndata.AnnData, members: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Up to `most` of the cells, in random order, dense."""
    return _dense(cells.X[np.random.default_rng(seed).permutation(members)[:most]])


def _share(right: np.ndarray) -> float:
    return float(right.mean()) if len(right) else float("nan")


def _of_run(table: pd.DataFrame, run: str | Path) -> pd.DataFrame:
    """The table with its run's data set, method and seed in front."""
    of = Run.of(run)
    first = {"dataset": of.dataset, "method": of.method, "seed": of.seed}
    first = pd.DataFrame(first, table.index)
    return pd.concat([first, table], axis=1)
