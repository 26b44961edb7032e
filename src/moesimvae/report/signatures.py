"""S1 Table: how well each group's signature gene tells its cells from the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from moesimvae.data import signature
from moesimvae.evaluation import comparison
from moesimvae.report import formats, sections

Block = dict[str, Any]

COLUMNS = [
    "dataset", "split", "group", "gene", "n_cells", "n_group", "accuracy", "balanced_accuracy",
    "published_accuracy",
]  # fmt: skip
PUBLISHED = "signature_accuracy_mean"
MEASURED = {PUBLISHED: "accuracy", "signature_balanced_accuracy_mean": "balanced_accuracy"}
RULE = (
    "A cell is counted as of the group when the gene's share of its counts is above the average of "
    "these shares over the training cells."
)
WHY_BOTH = (
    "Accuracy alone misleads: most cells are of other groups, so a gene that is hardly ever seen "
    "has a high one too. Balanced accuracy is the mean of the shares told rightly among the "
    "group's cells and among the rest: 0.5 for a gene that tells nothing."
)
PAPER = (
    "The paper's text gives a mean accuracy of {value} without saying of which kind or of which "
    "cells; the caption of its S1 Table says balanced accuracy."
)
NOT_THE_PAPERS = " These cells are not the paper's, so the two are not compared one to one."


def table(
    features: Iterable[str | Path],
    labels: Iterable[str | Path],
    published: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Accuracies of every data set, split and group, and their means ("mean"), with COLUMNS.

    features: files with obsm["signature"] and uns["signature"], as the data sets' preparation
    leaves them; labels: the true labels, in the same order of files. published: numbers of the
    paper; its mean accuracy stands beside the means of its data set and of those named after it.
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
    with h5py.File(features, "r") as file:  # nothing but what is looked at
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


@dataclass
class SignatureTable:
    """One data set: a row of text for each group, then the mean and the paper's."""

    key: str
    heading: str
    caption: str
    spans: list[tuple[str, int]]
    columns: list[str]
    rows: list[list[str]]


def signature_sections(frame: pd.DataFrame, datasets: Mapping[str, Block]) -> list[SignatureTable]:
    """From `table` to what people read; datasets: name → dataset.json."""
    made = []
    for dataset, rows in frame.groupby("dataset", sort=False):
        splits = comparison.shown_splits(rows["split"])
        by_group = rows.set_index(["group", "split"])
        groups = list(dict.fromkeys(rows["group"]))
        body = []
        for group in groups:
            first = by_group.loc[(group, splits[0])]
            cells = [by_group.loc[(group, split)] for split in splits]
            body.append([
                *(("Mean", "") if group == signature.MEAN else (group, first["gene"])),
                *(text for cell in cells for text in (
                    "" if pd.isna(cell["n_group"]) else f"{int(cell['n_group']):,}",
                    _number(cell["accuracy"]), _number(cell["balanced_accuracy"]))),
            ])  # fmt: skip
        title = sections.title_of(str(dataset), "all", datasets[dataset])
        said = [f"Signature genes on {title}.", RULE, WHY_BOTH]
        value = rows["published_accuracy"].dropna()
        if len(value):
            paper = f"{value.iloc[0]:.2f}"
            body.append(["Paper, mean", "", *["", f"{paper}?", f"{paper}?"] * len(splits)])
            own = not (datasets[dataset]["simulated"] or datasets[dataset]["partial"])
            said.append(PAPER.format(value=paper) + ("" if own else NOT_THE_PAPERS))
        said.append(sections.caveats([datasets[dataset]]).strip())
        made.append(
            SignatureTable(
                re.sub(r"[^A-Za-z0-9]+", "-", str(dataset)),
                f"Signature genes: {title}",
                " ".join(filter(None, said)),
                [(sections.cells_of(split), 3) for split in splits],
                ["Group", "Gene", *["Cells of it", "Accuracy", "Balanced accuracy"] * len(splits)],
                body,
            )
        )
    return made


def to_markdown(parts: Iterable[SignatureTable], title: str) -> str:
    """GitHub-flavoured Markdown."""
    blocks = [f"# {formats.md(title)}"]
    for part in parts:
        of = ["", "", *(name for name, width in part.spans for _ in range(width))]
        head = [f"{c}: {s.lower()}" if s else c for c, s in zip(part.columns, of, strict=True)]
        lines = [formats.md_line(map(formats.md, head)),
                 formats.md_line([":--", ":--", *["--:"] * (len(head) - 2)])]  # fmt: skip
        lines += [formats.md_line(map(formats.md, row)) for row in part.rows]
        blocks += [f"## {formats.md(part.heading)}", "\n".join(lines), formats.md(part.caption)]
    return "\n\n".join(blocks) + "\n"


def to_latex(parts: Iterable[SignatureTable], name: str) -> str:
    r"""One `table` for each data set; needs `\usepackage{booktabs,graphicx}`."""
    made = ["% \\usepackage{booktabs,graphicx}"]
    label = re.sub(r"[^A-Za-z0-9]+", "-", name)
    for part in parts:
        spans = formats.latex_spans([("", 2), *part.spans])
        head = " & ".join(map(formats.latex, part.columns)) + r" \\"
        body = [spans, head, r"\midrule"]
        for row in part.rows:
            if row[0] == "Mean":
                body.append(r"\midrule")
            body.append(" & ".join(map(formats.latex, row)) + r" \\")
        columns = "ll" + "r" * (len(part.columns) - 2)
        made.append(formats.latex_float(part.heading + ".", f"tab:{label}-signature-{part.key}",
                                        columns, body, formats.latex(part.caption)))  # fmt: skip
    return "\n".join(made)


def _number(value: float) -> str:
    return "–" if pd.isna(value) else sections.fixed(value)
