"""What all processes of a training must have in common: versions, settings, and the files of the data set."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..config import Config
from ..version import __version__

OWN = ("train.threads", "data.workers")  # may differ, because hosts do


def in_common(config: Config) -> dict[str, str]:
    """Return, by name, what must not differ between the processes that train together."""
    settings = {key: value for key, value in flat(config.tree) if key not in OWN}
    versions = {
        "the version of i2i": __version__,
        "of torch": torch.__version__,
        "of Python": platform.python_version(),
    }
    files = {f"the data in {root}": contents(Path(root)) for root in sorted(set(folders(config.tree.get("data"))))}
    return {**settings, **versions, **files}


def flat(tree: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted keys of a tree with their values."""
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from flat(value, f"{at}.{key}" if at else str(key))
    elif isinstance(tree, list) and tree:
        for place, value in enumerate(tree):
            yield from flat(value, f"{at}[{place}]")
    else:
        yield at, repr(tree)


def folders(tree: Any) -> Iterator[str]:
    """Yield the folders and files that exist among the values of a config's data."""
    for _, value in flat(tree):
        named = value[1:-1] if value.startswith("'") else ""
        if named and os.path.exists(os.path.expanduser(named)):
            yield named


def contents(root: Path) -> str:
    """Describe files by number, size and a hash of their names and sizes; i2i's own cache is left out."""
    root, sizes = root.expanduser(), []
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        paths = [Path(folder, name) for name in names if not name.startswith(".")]
        sizes += [f"{path.relative_to(root)} {path.stat().st_size}" for path in paths if path.is_file()]
    total = sum(int(line.rpartition(" ")[2]) for line in sizes) if root.is_dir() else root.stat().st_size
    digest = hashlib.sha256("\n".join(sorted(sizes)).encode("utf8", "surrogateescape")).hexdigest()
    return f"{len(sizes) or 1} files of {total} bytes (sha256 of their names and sizes: {digest[:8]})"
