"""report.html: one self-contained page per run, with curves, pictures, metrics, settings and the weights.

Every `i2i run` writes it. It reloads itself during training and needs no server. page.py says what is on it. Losses
that show that something is wrong (watch.py) are also reported on stderr, once.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from i2i import files, hookimpl
from i2i.runs import Run

from .page import page
from .watch import Watch

log = logging.getLogger("i2i")

EVERY = 10.0  # seconds between updates of the page during training

_written: dict[Path, float] = {}
_watches: dict[Path, Watch] = {}


@hookimpl
def on_log(run: Path, step: int, scalars: dict[str, float]) -> None:
    """Report alarms, and rewrite the page, at most every ten seconds until the run is finished."""
    record = Run(run)
    for text in new_alarms(record, step, scalars):
        log.warning("%s", text)
    if not record.finished and time.monotonic() - _written.get(run, -EVERY) < EVERY:
        return
    files.write(record.report_file, page(record).encode())
    _written[run] = time.monotonic()


def new_alarms(run: Run, step: int, scalars: dict[str, float]) -> list[str]:
    """Return what these values show for the first time, given what the run has logged before."""
    watch = _watches.get(run.folder)
    if watch is None or step < watch.last:  # a new run, or one that continues from an earlier step
        watch = _watches[run.folder] = Watch()
        for line in run.log():
            if line["step"] < step:
                watch.see(line["step"], line)
    return watch.see(step, scalars)
