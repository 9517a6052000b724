"""The manifest of a checkpoint detects damage: size and sha256 of each file, and a sha256 of itself."""

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
BLANK = b"0" * 64  # placeholder for the sha256 of a file inside that file, while it is computed
Malformed = (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


class Damaged(WeightsError):
    """A checkpoint that differs from what was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"checkpoint {path} is damaged ({reason}): delete it to resume from the one before")
        self.path, self.reason = path, reason


def sealed(manifest: Mapping[str, Any]) -> bytes:
    """Return canonical JSON with a sha256 of itself, so that any change is detected."""
    text = json.dumps({**manifest, "sha256": BLANK.decode()}, indent=1, sort_keys=True).encode() + b"\n"
    return text.replace(BLANK, sha256([text]).encode())


def read(path: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint, after checking it against the names and sizes of the files."""
    if not (path / MANIFEST).is_file():
        raise ValueError(f"{MANIFEST} is missing")
    content = (path / MANIFEST).read_bytes()
    try:
        manifest = json.loads(content)
        intact = content == sealed(manifest)
    except Malformed:
        intact = False
    if not intact:
        raise ValueError(f"{MANIFEST}: sha256 differs")
    refuse_newer(path, manifest["format"])
    if path.name != f"step_{manifest['step']:08d}":
        raise ValueError(f"{MANIFEST} belongs to step {manifest['step']}")
    expected = {name: f"{file['size']} bytes" for name, file in manifest["files"].items()}
    actual = {file.name: f"{file.lstat().st_size} bytes" for file in path.iterdir() if file.name != MANIFEST}
    for name in sorted(expected | actual):
        if expected.get(name) != actual.get(name):
            raise ValueError(f"{name} is {actual.get(name, 'missing')}, should be {expected.get(name, 'absent')}")
    return manifest


def looks_whole(path: Path) -> bool:
    """Check that all files of a checkpoint exist with the right size, without reading them."""
    try:
        return bool(read(path))
    except (WeightsError, *Malformed):
        return False


def refuse_newer(path: str | Path, number: int) -> None:
    """Raise WeightsError if a file has a newer format than this version supports."""
    if number > FORMAT:
        raise WeightsError(f"{path} has format {number}, but this i2i supports up to {FORMAT}: install a newer i2i")


def sha256(parts: Sequence[Any]) -> str:
    """Return the sha256 of the concatenated parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
