"""`scratch(size)`: temporary space on a disk, used like memory, for what does not fit into memory.

The file has no name, so nothing is left of it however the process ends. It is in $TMPDIR, or else in /var/tmp, as
/tmp is in memory on many systems.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import ResourceError

MB = 1e6
_spaces: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()  # all that are in use


def scratch_folder() -> str:
    """Return the folder of temporary files."""
    return os.environ.get("TMPDIR") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir())


def scratch(size: int, path: Path | None = None) -> mmap.mmap:
    """Return `size` bytes on the disk as a buffer.

    Args:
        size: more than 0.
        path: a file that keeps them, with what it contains if it exists; by default one without a name.

    Raises:
        ResourceError: the disk has less space.
    """
    folder = scratch_folder() if path is None else str(path.parent)
    try:
        with tempfile.TemporaryFile(dir=folder) if path is None else named(path) as file:
            # Reserved now: a disk that is full later would kill the process.
            getattr(os, "posix_fallocate", lambda number, _, size: os.ftruncate(number, size))(file.fileno(), 0, size)
            space = mmap.mmap(file.fileno(), size)
            _spaces.add(space)
            return space
    except OSError as error:
        todo = "set TMPDIR to a folder on another disk" if path is None else "choose another folder"
        todo = f"free some space, or {todo}" if error.errno in (errno.ENOSPC, errno.EDQUOT) else todo
        # Not `from error`: that would mean that nothing at all can be written, and end a job of many pictures.
        raise ResourceError(
            f"cannot write {size / MB:,.1f} MB of temporary files in {folder}: {error.strerror}; {todo}"
        ) from None


def named(path: Path) -> BinaryIO:
    """Open a file to read and write, and create it if there is none."""
    return open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")


def release(space: mmap.mmap | None = None) -> None:
    """Let the pages of a buffer, or of all, leave memory; they stay in the file."""
    for one in [space] if space is not None else list(_spaces):
        with suppress(AttributeError, OSError, ValueError):
            one.madvise(mmap.MADV_DONTNEED)


def trim() -> None:
    """Return freed memory to the system, on Linux with glibc.

    Otherwise a process that handles arrays of many sizes grows: small allocations that live on keep large freed
    blocks of the heap in use (370 MB became 1,150 MB in 1,400 pictures).
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
