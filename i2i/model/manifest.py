"""What `i2i translate` has done in a folder, so that a stopped job continues and nothing outdated is kept silently.

The file `.i2i-translate.jsonl` in the folder of the results gets three kinds of lines, and none is ever changed:

    {"job": "5f1c", "model": "runs/a/model.safetensors", "weights": "9b...", "conditions": {"direction": "BtoA"}}
    {"begin": "sub/a.png", "job": "5f1c"}                             from here on this result may be overwritten
    {"done": "sub/a.png", "job": "5f1c", "input": "...", "result": "..."}

`job` identifies the weights, the config of the task and the conditions; `input` and `result` are size and time of the
files. A line that cannot be read is skipped: at worst, its result is kept and reported, or made again.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .. import files
from .trained import Model

NAME = ".i2i-translate.jsonl"
State = Literal["missing", "current", "outdated", "foreign"]


def job_of(model: Model, condition: dict[str, Any]) -> dict[str, Any]:
    """Return what determines the results besides the inputs, with a short digest of it as "job"."""
    known = {"weights": fingerprint(model), "conditions": {name: described(condition[name]) for name in condition}}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    return {"job": digest[:16], "model": str(model.source), **known}


def fingerprint(model: Model) -> str:
    """Return a sha256 of the weights of a model and the config of its task, wherever they are stored."""
    tree = {key: value for key, value in model.config.items() if key in ("task", "chain")}
    digest = hashlib.sha256(f"{type(model.task).__name__} {json.dumps(tree, sort_keys=True, default=str)}".encode())
    for name, tensor in sorted(model.task.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def described(value: Any) -> Any:
    """Return a condition as JSON: plain values as they are, files with their stamp, others by a hash."""
    if isinstance(value, list | tuple):
        return [described(one) for one in value]
    if isinstance(value, str | Path):
        mark = stamp(Path(value)) if value else ""
        return f"{value} {mark}" if mark else str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    values = np.asarray(value)
    if values.dtype == object:
        return repr(value)  # may contain an address: then its results are always outdated
    return hashlib.sha256(f"{values.dtype} {values.shape}".encode() + values.tobytes()).hexdigest()


def stamp(thing: Any) -> str:
    """Return a mark that changes with an input: size and time of a file, or of the files of a folder; "" if missing."""
    if not isinstance(thing, Path):
        return hashlib.sha256(repr(thing).encode()).hexdigest()[:16]
    try:
        about = thing.stat()
        if not thing.is_dir():
            return f"{about.st_size}-{about.st_mtime_ns}"
        inside = sorted((entry.name, entry.stat()) for entry in os.scandir(thing))
    except (OSError, ValueError):  # ValueError: a null character
        return ""
    marks = [f"{name} {one.st_size}-{one.st_mtime_ns}" for name, one in inside]
    return hashlib.sha256("\n".join(marks).encode("utf8", "surrogateescape")).hexdigest()[:16]


class Manifest:
    """The record of a folder of results, as far as it concerns the results that are wanted now.

    Args:
        out: the folder.
        targets: the wanted results, in that folder.
        job: see `job_of`.
    """

    def __init__(self, out: Path, targets: Iterable[Path], job: dict[str, Any]) -> None:
        self.out, self.job, self.file = out, job, out / NAME
        self._wanted = {self._key(target) for target in targets}
        self._known: dict[str, tuple[str, str, str] | None] = {}  # job, input, result; None if it was not finished
        self._torn = False
        with suppress(FileNotFoundError, NotADirectoryError), open(self.file, "rb") as lines:
            for line in lines:
                self._torn = not line.endswith(b"\n")
                with suppress(ValueError, LookupError, TypeError, AttributeError):
                    self._read(json.loads(line))

    def _read(self, line: dict[str, Any]) -> None:
        if line.get("begin") in self._wanted:
            self._known[line["begin"]] = None
        elif line.get("done") in self._wanted:
            self._known[line["done"]] = str(line["job"]), str(line["input"]), str(line["result"])

    def state(self, target: Path, thing: Any) -> State:
        """Return what to think of a result.

        Returns:
            "missing", also if it was begun and not finished; "current", made by this job from this input; "outdated",
            made by another job or from an earlier version of the input; "foreign", not made by i2i, or changed since.
        """
        if not target.exists():
            return "missing"
        if self._key(target) not in self._known:
            return "foreign"
        known = self._known[self._key(target)]
        if known is None:
            return "missing"
        job, given, result = known
        if result != stamp(target):
            return "foreign"
        return "current" if (job, given) == (self.job["job"], stamp(thing)) else "outdated"

    def start(self) -> None:
        """Append the line about the job."""
        files.make_folder(self.out)
        if self._torn:  # by a full disk or a loss of power: the next line must not continue it
            files.append_line(self.file, "")
        files.append_line(self.file, json.dumps(self.job))

    def begin(self, target: Path) -> None:
        """Record that a result is about to be written; on disk before the result is."""
        key = self._key(target)
        if self._known.get(key, ...) is None:
            name = glob.escape(f".tmp-i2i-{target.name[:40]}-")
            for left in target.parent.glob(f"{name}*"):  # by the process that did not finish it
                left.unlink(missing_ok=True)
        files.append_line(self.file, json.dumps({"begin": key, "job": self.job["job"]}), sync=True)

    def done(self, target: Path, given: str) -> None:
        """Record a result that is complete, and the stamp of its input before it was read."""
        line = {"done": self._key(target), "job": self.job["job"], "input": given, "result": stamp(target)}
        files.append_line(self.file, json.dumps(line))

    def _key(self, target: Path) -> str:
        return target.relative_to(self.out).as_posix()
