"""The worker seen from the server: one process that computes, and one that stands by in case it dies.

A process rather than a thread, because a picture that takes all the memory, hangs in a decoder or crashes in C must
cost one request and not the server; and a single one, because it uses all cores for each picture by itself. The other
has only imported what it needs: on a busy computer that takes longer than clients should wait.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from typing import Any

from i2i import ResourceError, images

from . import frames
from .counts import Counts
from .jobs import Job, Result
from .limits import Limits, Refusal

STARTS = 120.0  # seconds that a start may take: torch may be on a slow disk
AGAIN = 1.0  # seconds before the next try, if a start failed


class Stopped(Exception):
    """The process ended with an error that it has printed; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the process that computes ended with exit code {code}")
        self.code = code


class Process:
    """One process that computes, made by `Process.started`.

    Args:
        process: it.
        reader, writer: the pipe to it.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process, self.reader, self.writer = process, reader, writer
        self.models: list[dict[str, Any]] = []

    @classmethod
    async def started(cls, wanted: dict[str, Any], pixels: int) -> Process:
        """Start a process, and wait until it can compute.

        Raises:
            ResourceError: it did not start.
            Stopped: it ended with an error of i2i, which it has printed.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "i2i_serve.inference", str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, "I2I_LIMITS": f"{pixels / images.MAX_PIXELS:g}"},
            )
        made = cls(process, *await asyncio.open_connection(sock=ours))
        try:
            head, _ = await asyncio.wait_for(made.ask(wanted, []), STARTS)
        except (EOFError, OSError, TimeoutError, asyncio.TimeoutError) as error:
            code = await made.end(5 if isinstance(error, EOFError) else 0)
            if code > 0:
                raise Stopped(code) from error
            raise ResourceError(f"the process that computes did not start (exit code {code})") from error
        except asyncio.CancelledError:
            await made.end()
            raise
        made.models = head["models"]
        return made

    async def ask(self, head: dict[str, Any], blobs: list[bytes]) -> frames.Message:
        """Send a message, and return the answer. Raises: EOFError, OSError, the process has gone."""
        self.writer.write(frames.packed(head, blobs))
        await self.writer.drain()
        return await frames.read(self.reader)

    def kill(self) -> None:
        """End the process now."""
        with suppress(ProcessLookupError):
            self.process.kill()

    async def end(self, seconds: float = 0) -> int:
        """Return the exit code of the process, which is killed if it does not end within this time."""
        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self.process.wait(), seconds)
        self.kill()
        code = await self.process.wait()
        self.writer.close()
        return code


class Worker:
    """What computes: a process at a time.

    Args:
        models: what `-m` takes; [] for all of `i2i models`.
        plugin: files of plugins.
        limits: of the server.
        counts: for /metrics.

    Attributes:
        models: what the process said about each model, by its public name.
        ready: whether there is a process that can compute.
    """

    def __init__(self, models: list[str], plugin: list[str], limits: Limits, counts: Counts) -> None:
        self.wanted = {"models": models, "plugin": plugin, "memory": limits.worker, "keep": 4}
        self.limits, self.counts = limits, counts
        self.models: dict[str, dict[str, Any]] = {}
        self.ready = asyncio.Event()
        self.current: Process | None = None

    async def start(self) -> None:
        """Start the first process. Raises: as `Process.started`."""
        self._use(await Process.started(self.wanted, self.limits.pixels))

    def _use(self, process: Process) -> None:
        self.current = process
        self.models = {model["name"]: model for model in process.models}
        self.ready.set()

    async def watch(self) -> None:
        """Replace the process whenever it ends, until this is cancelled; then end all."""
        spare: asyncio.Task[Process] | None = None
        try:
            while self.current is not None:
                spare = asyncio.create_task(self._another())
                code = await self.current.process.wait()
                self.ready.clear()
                print(f"i2i: the process that computes ended ({code}) and is replaced", file=sys.stderr)
                self.counts.restarts += 1
                self.current.writer.close()
                self._use(await spare)
        finally:
            self.ready.clear()
            if spare is not None:
                spare.cancel()
                with suppress(asyncio.CancelledError):
                    await (await spare).end()
            if self.current is not None:
                await self.current.end()

    async def _another(self) -> Process:
        """Return another process; try until one starts."""
        while True:
            try:
                return await Process.started(self.wanted, self.limits.pixels)
            except (Stopped, ResourceError, OSError) as error:
                print(f"i2i: {error}; the next try is in {AGAIN:g} s", file=sys.stderr)
                await asyncio.sleep(AGAIN)

    async def compute(self, job: Job) -> tuple[Any, list[Result]]:
        """Return the data and the pictures of a job.

        Raises:
            Refusal: it failed, took too long, or the process ended.
        """
        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self.ready.wait(), 30)
        process = self.current
        if process is None or not self.ready.is_set():
            raise gone()
        head = {"do": job.do, "model": job.model, "options": job.options, "names": list(job.blobs), "id": job.id[:8]}
        try:
            answer, blobs = await asyncio.wait_for(process.ask(head, list(job.blobs.values())), self.limits.seconds)
        except (TimeoutError, asyncio.TimeoutError) as error:
            self.ready.clear()
            process.kill()
            most = f"{self.limits.seconds:g} s"
            raise Refusal(422, f"This took longer than {most}, the limit: send a smaller picture.") from error
        except (EOFError, OSError, ValueError) as error:
            self.ready.clear()
            process.kill()
            raise gone() from error
        if "error" in answer:
            raise Refusal(answer["status"], answer["error"], answer.get("retry"))
        results = [Result(blob, **about) for blob, about in zip(blobs, answer["results"], strict=True)]
        return answer["data"], results


def gone() -> Refusal:
    """Return the refusal of a job whose process ended."""
    return Refusal(503, "The process that computes ended and is being replaced: try again.", 3)
