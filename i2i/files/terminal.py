"""stdout and stderr of a command: a run does not end because nobody reads what it says.

    keep_open()          # at the start of a command
    tell("finished")     # instead of print(), at the end of what has succeeded

Whatever cannot be written, because the reader is gone or a disk is full, goes to the null device from then on.
"""

from __future__ import annotations

import io
import os
import sys


class Stderr(io.TextIOWrapper):
    """stderr that becomes the null device once it cannot be written."""

    def write(self, text: str, /) -> int:
        """Return the number of characters."""
        try:
            return super().write(text)
        except OSError:
            give_up(2)
            return len(text)

    def flush(self) -> None:
        """Write what is left."""
        try:
            super().flush()
        except OSError:
            give_up(2)


def keep_open() -> None:
    """Open stdout and stderr if they are closed, so that no file gets their numbers, and let stderr be lost."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            give_up(number)
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
    raw = getattr(sys.stderr, "buffer", None)
    if isinstance(raw, io.BufferedWriter) and raw.fileno() == 2:
        sys.stderr = Stderr(
            os.fdopen(2, "wb", closefd=False), sys.stderr.encoding, "backslashreplace", line_buffering=True
        )


def tell(text: str) -> None:
    """Print to stdout; that it cannot be written is no error."""
    try:
        print(text, flush=True)
    except OSError:
        give_up(1)


def give_up(number: int) -> None:
    """Make a file descriptor that of the null device; what is buffered for it goes there, too."""
    null = os.open(os.devnull, os.O_WRONLY)
    if null != number:
        os.dup2(null, number)
        os.close(null)
