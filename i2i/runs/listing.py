"""Which files a run was trained on, so that `--resume` notices data that changed: number and hash by folder.

{"trainA": [939, "5b1f..."], "trainB": [1177, "0c9a..."]}        # of names and sizes; no file is opened
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DEPTH = 3  # folders below the root that are listed apart; those below count as theirs
NAMED = 8  # changed folders named in a message
KEYS = ("root", "validation", "folder", "path", "file")  # of data sets, besides values with a slash
MADE_HERE = ("manifest.sha256", "log.jsonl")  # files of ours among the data; the second marks the folder of a run

Listing = dict[str, list[Any]]


def listing(data: Any) -> Listing:
    """Return number and hash of the files of a data set by folder; {} for one without files.

    Args:
        data: the data set's part of a config, as a plain tree.
    """
    sizes: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for root in roots(data):
        for path, size in files_below(root):
            folder, _, name = path.rpartition("/")
            above = "/".join(folder.split("/")[:DEPTH])
            sizes[os.path.join(root, above) if above else root].append((f"{folder}/{name}", size))
    return {folder: [len(found), digest(found)] for folder, found in sorted(sizes.items())}


def roots(data: Any, key: str = "") -> list[str]:
    """Return the files and folders that a config names, without repeating any."""
    if isinstance(data, Mapping):
        found = [root for name, value in data.items() for root in roots(value, name)]
    elif isinstance(data, list):
        found = [root for value in data for root in roots(value, key)]
    else:
        named = isinstance(data, str) and (key in KEYS or "/" in data)
        found = [data] if named and os.path.exists(os.path.expanduser(data)) else []
    return list(dict.fromkeys(found))


def files_below(root: str) -> Iterator[tuple[str, int]]:
    """Yield path and size of the files in a folder, without hidden ones and what i2i itself has written there."""
    place = Path(root).expanduser()
    if not place.is_dir():
        yield "", place.stat().st_size
        return
    waiting, seen = [("", str(place))], set()
    while waiting:
        above, here = waiting.pop()
        real = os.path.realpath(here)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = [entry for entry in os.scandir(here) if not entry.name.startswith(".")]
        except OSError:  # the data set reports it
            continue
        if any(entry.name == MADE_HERE[1] for entry in entries):
            continue
        for entry in entries:
            name = f"{above}{entry.name}"
            try:
                if entry.is_dir():
                    waiting.append((f"{name}/", entry.path))
                elif entry.name not in MADE_HERE:
                    yield name, entry.stat().st_size
            except OSError:  # deleted while it was listed, or a broken link
                yield name, -1


def digest(found: list[tuple[str, int]]) -> str:
    """Return a hash of names and sizes, in any order."""
    lines = "\n".join(f"{name}\0{size}" for name, size in sorted(found))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()[:16]


def differences(old: Listing, new: Listing) -> list[str]:
    """Describe, folder by folder, what changed between two listings."""
    lines = []
    for folder in sorted({**old, **new}):
        (before, was), (after, now) = old.get(folder, [0, ""]), new.get(folder, [0, ""])
        if before != after:
            lines.append(f"{folder} had {before} files and has {after}")
        elif was != now:
            lines.append(f"{folder} still has {after} files, but with other names or sizes")
    return lines if len(lines) <= NAMED else [*lines[:NAMED], f"{len(lines) - NAMED} more folders"]


def warning(old: Listing | None, new: Listing) -> str:
    """Return the warning about a resume over changed data, or "" where nothing changed or nothing is known."""
    lines = differences(old, new) if old is not None else []
    if not lines:
        return ""
    return (
        f"WARNING: the data changed since the checkpoint: {'; '.join(lines)}. From here on, this run differs from "
        f"one without interruption"
    )
