"""Find files in files, folders and globs, in the same order on every machine: `find(sources, why_not)`."""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Found = tuple[Path, str | None]  # a path, and why it is skipped
UNLISTED = "this folder cannot be listed"  # how the reason for skipping it begins


def find(
    sources: str | os.PathLike[str] | Iterable[Any], why_not: Callable[[Path], str | None]
) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Find files.

    Args:
        sources: files, folders (searched recursively, without hidden files) and globs (`**/` is any depth).
        why_not: returns why a file is to be skipped, or None.

    Returns:
        The paths, and (path, reason) of every file that was skipped.
    """
    reasons: dict[Path, str | None] = {}
    for source in [sources] if isinstance(sources, str | os.PathLike) else sources:
        for path, reason in _expand(os.fspath(source)):
            reasons.setdefault(path, reason or why_not(path))
    return [path for path, why in reasons.items() if not why], [(p, why) for p, why in reasons.items() if why]


def _expand(source: str) -> list[Found]:
    if not source:
        return [(Path(source), "the name is empty; give a file, a folder or a pattern")]
    if os.path.isdir(source):
        return _walk(Path(source))
    if os.path.lexists(source) or not glob.has_magic(source):
        return [(Path(source), None)]
    source = _literal_front(source)
    head, deep, tail = source.partition("**/")
    if deep:  # not by glob itself, which follows circular links
        hits = [hit for folder in sorted(glob.glob(head or ".")) for hit in _walk(Path(folder))]
        hits = [(path, why) for path, why in hits if path.match(tail)]
    else:
        hits = [hit for name in sorted(glob.glob(source)) for hit in _expand(name)]
    return hits or [(Path(source), "no file matches this pattern")]


def _literal_front(pattern: str) -> str:
    """Escape the folders at the front of a pattern that exist as written, such as "h [2019]" in "h [2019]/*.png"."""
    parts = pattern.split("/")
    kept = max(n for n in range(len(parts)) if n == 0 or os.path.isdir("/".join(parts[:n]) or "/"))
    return "/".join([*map(glob.escape, parts[:kept]), *parts[kept:]])


def _walk(folder: Path) -> list[Found]:
    """List a folder recursively. No folder is entered twice, and links to folders come after all real ones."""
    hits: list[Found] = []
    seen: set[tuple[int, int]] = set()
    waiting = deque([folder])
    while waiting:
        here = waiting.popleft()
        try:
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in seen:
                hits.append((here, "a link to a folder that was already searched"))
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            hits.append((here, f"{UNLISTED}: {error.strerror or type(error).__name__}"))
            continue
        for entry in entries:
            path = here / entry.name
            if entry.name.startswith("."):
                hits.append((path, "hidden"))
            elif os.path.isdir(path) if entry.is_symlink() else entry.is_dir():  # the latter asks no disk
                (waiting.append if entry.is_symlink() else waiting.appendleft)(path)
            else:
                hits.append((path, None))
    return sorted(hits, key=lambda hit: hit[0].parts)
