"""What is said about pictures: `counts` of what was done to them, warnings, names and reasons for messages."""

from __future__ import annotations

import os
import warnings
from collections import Counter

counts: Counter[str] = Counter()  # what was done to pictures in this process, such as "alpha composited"
_told: set[tuple[str, str]] = set()


class ImageWarning(UserWarning):
    """Something in a picture was left out or changed; said once for each file.

    To refuse such pictures instead: `warnings.simplefilter("error", ImageWarning)`.
    """


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path for messages, quoted and escaped: a newline in a name cannot break a line of a log."""
    return repr(os.fspath(path))


def note(name: str, what: str, sentence: str) -> None:
    """Count what was done to a picture, and warn of it once for each file."""
    counts[what] += 1
    if (name, what) not in _told:
        warnings.warn(f"{name} {sentence}", ImageWarning, stacklevel=2)
        _told.add((name, what))  # not where warnings are errors: it is refused every time


def reason_of(error: Exception) -> str:
    """Return what an error says, without the number and the path of an OSError."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
