"""Progress of a running experiment: a line for each run that ends, and a page."""

from moesimvae.evaluation import comparison
from moesimvae.evaluation.making import Making
from moesimvae.nouns import Run
from moesimvae.report import words
from moesimvae.report.glance import glance
from moesimvae.report.tables import plain
from moesimvae.report.tables.html import render
from moesimvae.report.words import Comparison


def line(making: Making, run: Run) -> str:
    """The message when a run has ended: how long it took, and what is left."""
    status = making.ended[run]
    seconds = words.seconds(float(status.wall_seconds or "nan"))
    took = f"{seconds} s" if seconds else "existing clusters"
    if status.status != "ok":
        took = f"{comparison.failure(status.status)} after {took}"
    done = f"{making.name}, {len(making.ended)} of {len(making.planned)}"
    what = f"{making.methods[run.method].title}, seed {run.seed}, on {run.dataset}"
    left = f"{words.counted(making.left, 'run')} left before" if making.left else "now writing"
    return f"[{done}] {what}: {took}; {left} {making.report}"


def page(making: Making, now: str, over: bool = False) -> str:
    """status.html: the results so far, and the runs by method; it reloads itself.

    now: the time, formatted for display; over: whether the workflow has ended; it then links to
    the report, if there is one.
    """
    rows = []
    for method in dict.fromkeys(run.method for run in making.planned):
        mine = [run for run in making.planned if run.method == method]
        ended = {run: making.ended[run] for run in mine if run in making.ended}
        lost = [
            f"seed {run.seed} on {run.dataset}: {status.reason}"
            for run, status in ended.items()
            if status.status != "ok"
        ]
        left = str(len(mine) - len(ended) or "")
        rows.append((making.methods[method].title, str(len(ended)), left, "; ".join(lost)))
    return render(
        "status.html.j2",
        title=making.experiment.title,
        glance=glance(Comparison(making.comparison(), making.metrics, making.datasets)),
        runs=plain("runs", ("Method", "Ended", "Remaining", "Did not finish"), rows, (1, 2)),
        ended=len(making.ended),
        planned=len(making.planned),
        now=now,
        over=over,
        reported=over and making.report.exists(),
    )
