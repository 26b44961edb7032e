"""Numbers here against numbers kept: equal, within the spread of seeds, different; and labels."""

import json

import numpy as np
import pandas as pd

from moesimvae.evaluation import comparison, reference


def table(values):
    """values: (method, metric) → seed → value."""
    rows = [
        {"dataset": "x", "split": "all", "method": method, "title": method, "kind": "method",
         "source": "run", "metric": metric, "n": len(by_seed), "values": json.dumps(by_seed),
         "runs": f"runs/x/{method}/seed0 runs/x/{method}/seed1"}
        for (method, metric), by_seed in values.items()
    ]  # fmt: skip
    return comparison._typed(pd.DataFrame(rows).reindex(columns=comparison.COLUMNS))


def test_each_number_is_equal_within_the_spread_or_different():
    there = {
        ("same", "f"): {"0": 0.9, "1": 0.8},
        ("near", "f"): {"0": 0.9, "1": 0.7},
        ("far", "f"): {"0": 0.9, "1": 0.89},
        ("once", "f"): {"0": 0.9},
        ("gone", "f"): {"0": 0.9},
    }
    here = {
        ("same", "f"): {"0": 0.90004, "1": 0.8, "2": 0.1},  # a seed more is not compared
        ("near", "f"): {"0": 0.8, "1": 0.78},
        ("far", "f"): {"0": 0.8, "1": 0.79},
        ("once", "f"): {"0": 0.91},
        ("new", "f"): {"0": 0.9},
    }
    found = reference.against(table(here), table(there)).set_index("method")
    assert found["verdict"].to_dict() == {
        "same": reference.EQUAL, "near": reference.WITHIN, "far": reference.OTHER,
        "once": reference.OTHER,
    }  # fmt: skip
    assert np.isclose(found.loc["far", ["here", "there"]].astype(float), [0.795, 0.895]).all()


def test_labels_are_compared_by_cell_whatever_the_clusters_are_called(tmp_path):
    cells = np.array([f"c{i}" for i in range(3000)])
    truth = np.arange(3000) % 4
    made = table({("a", "f"): {"0": 1.0}, ("lost", "f"): {"0": 1.0}})
    folder = tmp_path / "here/runs/x/a/seed0"
    folder.mkdir(parents=True)
    pd.DataFrame({"cell": cells, "label": truth}).to_parquet(folder / "labels.parquet")
    kept = reference.fingerprint(made, tmp_path / "here")
    kept.to_parquet(tmp_path / "labels.parquet")
    kept = pd.read_parquet(tmp_path / "labels.parquet")
    assert len(kept) <= reference.CELLS
    renamed = pd.DataFrame({"cell": cells, "label": (truth + 1) % 4}).sample(frac=1, random_state=0)
    renamed.to_parquet(folder / "labels.parquet")
    assert reference.agreement(kept, made, tmp_path / "here") == {("x", "a"): 1.0}
    pd.DataFrame({"cell": cells, "label": np.where(truth == 3, 2, truth)}).to_parquet(
        folder / "labels.parquet"
    )
    assert 0.5 < reference.agreement(kept, made, tmp_path / "here")["x", "a"] < 0.9
