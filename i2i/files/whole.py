"""Atomic writes of files and folders: `write(path, data)`.

Data is written to `.tmp-i2i-...` next to its target (a rename cannot cross file systems), synced to disk and renamed;
then the parent folder is synced. A kill at any moment leaves the old or the new version, and temporary files that
`sweep` removes.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from . import calls
from .held import stay_inside

Content = bytes | Iterable[Any] | Callable[[BinaryIO], Any]  # bytes, chunks, or a function that writes to a file
TEMPORARY, OLD = ".tmp-i2i-", ".old-i2i-"


def write(path: str | Path, data: Content) -> None:
    """Write a file atomically.

    Raises:
        ResourceError: the disk is full, read-only or broken; an existing file is untouched.
        WeightsError: a symlink leads out of the locked run folder.
    """
    with _replacing(Path(path)) as temporary:
        _fill(temporary, data)


def write_folder(path: str | Path, contents: Mapping[str, Content]) -> None:
    """Write a folder of files atomically, replacing an existing one. Raises: see `write`."""
    path = Path(path)
    old = path.with_name(OLD + path.name)
    _restore_or_discard(old)
    try:
        with _replacing(path) as temporary:
            calls.system(os.mkdir, temporary)
            for name, data in contents.items():
                _fill(temporary / name, data)
            _sync(temporary)
            if os.path.lexists(path):
                calls.system(os.rename, path, old)  # if killed before the new one is in place, sweep() restores it
    finally:
        _restore_or_discard(old)


def make_folder(path: str | Path) -> None:
    """Create a folder and its parents, unless they exist. Raises: see `write`."""
    with calls.explained(path):
        if Path(path).is_file():
            raise NotADirectoryError(errno.ENOTDIR, "a file, not a folder")
        Path(path).mkdir(parents=True, exist_ok=True)


def refuse_unwritable(folder: str | Path) -> None:
    """Raise a ResourceError if nothing can be written into a folder, or if the folder cannot be created."""
    with calls.explained(folder):
        own = Path(folder).absolute()
        home = next(path for path in (own, *own.parents) if path.exists())
        if home.is_dir() and not os.access(home, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def remove(path: str | Path) -> None:
    """Delete a file or folder atomically: if killed, it leaves only a temporary name."""
    with calls.explained(path):
        temporary = _temporary_for(Path(path))
        calls.system(os.rename, path, temporary)
        calls.system(_discard, temporary)


def sweep(folder: str | Path) -> None:
    """Clean up what killed processes left unfinished below a folder that this process has locked."""
    with calls.explained(folder):
        for temporary in list(Path(folder).rglob(TEMPORARY + "*")):
            _discard(temporary)
        for old in list(Path(folder).rglob(OLD + "*")):
            _restore_or_discard(old)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    with calls.explained(path):
        temporary = _temporary_for(path)
        try:
            yield temporary
            calls.system(os.replace, temporary, path)
        except BaseException:
            with suppress(OSError):
                _discard(temporary)
            raise
        _sync(path.parent)


def _fill(path: Path, data: Content) -> None:
    with io.BufferedWriter(calls.File(path, "xb", opener=calls.opened), 1 << 20) as out:
        parts: Iterable[Any] = [data] if isinstance(data, bytes) else () if callable(data) else data
        out.writelines(parts)
        if callable(data):
            data(out)
        out.flush()
        calls.system(os.fsync, out.fileno())


def _sync(folder: Path) -> None:
    handle = calls.system(os.open, folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        calls.system(os.fsync, handle)
    finally:
        os.close(handle)


def _restore_or_discard(old: Path) -> None:
    if os.path.lexists(old):
        home = old.with_name(old.name.removeprefix(OLD))
        remove(old) if os.path.lexists(home) else os.rename(old, home)


def _discard(path: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _temporary_for(path: Path) -> Path:
    stay_inside(path)
    return path.with_name(f"{TEMPORARY}{path.name[:40]}-{os.getpid()}-{secrets.token_hex(4)}")
