"""What `i2i runs` lists: the state of each run in a folder, how far it is, its best result, its time and its size.

found, bad = overviews("runs")          # the newest first; (folder, reason) for what cannot be read

A run is "running" while a process holds its lock, "finished" once it has metrics.json, "stopped" if it was asked to
stop and has saved its state, else "crashed": by an error, a kill or a loss of power. The lock file has the reason.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..checkpoint import checkpoints_in
from ..config.source import Source
from ..errors import DataError, I2IError
from ..files.held import ending, locked
from .folder import Run, metrics_first

STOPPED = ("Stopped", "KeyboardInterrupt", "SystemExit")
WITHIN = 2  # levels of folders that are searched


@dataclass(frozen=True)
class Overview:
    """One run.

    Attributes:
        folder: the run's folder, as it was found.
        state: "running", "finished", "stopped" or "crashed".
        reason: why it crashed or stopped, if that is known.
        task: what the config's task uses.
        step, steps: how far it is, and how many steps there are; None if the config counts epochs.
        metric, value, best_step: its best evaluation by `train.best`, else the first number of the newest one.
        seconds: of training, without evaluations; None for a run of a version that did not record it.
        bytes: of all its files.
        changed: when it last wrote its log, in seconds since 1970.
    """

    folder: str
    state: str
    reason: str
    task: str
    step: int
    steps: int | None
    metric: str | None
    value: float | None
    best_step: int | None
    seconds: float | None
    bytes: int
    changed: float

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "changed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.changed))}


def overviews(below: str | Path = "runs") -> tuple[list[Overview], list[tuple[str, str]]]:
    """Return the runs in a folder, or the folder itself if it is a run, the newest first.

    Returns:
        The runs, and (folder, reason) for each that cannot be read.

    Raises:
        DataError: there is no such folder.
    """
    try:
        why = "" if Path(below).is_dir() else files.lacking(Path(below), "folder")
    except OSError as error:
        why = f"cannot be read, {error.strerror}"
    if why:
        raise DataError(f"{below}: {why}: give a folder with runs")
    found: list[Overview] = []
    bad: list[tuple[str, str]] = []
    for folder in candidates(Path(below), bad):
        try:
            found.append(overview(Run(folder)))
        except (I2IError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            bad.append((str(folder), reason_of(error)))
    return sorted(found, key=lambda one: -one.changed), bad


def candidates(below: Path, bad: list[tuple[str, str]], level: int = 0) -> Iterator[Path]:
    """Yield the folders that are runs, or look as if they had been; add to `bad` those that cannot be searched."""
    run = Run(below)
    try:
        found = run.begun() or any(path.exists() for path in (run.log_file, run.metrics_file, run.checkpoints))
        names = [] if found or level == WITHIN else sorted(os.listdir(below))
    except OSError as error:
        bad.append((str(below), error.strerror or str(error)))
        return
    if found:
        yield below
    for name in names:
        if name[0] != "." and os.path.isdir(below / name):
            yield from candidates(below / name, bad, level + 1)


def overview(run: Run) -> Overview:
    """Return what there is to say about one run.

    Raises:
        I2IError, OSError, ValueError, LookupError, TypeError, AttributeError: a file of it is missing or damaged.
    """
    if not run.config_file.is_file():
        raise DataError("config.yaml is missing")
    tree: Any = Source(files.read(run.config_file), "config.yaml").tree
    task, train = tree["task"]["use"], tree["train"]
    lines, timing = run.log(), run.timing()
    state, reason = state_of(run)
    metric, value, best = best_of(run, lines, train)
    seconds = sum(line["seconds"] for line in timing) if timing else None
    step = max([line["step"] for line in lines] + [step for step, _ in checkpoints_in(run.checkpoints)], default=0)
    changed = (run.log_file if lines else run.config_file).stat().st_mtime
    return Overview(
        str(run.folder), state, reason, task, step, train.get("steps"), metric, value, best, seconds,
        size_of(run.folder), changed,
    )  # fmt: skip


def state_of(run: Run) -> tuple[str, str]:
    """Return the state of a run, and why it ended if it is not finished."""
    if locked(run.folder):
        return "running", ""
    if run.finished:
        return "finished", ""
    end = ending(run.folder)
    kind, colon, why = (part.strip() for part in end.partition(":"))
    if colon:
        return ("stopped" if kind in STOPPED else "crashed"), " ".join((why or kind).split())
    if end == "ended":
        return "stopped", ""
    return "crashed", "killed, or stopped by a version that did not record it"


def best_of(
    run: Run, lines: list[dict[str, Any]], train: dict[str, Any]
) -> tuple[str | None, float | None, int | None]:
    """Return the name, the value and the step of the best evaluation; Nones if there is none."""
    marked = [line for line in lines if any(key.startswith("metric/") for key in line)]
    name = train.get("best")
    if name is None:
        newest = {key.removeprefix("metric/"): v for key, v in (marked or [{}])[-1].items() if key[:7] == "metric/"}
        scores = run.scores() or metrics_first(newest)
        name = next(iter(scores), None)
        if name is None:
            return None, None, None
        return name, scores[name], run.metrics().get("step") or marked[-1]["step"]  # type: ignore[return-value]
    scored = [line for line in marked if math.isfinite(line.get(f"metric/{name}", math.nan))]
    if not scored:
        return None, None, None
    sign = -1 if train.get("best_is") == "lowest" else 1
    best = max(scored, key=lambda line: sign * line[f"metric/{name}"])
    return name, best[f"metric/{name}"], best["step"]


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder, without following links; a live run deletes some meanwhile."""
    total = 0
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                total += size_of(Path(entry.path))
            else:
                with suppress(FileNotFoundError):
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def reason_of(error: Exception) -> str:
    """Return one line about what is wrong with a run."""
    if isinstance(error, I2IError | OSError):
        return " ".join(str(error).split())
    return f"a file of it is damaged ({type(error).__name__}: {' '.join(str(error).split())})"
