"""One line on stderr: step, steps per second, time left, losses, and the share of time spent waiting for data.

rich could draw it, but its thread that redraws ten times a second costs 1.1 % of a core, its import 65 ms (measured),
and the plain lines for a file would still be written here.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Batches = TypeVar("Batches")
MUCH = 0.2  # share of waiting for data that is shown


class Nowhere(io.TextIOBase):
    """A stream that forgets what is written to it."""

    def write(self, text: str, /) -> int:
        """Return the number of characters."""
        return len(text)


class Line:
    """A line on stderr: rewritten in place on a terminal, one line after the other elsewhere."""

    def __init__(self, shown: bool = True) -> None:
        self.shown, self.live = shown, sys.stderr.isatty()

    def note(self, text: str) -> None:
        """Print a line that the next one replaces on a terminal."""
        self._print(text, end="")

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._print(text, end="\n")

    def _print(self, text: str, end: str) -> None:
        if not self.shown:
            return
        line, end = (f"\r\033[K{text}", end) if self.live else (text, "\n")
        try:
            print(line, end=end, file=sys.stderr, flush=True)
        except OSError:  # its reader is gone, as with `2>&1 | head`, or the disk is full: train on without it
            self.shown = False
            sys.stderr = Nowhere()  # for warnings


class Progress(Line):
    """The progress of a training."""

    def __init__(self, start: int, steps: int, shown: bool = True) -> None:
        super().__init__(shown)
        self.start, self.steps = start, steps
        self.began = self._shown_at = time.monotonic()
        self._waited = 0.0  # seconds since the line was shown last
        self.seconds = 0.0  # between the last two lines
        self.waiting = 0.0  # share of that time that was spent waiting for data

    def timed(self, batches: Iterable[Batches]) -> Iterator[Batches]:
        """Yield batches, and note how long each takes to arrive."""
        source = iter(batches)
        while True:
            asked = time.monotonic()
            try:
                batch = next(source)
            except StopIteration:
                return
            self._waited += time.monotonic() - asked
            yield batch

    def show(self, step: int, losses: dict[str, float]) -> None:
        """Show how far the training is."""
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
        speed = pace(step - self.start, self.steps - step, time.monotonic() - self.began)
        now = time.monotonic()
        self.seconds = now - self._shown_at
        self.waiting = self._waited / max(self.seconds, 1e-9)
        self._waited, self._shown_at = 0.0, now
        data = f"  waiting for data {self.waiting:.0%}" if self.waiting > MUCH else ""
        self.note(f"step {step}/{self.steps}  {speed}{data}  {numbers}")


def pace(done: int, left: int, seconds: float) -> str:
    """Return the speed and the time left: "2.31 it/s  ETA 0:00:03", or "4.17 s/it  ETA 0:01:10" if it is slow."""
    rate = done / max(seconds, 1e-9)
    eta = int(left / rate)
    speed = f"{rate:.2f} it/s" if rate >= 1 else f"{1 / rate:.2f} s/it"
    return f"{speed}  ETA {eta // 3600}:{eta // 60 % 60:02d}:{eta % 60:02d}"
