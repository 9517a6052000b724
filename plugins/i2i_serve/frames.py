"""What the server and its worker send each other: a JSON object and some byte strings, with their lengths in front.

Nothing is pickled: the worker decodes pictures of strangers, and must not be able to make the server run code.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

LENGTH = struct.Struct(">I")
Message = tuple[dict[str, Any], list[bytes]]


def packed(head: dict[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """Return a message as bytes."""
    text = json.dumps({"head": head, "sizes": [len(blob) for blob in blobs]}).encode()
    return b"".join([LENGTH.pack(len(text)), text, *blobs])


async def read(stream: asyncio.StreamReader) -> Message:
    """Read a message. Raises: EOFError, the other side has gone (`IncompleteReadError`)."""
    (length,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
    text = json.loads(await stream.readexactly(length))
    return text["head"], [await stream.readexactly(size) for size in text["sizes"]]


def read_now(file: BinaryIO) -> Message:
    """Read a message from a blocking file. Raises: EOFError, the other side has gone."""
    (length,) = LENGTH.unpack(_exactly(file, LENGTH.size))
    text = json.loads(_exactly(file, length))
    return text["head"], [_exactly(file, size) for size in text["sizes"]]


def _exactly(file: BinaryIO, count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise EOFError
    return found
