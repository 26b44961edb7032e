"""The studies of generation in numbers: means over clusters, and the numbers the paper prints."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moesimvae.evaluation.judge import majority_names
from moesimvae.evaluation.scores import SCORE_COLUMNS
from moesimvae.nouns import Run
from moesimvae.studies.views import clusters_of, labels_of

RUN = ["dataset", "method", "seed", "gaussian"]
TEXT = ("digit", "asked", "found", "name", "first_name", "second_name", "feature")


@dataclass
class Generation:
    """Studies of what trained models generate.

    accuracy to features: their tables, of all runs; views: run → `latent_view`; titles: of
    methods; published: who → {"own": …}, as quoted; similarity: the methods of S2 Figure; judge:
    one clause about the independent classifier.
    """

    accuracy: pd.DataFrame
    confusion: pd.DataFrame
    quality: pd.DataFrame
    distances: pd.DataFrame
    sources: pd.DataFrame
    populations: pd.DataFrame
    features: pd.DataFrame
    views: Mapping[Run, tuple[pd.DataFrame, np.ndarray]]
    titles: Mapping[str, str]
    published: Mapping[str, Mapping[str, float]]
    similarity: Sequence[str]
    judge: str

    @property
    def dataset(self) -> str:
        """The data set of the images."""
        return self.accuracy["dataset"].iloc[0]


def read(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Tables of the studies as one, names of digits as text; without rows where there are none."""
    parts = [
        pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=[""])
        for path in paths
    ]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return table.fillna({name: "" for name in TEXT if name in table})


def published(path: str | Path) -> dict[str, dict[str, float]]:
    """The paper's accuracies by the models' own clustering: who → {"own": …}."""
    table = pd.read_csv(path)
    rows = table[table["metric"] == "generation_accuracy_mean"]
    return {row.method: {"own": float(row.value)} for row in rows.itertuples()}


def summary(accuracy: pd.DataFrame) -> pd.DataFrame:
    """One row for each run, Gaussian and threshold: means over clusters, draws and seconds in all.

    digits: how many different ones its clusters stand for.
    """
    groups = accuracy.groupby([*RUN, "threshold"], sort=False, dropna=False)
    table = groups.agg(
        clusters=("cluster", "nunique"),
        digits=("digit", "nunique"),
        images=("n", "sum"),
        draws=("draws", "sum"),
        seconds=("seconds", "sum"),
        assigned_back=("assigned_back", "mean"),
        own=("own", "mean"),
        judge=("judge", "mean"),
    )
    return table.reset_index()


def measured(accuracy: pd.DataFrame, distances: pd.DataFrame) -> pd.DataFrame:
    """The numbers that the paper prints, as a long table: contract 4 of the benchmark.

    Accuracies are means over the thresholds (`_best`: the best of them) of the means over clusters:
    by the model's own clustering, `_judge` by the independent classifier. `_fitted` is MoE-Sim-VAE
    with the covariance of each cluster's codes, without it the paper's N(μ, I).
    mmd_between_clusters and mmd_same_cluster are of the codes of real cells, mmd_generation of
    drawn ones.
    """
    rows = []

    def add(run: Mapping[str, Any], metric: str, value: float) -> None:
        place = Run(run["dataset"], run["method"], run["seed"]).path
        named = {key: run[key] for key in ("dataset", "method", "seed")}
        rows.append(named | {"split": "all", "metric": metric, "value": value, "run": place})

    for key, table in summary(accuracy).groupby(RUN, sort=False):
        run = dict(zip(RUN, key, strict=True))
        end = "_fitted" if run["gaussian"] == "fitted" else ""
        for by, name in (("own", ""), ("judge", "_judge")):
            add(run, f"generation_accuracy_mean{name}{end}", table[by].mean())
            add(run, f"generation_accuracy_best{name}{end}", table[by].max())
        strictest = table.loc[table["threshold"].idxmax()]
        add(run, f"generation_draws{end}", strictest["draws"])
        add(run, f"generation_seconds{end}", strictest["seconds"])
    keys = ["dataset", "method", "seed", "space"]
    for key, table in distances.groupby(keys, sort=False):
        run = dict(zip(keys, key, strict=True))
        between, within, _, _ = between_clusters(table)
        if run["space"] == "encoded":
            add(run, "mmd_between_clusters", between)
            add(run, "mmd_same_cluster", within)
        elif run["space"] in ("standard", "component"):
            add(run, "mmd_generation", between)
        elif run["space"] == "fitted":
            add(run, "mmd_generation_fitted", between)
    return pd.DataFrame(rows)


def between_clusters(table: pd.DataFrame) -> tuple[float, float, int, int]:
    """Mean MMD statistic of pairs of different clusters, and of samples of the same one.

    Then how many of the pairs of different ones have p > 0.05, and how many there are. table: a
    run's rows of one space, as `mmd.pairs` gives them.
    """
    same = table["first"] == table["second"]
    close = (table.loc[~same, "p_value"] > 0.05).sum()
    far, near = (float(table.loc[some, "statistic"].mean()) for some in (~same, same))
    return far, near, int(close), int((~same).sum())


@dataclass
class Found:
    """shares: digit asked for (rows) by digit found (columns), each row's sum 1."""

    by: str
    gaussian: str
    threshold: float
    shares: pd.DataFrame

    @property
    def right(self) -> float:
        """Mean share of the digit asked for, over the digits that some cluster stands for."""
        return float(np.nanmean(np.diag(self.shares)))


def found_digits(confusion: pd.DataFrame) -> list[Found]:
    """One run's counts as shares, by judge (the model's own clustering first), Gaussian, threshold.

    confusion: columns gaussian, threshold, by ("own" | "judge"), asked, found, n.
    """
    every = []
    classes = sorted(set(confusion["asked"]) | set(confusion["found"]))
    keys = ["by", "gaussian", "threshold"]
    for (by, gaussian, threshold), counts in confusion.groupby(keys, sort=False):
        wide = counts.pivot_table(index="asked", columns="found", values="n", aggfunc="sum")
        wide = wide.reindex(index=classes, columns=classes).fillna(0)
        shares = wide.div(wide.sum(axis=1).replace(0, np.nan), axis=0)
        every.append(Found(by, gaussian, threshold, shares))
    return sorted(every, key=lambda found: found.by != "own")


def means_of_runs(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Means over the clusters of each run and Gaussian."""
    return table.groupby(RUN, sort=False)[list(columns)].mean().reset_index()


def recovered(scores: pd.DataFrame, components: Mapping[str, int]) -> pd.DataFrame:
    """Up to how many components the number of clusters found is the true one, for each run.

    scores: long table of scores. components: of each data set, <family>_<components>, that counts.
    The value is the largest number such that it and every smaller one but 1 is found, 0 when the
    first is not; runs that did not finish count as not found. Returns a long table like that of
    `measured`; `dataset` is the family.
    """
    of = scores["dataset"].isin(list(components)) & (scores["metric"] == "clusters_found")
    table = scores[of].assign(
        true=scores["dataset"].map(components), family=scores["dataset"].str.rpartition("_")[0]
    )
    grid = sorted(set(components.values()) - {1})
    rows = []
    for (family, method, seed), mine in table.groupby(["family", "method", "seed"], sort=False):
        found = mine.set_index("true")["value"].reindex(grid)
        most = max(itertools.takewhile(lambda k: found[k] == k, grid), default=0)  # noqa: B023
        rows.append((family, method, seed, "all", "components_recovered", float(most), ""))
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def latent_view(
    projection: str | Path, run: str | Path, labels: str | Path
) -> tuple[pd.DataFrame, np.ndarray]:
    """Points (cell, x, y) of a run's latent space, and what the cluster of each stands for."""
    points = pd.read_parquet(projection)
    clusters = clusters_of(run)
    known = labels_of(labels)["label"].loc[clusters.index].to_numpy(str)
    names = np.array([*majority_names(known, clusters.to_numpy(), int(clusters.max()) + 1), ""])
    return points, names[clusters.loc[points["cell"]].to_numpy()]
