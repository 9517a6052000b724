"""The sample sheets of a run over time, for the pages of `i2i.pages`."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from ..images import texts
from ..images.grid import HEADER
from ..pages import Sheet
from .folder import Run

MOST, ROOM = 24, 12_000_000  # sheets, and bytes of all of them


def sheet_of(run: Run, name: str = "", *, most: int = MOST, room: int = ROOM) -> Sheet:
    """Return the sample sheets of a run, the first and the newest and evenly spaced ones between.

    Clips are shown as their animation.

    Args:
        run: the run.
        name: what the sheets are called; by default the name of the folder.
        most: how many at most.
        room: how many bytes at most, although two are always returned.
    """
    found = [(int(file.stem), moving(file)) for file in run.pictures() if file.stem.isdigit()]
    kept = spaced(found, most)
    while len(kept) > 2 and sum(file.stat().st_size for _, file in kept) > room:
        kept = spaced(found, len(kept) - 1)
    if not kept:
        return Sheet(name or run.folder.name, [])
    newest = run.samples / f"{kept[-1][1].stem}.png"
    with Image.open(newest) as image:
        size = image.size
    try:
        columns = [
            (str(title), int(left), int(width)) for title, left, width, *_ in json.loads(texts(newest)["columns"])
        ]
    except (ValueError, LookupError, TypeError):  # of a version that did not record them
        columns = []
    return Sheet(name or run.folder.name, kept, columns, HEADER, size)


def spaced(found: list[tuple[int, Path]], most: int) -> list[tuple[int, Path]]:
    """Return at most so many entries, evenly spaced, with the first and the last."""
    if len(found) <= most:
        return found
    return [found[round(number * (len(found) - 1) / (most - 1))] for number in range(most)]


def moving(file: Path) -> Path:
    """Return the animation that belongs to a sample sheet, or the sheet itself if there is none."""
    return file.with_suffix(".gif") if file.with_suffix(".gif").exists() else file
