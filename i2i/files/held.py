"""Locks a run folder for one process at a time: `with lock(folder): ...`.

Under the lock, nothing is written through symlinks that lead out of the folder. The lock ends with the process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import WeightsError
from .calls import explained, opened

HELD: set[Path] = set()  # the run folders that this process has locked


@contextmanager
def lock(folder: str | Path) -> Iterator[None]:
    """Lock a run folder for this process; meanwhile, nothing is written through symlinks that lead out of it.

    Raises:
        WeightsError: another running process holds the lock.
    """
    home = Path(os.path.abspath(folder))
    with explained(folder):
        handle = _acquire(home)
    HELD.add(home)
    try:
        yield
    finally:
        HELD.discard(home)
        os.close(handle)


def stay_inside(path: Path) -> None:
    """Raise WeightsError if a symlink leads `path` out of the locked run folder that contains it."""
    for home in HELD:
        if home in Path(os.path.abspath(path)).parents and not path.parent.resolve().is_relative_to(home.resolve()):
            raise WeightsError(f"{path.parent} is a symlink that leads out of {home}: replace it with a folder")


def _acquire(home: Path) -> int:
    owner = str(os.getpid())
    if home not in HELD:
        handle = opened(home / ".lock", os.O_RDWR | os.O_CREAT)
        try:
            # A record lock, because loader processes would inherit a flock and keep it after a kill -9 of this one.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(handle, 0)
            os.pwrite(handle, owner.encode(), 0)
            return handle
        except BlockingIOError:
            owner = os.read(handle, 20).decode()
        os.close(handle)
    raise WeightsError(f"{home} is in use by process {owner}: stop it, or choose another folder with -o")
