"""S1 Table for readers: how well each group's signature gene identifies its cells."""

from collections.abc import Mapping

import pandas as pd

from moesimvae.data import signature
from moesimvae.evaluation import comparison
from moesimvae.nouns import Facts
from moesimvae.report import words
from moesimvae.report.tables import Cell, Column, Row, Table

RULE = (
    "A cell is assigned to the group if the gene's share of its counts is above the mean of these "
    "shares over the training cells."
)
WHY_BOTH = (
    "Accuracy alone is misleading: most cells belong to other groups, so even a gene that is "
    "hardly ever detected has a high accuracy. Balanced accuracy is the mean of the shares "
    "classified correctly among the group's cells and among the rest: 0.5 for an uninformative "
    "gene."
)
PAPER = (
    "The paper's text gives a mean accuracy of {value} without saying which kind of accuracy or "
    "which cells; the caption of its S1 Table says balanced accuracy."
)
NOT_THE_PAPERS = " These cells are not the paper's, so the two are not directly comparable."


def signature_sections(frame: pd.DataFrame, datasets: Mapping[str, Facts]) -> list[Table]:
    """One table per data set: the groups, then their mean and the paper's.

    frame: from `studies.signatures.table`.
    """
    return [
        _section(str(dataset), rows, datasets[str(dataset)])
        for dataset, rows in frame.groupby("dataset", sort=False)
    ]


def _section(dataset: str, rows: pd.DataFrame, facts: Facts) -> Table:
    splits = comparison.shown_splits(rows["split"])
    by_group = rows.set_index(["group", "split"])
    groups = [
        _row(group, [by_group.loc[(group, split)] for split in splits])
        for group in dict.fromkeys(rows["group"])
    ]
    last = [row for row in groups if row.title == "Mean"]
    title = words.title_of(dataset, "all", facts)
    said = [f"Signature genes on {title}.", RULE, WHY_BOTH]
    value = rows["published_accuracy"].dropna()
    if len(value):
        paper = f"{value.iloc[0]:.2f}"
        texts = ["", *["", f"{paper}?", f"{paper}?"] * len(splits)]
        last.append(Row("Paper, mean", tuple(map(Cell, texts))))
        own = not (facts.simulated or facts.partial)
        said.append(PAPER.format(value=paper) + ("" if own else NOT_THE_PAPERS))
    said.append(words.caveats([facts]).strip())
    columns = [
        Column(Cell(head), words.cells_of(split), alone=f"{{}}: {words.cells_of(split).lower()}")
        for split in splits
        for head in ("Cells in group", "Accuracy", "Balanced accuracy")
    ]
    return Table(
        words.slug(dataset),
        f"Signature genes: {title}",
        "",
        [Column(Cell("Gene"), number=False), *columns],
        [("", [row for row in groups if row.title != "Mean"]), ("", last)],
        {"general": " ".join(filter(None, said))},
        rows="Group",
        letters=40,
    )


def _row(group: str, cells: list[pd.Series]) -> Row:
    mean = group == signature.MEAN
    texts = ["" if mean else cells[0]["gene"]]
    for cell in cells:
        texts.append("" if pd.isna(cell["n_group"]) else f"{int(cell['n_group']):,}")
        texts += [_number(cell[kind]) for kind in ("accuracy", "balanced_accuracy")]
    return Row("Mean" if mean else group, tuple(map(Cell, texts)))


def _number(value: float) -> str:
    return "–" if pd.isna(value) else words.fixed(value)
