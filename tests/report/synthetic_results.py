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
import scipy.sparse
import yaml

from moesimvae.evaluation.scores import score_dataset, write_csv
from moesimvae.nouns import Method, Metric, Plan

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
class Blocks:
    """What the workflow would hand to a script, and what the script makes of it.

    block: of the experiment; blocks: of the registries, "methods" and "metrics".
    """

    root: Path
    block: dict[str, Any]
    blocks: dict[str, dict[str, dict]]

    @property
    def experiment(self) -> Plan:
        return Plan.of(self.block)

    @property
    def methods(self) -> dict[str, Method]:
        return Method.by_name(self.blocks["methods"])

    @property
    def metrics(self) -> dict[str, Metric]:
        return Metric.by_name(self.blocks["metrics"])

    def write_registries(self) -> dict[str, Path]:
        """The files that scripts read: name → path."""
        paths = {name: self.root / f"{name}.yaml" for name in self.blocks}
        for name, path in paths.items():
            path.write_text(yaml.safe_dump(self.blocks[name], sort_keys=False))
        return paths


@dataclass
class Results(Blocks):
    """Paths of the made-up files."""

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

    def checks(self, path: Path) -> None:
        """Write quality.csv as `evaluation.quality.check` makes it."""
        row = {"check": "runs that failed", "level": "red", "dataset": "", "method": "",
               "rule": "no run failed", "found": "9 of 72 & <more>"}  # fmt: skip
        pd.DataFrame([row, row | {"check": "controls", "level": "green"}]).to_csv(path, index=False)

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
    blocks = {"methods": methods, "metrics": metrics_block()}
    made = Results(root, experiment, blocks, *([] for _ in range(9)), root)
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
    for method, seeds in made.experiment.methods.items():
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
            if method == made.experiment.showcase:
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
    """Cells and their reconstruction as `reconstruction.reconstruct_run` leaves them."""
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


# --- mouse organs: cells held out, prior knowledge, screened settings ---------------------------

ORGANS = {"Heart": "Lpl", "Kidney": "Miox", "Large_Intestine": "Tspan1"}
ORGAN_METHODS: dict[str, tuple[str, float, dict[str, Any]]] = {  # title, share of right cells
    "moe_sim_vae": ("MoE-Sim-VAE", 0.9, {}),
    "moe_sim_vae_released": (
        "MoE-Sim-VAE (released)", 0.97, {"published_as": "MoE-Sim-VAE", "uses_prior": True}),
    "gmm": ("Gaussian mixture", 0.6, {"published_as": "GMM"}),
    "kmeans": ("k-means", 0.55, {"published_as": "k-means"}),
    "hdbscan": ("HDBSCAN", 0.5, {"stochastic": False}),
    "fuzzy_c_means": ("Fuzzy c-means", 0.0, {}),
    "louvain": ("Louvain & co", 0.7, {"uses_n_clusters": False}),
    "scvi_leiden": ("scVI + Leiden", 0.8, {}),
    "one_cluster": ("All cells in one cluster", 0.0, {"control": True, "stochastic": False}),
}  # fmt: skip
SCREENED = {  # variant: settings, share of right cells; 0: the run fails
    "kmeans_s01": ({"n_pca": 20}, 0.5),
    "kmeans_s02": ({"n_pca": 40}, 0.85),
    "kmeans_s03": ({"n_pca": None}, 0.3),
    "louvain_s01": ({"n_pca": 30, "resolution": 0.01}, 0.0),
}


@dataclass
class Organs(Blocks):
    """What the workflow hands the report's scripts for an experiment with held-out cells."""

    scores: list[Path]
    runs: list[Path]
    populations: list[Path]
    datasets: list[Path]
    labels: list[Path]
    features: list[Path]
    run_dirs: list[Path]
    published: Path


def organs(root: Path, datasets: dict[str, bool] | None = None, n_cells: int = 150) -> Organs:
    """Write the folder below `root`. datasets: name → semi-synthetic? (default: one, real)."""
    datasets = datasets or {"tabula_muris": False}
    methods = {
        name: {
            "title": title, "module": name, "uses_n_clusters": True, "uses_prior": False,
            "stochastic": True, "params": {"n_pca": 50}, "reference": f"Who made {title}", **extra,
        }
        for name, (title, _, extra) in ORGAN_METHODS.items()
    }  # fmt: skip
    variants = {}
    for name, (settings, _) in SCREENED.items():
        base = name.rpartition("_")[0]
        variants[name] = methods[base] | {
            "title": f"{methods[base]['title']}, {settings}", "screens": base,
            "settings": settings, "seed": 0,
        }  # fmt: skip
    metrics = metrics_block()
    metrics["silhouette"] = metrics["ari"] | {"title": "Silhouette", "label_free": True}
    experiment = {
        "name": "table2", "title": "Table 2: mouse organs", "datasets": list(datasets),
        "methods": {m: [0, 1] if b["stochastic"] else [0] for m, b in methods.items()
                    if not b.get("control")},
        "seeds": [0, 1], "metrics": ["f_flowcap", "nmi_arithmetic", "ari", "f1_mean_hungarian"],
        "published": "table2", "showcase": "moe_sim_vae", "variants": variants,
    }  # fmt: skip
    blocks = {"methods": methods, "metrics": metrics}
    made = Organs(root, experiment, blocks, *([] for _ in range(7)), root)
    for name, mixed in datasets.items():
        _organs(made, name, mixed, n_cells)
    made.published = root / "table2.csv"
    rows = [
        ("GMM", "f_flowcap", 0.632),
        ("k-means", "f_flowcap", 0.606),
        ("MoE-Sim-VAE", "f_flowcap", 0.748),
        ("MoE-Sim-VAE", "nmi_unspecified", 0.519),
    ]
    pd.DataFrame(rows, columns=["method", "metric", "value"]).assign(
        table="table2", citation="Kopf", dataset="tabula_muris", sd=None, n=None,
        definition="as printed", source="Table 2", note="",
    ).to_csv(made.published, index=False)  # fmt: skip
    return made


def _organs(made: Organs, name: str, mixed: bool, n_cells: int) -> None:
    rng = np.random.default_rng(3)
    results, folder = made.root / "results", made.root / "results" / "data" / name
    folder.mkdir(parents=True)
    title = "Mouse organs (semi-synthetic)" if mixed else "Mouse organs"
    (folder / "dataset.json").write_text(json.dumps({
        "name": name, "title": title, "n_cells": n_cells, "n_features": 12, "n_clusters": 3,
        "simulated": mixed, "partial": False, "note": "", "citation": "Tabula Muris",
        "licence": "CC0", "sources": [], "features_sha256": "ab" * 32, "n_test": n_cells // 5,
        "n_train": n_cells - n_cells // 5, "paper": {"labels": True, "indices_test": True},
    }))  # fmt: skip
    ids = np.array([f"cell{i}" for i in range(n_cells)])
    truth = rng.choice(3, n_cells, p=[0.5, 0.2, 0.3])
    split = np.where(np.arange(n_cells) % 5 == 0, "test", "train")
    labels = pd.DataFrame({"cell": ids, "label": np.array(list(ORGANS))[truth], "scored": True,
                           "split": split})  # fmt: skip
    labels.to_parquet(folder / "labels.parquet", index=False)
    centres = rng.gamma(1.0, 1.2, (3, 12))
    values = np.abs(centres[truth] + rng.normal(0, 0.4, (n_cells, 12))).astype("float32")
    cells = anndata.AnnData(scipy.sparse.csr_matrix(values / values.max(axis=0)))
    cells.obs_names = ids
    cells.obs["split"] = pd.Categorical(split)
    cells.var_names = [f"gene{i}" for i in range(12)]
    cells.layers["lognorm"] = scipy.sparse.csr_matrix(values)
    right = rng.random((n_cells, 3)) < [0.9, 0.5, 0.8]
    cells.obsm["signature"] = (truth[:, None] == np.arange(3)) & right
    cells.uns |= {"dataset": name, "preprocessing": "[]", "signature": json.dumps(ORGANS)}
    cells.write_h5ad(folder / "features.h5ad")

    points = centres[truth, :2] * 9 + rng.normal(0, 1, (n_cells, 2))
    dirs = []
    for method, seeds in (
        *made.experiment.methods.items(), *((other, [0]) for other in ("one_cluster", *SCREENED))
    ):  # fmt: skip
        quality = SCREENED[method][1] if method in SCREENED else ORGAN_METHODS[method][1]
        for seed in seeds:
            run = results / "runs" / name / method / f"seed{seed}"
            dirs.append(run)
            _organ_run(run, ids, truth, points, quality, rng)
    frames = score_dataset(
        dirs, folder / "labels.parquet", [*made.experiment.metrics, "silhouette"], results,
        folder / "features.h5ad",
    )  # fmt: skip
    made.run_dirs += [run for run in dirs if "one_cluster" not in run.parts]
    kinds = (made.scores, made.populations, made.runs)
    for frame, ending, paths in zip(frames, ("", ".populations", ".runs"), kinds, strict=True):
        paths.append(results / "table2" / "scores" / f"{name}{ending}.csv")
        write_csv(frame, paths[-1])
    made.datasets.append(folder / "dataset.json")
    made.labels.append(folder / "labels.parquet")
    made.features.append(folder / "features.h5ad")


def _organ_run(run, ids, truth, points, quality, rng) -> None:
    dataset, method, seed = run.parts[-3:]
    found = np.where(rng.random(len(truth)) < quality, truth, rng.integers(0, 3, len(truth)))
    if method == "hdbscan":
        found = np.where(rng.random(len(truth)) < 0.2, -1, found)
    if method == "louvain":
        found = found + 3 * (rng.random(len(truth)) < 0.3)
    if method == "one_cluster":
        found = np.zeros(len(truth), int)
    lost = quality == 0 and method != "one_cluster"
    status = _status(dataset, method, int(seed[4:]), 3, rng) if method in METHODS else None
    status = status or _status(dataset, "kmeans", int(seed[4:]), 3, rng)
    status |= {
        "method": method, "status": "timeout" if lost else "ok",
        "reason": "stopped after 60 minutes" if lost else "",
        "clusters_found": None if lost else len(set(found) - {-1}),
        "noise_share": None if lost else float((found == -1).mean()),
    }  # fmt: skip
    run.mkdir(parents=True)
    (run / "status.json").write_text(json.dumps(status))
    if lost:
        return
    labels = pd.DataFrame({"cell": ids, "label": found.astype("int32")})
    labels.to_parquet(run / "labels.parquet", index=False)
    if method in ("moe_sim_vae", "scvi_leiden"):
        np.save(run / "embedding.npy", points.astype("float32"))


STABILITY = {
    "resamples": 20,
    "stable_from": 0.6,
    "structure": True,
    "clusters": [0.95, 0.6, 0.41, None],
    "cells": [70, 20, 10, 0],
    "together": [[1, 2, 0.431], [0, 2, 0.12]],
    "merges": [[1.0, 2.0, 0.569, 2.0], [0.0, 4.0, 0.9, 3.0], [3.0, 5.0, 1.0, 4.0]],
    "temperature": 2.5,
    "reliability_before": [{"probability": 0.95, "found": 0.7, "cells": 100}],
    "reliability": [{"probability": 0.72, "found": 0.7, "cells": 100}],
}


def say_how_sure(status):
    """Let a run tell of its clusters, as MoE-Sim-VAE does with `resamples`."""
    told = json.loads(status.read_text())
    status.write_text(json.dumps(told | {"facts": {"stability": STABILITY}}))
