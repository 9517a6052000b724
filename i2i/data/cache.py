"""A cache of resized pictures: uint8 [N, 3, size, size] in one memory-mapped file, each decoded only once.

The file is a `.npy` that `numpy.load(mmap_mode="r")` opens directly, followed by a line of JSON and their CRC-32. The
JSON has a hash of what the cache was made from (names, sizes, times and inodes of the files, the size in pixels) and
which pictures could not be read. A cache that is out of date or damaged is rebuilt, with a message. It is safe to
delete. (safetensors cannot be written picture by picture, and has no checksum.)
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL

from .. import files
from ..errors import DataError, counted

FOLDER = ".i2i-cache"
FORMAT = 2
CHUNK = 1 << 24  # bytes checked, or kept in flight, at a time


class Cache:
    """The pictures of one folder at one size. Reading one is a slice of a memory map.

    Args:
        file: the cache; it is built if it does not exist or cannot be used.
        paths: the pictures, in order.
        size: height and width, in pixels.
        read: returns a picture as uint8 [size, size, 3], or raises DataError with the reason.

    Raises:
        OSError, I2IError: the file cannot be written.

    Example:
        >>> Cache(Path("trainA-286.npy"), paths, 286, read)[0].shape               # doctest: +SKIP
        (286, 286, 3)
    """

    def __init__(self, file: Path, paths: Sequence[Path], size: int, read: Callable[[Path], np.ndarray]) -> None:
        self.file, self.shape = file, (len(paths), 3, size, size)
        self._pixels: np.ndarray | None = None
        self.bad: dict[int, str] = {}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with alone(self.file.parent) as locked:
            key = key_of(paths, size)
            why = self._open(key, paths, read)
            if why is not None:
                if locked:
                    files.sweep(self.file.parent)  # left by killed processes
                self._build(key, paths, read, why)
                why = self._open(key, paths, read=None)
                if why is not None:
                    raise OSError(f"{self.file} is {why} just after it was written")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        """Return picture `index`, uint8 [size, size, 3], read-only.

        Raises:
            DataError: the picture could not be read when the cache was built.
        """
        if index in self.bad:
            raise DataError(self.bad[index])
        if self._pixels is None:  # unpickled in another process
            self._pixels = np.asarray(np.load(self.file, mmap_mode="r"))
        return self._pixels[index].transpose(1, 2, 0)  # stored channels first, as samples are

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": None}  # a pickled memory map would contain all pixels

    def _open(self, key: str, paths: Sequence[Path], read: Callable[[Path], np.ndarray] | None) -> str | None:
        """Map the file, or return the reason why it cannot be used."""
        if not self.file.exists():
            return "missing"
        try:
            pixels = np.load(self.file, mmap_mode="r")
            with open(self.file, "rb") as source:
                source.seek(pixels.offset + pixels.nbytes)
                tail = source.read()
            about, end = json.JSONDecoder().raw_decode(tail.decode("latin-1"), 1)
            if about["key"] != key:
                return "out of date"
            fits = pixels.shape == self.shape and pixels.dtype == np.uint8
            if not fits or tail[end:] != b"%08x" % zlib.crc32(tail[:end], checksum(pixels)):
                return "damaged"
        except Exception:  # a damaged header makes numpy raise nearly anything
            return "damaged"
        bad = {int(index): why for index, why in about["bad"].items()}
        if read and any(readable(paths[index], read) for index in bad):
            return "out of date"  # e.g. a network drive is back, or permissions were fixed
        self._pixels, self.bad = np.asarray(pixels), bad
        return None

    def _build(self, key: str, paths: Sequence[Path], read: Callable[[Path], np.ndarray], why: str) -> None:
        """Decode all pictures and write the file atomically."""
        need = int(np.prod(self.shape))
        if need > files.free_bytes(self.file.parent) / 2:
            raise OSError(f"it needs {need >> 20} MB, more than half of the free space")
        said = "" if why == "missing" else f" (the existing file is {why})"
        pictures = counted(len(paths), "picture")
        print(f"i2i: caching {pictures}, {need >> 20} MB, in {self.file}{said}", file=sys.stderr)

        def write(target: BinaryIO) -> None:
            header = {"descr": "|u1", "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(target, header)
            crc, bad = 0, {}
            for index, picture in enumerate(decoded(paths, self.shape[2], read)):
                if isinstance(picture, DataError):
                    bad[index] = str(picture)
                    picture = np.zeros((*self.shape[2:], 3), np.uint8)
                planes = np.ascontiguousarray(picture.transpose(2, 0, 1)).data
                crc = zlib.crc32(planes, crc)
                target.write(planes)
            about = b"\n" + json.dumps({"key": key, "bad": bad}).encode()
            target.write(about + b"%08x" % zlib.crc32(about, crc))

        files.write(self.file, write)


def decoded(paths: Sequence[Path], size: int, read: Callable[[Path], np.ndarray]) -> Iterator[np.ndarray | DataError]:
    """Yield each picture, or the error of reading it, in order; threads decode ahead, within bounded memory."""

    def attempt(path: Path) -> np.ndarray | DataError:
        try:
            return read(path)
        except DataError as error:
            return error

    live = sys.stderr.isatty()
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ahead = max(threads, min(256, CHUNK // (size * size * 3)))
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(paths), ahead):
            yield from pool.map(attempt, paths[start : start + ahead])
            if live:
                done = min(start + ahead, len(paths))
                end = "\n" if done == len(paths) else ""
                print(f"\r  {done}/{len(paths)}", end=end, file=sys.stderr, flush=True)


def readable(path: Path, read: Callable[[Path], np.ndarray]) -> bool:
    """Return whether `read` succeeds."""
    try:
        read(path)
    except DataError:
        return False
    return True


def key_of(paths: Sequence[Path], size: int) -> str:
    """Return a hash of everything the cached pixels depend on."""
    stats = []
    for path in paths:
        try:
            stat = path.stat()
            name = os.path.relpath(path, paths[0].parent)
            # Uncompressed pictures share a size, and unzip, cp -p and rsync -t keep times: ctime and inode reveal
            # a file that was replaced or renamed.
            stats.append((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))
        except OSError:  # deleted since it was listed; reading it will fail
            stats.append((str(path), -1, -1, -1, -1))
    return hashlib.sha256(repr((FORMAT, PIL.__version__, size, stats)).encode(errors="replace")).hexdigest()


def checksum(pixels: np.ndarray) -> int:
    """Return the CRC-32 of all pixels, reading them chunk by chunk."""
    flat, crc = pixels.reshape(-1), 0
    for start in range(0, flat.size, CHUNK):
        crc = zlib.crc32(flat[start : start + CHUNK].data, crc)
    return crc


def place(root: Path) -> Path:
    """Return the folder for the caches of a data set: in $I2I_CACHE if set, else in `root`, else in ~/.cache/i2i."""
    if not os.environ.get("I2I_CACHE") and os.access(root, os.W_OK):
        return root / FOLDER
    base = Path(os.environ.get("I2I_CACHE") or Path.home() / ".cache" / "i2i")
    return base / f"{root.resolve().name}-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:8]}"


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Wait until no other process builds a cache in this folder; yield whether the folder could be locked."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            locked = True
        except OSError:  # a file system without locks: the cache may be built twice, but is complete each time
            locked = False
        yield locked
    finally:
        os.close(handle)
