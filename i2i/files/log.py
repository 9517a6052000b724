"""JSON lines logs, such as `log.jsonl` of a run: `append_line(path, text)`, and `truncate_log` on resume."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import calls
from .held import stay_inside
from .whole import write


def append_line(path: str | Path, text: str, *, sync: bool = False) -> None:
    """Append a line to a log atomically; `sync` waits until it is on disk. Raises: see `write`."""
    stay_inside(Path(path))
    with calls.explained(path), calls.File(path, "ab", opener=calls.opened) as out:
        line, before = text.encode() + b"\n", out.tell()
        try:
            while line:
                line = line[out.write(line) :]
            if sync:
                calls.system(os.fsync, out.fileno())
        except OSError:
            out.truncate(before)
            raise


def truncate_log(path: str | Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Keep only the complete lines of a JSON log for which `keep` is true, byte for byte."""
    kept = []
    with suppress(FileNotFoundError):
        for line in io.BytesIO(calls.read(path)):
            with suppress(ValueError):
                entry = json.loads(line)
                if line.endswith(b"\n") and isinstance(entry, dict) and keep(entry):
                    kept.append(line)
        write(path, kept)
