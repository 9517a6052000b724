"""The finished rows of a large result, on the disk: a job that was stopped goes on within the picture.

    with Kept(target, key, tell) as keep:
        model.translated(photo, output, target, {}, keep)        # and write the result

A result of more than `LARGE` bytes is assembled in the hidden folder `.i2i-NAME.rows` beside its target, and
`rows.json` in it says how many rows are finished. The folder vanishes with the block, unless that is interrupted or
the disk is full: then the next start with the same key continues. The target is written afterwards, as a whole.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import files
from ..errors import I2IError, ResourceError
from ..files.held import locked
from ..files.scratch import scratch

if TYPE_CHECKING:
    from torch import Tensor

LARGE = 64e6  # bytes of a result that is kept
SAVED = 10.0  # seconds of work that a kill may cost, besides the rows of tiles in progress
LONGEST = 200  # bytes of a name, of the 255 that file systems allow; a longer one is replaced by its sha256


def unfinished(folders: Iterable[Path]) -> list[Path]:
    """Return the folders of rows that a job which was stopped has left in some folders of results."""
    found: list[Path] = []
    for folder in folders:
        with suppress(OSError):
            found += [Path(one) for one in os.scandir(folder) if one.name[:5] == ".i2i-" and one.name[-5:] == ".rows"]
    return found


def forget(rows: Path, stamps: Mapping[Path, str]) -> None:
    """Remove a folder of rows if the same input has now become a result of another name, such as another format.

    Args:
        rows: of `unfinished`. One that another process uses stays.
        stamps: complete results -> the stamps of their inputs.
    """
    about: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        about = json.loads(files.read(rows / "rows.json"))
    if "target" not in about:
        return
    old, words = rows.with_name(about["target"]), about["key"].split()
    if old not in stamps and not locked(rows):
        twins = (given for target, given in stamps.items() if (target.parent, target.stem) == (old.parent, old.stem))
        if any(given in words for given in twins):
            files.remove(rows)


def folder_beside(target: Path, kind: str) -> Path:
    """Return the hidden folder `.i2i-NAME.KIND` of what is unfinished of a target."""
    name = target.name
    if len(os.fsencode(name)) > LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.with_name(f".i2i-{name}.{kind}")


class Kept:
    """The rows of one result, within `with`.

    Args:
        target: the file that is written in the end.
        key: words that determine the result, among them the stamp of the input; finished rows with another key are
            removed.
        tell: called with the progress: what it counts, how many are done now, before this start, and in all, and for
            how many seconds it has run. What was done before is reported first.

    Attributes:
        rows: how many rows are finished.
    """

    def __init__(
        self, target: Path, key: str, tell: Callable[[str, int, int, int, float], None] | None = None
    ) -> None:
        self.folder = folder_beside(target, "rows")
        self.target, self.key, self.tell, self.rows = target.name, key, tell, 0
        self.about: dict[str, Any] = {}
        self.space: mmap.mmap | None = None
        self.locked = False
        self.before, self.began, self.saved = 0, time.monotonic(), time.monotonic()
        self._stack = ExitStack()

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._stack.close()
        done = kind is None or (issubclass(kind, I2IError) and not issubclass(kind, ResourceError))
        if done and self.folder.exists() and not locked(self.folder):  # by another process
            files.remove(self.folder)

    def found(self) -> Tensor | None:
        """Return the result of an earlier start as [1, C, H, W], of which `rows` are finished; None if there is none.

        Raises:
            WeightsError: another process is making this result.
        """
        if not self.folder.exists():
            return None
        self._lock()
        about: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            about = json.loads(files.read(self.folder / "rows.json"))
        if about.get("key") != self.key:
            return None
        self.about, self.rows, self.before = about, int(about["rows"]), int(about["rows"])
        self.progress("row", self.rows, self.before, int(about["shape"][2]))
        return self._opened()

    def room(self, shape: tuple[int, int, int, int], depth: Any) -> Tensor | None:
        """Return room for a result [1, C, H, W] of uint8 or uint16 that is kept; None if it is too small for that."""
        if shape[0] != 1 or np.prod(shape) * depth.itemsize < LARGE:
            return None
        files.make_folder(self.folder)
        self._lock()
        (self.folder / "rows.raw").unlink(missing_ok=True)
        self.about = {"key": self.key, "target": self.target, "shape": list(shape), "bytes": depth.itemsize}
        try:
            made = self._opened()
        except ResourceError:
            self._stack.close()
            files.remove(self.folder)  # nothing is in it yet
            raise
        self._save()
        return made

    def done(self, rows: int, height: int) -> None:
        """Note that the result is finished up to this row."""
        self.rows = rows
        self.progress("row", rows, self.before, height)
        if self.space is not None and (time.monotonic() - self.saved > SAVED or rows == height):
            self._save()

    def progress(self, what: str, done: int, before: int, total: int) -> None:
        """Tell how far it is."""
        if self.tell is not None:
            self.tell(what, done, before, total, time.monotonic() - self.began)

    def _lock(self) -> None:
        if not self.locked:
            self.locked = True
            self._stack.enter_context(files.lock(self.folder))
            files.sweep(self.folder)

    def _opened(self) -> Tensor:
        import torch

        _, channels, height, width = self.about["shape"]
        dtype = np.uint8 if self.about["bytes"] == 1 else np.uint16
        self.space = scratch(channels * height * width * self.about["bytes"], self.folder / "rows.raw")
        values = np.frombuffer(self.space, dtype).reshape(1, height, width, channels)
        return torch.from_numpy(values).permute(0, 3, 1, 2)

    def _save(self) -> None:
        """Write the rows to the disk, and then their number."""
        assert self.space is not None
        self.space.flush()
        files.write(self.folder / "rows.json", json.dumps(self.about | {"rows": self.rows}).encode())
        self.saved = time.monotonic()
