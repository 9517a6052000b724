"""A single entry point for the system calls of a save: `system(os.fsync, handle)`.

tests/test_files.py patches `system` to make each call of a save fail, or kill the process, in turn.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ..errors import ResourceError

TO_DO = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space"),
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE), "raise the limit of open files (`ulimit -n`), or lower data.workers"
    ),
}
"""What to do after an error of the system."""


def system(call: Callable[..., Any], *arguments: Any) -> Any:
    """Make a system call. All go through here, so that a test can make the n-th fail or kill the process."""
    return call(*arguments)


class File(io.FileIO):
    """A file whose writes go through `system`; open it with `opener=opened`."""

    def write(self, data: Any, /) -> int:
        """Write some of the data and return the number of bytes written."""
        return system(super().write, data)


def opened(path: str | Path, flags: int) -> int:
    """Open a file that is not a symlink, and return its descriptor."""
    return system(os.open, path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)  # a pipe without a reader is an error


def waitless(path: str | Path, flags: int) -> int:
    """Open a file to read, and return its descriptor; OSError for a pipe or a device, which one could wait for."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # for a folder, `open` has an error of its own
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def free_bytes(folder: str | Path) -> int:
    """Return the number of free bytes on the disk of a folder."""
    return shutil.disk_usage(folder).free


def lacking(path: Path, wanted: Literal["file", "folder"]) -> str:
    """Describe why there is no such file or folder: it does not exist, or is something else."""
    if path.is_dir():
        return "a folder, not a file"
    if path.exists():
        return "a file, not a folder" if wanted == "folder" else "not a regular file"
    above = next((above for above in path.parents if above.is_file()), None)
    return f"no such {wanted}" + (f", {above} is a file" if above else "")


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Convert an OSError to a ResourceError that states what to do."""
    try:
        yield
    except OSError as error:
        todo = TO_DO.get(error.errno or 0, "check the disk and the path, or use another with -o")
        raise ResourceError(f"cannot write {path}: {error.strerror or error}; {todo}") from error


def read(path: str | Path, size: int = -1) -> bytes:
    """Return the first `size` bytes of a file that i2i has written, or all of them.

    Raises:
        FileNotFoundError: there is no such file.
        ResourceError: it cannot be read.
    """
    try:
        with open(path, "rb", opener=waitless) as file:
            return file.read(size)
    except FileNotFoundError:
        raise
    except OSError as error:
        refuse_shortage(path, error)
        raise ResourceError(f"cannot read {path}: {error.strerror}; check the disk and the permissions") from error


def refuse_shortage(path: str | Path, error: Exception) -> None:
    """Raise a ResourceError if an error is one of the process, such as too many open files, and not of this file."""
    if isinstance(error, OSError) and error.errno in TO_DO:
        raise ResourceError(f"cannot read {path}: {error.strerror}; {TO_DO[error.errno]}") from error
