"""Find pictures in files, folders and globs by their first bytes: `find(sources)`."""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import DataError
from .decode import format_of, opened
from .notes import reason_of

Found = tuple[Path, str | None]  # a path, and why it is skipped


def find(sources: str | os.PathLike[str] | Iterable[Any]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Find pictures by their first bytes, in the same order on each machine.

    Args:
        sources: files, folders (searched to the bottom, but for hidden files) and globs (`**/` is any depth).

    Returns:
        The paths of the pictures, and (path, reason) of every file that was skipped. Nothing is decoded.
    """
    reasons: dict[Path, str | None] = {}
    for source in [sources] if isinstance(sources, str | os.PathLike) else sources:
        for path, reason in _expand(os.fspath(source)):
            reasons.setdefault(path, reason or _why_not(path))
    return [path for path, why in reasons.items() if not why], [(p, why) for p, why in reasons.items() if why]


def _expand(source: str) -> list[Found]:
    if os.path.isdir(source):
        return _walk(Path(source))
    if os.path.lexists(source) or not glob.has_magic(source):
        return [(Path(source), None)]
    head, deep, tail = source.partition("**/")
    if deep:  # not by glob itself, which follows a circle of links
        hits = [hit for folder in sorted(glob.glob(head or ".")) for hit in _walk(Path(folder))]
        hits = [(path, why) for path, why in hits if path.match(tail)]
    else:
        hits = [hit for name in sorted(glob.glob(source)) for hit in _expand(name)]
    return hits or [(Path(source), "nothing is named so")]


def _walk(folder: Path) -> list[Found]:
    """List a folder to the bottom. No folder is entered twice, and a link to a folder after all real ones."""
    hits: list[Found] = []
    seen: set[tuple[int, int]] = set()
    waiting = deque([folder])
    while waiting:
        here = waiting.popleft()
        try:
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in seen:
                hits.append((here, "a link to a folder that was searched already"))
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            hits.append((here, reason_of(error)))
            continue
        for entry in entries:
            path = here / entry.name
            if entry.name.startswith("."):
                hits.append((path, "hidden"))
            elif os.path.isdir(path):
                (waiting.append if entry.is_symlink() else waiting.appendleft)(path)
            else:
                hits.append((path, None))
    return sorted(hits, key=lambda hit: hit[0].parts)


def _why_not(path: Path) -> str | None:
    try:
        with opened(path) as stream:
            format_of(stream.read(16))
    except (OSError, ValueError, DataError) as error:
        return reason_of(error)
    return None
