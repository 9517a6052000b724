"""Requests, a minimal HTTP client, and the memory of processes, for benchmarks/serve.py."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

FORM = "Content-Type: multipart/form-data; boundary=B"
PNG = b"\x89PNG\r\n\x1a\n"
ENDLESS = b"\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 25


async def ask(port: int, request: bytes) -> tuple[int, bytes, bytes]:
    """Send a request, and return status, head in lower case, and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 180)).lower()
        length = re.search(rb"content-length: (\d+)", head)
        return int(head.split()[1]), head, await reader.readexactly(int(length[1])) if length else b""
    finally:
        writer.close()


def get(path: str, method: str = "GET") -> bytes:
    """Return a request without a body."""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


def posted(path: str, kind: str, body: bytes) -> bytes:
    """Return a request with a body."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{kind}\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


def post_json(path: str, value: dict[str, Any]) -> bytes:
    """Return a request of JSON."""
    return posted(path, "Content-Type: application/json", json.dumps(value).encode())


def translation(model: str, picture: bytes, wait: bool) -> bytes:
    """Return a request for a translation."""
    fields = {"model": model, "wait": str(wait).lower()}
    parts = [f'--B\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
    start = b'--B\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n'
    return posted("/v1/translate", FORM, b"".join([*parts, start, picture, b"\r\n--B--\r\n"]))


def png_bomb(side: int) -> bytes:
    """Return a black PNG of 1 bit."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    data = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return PNG + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def worker_of(pid: int) -> int:
    """Return the id of the process that computes; 0 if there is none."""
    found = subprocess.run(
        ["pgrep", "--oldest", "-P", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    return int(found[0]) if found else 0


def resident(pid: int) -> float:
    """Return the memory of a process in MB; 0 if there is none."""
    with suppress(OSError):
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1000 if found else 0.0
    return 0.0


def number(answer: tuple[int, bytes, bytes], name: str) -> float:
    """Return a number of /metrics."""
    found = re.search(rf"^{name} (\S+)$", answer[2].decode(), flags=re.M)
    assert found is not None
    return float(found[1])
