"""Energy that the machine used during a run, where it reports it.

Processors report it in Linux's powercap (RAPL of Intel and AMD; readable only by root on most
machines), NVIDIA GPUs in NVML (package nvidia-ml-py). Both count for the whole machine, including
anything else that ran at the same time, so a run's number is an upper bound.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Sums counter increments since it was made; call `sample` before one wraps (minutes)."""

    def __init__(self, gpu: bool):
        # intel-rapl:0 is a processor; intel-rapl:0:1 is part of it and would be counted twice
        self.counters = {
            path: _number(path / "max_energy_range_uj")
            for path in POWERCAP.glob("intel-rapl:*")
            if path.name.count(":") == 1 and _number(path / "energy_uj") is not None
        }
        self.gpus = _gpus() if gpu else []
        self.last = {path: _number(path / "energy_uj") for path in self.counters}
        self.gpu_start = [read() for read in self.gpus]
        self.microjoules = 0.0

    def sample(self) -> None:
        for path, range_ in self.counters.items():
            now, last = _number(path / "energy_uj"), self.last[path]
            if now is None:
                continue
            if last is not None:
                gone = now - last
                self.microjoules += gone if gone >= 0 else gone + (range_ or 0)
            self.last[path] = now

    def joules(self) -> float | None:
        """Energy used so far, J; None where there is no counter."""
        if not self.counters and not self.gpus:
            return None
        self.sample()
        millijoules = sum(
            read() - start for read, start in zip(self.gpus, self.gpu_start, strict=True)
        )
        return round(self.microjoules / 1e6 + millijoules / 1e3, 1)


def _number(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def _gpus() -> list:
    """For each GPU a function that reads its counter, mJ."""
    try:
        import pynvml
    except ImportError:
        return []
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        readers = [lambda h=h: pynvml.nvmlDeviceGetTotalEnergyConsumption(h) for h in handles]
        for read in readers:
            read()  # fails on older GPUs
        return readers
    return []
