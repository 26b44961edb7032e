"""Training cells per second of ClustPy's VaDE: run by bench/throughput.py, in ClustPy's own
environment.

    python bench/clustpy_vade.py cells.npy BATCH STEPS

cells.npy: (n_cells, n_features) float32 in [0, 1]. The last line printed is the number.
"""

import sys
from time import perf_counter

import numpy as np
import torch
from clustpy.deep import VaDE

ends: dict[int, list[float]] = {}


class TimedAdam(torch.optim.Adam):
    """Adam that notes when each of its steps ends: from one to the next is one training step."""

    def step(self, closure=None):
        loss = super().step(closure)
        ends.setdefault(id(self), []).append(perf_counter())
        return loss


def main() -> None:
    cells, batch, steps = np.load(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    per_epoch = len(cells) // batch
    VaDE(
        10,
        batch_size=batch,
        pretrain_epochs=1,
        # a few more than asked for: the first ones warm up
        clustering_epochs=-(-(steps + 10) // per_epoch),
        optimizer_class=TimedAdam,
        random_state=0,
    ).fit(cells)
    training = list(ends.values())[-1]
    print(batch * steps / (training[-1] - training[-1 - steps]))


if __name__ == "__main__":
    main()
