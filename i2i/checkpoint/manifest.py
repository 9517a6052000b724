"""How damage to a checkpoint is seen: its manifest holds the size and sha256 of each file, and a sha256 of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ..errors import WeightsError

FORMAT = 1
MANIFEST = "manifest.json"
BLANK = b"0" * 64  # stands where the sha256 of a file goes into that file, while it is computed
Malformed = (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


class Damaged(WeightsError):
    """A checkpoint that is not as it was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"checkpoint {path} is damaged ({reason}): delete it, and --resume uses the one before")
        self.path, self.reason = path, reason


def sealed(manifest: Mapping[str, Any]) -> bytes:
    """Return JSON, of which there is one form only, with a sha256 of itself: whatever changes, shows."""
    text = json.dumps({**manifest, "sha256": BLANK.decode()}, indent=1, sort_keys=True).encode() + b"\n"
    return text.replace(BLANK, sha256([text]).encode())


def read(path: Path) -> dict[str, Any]:
    """Return what a checkpoint should hold, after comparing it with the names and sizes of its files."""
    if not (path / MANIFEST).is_file():
        raise ValueError(f"{MANIFEST} is missing")
    content = (path / MANIFEST).read_bytes()
    try:
        manifest = json.loads(content)
        whole = content == sealed(manifest)
    except Malformed:
        whole = False
    if not whole:
        raise ValueError(f"{MANIFEST}: sha256 differs")
    refuse_newer(path, manifest["format"])
    if path.name != f"step_{manifest['step']:08d}":
        raise ValueError(f"{MANIFEST} is of step {manifest['step']}")
    told = {name: f"{file['size']} bytes" for name, file in manifest["files"].items()}
    there = {file.name: f"{file.lstat().st_size} bytes" for file in path.iterdir() if file.name != MANIFEST}
    for name in sorted(told | there):
        if told.get(name) != there.get(name):
            raise ValueError(f"{name} is {there.get(name, 'missing')}, should be {told.get(name, 'absent')}")
    return manifest


def looks_whole(path: Path) -> bool:
    """Say whether all files of a checkpoint are there and of the right size, without reading them."""
    try:
        return bool(read(path))
    except (WeightsError, *Malformed):
        return False


def refuse_newer(path: str | Path, number: int) -> None:
    """Refuse a file of a later format."""
    if number > FORMAT:
        raise WeightsError(f"{path} is of format {number}, and this i2i knows up to {FORMAT}: install a newer i2i")


def sha256(parts: Sequence[Any]) -> str:
    """Return the sha256 of all parts, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
