"""A results folder as the workflow leaves one, with made-up numbers: what the report is tested on.

It holds what reports stumble over: time-outs, memory kills, half-failed methods, deterministic
methods, ties, an oracle, noise labels, unscored cells, more clusters than populations, and names
with characters that HTML and LaTeX read as their own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

METRICS = {
    "nmi_arithmetic": ("NMI", "higher", [0, 1], False),
    "accuracy_hungarian": ("ACC", "higher", [0, 1], False),
    "ari": ("ARI", "higher", [-0.5, 1], True),
    "ami": ("AMI", "higher", [-0.1, 1], True),
    "f_flowcap": ("F (FlowCAP)", "higher", [0, 1], False),
    "f1_mean_hungarian": ("Mean F1", "higher", [0, 1], False),
    "clusters_found": ("Clusters found", "none", [1, None], False),
    "noise_share": ("Noise share", "none", [0, 1], False),
}

# method: title, typical quality, stochastic, seconds, MB, and what the block says besides
METHODS: dict[str, tuple[str, float, bool, float, float, dict[str, Any]]] = {
    "moe_sim_vae": ("MoE-Sim-VAE", 0.93, True, 420, 1900, {"published_as": "MoE-Sim-VAE"}),
    "kmeans": ("k-means", 0.53, True, 4.2, 610, {}),
    "gmm": ("Gaussian mixture", 0.61, True, 31, 900, {}),
    "hierarchical": ("Hierarchical (Ward)", 0.66, False, 95, 9100, {}),
    "hdbscan": ("HDBSCAN", 0.57, False, 140, 1400, {"uses_n_clusters": False}),
    "fuzzy_c_means": ("Fuzzy c-means, m < 2 & 100 %", 0.42, True, 22, 700, {}),
    "louvain": ("Louvain", 0.81, True, 66, 2100, {"uses_n_clusters": False}),
    "phenograph": ("PhenoGraph", 0.82, True, 88, 2600, {"uses_n_clusters": False}),
    "flowsom": ("FlowSOM_100", 0.64, True, 9.1, 800, {}),
    "umap_gmm": ("UMAP + Gaussian mixture", 0.91, True, 64, 1700, {}),
    "vade": ("VaDE", 0.72, True, 900, 2300, {"published_as": "VaDE [7]"}),
    "louvain_oracle": ("Louvain, resolution by label", 0.95, True, 700, 2100, {"oracle": True}),
    "one_cluster": ("All cells in one cluster", 0.0, False, 0.01, 200, {"control": True}),
    "random_labels": ("Random labels", 0.02, True, 0.01, 200, {"control": True}),
    "true_labels": ("True labels", 1.0, False, 0.01, 200, {"control": True}),
}

DATASETS = {
    "mnist": ("MNIST", 70000, 784, 10, False, False, ""),
    "levine_32dim": ("Levine_32dim", 265627, 32, 14, False, False, "104,184 gated cells scored."),
    "gaussians_small": ("Gaussian components (simulated)", 1200, 20, 8, True, False, ""),
    "tabula_muris_subset": (
        "Mouse organs <FACS & v2>",
        3000,
        23433,
        24,
        False,
        True,
        "Every sixth cell of the original data set.",
    ),
}

# Wells by inhibitor: their facts have a group.
WELLS = {
    f"well_{inhibitor.lower()}_{i}": (f"Well {inhibitor}0{i}", 900, 9, 6, False, False, "")
    for inhibitor in "ABC"
    for i in range(1, {"A": 7, "B": 4, "C": 2}[inhibitor])
}
PANELS = {"levine_32dim", *WELLS}  # cytometry: features have the layer "arcsinh"

FAILED = {  # (dataset, method, seed): status, reason
    ("levine_32dim", "hierarchical", 0): (
        "out-of-memory",
        "needed more than the 10,000 MB that its block allows",
    ),
    ("levine_32dim", "vade", 2): ("timeout", "stopped after 60 minutes"),
    ("mnist", "fuzzy_c_means", 0): ("timeout", "stopped after 60 minutes"),
    ("mnist", "fuzzy_c_means", 1): ("timeout", "stopped after 60 minutes"),
    ("mnist", "fuzzy_c_means", 2): ("timeout", "stopped after 60 minutes"),
    ("tabula_muris_subset", "gmm", 0): (
        "error",
        "LinAlgError: <covariance> of component 3 isn't positive definite & 100 % singular",
    ),
    ("tabula_muris_subset", "gmm", 1): ("invalid", "labels.parquet holds 2999 cells, not 3000"),
    ("tabula_muris_subset", "gmm", 2): ("timeout", "stopped after 60 minutes"),
}

PUBLISHED = [
    ("JULE [22]", "nmi_arithmetic", 0.915),
    ("JULE [22]", "accuracy_hungarian", None),
    ("DEC [17]", "nmi_arithmetic", 0.80),
    ("DEC [17]", "accuracy_hungarian", 0.843),
    ("VaDE [7]", "nmi_arithmetic", 0.876),
    ("VaDE [7]", "accuracy_hungarian", 0.945),
    ("IMSAT [25]", "nmi_arithmetic", None),
    ("IMSAT [25]", "accuracy_hungarian", 0.984),
    ("MoE-Sim-VAE", "nmi_arithmetic", 0.935),
    ("MoE-Sim-VAE", "accuracy_hungarian", 0.975),
]


@dataclass
class Results:
    """Paths of the made-up files, and the blocks the workflow would hand to a script."""

    root: Path
    experiment: dict[str, Any]
    methods: dict[str, dict]
    metrics: dict[str, dict]
    scores: list[Path]
    runs: list[Path]
    datasets: list[Path]
    populations: list[Path]
    statuses: list[Path]
    labels: list[Path]
    features: list[Path]
    decoded: list[Path]
    projections: list[Path]
    published: Path

    def frame(self, name: str) -> pd.DataFrame:
        return pd.concat(
            [pd.read_csv(p, keep_default_na=False, na_values=[""]) for p in getattr(self, name)],
            ignore_index=True,
        )


def metrics_block() -> dict[str, dict]:
    return {
        name: {
            "title": title,
            "definition": f"{title} between labels & clusters. Noise (-1) counts as one cluster.",
            "range": limits,
            "better": better,
            "chance_corrected": corrected,
            "reference": "Somebody (2016)",
        }
        for name, (title, better, limits, corrected) in METRICS.items()
    }


def methods_block() -> dict[str, dict]:
    return {
        name: {
            "title": title,
            "module": name,
            "uses_n_clusters": True,
            "uses_prior": False,
            "stochastic": stochastic,
            "params": {"n_init": 10, "scale": None},
            "reference": f"Who made {title}",
            **extra,
        }
        for name, (title, _, stochastic, _, _, extra) in METHODS.items()
    }


def build(root: Path, n_cells: int = 400, datasets: list[str] | None = None) -> Results:
    """Write the folder below `root`; `n_cells` is how many cells the pictures get."""
    names = datasets or list(DATASETS)
    methods = methods_block()
    experiment = {
        "name": "demo",
        "title": "Eleven methods on four data sets",
        "datasets": names,
        "methods": {m: [0, 1, 2] if b["stochastic"] else [0] for m, b in methods.items()},
        "seeds": [0, 1, 2],
        "metrics": [m for m in METRICS if m not in ("clusters_found", "noise_share")],
        "published": "table1",
        "showcase": "moe_sim_vae",
    }
    made = Results(root, experiment, methods, metrics_block(), *([] for _ in range(9)), root)
    for name in names:
        _dataset(made, name, n_cells)
    made.published = root / "workflow" / "published" / "table1.csv"
    made.published.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(
        [
            {
                "table": "table1",
                "method": method,
                "citation": f"Who made {method}",
                "dataset": "mnist",
                "metric": metric,
                "value": value,
                "sd": None,
                "n": None,
                "definition": "as the cited paper reports it",
                "source": "https://doi.org/10.1371/journal.pcbi.1009086 Table 1",
                "note": "with supplied weights" if method == "VaDE [7]" else "",
            }
            for method, metric, value in PUBLISHED
        ]
    ).to_csv(made.published, index=False)
    return made


def _dataset(made: Results, name: str, n_cells: int) -> None:
    title, cells, features, clusters, simulated, partial, note = (DATASETS | WELLS)[name]
    rng = np.random.default_rng(sum(map(ord, name)))
    results = made.root / "results"
    folder = results / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "name": name, "title": title, "n_cells": cells, "n_features": features,
        "n_clusters": clusters, "simulated": simulated, "partial": partial, "note": note,
        "citation": "LeCun & others (1998)", "licence": "CC BY-SA 3.0", "sources": [
            {"file": "a.gz", "url_or_path": "https://example.org/a.gz", "sha256": "0" * 64,
             "bytes": 12345}],
        "features_sha256": "ab" * 32,
    }  # fmt: skip
    if name in WELLS:
        facts["group"] = f"Inhibitor {name.split('_')[1].upper()}"
    (folder / "dataset.json").write_text(json.dumps(facts))
    made.datasets.append(folder / "dataset.json")

    ids = np.array([f"cell{i}" for i in range(n_cells)])
    truth = rng.choice(clusters, n_cells, p=rng.dirichlet(np.full(clusters, 3.0)))
    populations = np.array([_population(name, k) for k in range(clusters)])
    scored = rng.random(n_cells) > 0.2 if name == "levine_32dim" else np.ones(n_cells, bool)
    centres = rng.normal(0, 7, (clusters, 2))
    points = centres[truth] + rng.normal(0, 1, (n_cells, 2))
    labels = {"cell": ids, "label": np.where(scored, populations[truth], ""), "scored": scored,
              "split": "all"}  # fmt: skip
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet", index=False)
    made.labels.append(folder / "labels.parquet")
    made.features.append(_features(folder, name, ids, truth, rng))

    scores, runs, found = [], [], []
    sizes = pd.Series(populations[truth][scored]).value_counts()
    for method, seeds in made.experiment["methods"].items():
        for seed in seeds:
            run = f"runs/{name}/{method}/seed{seed}"
            status = _status(name, method, seed, clusters, rng)
            write_run(results / run, status, ids, truth, points, rng)
            made.statuses.append(results / run / "status.json")
            runs.append({k: status[k] for k in RUN_COLUMNS[:-1]} | {"run": run})
            if status["status"] == "ok":
                scores += [
                    {"dataset": name, "method": method, "seed": seed, "split": "all",
                     "metric": metric, "value": value, "run": run}
                    for metric, value in _values(method, status, rng).items()
                ]  # fmt: skip
                f1 = np.clip(METHODS[method][1] + rng.normal(0, 0.2, len(sizes)), 0, 1)
                found += [
                    {"dataset": name, "method": method, "seed": seed, "split": "all",
                     "population": population, "n_cells": size, "f1": value, "precision": value,
                     "recall": value, "cluster": i if value else None, "run": run}
                    for i, (population, size, value) in enumerate(
                        zip(sizes.index, sizes, f1, strict=True))
                ]  # fmt: skip
            if method == made.experiment["showcase"]:
                made.projections.append(
                    _projection(results, name, method, seed, ids, points, status)
                )
                made.decoded.append(_decoded(made.projections[-1], truth, clusters))
    (results / "scores").mkdir(exist_ok=True)
    made.scores.append(results / "scores" / f"{name}.csv")
    made.runs.append(results / "scores" / f"{name}.runs.csv")
    made.populations.append(results / "scores" / f"{name}.populations.csv")
    pd.DataFrame(found).to_csv(made.populations[-1], index=False)
    pd.DataFrame(scores).to_csv(made.scores[-1], index=False)
    pd.DataFrame(runs, columns=RUN_COLUMNS).to_csv(made.runs[-1], index=False)


def _features(
    folder: Path, name: str, ids: np.ndarray, truth: np.ndarray, rng: np.random.Generator
) -> Path:
    """Twelve features; those of a panel are markers with long names and the layer "arcsinh"."""
    centres = rng.gamma(1.0, 1.2, (truth.max() + 1, 12))
    values = np.abs(centres[truth] + rng.normal(0, 0.3, (len(truth), 12))).astype("float32")
    cells = anndata.AnnData(values / values.max(axis=0))
    cells.obs_names = ids
    cells.var_names = [f"CD{i} & <marker>" for i in range(12)]
    cells.uns |= {"dataset": name, "preprocessing": "[]"}
    if name in PANELS:
        cells.layers["arcsinh"] = values
    cells.write_h5ad(folder / "features.h5ad")
    return folder / "features.h5ad"


def _decoded(projection: Path, truth: np.ndarray, clusters: int) -> Path:
    """Cells and their reconstruction as `experts.reconstruct_run` leaves them."""
    points = pd.read_parquet(projection)
    frame = pd.DataFrame({"cell": points["cell"], "expert": truth[: len(points)]})
    frame[["x", "y"]] = points[["x", "y"]]
    frame[["decoded_x", "decoded_y"]] = points[["x", "y"]] * 0.9
    frame.attrs = {"explained": [0.4, 0.1], "experts": clusters + 3}
    path = projection.with_suffix(".experts.parquet")
    frame.to_parquet(path, index=False)
    return path


RUN_COLUMNS = [
    "dataset", "method", "seed", "status", "reason", "wall_seconds", "cpu_seconds",
    "peak_memory_mb", "peak_gpu_memory_mb", "device", "threads", "clusters_found", "noise_share",
    "run",
]  # fmt: skip


def _population(dataset: str, k: int) -> str:
    if dataset == "mnist":
        return str(k)
    cells = [
        "CD4 T cells, naive",
        "CD8 T cells, memory",
        "Mature B cells",
        "Mast cells & co",
        "Plasmacytoid dendritic cells",
        "CD16- NK cells",
        "HSPCs <CD34+>",
        "Monocytes",
    ]
    return f"{cells[k % 8]}" + (f" {k // 8 + 1}" if k >= 8 else "")


def _status(dataset: str, method: str, seed: int, clusters: int, rng: np.random.Generator) -> dict:
    status, reason = FAILED.get((dataset, method, seed), ("ok", ""))
    seconds, megabytes = METHODS[method][3:5]
    scale = {"mnist": 1.0, "levine_32dim": 3.0}.get(dataset, 0.05)
    found = clusters + (int(rng.integers(5, 12)) if method in ("louvain", "phenograph") else 0)
    ok = status == "ok"
    return {
        "status": status, "reason": reason, "log_tail": [], "dataset": dataset, "method": method,
        "seed": seed, "params": {"n_init": 10}, "n_clusters": clusters,
        "clusters_found": (1 if method == "one_cluster" else found) if ok else None,
        "noise_share": (0.113 if method == "hdbscan" else 0.0) if ok else None, "facts": {},
        "wall_seconds": 3600.0 if status == "timeout" else seconds * scale * rng.uniform(0.9, 1.1),
        "cpu_seconds": seconds * scale * 1.7, "peak_memory_mb": megabytes * rng.uniform(0.95, 1.05),
        "peak_gpu_memory_mb": None, "device": "cpu", "threads": 2,
        "started": f"2026-03-0{seed + 1}T10:00:00Z",
        "machine": {"cpu": "Xeon <Gold> 6230 & co", "cores": 2, "memory_mb": 24000,
                    "platform": "Linux-6.1-x86_64", "python": "3.11.9"},
        "packages": {"numpy": "2.4.6", "torch": "2.13.0"}, "code_sha256": "cd" * 32,
        "features_sha256": "ab" * 32, "version": "0.1.0",
    }  # fmt: skip


def _values(method: str, status: dict, rng: np.random.Generator) -> dict[str, float]:
    quality = METHODS[method][1]
    spread = 0.02 if METHODS[method][2] and 0 < quality < 1 else 0.0
    values = {
        metric: float(np.clip(quality + rng.normal(0, spread) - 0.03 * k * (0 < quality < 1), 0, 1))
        for k, metric in enumerate(list(METRICS)[:6])
    }
    return values | {m: float(status[m]) for m in ("clusters_found", "noise_share")}


def write_run(
    folder: Path,
    status: dict,
    ids: np.ndarray,
    truth: np.ndarray,
    points: np.ndarray,
    rng: np.random.Generator,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status.json").write_text(json.dumps(status))
    if status["status"] != "ok" or status["method"] != "moe_sim_vae":
        return
    found = np.where(rng.random(len(truth)) < 0.05, rng.integers(0, truth.max() + 3), truth)
    found = np.where(rng.random(len(truth)) < 0.02, -1, found).astype("int32")
    pd.DataFrame({"cell": ids, "label": found}).to_parquet(folder / "labels.parquet", index=False)
    mix = np.hstack([points, rng.normal(0, 1, (len(points), 3))]).astype("float32")
    np.save(folder / "embedding.npy", mix)
    step = np.arange(400)
    history = {
        term: list(scale * np.exp(-step / 90) + floor + rng.normal(0, scale / 40, len(step)))
        for term, scale, floor in (
            ("loss", 3, 1.0), ("reconstruction", 1, 0.21), ("kl", 5, 0.4), ("similarity", 0.6, 0.1),
            ("depict", 2.2, 0.05))
    }  # fmt: skip
    (folder / "history.json").write_text(json.dumps(history))


def _projection(results, name, method, seed, ids, points, status) -> Path:
    path = results / "projections" / name / method / f"seed{seed}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = slice(None) if status["status"] == "ok" else slice(0)
    frame = pd.DataFrame({"cell": ids[kept], "x": points[kept, 0], "y": points[kept, 1]})
    frame.to_parquet(path, index=False)
    return path
