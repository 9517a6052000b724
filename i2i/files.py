"""The one room that writes files: whole or not at all, and still there after a power cut. `write(path, data)`.

What is new is built as `.tmp-i2i-...` beside its target (a rename cannot cross file systems), synced to the disk and
renamed; then the folder is synced. A kill at any moment leaves the old or the new, and strays that `sweep` removes.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from .errors import ResourceError, WeightsError

Content = bytes | Iterable[Any] | Callable[[BinaryIO], Any]  # the bytes, parts of them, or what writes them to a file
TEMPORARY, OLD = ".tmp-i2i-", ".old-i2i-"
FULL = (errno.ENOSPC, errno.EDQUOT)
_held: set[Path] = set()  # the run folders that this process has locked


def system(call: Callable[..., Any], *arguments: Any) -> Any:
    """Make one system call. All pass here, so that a test can let the n-th one fail or end the process."""
    return call(*arguments)


def write(path: str | Path, data: Content) -> None:
    """Write a file, whole or not at all.

    Raises:
        ResourceError: the disk is full, read-only or broken; what was there before still is.
        WeightsError: a link leads out of the run folder.
    """
    with _replacing(Path(path)) as temporary:
        _fill(temporary, data)


def write_folder(path: str | Path, contents: Mapping[str, Content]) -> None:
    """Write a folder of files, whole or not at all; one that is there already is replaced. Raises: as `write`."""
    path = Path(path)
    old = path.with_name(OLD + path.name)
    _settle(old)
    try:
        with _replacing(path) as temporary:
            system(os.mkdir, temporary)
            for name, data in contents.items():
                _fill(temporary / name, data)
            _sync(temporary)
            if os.path.lexists(path):
                system(os.rename, path, old)  # killed before the new one has its name, sweep() puts it back
    finally:
        _settle(old)


def make_folder(path: str | Path) -> None:
    """Make a folder, and those above it, unless it is there. Raises: as `write`."""
    with _explained(path):
        Path(path).mkdir(parents=True, exist_ok=True)


def remove(path: str | Path) -> None:
    """Delete a file or folder; killed on the way, it leaves nothing that looks like one."""
    with _explained(path):
        temporary = _beside(Path(path))
        system(os.rename, path, temporary)
        system(_discard, temporary)


def append_line(path: str | Path, text: str, *, sync: bool = False) -> None:
    """Append a line to a log, whole or not at all; `sync` waits until the disk has it. Raises: as `write`."""
    _stay_inside(Path(path))
    with _explained(path), _File(path, "ab", opener=_open) as out:
        line, before = text.encode() + b"\n", out.tell()
        try:
            while line:
                line = line[out.write(line) :]
            if sync:
                system(os.fsync, out.fileno())
        except OSError:
            out.truncate(before)
            raise


def truncate_log(path: str | Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Keep those lines of a JSON log, byte for byte, that are whole and of which `keep` says so."""
    kept = []
    with suppress(FileNotFoundError), open(path, "rb") as source:
        for line in source:
            with suppress(ValueError):
                entry = json.loads(line)
                if line.endswith(b"\n") and isinstance(entry, dict) and keep(entry):
                    kept.append(line)
        write(path, kept)


def sweep(folder: str | Path) -> None:
    """Clean up, below a folder that this process holds, what killed processes left half-done."""
    with _explained(folder):
        for stray in list(Path(folder).rglob(TEMPORARY + "*")):
            _discard(stray)
        for old in list(Path(folder).rglob(OLD + "*")):
            _settle(old)


@contextmanager
def lock(folder: str | Path) -> Iterator[None]:
    """Hold a run folder for this process; until it ends, nothing is written through links that lead out of it.

    Raises:
        WeightsError: another process holds it. A process that has died holds nothing.
    """
    home = Path(os.path.abspath(folder))
    with _explained(folder):
        handle = _claim(home)
    _held.add(home)
    try:
        yield
    finally:
        _held.discard(home)
        os.close(handle)


def free_bytes(folder: str | Path) -> int:
    """Return how many bytes can still be written to the disk of a folder."""
    return shutil.disk_usage(folder).free


class _File(io.FileIO):
    def write(self, data: Any, /) -> int:
        return system(super().write, data)


def _open(path: str | Path, flags: int) -> int:
    return system(os.open, path, flags | os.O_NOFOLLOW, 0o666)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    with _explained(path):
        temporary = _beside(path)
        try:
            yield temporary
            system(os.replace, temporary, path)
        except BaseException:
            with suppress(OSError):
                _discard(temporary)
            raise
        _sync(path.parent)


def _fill(path: Path, data: Content) -> None:
    with io.BufferedWriter(_File(path, "xb", opener=_open), 1 << 20) as out:
        parts: Iterable[Any] = [data] if isinstance(data, bytes) else () if callable(data) else data
        out.writelines(parts)
        if callable(data):
            data(out)
        out.flush()
        system(os.fsync, out.fileno())


def _sync(folder: Path) -> None:
    handle = system(os.open, folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        system(os.fsync, handle)
    finally:
        os.close(handle)


def _settle(old: Path) -> None:
    if os.path.lexists(old):
        home = old.with_name(old.name.removeprefix(OLD))
        remove(old) if os.path.lexists(home) else os.rename(old, home)


def _discard(path: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _beside(path: Path) -> Path:
    _stay_inside(path)
    return path.with_name(f"{TEMPORARY}{path.name[:40]}-{os.getpid()}-{secrets.token_hex(4)}")


def _stay_inside(path: Path) -> None:
    for home in _held:
        if home in Path(os.path.abspath(path)).parents and not path.parent.resolve().is_relative_to(home.resolve()):
            raise WeightsError(f"{path.parent} is a link that leads out of {home}: put a folder in its place")


def _claim(home: Path) -> int:
    owner = str(os.getpid())
    if home not in _held:
        handle = _open(home / ".lock", os.O_RDWR | os.O_CREAT)
        try:
            # A record lock: a flock would pass to the loader processes and, in them, outlive a kill -9 of this one.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(handle, 0)
            os.pwrite(handle, owner.encode(), 0)
            return handle
        except BlockingIOError:
            owner = os.read(handle, 20).decode()
        os.close(handle)
    raise WeightsError(f"{home} is in use by process {owner}: stop it, or choose another folder with -o")


@contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        todo = "free some space" if error.errno in FULL else "check the disk and the path, or use another with -o"
        raise ResourceError(f"cannot write {path}: {error.strerror or error}; {todo}") from error
