"""Warns while a run trains, in plain words and with what to try: a discriminator that has won, a collapse and others.

losses.py looks at the logged values, pictures.py at the sample sheets, average.py at the length of the run. Each
fault is reported once, on stderr and as a line with "warning" in log.jsonl, which the report shows.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from i2i import I2IError, files, hookimpl
from i2i.runs import Run, settings_of

from .average import slow_average
from .losses import Watch
from .pictures import PictureWatch, columns_of

log = logging.getLogger("i2i")
EARLY = 100  # steps, before which sample pictures show what random weights make
BEFORE = 4  # sample sheets that are looked at again after a resume: a fault has to be in three

_watches: dict[Path, Both] = {}


@hookimpl
def on_log(run: Path, step: int, scalars: dict[str, float], images: dict[str, Any]) -> None:
    """Report what these values and pictures show for the first time."""
    for fault, text in new_warnings(Run(run), step, scalars, bool(images)).items():
        log.warning("step %d: %s", step, text)
        note(Run(run), step, fault, text)


class Both:
    """The watches of one run, after what it has logged before a step."""

    def __init__(self, run: Run, before: int) -> None:
        self.last = before
        lines = run.log()
        known = known_settings(run)
        self.losses, self.pictures = Watch(**hints(known)), PictureWatch()
        self.average = slow_average(known)
        for line in lines:
            if line["step"] < before and "warning" not in line:
                self.losses.see(line["step"], line)
        sheets = [file for file in run.pictures() if file.stem.isdigit() and EARLY <= int(file.stem) < before]
        for file in sheets[-BEFORE:]:
            self.pictures.see(columns_of(file))
        told = {str(line["fault"]) for line in lines if "fault" in line}
        self.losses.reported, self.pictures.reported = (
            {fault for fault in watch.reported if fault in told} | told for watch in (self.losses, self.pictures)
        )
        if "average" in told:
            self.average = None

    def early(self) -> dict[str, str]:
        """Return what can be said at once, the first time."""
        said, self.average = self.average, None
        return {"average": said} if said else {}


def new_warnings(run: Run, step: int, scalars: dict[str, float], drawn: bool) -> dict[str, str]:
    """Return sentences by fault about what is wrong for the first time, given what the run has logged before."""
    watch = _watches.get(run.folder)
    if watch is None or step < watch.last:  # a new run, or one that continues from an earlier step
        watch = _watches[run.folder] = Both(run, step)
    watch.last = step
    found = watch.losses.see(step, scalars) if scalars else {}
    found |= watch.early()
    if drawn and step >= EARLY:
        found |= watch.pictures.see(columns_of(run.samples / f"{step:08d}.png"))
    return found


def known_settings(run: Run) -> dict[str, str]:
    """Return the config of a run by dotted keys, or nothing if it cannot be read."""
    try:
        return {one.key: one.value for one in settings_of(run.config_text())}
    except I2IError:
        return {}


def hints(known: dict[str, str]) -> dict[str, Any]:
    """Return what the config says that the losses do not: the number of codes, and which result is the best."""
    codes = [int(value) for key, value in known.items() if key.endswith(".codes") and value.isdigit()]
    best = known.get("train.best", "null")
    return {
        "codes": min(codes, default=None),
        "best": None if best == "null" else best,
        "lowest": known.get("train.best_is") == "lowest",
    }


def note(run: Run, step: int, fault: str, text: str) -> None:
    """Append a warning to the log of the run."""
    lines = run.log()
    epoch = lines[-1]["epoch"] if lines else 0
    files.append_line(run.log_file, json.dumps({"step": step, "epoch": epoch, "fault": fault, "warning": text}))
