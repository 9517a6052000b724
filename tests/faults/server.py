"""A real server for tests: `i2i serve` in its own process, with a model that fails in every way on request."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image

from i2i import checkpoint

PLUGIN = '''
import time
from typing import Literal

import torch
from i2i import Task, hookimpl
from i2i.modalities import Image


class Trouble(Task):
    """Inverts pictures, or fails on request."""

    makes = Image(size=8)

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def players(self):
        return {"G": [self]}

    def translate(self, image, how: Literal["fine", "raise", "nan", "memory", "slow"] = "fine", seconds: float = 1.0):
        if how == "raise":
            raise RuntimeError("/secret/place is broken")
        if how == "memory":
            torch.empty(1 << 60)
        if how == "slow":
            time.sleep(float(seconds))
        return -image * (float("nan") if how == "nan" else self.weight)

    def sample(self, n, seconds: float = 0.0):
        time.sleep(float(seconds))
        return torch.rand(n, 3, 8, 8) * 2 - 1


@hookimpl
def register(catalog):
    catalog.task("trouble", Trouble)
'''
START = """
import sys
from i2i_serve.command import run
from i2i_serve.limits import Limits
sys.exit(run("127.0.0.1", {port}, {models!r}, [{plugin!r}], {token!r}, [], Limits(**{limits!r})))
"""


def trouble(folder: Path) -> tuple[str, str]:
    """Write a plugin file and the weights of its model; return both paths."""
    plugin, weights = folder / "trouble.py", folder / "trouble.safetensors"
    plugin.write_text(PLUGIN)
    checkpoint.save_model(weights, {"weight": torch.ones(1)}, "task: {use: trouble}\n", {})
    return str(plugin), str(weights)


class Server:
    """A server that runs; `url`, `port` and the process `pid`."""

    def __init__(self, folder: Path, *models: str, port: int = 0, token: str | None = None, **limits: Any) -> None:
        plugin, weights = trouble(folder)
        code = START.format(port=port, models=[weights, *models], plugin=plugin, token=token, limits=limits)
        self.tmp = folder / "tmp"
        self.tmp.mkdir(exist_ok=True)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], stderr=log, cwd=folder, env={**os.environ, "TMPDIR": str(self.tmp)}
            )
        self.port = int(self._said(r"http://127\.0\.0\.1:(\d+)"))
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def _said(self, pattern: str) -> str:
        latest = time.monotonic() + 90  # importing torch takes long on a busy computer
        while time.monotonic() < latest and self.process.poll() is None:
            found = re.search(pattern, self.log.read_text())
            if found:
                return found[1]
            time.sleep(0.05)
        self.process.kill()
        raise AssertionError(self.log.read_text())

    @property
    def worker(self) -> int:
        """The id of the process that computes: the one that stands by is younger, but its number may be smaller."""
        found = subprocess.run(
            ["pgrep", "--oldest", "-P", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return int(found.stdout.split()[0]) if found.stdout else 0

    def translate(self, content: bytes, name: str = "picture.png", **conditions: Any) -> httpx.Response:
        """Translate a picture with the model that fails on request."""
        fields = {"model": "trouble", "conditions": str(conditions).replace("'", '"')}
        return self.client.post("/v1/translate", data=fields, files={"picture": (name, content)})

    def raw(self, data: bytes, seconds: float = 10) -> bytes:
        """Send bytes, and return what comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as line:
            with suppress(ConnectionError):
                line.sendall(data)
            return received(line)

    def memory(self) -> float:
        """Return the memory of the server in MB, without its worker."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1000  # type: ignore[index]

    def numbers(self) -> dict[str, float]:
        """Return the lines of /metrics."""
        lines = [line.rsplit(" ", 1) for line in self.client.get("/metrics").text.splitlines() if line[0] != "#"]
        return {name: float(value) for name, value in lines}

    def stop(self) -> int:
        """End the server, and return its exit code."""
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


def received(line: socket.socket) -> bytes:
    """Return what arrives until the other side closes the connection or says nothing more."""
    found = b""
    with suppress(ConnectionError, TimeoutError):
        while chunk := line.recv(65536):
            found += chunk
    return found


def picture(width: int = 16, height: int = 12, kind: str = "PNG", seed: int = 0) -> bytes:
    """Return a picture of noise."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(buffer, format=kind)
    return buffer.getvalue()


def multipart(*parts: tuple[str, bytes], end: bytes = b"--B--\r\n") -> bytes:
    """Return the body of a form: the lines of the header of each part, and its content."""
    made = b""
    for head, content in parts:
        made += b"--B\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"
    return made + end


def field(name: str, value: str) -> tuple[str, bytes]:
    """Return a part of a form."""
    return f'Content-Disposition: form-data; name="{name}"', value.encode()


def upload(content: bytes, name: str = "a.png") -> tuple[str, bytes]:
    """Return the part of a form with the picture."""
    return f'Content-Disposition: form-data; name="picture"; filename="{name}"', content
