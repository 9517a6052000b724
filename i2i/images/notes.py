"""Messages about pictures: warnings, names and reasons, and `counts` of what was done to pictures."""

from __future__ import annotations

import os
import warnings
from collections import Counter

counts: Counter[str] = Counter()  # what was done to pictures in this process, such as "alpha composited"
_warned: set[tuple[str, str]] = set()


class ImageWarning(UserWarning):
    """Something in a picture was left out or changed; issued once per file.

    To reject such pictures instead: `warnings.simplefilter("error", ImageWarning)`.
    """


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path for messages, quoted and escaped, so that a newline in a name cannot break a line of a log."""
    return repr(os.fspath(path))


def note(name: str, what: str, sentence: str) -> None:
    """Count what was done to a picture, and warn about it once per file."""
    counts[what] += 1
    if (name, what) not in _warned:
        warnings.warn(f"{name} {sentence}", ImageWarning, stacklevel=2)
        _warned.add((name, what))  # not reached if warnings are errors: it is rejected every time


def reason_of(error: Exception) -> str:
    """Return the message of an error, without the number and the path of an OSError."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
