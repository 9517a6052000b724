"""What all processes of a training must have in common: versions, settings, and the files of the data set."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ..config import Config
from ..version import __version__
from .listing import listing

OWN = ("train.threads", "data.workers")  # may differ, because hosts do


def in_common(config: Config) -> dict[str, str]:
    """Return, by name, what must not differ between the processes that train together."""
    settings = {key: value for key, value in flat(config.tree) if key not in OWN}
    versions = {
        "the version of i2i": __version__,
        "of torch": torch.__version__,
        "of Python": platform.python_version(),
    }
    found = listing(config.tree.get("data"))
    files = {
        f"the data in {folder}": f"{count} files (sha256 of their names and sizes: {digest})"
        for folder, (count, digest) in found.items()
    }
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
