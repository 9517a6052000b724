"""Find images, or clips, in files, folders and globs by their first bytes: `find(sources)`, `find_clips(sources)`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .. import files
from ..errors import DataError
from .complete import kind_of
from .decode import format_of, opened
from .notes import reason_of
from .video import READ, moves


def find(sources: str | os.PathLike[str] | Iterable[Any]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Find images by their first bytes, whatever their names, without decoding; see `i2i.files.find`."""
    return files.find(sources, _why_not)


def find_moving(sources: str | os.PathLike[str] | Iterable[Any]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Find images as `find` does, and videos."""
    return files.find(sources, _why_neither)


def is_video(path: Path) -> bool:
    """Return whether a file is an MP4, MOV, MKV, WebM or AVI, by its first bytes."""
    try:
        with opened(path) as stream:
            return kind_of(stream.read(16)) in ("mov", "matroska", "avi")
    except (OSError, ValueError, DataError):
        return False


def find_clips(sources: str | os.PathLike[str] | Iterable[Any]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Find clips by their first bytes: animations, videos, and folders of at least two still pictures, their frames.

    A file named in `sources` may also be a single picture in the format of an animation.
    """
    named = [Path(source) for source in ([sources] if isinstance(sources, str | os.PathLike) else sources)]
    moving: list[Path] = []
    stills: list[Path] = []
    found, skipped = files.find(named, _why_no_clip)
    for path in found:
        (moving if path in named or moves(path) else stills).append(path)
    counts = Counter(path.parent for path in stills)
    skipped += [(path, "a single picture, not a clip") for path in stills if counts[path.parent] == 1]
    folders = [folder for folder, count in counts.items() if count > 1]
    return sorted([*moving, *folders], key=lambda path: path.parts), skipped


def _why_neither(path: Path) -> str | None:
    why = None if is_video(path) else _why_not(path)
    if why and why.startswith("not an image (possible: "):
        return f"{why.removesuffix(')')}, and of videos MP4, MOV, MKV, WebM, AVI)".replace(
            "image", "image or video", 1
        )
    return why


def _why_not(path: Path) -> str | None:
    try:
        with opened(path) as stream:
            format_of(stream.read(16))
    except (OSError, ValueError, DataError) as error:
        return reason_of(error)
    return None


def _why_no_clip(path: Path) -> str | None:
    try:
        with opened(path) as stream:
            prefix = stream.read(16)
            return None if kind_of(prefix) or format_of(prefix) else ""
    except DataError:
        return f"not a clip (possible: {READ})" if prefix else "empty file"
    except (OSError, ValueError) as error:
        return reason_of(error)
