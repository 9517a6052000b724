"""Files of `torch.save`, read in a child process with little memory and time: `read_torch(Path("4x_foo.pth"))`.

Such a file is a pickle, which can run any code. It is opened with `weights_only`, which allows tensors and plain
values only. What that leaves, such as a file of 400 kB that fills the memory, or damage that crashes the reader, ends
in a forked child, which answers with safetensors.
"""

from __future__ import annotations

import json
import os
import re
import resource
import selectors
import signal
import stat
import struct
import time
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from torch import Tensor

from ...checkpoint.tensors import DTYPES, plain, serialise
from ...errors import I2IError, WeightsError
from .unwrap import plain_values, unwrapped

MAX_BYTES = 8 * 2**30  # of a file, and of its tensors
MAX_ENTRIES = 20_000  # of a zip archive
MAX_RATIO = 4  # of the size of the content and that of a zip archive; weights hardly compress
SPARE = 512 * 2**20  # bytes that a reader may use in addition to three times the content
SECONDS = 120.0
SAFER = "where it was made, save only its tensors, e.g. torch.save(model.state_dict(), FILE)"


def read_torch(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file of `torch.save` by name, and the plain values beside them.

    Raises:
        WeightsError: the file is damaged, contains anything but tensors and plain values, or is too large.
    """
    answer = memoryview(answered(file))
    if answer[:1] != b"+":
        raise WeightsError(f"{file} {bytes(answer[1:]).decode(errors='replace')}")
    content = bytes(answer[1:])
    about = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    found = safetensors.torch.load(content)
    return {name: found[name] for name in json.loads(about["order"])}, json.loads(about["rest"])


def answered(file: Path) -> bytearray:
    """Return what a child process answers: "+" and a safetensors file, or "-" and a sentence."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what a crash prints
            for part in answer(file):
                view = memoryview(part).cast("B")
                while len(view):
                    view = view[os.write(writing, view) :]
        finally:
            os._exit(0)
    os.close(writing)
    try:
        return received(reading, file)
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def received(pipe: int, file: Path) -> bytearray:
    """Return all bytes from a pipe, within the limits."""
    found, ends = bytearray(), time.monotonic() + SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, ends - time.monotonic())):
                raise WeightsError(f"{file} cannot be read within {SECONDS:g} s: copy it to a local disk")
            part = os.read(pipe, 1 << 20)
            if not part:
                break
            found += part
            if len(found) > MAX_BYTES + SPARE:
                raise WeightsError(f"{file} is too large: at most {in_units(MAX_BYTES)} of weights are read")
    if not found:
        raise WeightsError(f"{file} is damaged, reading it crashed the process that tried: copy it again")
    return found


def answer(file: Path) -> Iterable[Any]:
    """Read a file, in the child process; see `answered`."""
    size = 0
    try:
        torch.set_num_threads(1)
        limit_memory(SPARE)
        with file.open("rb") as stream:
            size = content_of(stream)
            refuse_changed(stream)
            limit_memory(SPARE + 3 * size)
            kept = torch.load(stream, map_location="cpu", weights_only=True)
        tensors, rest = unwrapped(kept)
        refuse_unusual(tensors, size)
        whole = {name: plain(value, name) for name, value in tensors.items()}
        about = {"order": json.dumps([*whole]), "rest": json.dumps(plain_values(rest))}
        return [b"+", *serialise(whole, about)]
    except Exception as error:
        return [b"-" + reason(error, size).encode(errors="replace")]


def refuse_unusual(tensors: Mapping[str, Tensor], size: int) -> None:
    """Raise WeightsError if a tensor is no plain array, or if all together are much larger than their file."""
    for name, value in tensors.items():
        if value.layout is not torch.strided or value.dtype not in DTYPES or value.is_meta:
            kind = f"{value.dtype}, {value.layout}, on {value.device}".replace("torch.", "")
            raise WeightsError(f"contains a tensor that is not a plain array, '{name}' ({kind}): convert it")
    if sum(value.numel() * value.element_size() for value in tensors.values()) > 2 * size + 2**20:
        raise WeightsError(f"contains tensors that are much larger than its {in_units(size)}: {SAFER}")


def reason(error: Exception, size: int) -> str:
    """Return why a file cannot be read, as the end of a sentence that starts with its name."""
    text = " ".join(str(error).split())
    if isinstance(error, I2IError):
        return text
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or text}"
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return f"claims more memory than its {in_units(size)} can need: it is damaged or malicious"
    if asked := re.search(r"GLOBAL ([\w.]+)|callable ([\w.]+)|class ([\w.]+)", text):
        name = next(filter(None, asked.groups()))
        return f"asks for `{name}`, but weights are tensors only, so nothing in it was run: {SAFER}"
    if "weights_only" in text.lower() or "weights only" in text.lower():
        return f"contains more than tensors and plain values, so nothing in it was run: {SAFER}"
    return "is damaged, truncated or not a file of torch.save: copy it again"


def limit_memory(more: int) -> None:
    """Let this process use `more` bytes than now at most, where the system can limit that."""
    with suppress(OSError, ValueError):
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = now + more if hard == resource.RLIM_INFINITY else min(now + more, hard)
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def content_of(stream: BinaryIO) -> int:
    """Return the size of the content of a file, for a zip archive as its directory has it; refuse a zip bomb.

    Raises:
        WeightsError: it is not a regular file, too large, or an archive that `torch.save` does not write.
    """
    about = os.fstat(stream.fileno())
    if not stat.S_ISREG(about.st_mode):
        raise WeightsError("is not a regular file")
    if about.st_size > MAX_BYTES:
        raise WeightsError(f"is too large, {in_units(about.st_size)}: at most {in_units(MAX_BYTES)} are read")
    zipped = stream.read(4) == b"PK\x03\x04"
    stream.seek(0)
    if not zipped:
        return about.st_size
    directory = directory_size(stream, about.st_size)
    if directory > MAX_ENTRIES * 512:
        raise WeightsError(f"is an archive with a directory of {in_units(directory)}: not a file of weights")
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
    stream.seek(0)
    names = [entry.filename for entry in entries]
    if len(names) > MAX_ENTRIES or len({*names}) < len(names):
        raise WeightsError(f"is an archive with {len(names)} entries or with duplicate ones: not a file of weights")
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise WeightsError(f"is a TorchScript archive, which contains code and is not read: {SAFER}")
    if any(name.endswith(("/archive_format", "models/model.json")) for name in names):
        raise WeightsError("is a file of torch.export, which can contain code and is not read: use .onnx instead")
    if not any(name.endswith("/data.pkl") for name in names):
        raise WeightsError(f"is a zip archive, but not one of torch.save: {SAFER}")
    size = sum(entry.file_size for entry in entries)
    if size > MAX_BYTES or size > MAX_RATIO * about.st_size + 2**20:
        raise WeightsError(
            f"unpacks {in_units(about.st_size)} to {in_units(size)}: at most {MAX_RATIO} times its size and "
            f"{in_units(MAX_BYTES)} are read"
        )
    return size


def refuse_changed(stream: BinaryIO) -> None:
    """Raise WeightsError if an entry of a zip archive differs from its checksum, which `torch.load` ignores."""
    if stream.read(4) == b"PK\x03\x04":
        with zipfile.ZipFile(stream) as archive:
            # Files of torch.save without checksums have 0.
            for entry in (entry for entry in archive.infolist() if entry.CRC):
                try:
                    with archive.open(entry) as content:
                        while content.read(1 << 20):
                            pass
                except zipfile.BadZipFile as error:
                    name = entry.filename.rpartition("/")[2]
                    raise WeightsError(
                        f"is damaged, '{name}' in it differs from its checksum: copy it again"
                    ) from error
    stream.seek(0)


def directory_size(stream: BinaryIO, size: int) -> int:
    """Return the bytes of a zip archive's directory, as the record at its end has it, without reading it."""
    stream.seek(max(0, size - 66_000))
    tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise WeightsError("is truncated, the directory at its end is missing: copy it again")
    (found,) = struct.unpack_from("<L", tail, at + 12)
    if found == 0xFFFFFFFF:  # a large archive: the number is in another record before this one
        before = tail.rfind(b"PK\x06\x06", 0, at)
        found = struct.unpack_from("<Q", tail, before + 40)[0] if 0 <= before <= len(tail) - 48 else size
    return int(found)


def in_units(size: int) -> str:
    """Write a number of bytes in kB, MB or GB."""
    unit, name = next(
        (u, n) for u, n in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B")) if size >= u or u == 1
    )
    return f"{size / unit:.3g} {name}"
