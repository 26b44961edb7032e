"""MoE-Sim-VAE beside its peers: seconds, memory and scores on the same data, in one go.

    .venv/bin/snakemake --cores 2 --config mirror=../shared/data -- \
        results/data/{samusik_01_subset,levine_32dim_subset,pbmc_facs,mnist}/features.h5ad \
        results/data/simulated_panel_1000000/features.h5ad
    make env-clustpy                                   # only for the row `steps`
    .venv/bin/python bench/peers.py --out docs/bench [--rows samusik pbmc …]

Each method is run as the workflow runs it, with the registry's defaults; the cost is that of its
whole process, similarity and imports included. Methods are run in turn, --repeats times. The claim
is the ratio to a peer; seconds are those of this machine. Rows: samusik, levine, pbmc, million,
mnist (with the seconds to an accuracy, from the start of the fit), steps (bench/throughput.py),
digits (a trial of this program, on scikit-learn's digits). Writes peers.json and peers.png; rows
measured before and not asked for stay.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import read_h5ad
from cells import MOST_FEATURES

from moesimvae import files, registry
from moesimvae.evaluation.metrics import evaluate
from moesimvae.methods import runner

ROOT = Path(__file__).resolve().parents[1]
OURS = "moe_sim_vae"


@dataclass(frozen=True)
class Row:
    """A data set, how many clusters are asked for, the peers, and the targets.

    targets: what → the most it may be: "seconds", "memory_mb", or a peer's name for the ratio of
    our seconds to its.
    """

    data: str
    k: int
    peers: tuple[str, ...]
    targets: dict[str, float] = field(default_factory=dict)
    metrics: tuple[str, ...] = ("f_flowcap", "f1_mean_hungarian", "ari")
    params: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "samusik": Row(
        "samusik_01_subset",
        24,
        ("flowsom", "phenograph", "louvain"),
        {"seconds": 15, "phenograph": 2},
    ),
    "levine": Row(
        "levine_32dim_subset",
        14,
        ("flowsom", "phenograph", "louvain"),
        {"seconds": 60, "phenograph": 0.5},
    ),
    "pbmc": Row("pbmc_facs", 5, ("scvi_leiden", "leiden"), {"seconds": 20, "scvi_leiden": 0.25}),
    "million": Row(
        "simulated_panel_1000000",
        40,
        ("flowsom", "kmeans", "louvain"),
        {"seconds": 180, "memory_mb": 2000, "louvain": 0.2},
    ),
    "mnist": Row("mnist", 10, ("umap_gmm", "n2d", "vade"), {"n2d": 1}, ("accuracy_hungarian",)),
    "digits": Row(
        "digits",
        10,
        ("kmeans",),
        metrics=("accuracy_hungarian",),
        params={"steps": 60, "encoder_layers": [32], "similarity": "communities"},
    ),
}
STEPS = "steps"
STEP_TARGETS = {  # ratios of bench/throughput.py → the least they may be
    "K=40 to K=5": 0.8,
    "K=10 to every expert": 3.0,
    "wide, K=10 to ClustPy's VaDE": 1.0,
}
GOALS = {0.975: 120, 0.985: 300}  # accuracy on MNIST → seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "peers", help="folder")
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, STEPS], default=[*ROWS, STEPS][:-2])
    parser.add_argument(
        "--data", type=Path, default=ROOT / "results" / "data", help="prepared sets"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    path = options.out / "peers.json"
    rows: dict[str, Any] = files.read_json(path) if path.is_file() else {}
    for name in options.rows:
        rows[name] = steps(options) if name == STEPS else measure(name, options)
        rows[name]["machine"] = machine(options.threads)
        files.write_json(path, rows)
    plot(rows, options.out / "peers.png")
    print(table(rows))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------------- what is measured


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    row = ROWS[name]
    source = options.data / row.data
    if not (source / "features.h5ad").is_file():
        raise SystemExit(f"error: no {source / 'features.h5ad'}; make it as the docstring says.")
    labels = pd.read_parquet(source / "labels.parquet")
    blocks = registry.load([ROOT / "workflow/registry/methods.yaml"])
    runs: dict[str, list[dict[str, Any]]] = {method: [] for method in (OURS, *row.peers)}
    result: dict[str, Any] = {"data": row.data, "k": row.k}
    with tempfile.TemporaryDirectory() as folder:
        features = most_variable(source / "features.h5ad", Path(folder))
        for repeat in range(options.repeats):
            for method, done in runs.items():
                block = registry.block(blocks, method, "method")
                if repeat and not block["stochastic"] and "error" in done[-1]:
                    continue
                out = Path(folder) / f"{method}{repeat}"
                params = block["params"] | (row.params if method == OURS else {})
                status = runner.run(
                    features=features,
                    out=out,
                    dataset=row.data,
                    method=method,
                    block=block,
                    seed=repeat,
                    n_clusters=row.k,
                    params=params,
                    threads=options.threads,
                    mem_mb=20_000,
                    runtime_minutes=120,
                )
                done.append(told(status, out, labels, row.metrics))
                say(f"{name}, repeat {repeat + 1}, {method}: {done[-1]}")
        if name == "mnist":
            result["seconds_to"] = seconds_to_goals(features, labels, options.threads)
    result["methods"] = {method: summary(done) for method, done in runs.items()}
    result["ratios"] = {peer: ratio(runs[OURS], runs[peer]) for peer in row.peers}
    return result


def most_variable(path: Path, folder: Path) -> Path:
    """The features, or a copy with the 2,000 most variable of them."""
    cells = read_h5ad(path)
    if cells.n_vars <= MOST_FEATURES:
        return path
    values = cells.layers["lognorm"]
    variance = np.asarray(values.power(2).mean(0) - np.square(values.mean(0))).ravel()
    kept = np.sort(np.argsort(-variance)[:MOST_FEATURES])
    cells[:, kept].copy().write_h5ad(folder / "features.h5ad")
    return folder / "features.h5ad"


def told(
    status: dict[str, Any], out: Path, labels: pd.DataFrame, metrics: tuple[str, ...]
) -> dict[str, Any]:
    if status["status"] != "ok":
        return {"error": f"{status['status']}: {status['reason']}"}
    scored = labels["scored"].to_numpy()
    found = pd.read_parquet(out / "labels.parquet")["label"].to_numpy()
    truth = labels["label"].astype(str).to_numpy()
    scores = evaluate(truth[scored], found[scored], metrics)
    return {
        "seconds": status["wall_seconds"],
        "cpu_seconds": status["cpu_seconds"],
        "memory_mb": status["peak_memory_mb"],
    } | {metric: float(value) for metric, value in scores.items()}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    whole = [run for run in runs if "error" not in run]
    if not whole:
        return {"error": runs[-1]["error"]}
    return {name: spread([run[name] for run in whole]) for name in whole[0]}


def ratio(ours: list[dict[str, Any]], peers: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Of seconds, repeat by repeat, since they were measured one after the other."""
    pairs = [(a, b) for a, b in zip(ours, peers, strict=False) if "error" not in a | b]
    return spread([a["seconds"] / b["seconds"] for a, b in pairs]) if pairs else None


def spread(values: list[float]) -> dict[str, Any]:
    middle = statistics.median(values)
    return {"n": len(values), "median": middle, "min": min(values), "max": max(values)}


def seconds_to_goals(features: Path, labels: pd.DataFrame, threads: int) -> dict[str, Any]:
    """Seconds until a default fit, seed 0, first reaches each accuracy."""
    import torch
    from gpu import course_of, seconds_to

    from moesimvae.model.estimator import MoESimVAE

    torch.set_num_threads(threads)
    cells = read_h5ad(features)
    images = np.asarray(cells.X, dtype=np.float32)
    model = MoESimVAE(10, image_shape=cells.uns["image_shape"], progress=False)
    course = course_of(model, images, labels["label"].astype(str).to_numpy())
    return {str(goal): seconds_to(goal, course) for goal in GOALS}


def steps(options: argparse.Namespace) -> dict[str, Any]:
    """The ratios of bench/throughput.py."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(__file__).with_name("throughput.py")
        counts = ["--repeats", str(options.repeats), "--threads", str(options.threads)]
        subprocess.run([sys.executable, script, "--out", folder, *counts], check=True)
        return {"ratios": files.read_json(Path(folder) / "throughput.json")["ratios"]}


def machine(threads: int) -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    load = round(os.getloadavg()[0], 2)
    return {
        "cpu": names[0] if names else "",
        "cores": os.cpu_count(),
        "threads": threads,
        "load": load,
    }


# ---------------------------------------------------------------------- what is reported


def verdicts(name: str, row: dict[str, Any]) -> list[tuple[str, float, float, bool]]:
    """Each target: what it is of, the value measured, its bound, and whether it holds."""
    if name == STEPS:
        found = [(what, row["ratios"].get(what), least) for what, least in STEP_TARGETS.items()]
        return [(w, r["median"], least, r["median"] >= least) for w, r, least in found if r]
    ours, checks = row["methods"][OURS], []
    for what, most in ROWS[name].targets.items():
        value = row["ratios"][what] if what in row["ratios"] else ours.get(what)
        if value is not None:
            checks.append((what, value["median"], most, value["median"] <= most))
    for goal, seconds in row.get("seconds_to", {}).items():
        most = GOALS[float(goal)]
        checks.append((f"seconds to {goal}", seconds or np.inf, most, (seconds or np.inf) <= most))
    return checks


def table(rows: dict[str, Any]) -> str:
    lines = ["| row | method | s (range) | CPU s | MB | scores | our seconds to its |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        for method, took in row.get("methods", {}).items():
            if "error" in took:
                lines.append(f"| {name} | {method} | DNF: {took['error']} | | | | |")
                continue
            middle = {key: value["median"] for key, value in took.items()}
            seconds = took["seconds"]
            scores = ", ".join(
                f"{key} {middle[key]:.3f}" for key in took if key in ROWS[name].metrics
            )
            beside = row["ratios"].get(method)
            lines.append(
                f"| {name} | {method} | {middle['seconds']:.1f} "
                f"({seconds['min']:.1f}–{seconds['max']:.1f}, n = {seconds['n']}) "
                f"| {middle['cpu_seconds']:.1f} | {middle['memory_mb']:,.0f} | {scores} "
                f"| {'' if beside is None else format(beside['median'], '.2f')} |"
            )
    lines += ["", "| row | what | measured | target | holds |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {what} | {value:.2f} | {bound:g} | {'yes' if holds else 'no'} |"
        for name, row in rows.items()
        for what, value, bound, holds in verdicts(name, row)
    ]
    return "\n".join(lines)


def plot(rows: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = [
        (f"{name}: {peer}", found)
        for name, row in rows.items()
        for peer, found in row["ratios"].items()
        if found is not None and name != STEPS
    ]
    if not bars:
        return
    figure, axes = pyplot.subplots(figsize=(7, 0.9 + 0.35 * len(bars)), layout="constrained")
    middle = np.array([found["median"] for _, found in bars])
    low, high = (np.array([found[end] for _, found in bars]) for end in ("min", "max"))
    places = np.arange(len(bars))
    axes.errorbar(middle, places, xerr=[middle - low, high - middle], fmt="o", capsize=3)
    axes.axvline(1, color="0.6", linewidth=1)
    axes.set_yticks(places, [name for name, _ in bars])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="seconds of MoE-Sim-VAE to those of the peer (median and range)")
    with files.atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
