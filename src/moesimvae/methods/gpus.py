"""One GPU per run: the scheduler's, or a free one on the machine."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder for each GPU of the machine


@contextmanager
def one_gpu() -> Iterator[str | None]:
    """Hold a GPU; yield the CUDA_VISIBLE_DEVICES for a process that is to see only that one.

    It is one of those that the variable already names (set by a scheduler), else of the machine's.
    Of several, it is the first that no other run of this user holds; if all are held, they are
    shared. A process that ends, however it ends, releases its GPU. "" where a scheduler gives none,
    None where the machine does not report its GPUs.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        numbers = [str(number) for number in range(len([*DRIVER.glob("*")]))]
    else:
        numbers = [number.strip() for number in named.split(",") if number.strip()]
    with ExitStack() as held:
        chosen = numbers[os.getpid() % len(numbers)] if numbers else named
        if len(numbers) > 1:
            folder = Path(tempfile.gettempdir(), f"moesimvae-gpus-{os.getuid()}")
            folder.mkdir(mode=0o700, exist_ok=True)
            for number in numbers:
                slot = held.enter_context(open(folder / number.replace("/", "_"), "w"))
                try:
                    fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                chosen = number
                break
        yield chosen
