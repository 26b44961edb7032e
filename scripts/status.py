"""Beside a workflow, no rule's script: prints a line as each run ends, refreshes status.html."""

import contextlib
import json
import os
import signal
import sys
import threading
import time

from moesimvae import files
from moesimvae.errors import UserError
from moesimvae.evaluation.making import Making
from moesimvae.report.pages.status import line, page

LOOK, REST = 1, 10  # seconds between looks; a page rests REST times as long as it took to make


def watch(experiments: list[Making], over: threading.Event) -> None:
    parent, changed, due = os.getppid(), set(experiments), 0.0
    for making in experiments:
        making.look()
        to_make = f"{making.left} of {len(making.planned)} runs to make"
        print(f"[{making.name}] {to_make}; so far: {making.so_far}", file=sys.stderr)
    while not over.is_set() and os.getppid() == parent:
        tell(experiments, changed)
        began = time.monotonic()
        if began >= due:
            for making in changed:
                write(making, over=False)
            changed.clear()
            due = time.monotonic() + REST * (time.monotonic() - began)
        over.wait(LOOK)
    tell(experiments, changed)
    for making in experiments:
        write(making, over=True)
        if making.report.exists():
            print(f"[{making.name}] {making.report}", file=sys.stderr)


def write(making: Making, over: bool) -> None:
    with contextlib.suppress(UserError, OSError):  # the job that reads the same files reports it
        files.write_text(making.so_far, page(making, time.strftime("%H:%M:%S"), over))


def tell(experiments: list[Making], changed: set[Making]) -> None:
    for making in experiments:
        for run in making.look():
            print(line(making, run), file=sys.stderr)
            changed.add(making)


if __name__ == "__main__":
    os.nice(5)
    ended = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: ended.set())
    with contextlib.suppress(BrokenPipeError):
        watch([Making.of(**one) for one in json.load(sys.stdin)], ended)
