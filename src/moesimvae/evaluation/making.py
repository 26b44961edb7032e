"""An experiment in progress: which of its runs have ended, and their results so far."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import pandas as pd

from moesimvae.evaluation import comparison, scores
from moesimvae.evaluation.metrics import LABEL_FREE
from moesimvae.nouns import Facts, Method, Metric, Plan, Run, Status
from moesimvae.registry import Block


class Making:
    """One experiment while it is running.

    results: folder; runs: (method, seed) on each data set; datasets: what is known of them
    before they are prepared.
    """

    def __init__(
        self,
        results: str | Path,
        experiment: Plan,
        runs: Sequence[tuple[str, int]],
        methods: Mapping[str, Method],
        metrics: Mapping[str, Metric],
        datasets: Mapping[str, Facts],
    ):
        told = [m for m in experiment.metrics if m not in LABEL_FREE]
        # label-free metrics that compare runs with each other are reported at the end
        wanted = told or [m for m in experiment.metrics if m == "silhouette"]
        self.results = Path(results)
        self.experiment = replace(experiment, metrics=wanted, variants={})
        self.methods, self.metrics, self.datasets = methods, metrics, datasets
        self.planned = [Run(d, m, s) for d in experiment.datasets for m, s in runs]
        self.ended: dict[Run, Status] = {}
        self._written: dict[Run, int] = {}
        self._scored: dict[Run, tuple[pd.DataFrame, pd.DataFrame]] = {}

    @classmethod
    def of(
        cls,
        results: str | Path,
        experiment: Block,
        runs: Sequence[tuple[str, int]],
        methods: Mapping[str, Block],
        metrics: Mapping[str, Block],
        datasets: Mapping[str, Block],
    ) -> Self:
        """Construct from the blocks of the experiment and of the registries."""
        known = {name: Facts.of({"title": name, **block}) for name, block in datasets.items()}
        registries = Method.by_name(methods), Metric.by_name(metrics)
        return cls(results, Plan.of(experiment), runs, *registries, known)

    @property
    def name(self) -> str:
        return self.experiment.name

    @property
    def left(self) -> int:
        return len(self.planned) - len(self.ended)

    @property
    def report(self) -> Path:
        """Path of its page to come."""
        return self.results / self.name / "report.html"

    @property
    def so_far(self) -> Path:
        """Path of the interim page."""
        return self.report.with_name("status.html")

    def look(self) -> list[Run]:
        """The runs that have ended since the last call."""
        new = []
        for run in self.planned:
            path = self.results / run.path / "status.json"
            try:
                written = path.stat().st_mtime_ns
                if self._written.get(run) != written:
                    self.ended[run] = Status.read(path.parent)
                    self._scored.pop(run, None)
                    self._written[run] = written
                    new.append(run)
            except (FileNotFoundError, ValueError):  # not there yet, or being rerun
                for known in (self.ended, self._written, self._scored):
                    known.pop(run, None)
        return new

    def comparison(self) -> pd.DataFrame:
        """`comparison.compare` of the runs so far; absent ones have the status "missing"."""
        for dataset in self.experiment.datasets:
            folder = self.results / "data" / dataset
            new = [r for r in self.ended if r.dataset == dataset and r not in self._scored]
            if new and (folder / "labels.parquet").exists():
                found, _, runs = scores.score_dataset(
                    [self.results / run.path for run in new],
                    folder / "labels.parquet",
                    self.experiment.metrics,
                    self.results,
                    folder / "features.h5ad",
                )
                for run in new:
                    of_run = (table[table["run"] == run.path] for table in (found, runs))
                    self._scored[run] = (next(of_run), next(of_run))
        nothing = (pd.DataFrame(columns=scores.SCORE_COLUMNS),
                   pd.DataFrame(columns=scores.RUN_COLUMNS))  # fmt: skip
        found, runs = (
            pd.concat(tables, ignore_index=True)
            for tables in zip(*(list(self._scored.values()) or [nothing]), strict=True)
        )
        return comparison.compare(found, runs, self.methods, self.metrics, self.experiment)
