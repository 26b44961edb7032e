"""Time and memory against the number of cells."""

import numpy as np
import pandas as pd
import pytest

from moesimvae.nouns import Facts, Method
from moesimvae.report.figures import scaling
from moesimvae.report.figures.inputs import Experiment

SIZES = (1000, 10_000, 100_000)


def facts(*sizes):
    return {f"panel_{n}": Facts(title=f"Panel, {n}", n_cells=n, simulated=True) for n in sizes}


def table():
    rows = []
    for dataset, about in facts(*SIZES).items():
        for method, power in (("slow", 2.0), ("quick", 1.0)):
            done = not (method == "slow" and about.n_cells == SIZES[-1])
            rows.append(
                {
                    **{"dataset": dataset, "split": "all", "method": method, "title": method},
                    **{"kind": "method", "source": "run", "metric": "ari", "n": int(done)},
                    "wall_seconds": 0.01 * about.n_cells**power / 100,
                    "peak_memory_mb": 100 + about.n_cells / 100,
                }
            )
    return pd.DataFrame(rows)


def drawn(rows, about):
    rows = rows.assign(base=rows["method"], choice="")
    methods = {name: Method(name) for name in ("slow", "quick")}
    return list(scaling.pictures(Experiment(rows, {}, about, None, methods)))


def test_a_curve_needs_sizes_far_enough_apart():
    few = table().replace({"dataset": {f"panel_{SIZES[1]}": f"panel_{SIZES[0]}"}})
    assert drawn(few, facts(SIZES[0], SIZES[2])) == []
    sizes = dict(zip(facts(*SIZES), (1000, 2000, 3000), strict=True))
    close = {name: Facts(title=name, n_cells=n) for name, n in sizes.items()}
    assert drawn(table(), close) == []


def test_the_caption_tells_the_power_of_what_finished_on_enough_sizes():
    (picture,) = drawn(table(), facts(*SIZES))
    assert "quick: 1.00." in picture.caption
    assert "slow" not in picture.caption  # two of three sizes
    assert "no evidence about real cells" in picture.caption
    time = picture.figure.axes[0]
    lines = {line.get_label(): line.get_xdata() for line in time.lines}
    np.testing.assert_array_equal(lines["quick"], SIZES)
    np.testing.assert_array_equal(lines["slow"], SIZES[:2])
    crosses = [line.get_xdata() for line in time.lines if line.get_marker() == "x"]
    assert [list(x) for x in crosses if len(x)] == [[SIZES[-1]]]


@pytest.mark.parametrize("power", [0.5, 1.3])
def test_the_power_is_that_of_the_times(power):
    rows = table().assign(n=1)
    rows["wall_seconds"] = [facts(*SIZES)[d].n_cells ** power for d in rows["dataset"]]
    (picture,) = drawn(rows, facts(*SIZES))
    assert f"slow: {power:.2f}; quick: {power:.2f}." in picture.caption
