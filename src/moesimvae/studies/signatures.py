"""S1 Table: how well each group's signature gene tells its cells from the rest."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from moesimvae.data import signature

COLUMNS = [
    "dataset", "split", "group", "gene", "n_cells", "n_group", "accuracy", "balanced_accuracy",
    "published_accuracy",
]  # fmt: skip
PUBLISHED = "signature_accuracy_mean"
MEASURED = {PUBLISHED: "accuracy", "signature_balanced_accuracy_mean": "balanced_accuracy"}


def table(
    features: Iterable[str | Path],
    labels: Iterable[str | Path],
    published: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Accuracies of every data set, split and group, and their means ("mean"), with COLUMNS.

    features: files with obsm["signature"] and uns["signature"], as the data sets' preparation
    leaves them; labels: the true labels, in the same order of files. published: the paper's
    numbers; its mean accuracy is put beside the means of its data set and of those named after it.
    """
    quoted = {} if published is None else _published(published)
    frames = []
    for feature, label in zip(features, labels, strict=True):
        dataset = Path(label).parent.name
        frame = _accuracies(feature, label)
        value = next((v for name, v in quoted.items() if dataset.startswith(name)), np.nan)
        frame["published_accuracy"] = np.where(frame["group"] == signature.MEAN, value, np.nan)
        frames.append(frame.assign(dataset=dataset))
    return pd.concat(frames, ignore_index=True)[COLUMNS]


def _accuracies(features: str | Path, labels: str | Path) -> pd.DataFrame:
    with h5py.File(features, "r") as file:  # read only what is needed
        cells = read_elem(file["obs"]).index
        shown = np.asarray(read_elem(file["obsm/signature"]), bool)
        genes = json.loads(read_elem(file["uns/signature"]))
    truth = pd.read_parquet(labels).set_index("cell").loc[cells]
    scored = truth["scored"].to_numpy(bool)
    truth = truth[scored]
    frame = signature.accuracy(
        shown[scored], genes, truth["label"].to_numpy(str), truth["split"].to_numpy(str)
    )
    sizes = truth.groupby(["split", "label"]).size().to_dict()
    where = zip(frame["split"], frame["group"], strict=True)
    frame["n_group"] = pd.array([sizes.get(key, pd.NA) for key in where], dtype="Int64")
    return frame


def _published(published: pd.DataFrame) -> dict[str, float]:
    rows = published[published["metric"] == PUBLISHED]
    return dict(zip(rows["dataset"], rows["value"].astype(float), strict=True))


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """The means as a long table of scores, for comparison with the paper's."""
    means = frame[frame["group"] == signature.MEAN]
    return pd.DataFrame(
        [
            {"dataset": row["dataset"], "method": "signature genes", "seed": 0,
             "split": row["split"], "metric": metric, "value": row[column], "run": ""}
            for _, row in means.iterrows()
            for metric, column in MEASURED.items()
        ]
    )  # fmt: skip
