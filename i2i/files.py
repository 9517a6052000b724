"""The one room that writes files: whole or not at all, and still there after a power cut. `write(path, data)`.

A file or folder is built as `.tmp-i2i-...` beside its target, so that the rename never crosses file systems, is
synced to the disk, renamed, and then its folder is synced. A kill at any moment leaves the old or the new one.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from .errors import ResourceError, WeightsError

Content = bytes | Callable[[BinaryIO], Any]
TEMPORARY, OLD = ".tmp-i2i-", ".old-i2i-"
ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "your quota is used up, free some space",
    errno.EROFS: "the disk is read-only, choose another folder with -o",
    errno.EIO: "the disk reports an error, check its health or choose another folder with -o",
}
_held: set[Path] = set()  # the run folders that this process has locked


def system(call: Callable[..., Any], *arguments: Any) -> Any:
    """Make one system call. All pass here, so that a test can let the n-th fail, or end the process at it."""
    return call(*arguments)


class _File(io.FileIO):
    def write(self, data: Any, /) -> int:
        return system(super().write, data)


def write(path: str | Path, data: Content) -> None:
    """Write a file atomically; `data` is its content, or writes it to the binary file that it is given.

    Raises:
        ResourceError: the disk is full, read-only or broken; the file that was there before is untouched.
        WeightsError: a link leads out of the run folder.
    """
    path = Path(path)
    with _explained(path):
        temporary = _beside(path)
        try:
            _fill(temporary, data)
            system(os.replace, temporary, path)
        except BaseException:
            _discard(temporary)
            raise
        _sync(path.parent)


def write_folder(path: str | Path, contents: Mapping[str, Content]) -> None:
    """Write a folder of files atomically, in the given order; one that is there already is replaced as a whole.

    Raises:
        ResourceError, WeightsError: as for `write`.
    """
    path = Path(path)
    with _explained(path):
        temporary, old = _beside(path), path.with_name(OLD + path.name)
        try:
            system(os.mkdir, temporary)
            for name, data in contents.items():
                _fill(temporary / name, data)
            _sync(temporary)
            if os.path.lexists(path):
                system(os.rename, path, old)  # a kill before the next rename: sweep() puts it back
            system(os.rename, temporary, path)
        except BaseException:
            _discard(temporary)
            if os.path.lexists(old):
                os.rename(old, path)
            raise
        _sync(path.parent)
        if os.path.lexists(old):
            remove(old)


def remove(path: Path) -> None:
    """Remove a folder; a kill on the way leaves nothing that looks like it."""
    with _explained(path):
        temporary = _beside(path)
        system(os.rename, path, temporary)
        system(_discard, temporary)


def append_line(path: str | Path, text: str, *, sync: bool = False) -> None:
    """Append one line to a log, whole or not at all; `sync` waits until the disk has it."""
    with _explained(Path(path)):
        _stay_inside(Path(path))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with _File(system(os.open, path, flags, 0o666), "ab") as out:
            size, line = os.fstat(out.fileno()).st_size, text.encode() + b"\n"
            try:
                while line:
                    line = line[out.write(line) :]
                if sync:
                    system(os.fsync, out.fileno())
            except OSError:
                os.ftruncate(out.fileno(), size)
                raise


def truncate_log(path: str | Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Keep the lines of a JSON log for which `keep` says so, as they are; a torn line is dropped."""
    kept = []
    with suppress(FileNotFoundError), open(path, "rb") as source:
        for line in source:
            with suppress(ValueError):
                entry = json.loads(line)
                if line.endswith(b"\n") and isinstance(entry, dict) and keep(entry):
                    kept.append(line)
        write(path, b"".join(kept))


def sweep(folder: str | Path) -> None:
    """Remove what killed processes left half-done below a locked folder, and put back what was being replaced."""
    with _explained(Path(folder)):
        for stray in list(Path(folder).rglob(TEMPORARY + "*")):
            _discard(stray)
        for old in list(Path(folder).rglob(OLD + "*")):
            home = old.with_name(old.name.removeprefix(OLD))
            _discard(old) if os.path.lexists(home) else os.rename(old, home)


@contextmanager
def lock(folder: str | Path) -> Iterator[None]:
    """Hold a run folder for this process; nothing is then written through links that lead out of it.

    Raises:
        WeightsError: another process holds it; a process that has died holds nothing.
    """
    home = Path(os.path.abspath(folder))
    if home in _held:
        raise WeightsError(in_use(folder, os.getpid()))
    with _explained(home):
        handle = os.open(home / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        # A record lock, not flock: loader processes would inherit a flock and keep it after a kill -9 of this one.
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise WeightsError(in_use(folder, os.read(handle, 20).decode().strip() or "unknown")) from error
        with _explained(home):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        _held.add(home)
        yield
    finally:
        _held.discard(home)
        os.close(handle)


def in_use(folder: str | Path, pid: int | str) -> str:
    """Say who holds a run folder."""
    return f"{folder} is in use by process {pid}: wait for it, stop it, or write to another folder with -o"


def free_bytes(folder: str | Path) -> int:
    """Return how many bytes can still be written to the disk of an existing folder."""
    return shutil.disk_usage(folder).free


def _fill(path: Path, data: Content) -> None:
    """Make a new file and wait until the disk has it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with io.BufferedWriter(_File(system(os.open, path, flags, 0o666), "wb"), 1 << 20) as out:
        data(out) if callable(data) else out.write(data)
        out.flush()
        system(os.fsync, out.fileno())


def _sync(folder: Path) -> None:
    """Wait until the disk has the names in a folder."""
    handle = system(os.open, folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        system(os.fsync, handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot, and need not
            raise
    finally:
        os.close(handle)


def _beside(path: Path) -> Path:
    """Return a new name in the folder of `path`, for a temporary."""
    _stay_inside(path)
    return path.with_name(f"{TEMPORARY}{path.name[:40]}-{os.getpid()}-{secrets.token_hex(4)}")


def _stay_inside(path: Path) -> None:
    """Refuse a path that starts in a locked folder and leads out of it through a link."""
    for home in _held:
        if home in Path(os.path.abspath(path)).parents and not path.parent.resolve().is_relative_to(home.resolve()):
            raise WeightsError(f"{path.parent} is a link that leads out of {home}: replace it by a folder")


def _discard(path: Path) -> None:
    """Delete a file, a link or a folder, if it is there."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the system says into one sentence that says what to do."""
    try:
        yield
    except OSError as error:
        todo = ADVICE.get(error.errno or 0, "check the path and its permissions")
        raise ResourceError(f"cannot write {path}: {error.strerror or error}; {todo}") from error
