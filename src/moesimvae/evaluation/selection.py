"""Which settings of a screened method appear in the table: two choices, and how each was made.

"oracle"      the best mean F (FlowCAP) on the test cells: it used the labels, as the paper's did
"label-free"  the best mean silhouette, which uses no labels

A variant is a method with settings from a declared grid; its block says which method it `screens`
and with which `settings`. A variant whose run failed has no score and is never chosen.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import product

import pandas as pd

from moesimvae.errors import UserError
from moesimvae.nouns import Metric, Variant
from moesimvae.registry import CRITERIA

SELECTION_COLUMNS = [
    *("dataset", "method", "choice", "variant", "settings", "criterion", "value", "reason")
]
RUN_COLUMNS = [
    *("seed", "status", "reason", "clusters_found", "noise_share"),
    *("wall_seconds", "cpu_seconds", "peak_memory_mb"),
]
SCREENING_COLUMNS = ["dataset", "method", "variant", "settings", "chosen", *RUN_COLUMNS]


def select(
    scores: pd.DataFrame,
    variants: Mapping[str, Variant],
    metrics: Mapping[str, Metric],
) -> pd.DataFrame:
    """The variants chosen, one row per data set, screened method and choice.

    scores: the long table of scores, of one or more data sets; other methods' rows are ignored.
    metrics: the registry's, which define what is best.

    Returns SELECTION_COLUMNS: the variant, its settings (JSON), the metric it was chosen by and its
    mean: on the test cells for the oracle and on the training cells for the label-free
    choice, or on all cells where there is no split. Ties go to the first in the grid.
    Where no variant has a value, variant and settings are "", value is NaN, and `reason` says why
    in one sentence.
    """
    screened = list(dict.fromkeys(block.screens for block in variants.values()))
    rows = []
    for dataset, of_dataset in scores.groupby("dataset", sort=False):
        means = {
            choice: _means(of_dataset, criterion, "test" if choice == "oracle" else "train")
            for choice, criterion in CRITERIA.items()
        }
        for method, (choice, criterion) in product(screened, CRITERIA.items()):
            of_method = [name for name, b in variants.items() if b.screens == method]
            value = means[choice]
            finished = {name: value[name] for name in of_method if pd.notna(value.get(name))}
            ranked = metrics[criterion].best_first(finished)
            best = ranked[0] if ranked else ""
            rows.append(
                {
                    "dataset": dataset,
                    "method": method,
                    "choice": choice,
                    "variant": best,
                    "settings": json.dumps(variants[best].settings) if best else "",
                    "criterion": criterion,
                    "value": value[best] if best else float("nan"),
                    "reason": "" if best else _none_left(dataset, method, of_method, criterion),
                }
            )
    return pd.DataFrame(rows, columns=SELECTION_COLUMNS).astype({"value": "float64"})


def screening(
    scores: pd.DataFrame,
    runs: pd.DataFrame,
    variants: Mapping[str, Variant],
    metrics: Mapping[str, Metric],
    shown: Sequence[str],
) -> pd.DataFrame:
    """Every variant of every grid, including failed ones: one row per data set and variant.

    scores, runs: the long tables; variants, metrics: as for `select`. Returns
    SCREENING_COLUMNS and, for each metric `shown` and each split that has scores, a column
    `<metric>_<split>`; `chosen` names the choices that selected the variant.
    """
    selected = select(scores, variants, metrics)
    chosen = selected.groupby(["dataset", "variant"])["choice"].agg("; ".join)
    key = ["dataset", "method", "seed", "metric", "split"]
    values = scores.set_index(key)["value"].to_dict()
    columns = [
        (metric, split)
        for metric in shown
        for split in sorted(scores.loc[scores["metric"] == metric, "split"].unique())
    ]
    rows = []
    for run in runs.to_dict("records"):
        dataset, variant = run["dataset"], run["method"]
        if variant not in variants:
            continue
        block = variants[variant]
        at = (dataset, variant, run["seed"])
        rows.append(
            {
                "dataset": dataset,
                "method": block.screens,
                "variant": variant,
                "settings": json.dumps(block.settings),
                "chosen": chosen.get((dataset, variant), ""),
                **{column: run[column] for column in RUN_COLUMNS},
                **{f"{m}_{s}": values.get((*at, m, s)) for m, s in columns},
            }
        )
    names = [*SCREENING_COLUMNS, *(f"{m}_{s}" for m, s in columns)]
    return pd.DataFrame(rows, columns=names)


def _means(scores: pd.DataFrame, criterion: str, wanted: str) -> pd.Series:
    """Method → mean over seeds of the criterion on a data set's `wanted` split, or on its only one.

    Raises UserError when the criterion was not scored on that split.
    """
    splits = scores["split"].unique()
    split = wanted if wanted in splits else "all"
    rows = scores[(scores["metric"] == criterion) & (scores["split"] == split)]
    if rows.empty:
        dataset = scores["dataset"].iloc[0]
        raise UserError(
            f"the scores on {dataset} contain no {criterion} for the split '{split}', by which the "
            "settings are chosen; score that data set again."
        )
    return rows.groupby("method")["value"].mean()


def _none_left(dataset: str, method: str, variants: list[str], criterion: str) -> str:
    return (
        f"none of the {len(variants)} settings of {method} tried on {dataset} produced labels "
        f"with a {criterion}, so none can be chosen; see the table of runs for the reasons."
    )
