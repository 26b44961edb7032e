"""The same seed gives the same result: again, in a new process, and after a stop."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny import always_save, blobs, outcome, same_group, stopped_after_saving, tiny, without_umap

from moesimvae.errors import UserError
from moesimvae.model import storage

pytestmark = pytest.mark.filterwarnings("ignore")
WITH_UMAP = {"steps": 120, "refinements": 1, "similarity": "umap_knn"}
WITH_COMMUNITIES = WITH_UMAP | {"similarity": "communities"}
THREE_PHASES = {"steps": 450, "refinements": 2}

SCRIPT = """
import json, os, signal, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
import pytest, torch
torch.set_num_threads(int(sys.argv[3]))
from moesimvae import files
from test_reproducible import THREE_PHASES, WITH_COMMUNITIES, WITH_UMAP
from tiny import always_save, blobs, outcome, tiny, without_umap

fits = [outcome(tiny(**settings).fit(blobs()[0])) for settings in (WITH_UMAP, WITH_COMMUNITIES)]
print(json.dumps(fits), flush=True)

monkeypatch = pytest.MonkeyPatch()
without_umap(monkeypatch)
always_save(monkeypatch)
replace, seen = os.replace, []

def replace_or_die(*paths):  # the fourth checkpoint is written, but not yet under its name
    seen.append(paths)
    if len(seen) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)

files.os.replace = replace_or_die
tiny(**THREE_PHASES, checkpoint=sys.argv[2]).fit(blobs()[0])
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A process that fits two models, prints them, and is killed while it fits another."""
    folder = tmp_path_factory.mktemp("killed")
    arguments = [os.path.dirname(__file__), str(folder), str(torch.get_num_threads())]
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    return json.loads(run.stdout), folder


@pytest.mark.slow
@pytest.mark.parametrize(("number", "settings"), enumerate([WITH_UMAP, WITH_COMMUNITIES]))
def test_the_same_seed_gives_the_same_labels_and_losses_in_every_process(killed, number, settings):
    X = blobs()[0]
    first = outcome(tiny(**settings).fit(X))
    np.random.default_rng().random(7)
    torch.rand(7)
    assert outcome(tiny(**settings).fit(X)) == first
    assert killed[0][number] == first


def test_another_seed_gives_another_result(monkeypatch):
    without_umap(monkeypatch)
    X = blobs()[0]
    first, second = (outcome(tiny(steps=60, random_state=seed).fit(X)) for seed in (0, 1))
    for part in ("embedding", "history", "generated"):
        assert first[part] != second[part]


@pytest.mark.slow
def test_a_killed_fit_goes_on_where_its_last_checkpoint_was(killed, monkeypatch):
    without_umap(monkeypatch)
    always_save(monkeypatch)
    X = blobs()[0]
    expected = outcome(tiny(**THREE_PHASES).fit(X))
    _, folder = killed
    saved = stopped_after_saving(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        tiny(**THREE_PHASES, checkpoint=folder).fit(X)
    assert saved == [(1, 100)]  # (0, 50), (0, 100) and (1, 50) were there
    monkeypatch.undo()
    without_umap(monkeypatch)
    assert outcome(tiny(**THREE_PHASES, checkpoint=folder).fit(X)) == expected
    assert not (folder / storage.CHECKPOINT).exists()


def images():
    """Cells whose features are the pixels of an image of 16 × 16, two kinds."""
    X = np.random.default_rng(0).random((80, 256)).astype(np.float32) / 2
    X[:40, :128] += 0.5
    return X


CASES = {
    "three phases": {},
    # of 151 batches in a phase, the last one waits in vain for another
    "experts that learn every second batch": {"n_clusters": 16, "steps": 453},
    "released, whose centroids are free": {"objective": "released", "schedule": "constant"},
    "augmented images": {"image_shape": (16, 16), "channels": (2, 2), "batch_size": 16},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CASES, "cells drawn unevenly", "a similarity of the user's"])
def test_a_fit_stopped_at_every_checkpoint_ends_as_if_it_had_not_been(name, monkeypatch, tmp_path):
    settings = THREE_PHASES | CASES.get(name, {})
    X, y = blobs()
    X = images() if "image_shape" in settings else X
    given = same_group(y) if name.startswith("a similarity") else None
    if given is None:
        without_umap(monkeypatch, sampling=name.startswith("cells drawn"))
    expected = outcome(tiny(**settings).fit(X, similarity=given))
    always_save(monkeypatch)
    stops = stopped_after_saving(monkeypatch)
    for _ in range(10):
        try:
            model = tiny(**settings, checkpoint=tmp_path).fit(X, similarity=given)
            break
        except KeyboardInterrupt:
            torch.rand(3)  # whoever stops a fit may do something else with the generator
    n_phases = 3 if given is None else 1
    records = range(50, settings["steps"] // n_phases, 50)
    assert stops == [(phase, step) for phase in range(n_phases) for step in records]
    assert outcome(model) == expected
    assert list(tmp_path.iterdir()) == []


def test_a_fit_stopped_before_its_first_checkpoint_starts_anew(monkeypatch, tmp_path):
    without_umap(monkeypatch)
    X = blobs()[0]
    expected = outcome(tiny(steps=60).fit(X))
    always_save(monkeypatch)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            tiny(steps=60, refinements=0, checkpoint=tmp_path).fit(X)
    assert outcome(tiny(steps=60, checkpoint=tmp_path).fit(X)) == expected


def test_checkpoints_are_a_minute_apart(monkeypatch, tmp_path):
    without_umap(monkeypatch)
    stops = stopped_after_saving(monkeypatch)
    tiny(steps=110, refinements=0, checkpoint=tmp_path).fit(blobs()[0])
    assert stops == []


@pytest.fixture
def checkpoint(monkeypatch, tmp_path):
    """The folder of a fit that was stopped."""
    without_umap(monkeypatch)
    always_save(monkeypatch)
    with monkeypatch.context() as patch:
        stopped_after_saving(patch)
        with pytest.raises(KeyboardInterrupt):
            tiny(steps=110, refinements=0, checkpoint=tmp_path).fit(blobs()[0])
    return tmp_path


def other_cells():
    X = blobs()[0]
    X[3, 2] += 1e-3
    return X


@pytest.mark.parametrize(
    ("cells", "settings", "given"),
    [
        (other_cells, {}, {}),
        (lambda: blobs()[0], {"learning_rate": 1e-3}, {}),
        (lambda: blobs()[0], {"random_state": 1}, {}),
        (lambda: blobs()[0], {"similarity": "umap_distance"}, {}),
        (lambda: blobs()[0], {}, {"prior": blobs()[1]}),
        (lambda: blobs()[0], {}, {"similarity": same_group(blobs()[1])}),
    ],
)
def test_a_checkpoint_of_another_fit_is_told(checkpoint, cells, settings, given):
    model = tiny(steps=110, refinements=0, checkpoint=checkpoint, **settings)
    with pytest.raises(UserError, match="belongs to other cells or parameters; delete it"):
        model.fit(cells(), **given)
    assert (checkpoint / storage.CHECKPOINT).exists()


def test_a_damaged_checkpoint_is_told(checkpoint):
    path = checkpoint / storage.CHECKPOINT
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"cannot be read .*; delete it to start over"):
        tiny(steps=110, refinements=0, checkpoint=checkpoint).fit(blobs()[0])


def test_the_cache_may_be_another_after_a_stop(checkpoint):
    X = blobs()[0]
    settings = {"steps": 110, "refinements": 0}
    went_on = tiny(**settings, checkpoint=checkpoint, cache=checkpoint / "cache").fit(X)
    assert outcome(went_on) == outcome(tiny(**settings).fit(X))
