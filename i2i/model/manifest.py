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
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import files
from ..modalities import Modality
from .trained import Model

NAME = ".i2i-translate.jsonl"
State = Literal["missing", "current", "outdated", "foreign"]


class Entry(NamedTuple):
    """A result that was finished: the job that made it, and the stamps of its input and of itself."""

    job: str
    input: str
    result: str


def job_of(model: Model, condition: dict[str, Any]) -> dict[str, Any]:
    """Return what determines the results besides the inputs, with a short digest of it as "job"."""
    given = {name: described(value, model._is_input(name)) for name, value in condition.items()}
    known = {"weights": fingerprint(model), "conditions": given}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    return {"job": digest[:16], "model": str(model.source), **known}


def fingerprint(model: Model) -> str:
    """Return a sha256 of the weights of a model and the config of its task, wherever they are stored."""
    tree = {key: value for key, value in model.config.items() if key in ("task", "chain")}
    digest = hashlib.sha256(f"{type(model.task).__name__} {json.dumps(tree, sort_keys=True, default=str)}".encode())
    for name, tensor in sorted(model.task.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def described(value: Any, is_input: bool) -> Any:
    """Return a condition as JSON: plain values as they are, files with their stamp, others by a hash.

    Only of an input can a string be the name of a file; a word like "BtoA" may also be that of a folder.
    """
    if isinstance(value, list | tuple):
        return [described(one, is_input) for one in value]
    if isinstance(value, str | Path):
        mark = stamp(Path(value)) if value and is_input else ""
        return f"{value} {mark}" if mark else str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    values = np.asarray(value)
    if values.dtype == object:
        return repr(value)  # may contain an address: then its results are always outdated
    return hashlib.sha256(f"{values.dtype} {values.shape}".encode() + values.tobytes()).hexdigest()


def stamp(thing: Any) -> str:
    """Return a mark that changes with an input: size and time of a file or of the files of a folder; or ""."""
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
    """The record of a folder of results.

    Args:
        out: the folder, which need not exist.
        job: what makes the results now; see `job_of`.
        makes: the modality of the results, some of which have other files beside them.
    """

    def __init__(self, out: Path, job: dict[str, Any], makes: Modality) -> None:
        self.out, self.job, self.makes, self.file = out, job, makes, out / NAME
        self.jobs: dict[str, dict[str, Any]] = {}  # the lines about jobs that have been read

    def describe(self) -> None:
        """Append the line about the job."""
        self._append(self.job)

    def begin(self, target: Path) -> None:
        """Record that a result is about to be written, on disk before the result is."""
        self._append({"begin": self._key(target), "job": self.job["job"]}, sync=True)

    def done(self, target: Path, given: str) -> None:
        """Record a result that is complete, and the stamp of its input before it was read."""
        stamps = " ".join(map(stamp, self.parts(target)))
        self._append({"done": self._key(target), "job": self.job["job"], "input": given, "result": stamps})

    def parts(self, target: Path) -> list[Path]:
        """Return a result and the files beside it."""
        return [target, *self.makes.beside(target)]

    def states(self, targets: Mapping[Path, Any]) -> dict[Path, State]:
        """Return what to think of each of these results, given with their inputs.

        Returns:
            "missing", also if it was begun and not finished; "current", made by this job from this input; "outdated",
            made by another job or from an earlier version of the input; "foreign", not made here, or changed since.
        """
        known = self._read({self._key(target) for target in targets})
        return {target: self._state(target, targets[target], known) for target in sorted(targets)}

    def changed(self, targets: Mapping[Path, Any]) -> list[str]:
        """Return what differs now from what these results were made with: "input", "model", names of conditions."""
        known, found = self._read({self._key(target) for target in targets}), dict[str, None]()
        for target, thing in targets.items():
            entry = known.get(self._key(target))
            if entry is None:
                continue
            if entry.input != stamp(thing):
                found["input"] = None
            job = self.jobs.get(entry.job, self.job)
            if job.get("weights") != self.job["weights"]:
                found["model"] = None
            before, now = job.get("conditions", {}), self.job["conditions"]
            found |= dict.fromkeys(name for name in {**before, **now} if before.get(name) != now.get(name))
        return list(found)

    def _read(self, wanted: set[str]) -> dict[str, Entry | None]:
        """Return the last line about each result; None for one that was not finished."""
        known: dict[str, Entry | None] = {}
        torn = False
        with suppress(FileNotFoundError, NotADirectoryError), open(self.file, "rb") as lines:
            for raw in lines:
                torn = not raw.endswith(b"\n")
                with suppress(ValueError, LookupError, TypeError, AttributeError):
                    line = json.loads(raw)
                    if "weights" in line:
                        self.jobs[line["job"]] = line
                    if line.get("begin") in wanted:
                        known[line["begin"]] = None
                    elif line.get("done") in wanted:
                        known[line["done"]] = Entry(*(str(line[key]) for key in Entry._fields))
        if torn:  # by a full disk or a loss of power: the next line must not continue it
            files.append_line(self.file, "")
        return known

    def _state(self, target: Path, thing: Any, known: dict[str, Entry | None]) -> State:
        entry = known.get(self._key(target), Entry("", "", ""))
        if entry is None:
            name = glob.escape(f".tmp-i2i-{target.name[:40]}-")
            for left in target.parent.glob(f"{name}*"):  # by the process that did not finish it
                left.unlink(missing_ok=True)
        parts = self.parts(target)
        there = [part for part in parts if part.exists()]
        if entry is None or not there:
            return "missing"
        made = dict(zip(parts, entry.result.split(" "), strict=False))
        if any(made.get(part) != stamp(part) for part in there):
            return "foreign"
        if len(there) < len(parts):
            return "missing"
        return "current" if (entry.job, entry.input) == (self.job["job"], stamp(thing)) else "outdated"

    def _append(self, line: dict[str, Any], *, sync: bool = False) -> None:
        files.append_line(self.file, json.dumps(line), sync=sync)

    def _key(self, target: Path) -> str:
        return target.relative_to(self.out).as_posix()
