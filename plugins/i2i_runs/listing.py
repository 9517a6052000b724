"""The list of runs, as text and as JSON. What is known of a run is in `i2i.runs.Overview`."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from i2i.runs import Overview, overviews

HEAD = ("RUN", "STATE", "STEP", "BEST RESULT", "TIME", "DISK", "LAST CHANGE")


def show(folder: str, as_json: bool) -> None:
    """Print the runs in a folder on stdout. What cannot be read is named: on stderr, or in the JSON."""
    found, bad = overviews(folder)
    if as_json:
        listed = [{"folder": name, "reason": reason} for name, reason in bad]
        print(json.dumps({"runs": [finite(one).plain() for one in found], "unreadable": listed}, indent=1))
        return
    for name, reason in bad:
        print(f"i2i: {name} cannot be read: {reason}", file=sys.stderr)
    if not found:
        print(f"i2i: no runs in {folder}: `i2i run CONFIG` starts one", file=sys.stderr)
        return
    print(table([HEAD, *(row(one) for one in found)]))
    ended = [one for one in found if one.state in ("crashed", "stopped") and one.reason]
    for one in ended:
        print(f"i2i: {one.folder}: {one.reason}", file=sys.stderr)


def finite(one: Overview) -> Overview:
    """Return an overview whose value JSON can hold."""
    return one if one.value is None or math.isfinite(one.value) else replace(one, value=None)


def row(one: Overview) -> tuple[str, ...]:
    """Return the cells of one run."""
    best = "" if one.metric is None or one.value is None else f"{one.metric} {one.value:.4g}"
    if best and one.best_step != one.step:
        best += f" at step {one.best_step}"
    return (
        one.folder,
        one.state,
        f"{one.step}/{one.steps}" if one.steps else str(one.step),
        best,
        "" if one.seconds is None else clock(one.seconds),
        size(one.bytes),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(one.changed)),
    )


def clock(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds: "1:02:03"."""
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"


def size(count: float) -> str:
    """Return a number of bytes: "12 MB"."""
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000 or unit == "GB":
            break
    return f"{count:.1f} {unit}" if count < 10 else f"{count:.0f} {unit}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as aligned lines."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) for cells in rows)
    return "\n".join(line.rstrip() for line in lines)
