"""How the report names and rounds things, decided once: metrics, data sets, cells, numbers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from moesimvae.evaluation.comparison import DIGITS
from moesimvae.nouns import Facts, Metric
from moesimvae.report import IN_DETAIL

BOUND = "_lower_bound"  # suffix of a metric: a lower bound of its value, not the value itself
# the Gaussian of a cluster in words, in tables and captions
GAUSSIANS = {
    "standard": "z ~ N(μ, I)",
    "fitted": "a mixture of Gaussians of its codes",
    "component": "its own mixture",
}
SOURCES = {
    "real": "other real cells",
    "observations": "observations",
    "means": "the experts' means",
    "standard": "means, z ~ N(μ, I)",
    "gaussian": "one Gaussian a cluster",
    "scvi": "scVI's posterior predictive",
}
SHORT = {"nmi": "NMI", "mmd": "MMD", "f": "F"}


@dataclass
class Comparison:
    """An experiment's table (from `comparison.compare`), and what its entries are called."""

    table: pd.DataFrame
    metrics: Mapping[str, Metric]
    datasets: Mapping[str, Facts]

    @cached_property
    def own(self) -> pd.DataFrame:
        """What was run here."""
        return self.table[self.table["source"] == "run"]

    @cached_property
    def quoted(self) -> pd.DataFrame:
        """What others published."""
        return self.table[self.table["source"] == "published"]

    @property
    def run_here(self) -> list[str]:
        """The data sets that were run."""
        return list(dict.fromkeys(self.own["dataset"]))

    @property
    def in_detail(self) -> list[str]:
        """The data sets that have tables and figures of their own, and their runs listed."""
        return self.run_here[:IN_DETAIL]

    def metric(self, name: str) -> str:
        return metric_title(name, self.metrics)

    def dataset(self, name: str, split: str = "all") -> str:
        return title_of(name, split, self.datasets.get(name))

    def caveats(self, names: Iterable[str]) -> str:
        """Of data sets; names may be repeated."""
        return caveats(self.datasets[name] for name in dict.fromkeys(names))


def metric_title(name: str, metrics: Mapping[str, Metric]) -> str:
    """The registry's title; a metric that is only published has just its name."""
    if name in metrics:
        return metrics[name].title
    bounded = name.removesuffix(BOUND)
    if bounded != name and bounded in metrics:
        return f"{metrics[bounded].title}, lower bound"
    return " ".join(SHORT.get(word, word) for word in name.split("_"))


def short_titles(titles: Mapping[str, str]) -> dict[str, str]:
    """Titles without the part in brackets, where they still tell metrics apart."""
    cut = {name: title.partition(" (")[0] for name, title in titles.items()}
    every = list(cut.values())
    return {name: cut[name] if every.count(cut[name]) == 1 else titles[name] for name in titles}


def title_of(dataset: str, split: str, facts: Facts | None) -> str:
    """A data set's title, with necessary qualifications of it and of the cells meant."""
    title = facts.title if facts else dataset
    said = title.lower()
    what = []
    if facts and facts.simulated and not _says(said, "simulated", "synthetic"):
        what.append("simulated")
    if facts and facts.partial and not _says(said, "subset", "sample"):
        what.append("subset")
    if split != "all":
        what.append(f"{named(split)} cells")
    return f"{title} ({', '.join(what)})" if what else title


def _says(title: str, *words: str) -> bool:
    return any(word in title for word in words)


def named(split: str) -> str:
    return "training" if split == "train" else split


def cells_of(split: str) -> str:
    """Test cells, Training cells, All cells."""
    return f"{named(split).capitalize()} cells"


def caveats(datasets: Iterable[Facts]) -> str:
    """What a caption must say of simulated or partial data sets; "" for others."""
    facts = list(datasets)
    made_up = [f for f in facts if f.simulated]
    mixed = [f for f in made_up if "semi-synthetic" in f.title.lower()]
    said = ""
    for word, means, some in (
        ("Simulated", "no evidence about real cells", [f for f in made_up if f not in mixed]),
        ("Semi-synthetic", "no evidence about the real data set", mixed),
        ("Subsets", "not comparable with results on the full data sets",
         [f for f in facts if f.partial]),
    ):  # fmt: skip
        if some:
            titles = [f.title for f in some]
            listed = ", ".join(titles) if len(some) <= IN_DETAIL else f"{len(some)} data sets"
            said += f" {word}, so {means}: {listed}."
    return said


def prior_sign(rows: pd.DataFrame) -> str:
    """What ‡ after names means, if any of the comparison's rows has it."""
    return " ‡ uses prior knowledge about the cells." if rows["uses_prior"].any() else ""


def machine_of(machines: Iterable[Mapping[str, Any]]) -> str:
    """The machines of runs in words, from the `machine` of status.json; each distinct one once."""
    return "; ".join(
        dict.fromkeys(
            f"{m['cpu']}, {m['cores']} cores, {m['memory_mb'] / 1000:.0f} GB, {m['platform']}, "
            f"Python {m['python']}"
            for m in machines
        )
    )


def slug(text: str, joint: str = "-") -> str:
    """Text made fit for the name of a file or an anchor."""
    return re.sub(r"[^A-Za-z0-9]+", joint, text)


def judge_of(facts: Mapping[str, Any]) -> str:
    """One clause on the classifier that judges generated images, from its judge.json."""
    return (
        f"a convolutional network trained on {facts['train_images']:,} real images, with an "
        f"accuracy of {100 * facts['test_accuracy']:.2f} % on {facts['test_images']:,} others"
    )


def joined(titles: Sequence[str]) -> str:
    """ "a, b and c"."""
    return " and ".join(filter(None, [", ".join(titles[:-1]), titles[-1]]))


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def sentence(text: str) -> str:
    text = str(text).strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def fixed(value: float, digits: int = DIGITS) -> str:
    # round first, then + 0.0: avoids "-0.000"
    return "0" if value == 0 else f"{round(value, digits) + 0.0:.{digits}f}"


def mean_sd(mean: float, sd: float, digits: int = DIGITS) -> str:
    text = f"{round(mean, digits) + 0.0:,.{digits}f}"
    return text if np.isnan(sd) else f"{text} ± {sd:,.{digits}f}"


def as_printed(value: float) -> str:
    """A quoted number with at least two decimals, as papers print them, and no more than it had."""
    text = f"{value:.4f}".rstrip("0")
    return text if len(text.split(".")[1]) >= 2 else f"{value:.2f}"


def large(value: float, digits: int = 4) -> str:
    """A quoted number that need not be a share: integers whole, two decimals from 20 on."""
    if abs(value) >= 1000 or (float(value).is_integer() and abs(value) >= 1):
        return f"{value:,.0f}".replace("-", "−")
    text = f"{value:.{2 if abs(value) >= 20 else digits}f}".rstrip("0")
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest.ljust(2, '0')}".replace("-", "−")


def seconds(value: float) -> str:
    """Three significant digits; "" if not measured."""
    if pd.isna(value):
        return ""
    if 0 < value < 0.005:
        return "< 0.01"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def whole(value: float | None) -> str:
    return "" if pd.isna(value) else f"{value:,.0f}"


def of_planned(finished: int, planned: int) -> str:
    """How many runs finished: 3, or 2 of 3."""
    return str(planned) if finished == planned else f"{finished} of {planned}"
