"""The errors that i2i raises on purpose, each with the exit code of the command.

Every message is one sentence: what was given, what is possible, what to do. Any other exception that reaches
the command line is a bug in i2i and keeps its traceback.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def counted(count: int, noun: str) -> str:
    """Return "1 image" or "3 images", for a message."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class I2IError(Exception):
    """Base of all errors that i2i raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class ConfigError(I2IError):
    """An invalid config, override or argument (exit code 2)."""

    exit_code = 2


class DataError(I2IError):
    """An unusable picture or data set (exit code 3)."""

    exit_code = 3


class WeightsError(I2IError):
    """An unusable checkpoint, weights file or run folder (exit code 4)."""

    exit_code = 4


class NumericError(I2IError):
    """A loss or a weight that is not finite (exit code 5); `step` is that of the training, if known."""

    exit_code = 5
    step: int | None = None


class ResourceError(I2IError):
    """Not enough memory or disk space, or a missing process or device (exit code 6)."""

    exit_code = 6


class PluginError(I2IError):
    """A plugin that is broken, missing or in conflict with another (exit code 7)."""

    exit_code = 7


@contextmanager
def blame(owner: Any, call: str) -> Iterator[None]:
    """Turn an exception in a plugin author's code into a PluginError that names the file and the line.

    An `I2IError` passes unchanged; a lack of memory becomes a ResourceError. `sys.exit` is an exception like others.

    Args:
        owner: the task, data set, metric or modality, or the class or function, whose code runs inside the
            `with` block.
        call: what it was doing, e.g. "translate" or "step 3".
    """
    try:
        yield
    except I2IError:
        raise
    except (Exception, SystemExit) as error:
        kind = owner if isinstance(owner, type) or inspect.isroutine(owner) else type(owner)
        refuse_lack_of_memory(error, f"{kind.__name__}'s{call[3:]}" if call.startswith("its ") else call)
        said = " ".join(f"{type(error).__name__}: {error}".split())
        if "Module.__init__() call" in said:
            said = "call super().__init__() before anything else"
        raise PluginError(
            f"{kind.__name__} ({kind.__module__}) failed in {call}: {said} ({_place(error, kind)})"
        ) from error


def refuse_lack_of_memory(error: BaseException, call: str) -> None:
    """Raise a ResourceError if the error means that the host or the device has too little memory for `call`."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # of torch, for devices
    if named or any(sign in str(error) for sign in ("can't allocate memory", "Insufficient memory", "bad_alloc")):
        hint = "a smaller width, size or data.batch_size (with train.accumulate), or --tile for large pictures"
        raise ResourceError(f"out of memory in {call}: use less at a time, such as {hint}") from error


def _place(error: BaseException, kind: Any) -> str:
    """Return the innermost line of the author's own code, or the innermost line of all, as "file.py line 3, in f".

    Their own code is the files beside that of their class, or else that of a class it inherits from.
    """
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without `blame` itself
    homes = [home for home in map(_file, getattr(kind, "__mro__", [kind])) if home is not None]
    beside = [frame for frame in frames if homes and Path(frame.filename).parent == homes[0].parent]
    inherited = [[frame for frame in frames if Path(frame.filename) == home] for home in homes[1:]]
    frame = next(filter(None, [beside, *inherited, frames]))[-1]
    return f"{Path(frame.filename).name} line {frame.lineno}, in {frame.name}"


def _file(kind: Any) -> Path | None:
    try:
        return Path(inspect.getsourcefile(kind) or "")
    except (OSError, TypeError):  # it was not written in Python
        return None
