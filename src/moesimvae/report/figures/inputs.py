"""Inputs of an experiment's figures: all of it, or one data set's part."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd
from matplotlib.figure import Figure

from moesimvae.evaluation import comparison
from moesimvae.nouns import Facts, Method, Run
from moesimvae.report import words
from moesimvae.report.style import Picture, cut, method_colours
from moesimvae.report.words import Comparison
from moesimvae.studies.views import Figure3, History, Showcase, View


@dataclass
class Experiment(Comparison):
    """runs: contract 4's table; views: latent spaces to draw; populations: the score rule's table
    of populations; showcases: runs whose clusters are drawn; figures3: data sets that have a
    Figure 3.
    """

    runs: pd.DataFrame
    methods: Mapping[str, Method]
    views: Sequence[View] = ()
    histories: Mapping[Run, History] = field(default_factory=dict)
    populations: pd.DataFrame | None = None
    showcases: Sequence[Showcase] = ()
    figures3: Sequence[Figure3] = ()

    @cached_property
    def colours(self) -> dict[str, str]:
        """Method → colour; a method with chosen settings has that of its base method."""
        used = {*self.table["method"], *self.table["base"]}  # methods outnumber the colours
        colours = method_colours({n: block for n, block in self.methods.items() if n in used})
        chosen = self.table[self.table["choice"] != ""]
        return colours | {r.method: colours[r.base] for r in chosen.itertuples()}

    @property
    def contestants(self) -> pd.DataFrame:
        """Table rows that were run here, without controls, of each data set's first split."""
        return comparison.contestants(comparison.of_first_split(self.table))

    def parts(self) -> Iterable["Part"]:
        """Each split of the data sets shown in detail."""
        for (dataset, split), rows in self.table.groupby(["dataset", "split"], sort=False):
            if dataset in self.in_detail:
                yield Part(self, str(dataset), str(split), rows)


@dataclass
class Part:
    """One data set's rows of one split."""

    experiment: Experiment
    dataset: str
    split: str
    every: pd.DataFrame

    @property
    def facts(self) -> Facts:
        return self.experiment.datasets[self.dataset]

    @property
    def first(self) -> bool:
        """Whether it is the data set's first split, which carries what is common to all splits."""
        table = self.experiment.table
        return self.split in ("all", table[table["dataset"] == self.dataset]["split"].iloc[0])

    @cached_property
    def own(self) -> pd.DataFrame:
        """What was run here."""
        return self.every[self.every["source"] == "run"]

    @cached_property
    def quoted(self) -> pd.DataFrame:
        """Published numbers on the same cells: published ones are of real, whole data sets."""
        whole = not (self.facts.simulated or self.facts.partial)
        return self.every[(self.every["source"] == "published") & whole]

    @cached_property
    def contestants(self) -> pd.DataFrame:
        return comparison.contestants(self.every)

    @property
    def showcases(self) -> list[Showcase]:
        return [s for s in self.experiment.showcases if s.run.dataset == self.dataset]

    def of_run(self, shown: Showcase) -> str:
        """Method, data set and seed of the showcase."""
        method = self.experiment.methods[shown.run.method].title
        return f"{method} on {self.whole}, seed {shown.run.seed}"

    @property
    def metric(self) -> str:
        """The first metric."""
        return self.own["metric"].iloc[0]

    @property
    def name(self) -> str:
        """Name used in file names."""
        split = "" if self.split == "all" else f"_{self.split}"
        return words.slug(f"{self.dataset}{split}", "_")

    @property
    def title(self) -> str:
        return self.experiment.dataset(self.dataset, self.split)

    @property
    def whole(self) -> str:
        """The data set's title, whatever the split."""
        return self.experiment.dataset(self.dataset)

    @property
    def did_not_finish(self) -> str:
        failed = self.own[(self.own["n"] == 0) & (self.own["status"] != comparison.NOT_SCORED)]
        failed = failed.drop_duplicates("method")
        said = "; ".join(f"{r.title} ({comparison.short(r.status)})" for r in failed.itertuples())
        return f" Did not finish: {said}." if said else ""

    def label(self, method: str) -> str:
        """Label of a method's row: a short title, with remarks on its runs."""
        row = self.own[self.own["method"] == method].iloc[0]
        title = row["title"]
        if row["choice"]:
            title = title.replace(comparison.CHOICES[row["choice"]], row["choice"])
        kind = " (oracle)" if row["kind"] == "oracle" and "oracle" not in title.lower() else ""
        seeds = f" ({row['n']} of {row['n_planned']})" if 0 < row["n"] < row["n_planned"] else ""
        if row["n"] == 0:
            seeds = f" ({comparison.failure(row['status']).partition(':')[0]})"
        return f"{cut(title, 28)}{kind}{' ‡' if row['uses_prior'] else ''}{seeds}"

    def signs(self, chosen: str) -> str:
        """Explain the signs after methods' names that occur; chosen: text on chosen settings."""
        settings = chosen if (self.own["choice"] != "").any() else ""
        return words.prior_sign(self.own) + settings

    def picture(
        self, kind: str, title: str, caption: str, alt: str, figure: Figure, run: Run | None = None
    ) -> Picture:
        """A figure of all its methods, or of one run."""
        name = f"{kind}_{words.slug(run.name, '_') if run else self.name}"
        return Picture(name, self.dataset, title, caption, alt, figure)
