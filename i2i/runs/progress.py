"""One line on stderr: step, steps per second, time left, losses.

rich could draw it, but its thread that redraws ten times a second costs 1.1 % of a core, its import 65 ms (measured),
and the plain lines for a file would still be written here.
"""

from __future__ import annotations

import io
import sys
import time


class Nowhere(io.TextIOBase):
    """A stream that forgets what is written to it."""

    def write(self, text: str, /) -> int:
        """Return the number of characters."""
        return len(text)


class Progress:
    """The progress of a training: rewritten in place on a terminal, one line after the other elsewhere."""

    def __init__(self, start: int, steps: int, shown: bool = True) -> None:
        self.start, self.steps, self.shown = start, steps, shown
        self.began = time.monotonic()
        self.live = sys.stderr.isatty()

    def show(self, step: int, losses: dict[str, float]) -> None:
        """Show how far the training is."""
        rate = (step - self.start) / max(time.monotonic() - self.began, 1e-9)
        left = int((self.steps - step) / rate)
        clock = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
        self._print(f"step {step}/{self.steps}  {rate:.2f} it/s  ETA {clock}  {numbers}", end="")

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
