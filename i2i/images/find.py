"""Find images in files, folders and globs by their first bytes: `find(sources)`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .. import files
from ..errors import DataError
from .decode import format_of, opened
from .notes import reason_of


def find(sources: str | os.PathLike[str] | Iterable[Any]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Find images by their first bytes, whatever their names, without decoding; see `i2i.files.find`."""
    return files.find(sources, _why_not)


def _why_not(path: Path) -> str | None:
    try:
        with opened(path) as stream:
            format_of(stream.read(16))
    except (OSError, ValueError, DataError) as error:
        return reason_of(error)
    return None
