"""Progress of a training, reported on stderr."""

import sys
from time import monotonic
from typing import Any

# a log file gets about this many lines from one training
LOG_LINES = 10


class Progress:
    """A bar on a terminal, a line now and then in a log, nothing without a name."""

    def __init__(self, name: str, steps: int, done: int = 0):
        self.name, self.steps, self.first = name, steps, done
        self.terminal = sys.stderr.isatty()
        self.started = monotonic()
        self.next_line = done + (steps - done) / LOG_LINES
        self.bar: Any = None
        if name and self.terminal:
            from tqdm import tqdm

            self.bar = tqdm(total=steps, initial=done, desc=name)

    def show(self, step: int, means: dict[str, float], steps: int) -> None:
        """Report a step's means. steps: in all, fewer than at first where a training ends early."""
        self.steps = steps
        text = " ".join(f"{name} {mean:.4g}" for name, mean in means.items())
        if self.bar is not None:
            self.bar.total = steps
            self.bar.update(step - self.bar.n)
            self.bar.set_postfix_str(text)
        elif self.name and (step >= self.next_line or step == self.steps):
            self.next_line += (self.steps - self.first) / LOG_LINES
            left = (monotonic() - self.started) / (step - self.first) * (self.steps - step)
            print(
                f"{self.name} {step}/{self.steps}: {text} ({left:.0f} s left)",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
