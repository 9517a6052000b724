"""Locks a run folder for one process at a time: `with lock(folder): ...`.

Under the lock, nothing is written through symlinks that lead out of the folder. The lock ends with the process. The
file `.lock` then tells how: it contains "ended", or the error that ended the block; a killed process leaves its pid.
A command that was refused before it wrote anything leaves what it found.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import ConfigError, WeightsError
from .calls import explained, opened

HELD: set[Path] = set()  # the run folders that this process has locked
WRITTEN: set[Path] = set()  # those of them in which it has written a file
FLOCK = "qqihh" if sys.platform == "darwin" else "hhqqi"  # the C struct of fcntl: order and sizes of its fields


@contextmanager
def lock(folder: str | Path) -> Iterator[None]:
    """Lock a run folder for this process; meanwhile, nothing is written through symlinks that lead out of it.

    Raises:
        WeightsError: another running process holds the lock.
    """
    home = Path(os.path.abspath(folder))
    with explained(folder):
        handle, before = _acquire(home)
    HELD.add(home)
    WRITTEN.discard(home)
    end = "ended"
    try:
        yield
    except BaseException as error:
        refused = isinstance(error, ConfigError | WeightsError) and home not in WRITTEN  # the run is as it was
        end = before if refused and before else f"{type(error).__name__}: {error}"
        raise
    finally:
        with suppress(OSError):  # a full disk, which whatever ends the block reports
            os.ftruncate(handle, 0)
            os.pwrite(handle, end.encode("utf-8", "replace")[:1000], 0)
        HELD.discard(home)
        os.close(handle)


def locked(folder: str | Path) -> bool:
    """Return whether a running process holds the lock of a run folder, without taking it."""
    home = Path(os.path.abspath(folder))
    if home in HELD:
        return True  # and closing the file here would end the lock
    try:
        handle = os.open(home / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        order = (0, 0, 0, fcntl.F_WRLCK, 0) if sys.platform == "darwin" else (fcntl.F_WRLCK, 0, 0, 0, 0)
        answer = struct.unpack(FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, struct.pack(FLOCK, *order)))
        return bool(answer[3 if sys.platform == "darwin" else 0] != fcntl.F_UNLCK)
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)


def ending(folder: str | Path) -> str:
    """Return how the last process that locked a run folder has ended; see above. "" if there was none."""
    if Path(os.path.abspath(folder)) in HELD:
        return ""  # this process has not ended, and closing the file here would end the lock
    try:
        return (Path(folder) / ".lock").read_text(encoding="utf8", errors="replace").strip()
    except OSError:
        return ""


def stay_inside(path: Path) -> None:
    """Note that a file is about to be written in the locked run folder that contains it, if there is one.

    Raises:
        WeightsError: a symlink leads out of that folder.
    """
    for home in HELD & {*Path(os.path.abspath(path)).parents}:
        if not path.parent.resolve().is_relative_to(home.resolve()):
            raise WeightsError(f"{path.parent} is a symlink that leads out of {home}: replace it with a folder")
        WRITTEN.add(home)


def _acquire(home: Path) -> tuple[int, str]:
    """Lock a run folder; return the open file, and how the last process that locked the folder has ended."""
    owner = str(os.getpid())
    if home not in HELD:
        handle = opened(home / ".lock", os.O_RDWR | os.O_CREAT)
        try:
            # A record lock, because loader processes would inherit a flock and keep it after a kill -9 of this one.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            before = os.pread(handle, 1000, 0).decode("utf-8", "replace").strip()
            os.ftruncate(handle, 0)
            os.pwrite(handle, owner.encode(), 0)
            return handle, before
        except BlockingIOError:
            owner = os.read(handle, 20).decode()
        os.close(handle)
    raise WeightsError(f"{home} is in use by process {owner}: stop it, or choose another folder with -o")
