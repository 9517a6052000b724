"""report.html: one self-contained page per run, with curves, pictures, metrics, settings and the weights.

Every `i2i run` writes it. It reloads itself during training and needs no server. page.py says what is on it.
"""

from __future__ import annotations

import time
from pathlib import Path

from i2i import files, hookimpl
from i2i.runs import Run

from .page import page

EVERY = 10.0  # seconds between updates of the page during training

_written: dict[Path, float] = {}


@hookimpl
def on_log(run: Path) -> None:
    """Rewrite the page, at most every ten seconds until the run is finished."""
    record = Run(run)
    if not record.finished and time.monotonic() - _written.get(run, -EVERY) < EVERY:
        return
    files.write(record.report_file, page(record).encode())
    _written[run] = time.monotonic()
