"""Few cells, a small model, and a similarity that needs no UMAP, for the tests of the estimator."""

import numpy as np
import torch
from scipy import sparse
from sklearn.datasets import make_blobs

from moesimvae.model import fitting, storage
from moesimvae.model.estimator import MoESimVAE
from moesimvae.model.similarity import Similarity, knn_in_batch

PARAMETERS = {
    "encoder_layers": (32,),
    "expert_layers": (16,),
    "gate_layers": (16,),
    "n_latent": 4,
    "steps": 240,
    "learning_rate": 3e-3,
    "batch_size": 64,
    "device": "cpu",
    "progress": False,
}


def tiny(n_clusters=4, **settings):
    return MoESimVAE(n_clusters, **PARAMETERS | settings)


def blobs(n_cells=180):
    """Four well separated populations; one marker is constant."""
    X, y = make_blobs(n_cells, n_features=6, centers=4, cluster_std=0.5, random_state=4)
    X[:, 5] = 2.0
    return X.astype(np.float32), y


def same_group(groups):
    """The similarity matrix of known groups."""
    return sparse.csr_matrix((groups[:, None] == groups[None, :]).astype(np.float32))


def without_umap(monkeypatch, sampling=False):
    """Let the estimator take neighbours among the cells, or the gate's features, themselves.

    sampling: draw the first half of the cells three times as often as the others.
    """

    def build(spec, cells, **_):
        cells = cells.toarray() if sparse.issparse(cells) else cells
        draws = None
        if sampling:
            draws = np.where(np.arange(len(cells)) < len(cells) // 2, 3.0, 1.0)
            draws /= draws.sum()
        return Similarity(
            lambda index, points: knn_in_batch(points[index], 5),
            (torch.from_numpy(cells),),
            sampling=draws,
        )

    monkeypatch.setattr(fitting.similarity, "build", build)


def always_save(monkeypatch):
    """Write a checkpoint whenever one may be written: after every 50 steps of a phase."""
    monkeypatch.setattr(fitting, "SECONDS_BETWEEN_CHECKPOINTS", 0)


def stopped_after_saving(monkeypatch):
    """Ctrl-C right after each new checkpoint; the list of (phase, step) at which it came."""
    stops = []
    write = storage.write_checkpoint

    def write_and_stop(folder, tensors, values):
        write(folder, tensors, values)
        at = values["phase"], values["training"]["step"]
        assert at not in stops
        stops.append(at)
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "write_checkpoint", write_and_stop)
    return stops


def outcome(model):
    """All that a fit is about, for comparing two of them exactly."""
    return {
        "labels": model.labels_.tolist(),
        "embedding": model.embedding_.tolist(),
        "probabilities": model.probabilities_.tolist(),
        "means": model.cluster_means_.tolist(),
        "generated": model.generate(1, 3).tolist(),
        "history": model.history_,
        "ended": model.facts_["ended"],
        "similarity": [
            {name: value for name, value in facts.items() if name not in ("seconds", "from_cache")}
            for facts in model.facts_["similarity"]
        ],
    }
