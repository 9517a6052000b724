"""The worker seen from the server: one process that computes, started again when it dies.

A process rather than a thread, because a picture that takes all the memory, hangs in a decoder or crashes in C must
cost one request and not the server; and a single one, because it uses all cores for each picture by itself.
"""

from __future__ import annotations

import asyncio
import json
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
GONE = Refusal(503, "The process that computes ended and is being started again: try again.", 3)


class Worker:
    """One process that computes.

    Args:
        models: what `-m` takes; [] for all of `i2i models`.
        plugin: files of plugins.
        limits: of the server.
        counts: for /metrics.

    Attributes:
        models: what the process said about each model, by its public name.
        pid: of the process.
    """

    def __init__(self, models: list[str], plugin: list[str], limits: Limits, counts: Counts) -> None:
        self.wanted = {"models": models, "plugin": plugin, "memory": limits.worker, "keep": 4}
        self.limits, self.counts = limits, counts
        self.models: dict[str, dict[str, Any]] = {}
        self.ready = asyncio.Event()
        self.process: asyncio.subprocess.Process | None = None
        self.stopping = False

    @property
    def pid(self) -> int:
        """The id of the process; 0 while there is none."""
        return self.process.pid if self.process is not None and self.ready.is_set() else 0

    async def start(self) -> None:
        """Start the process, and wait until it can compute.

        Raises:
            ResourceError: it did not start.
            Stopped: it ended with an error of i2i, which it has printed.
        """
        ours, theirs = socket.socketpair()
        factor = self.limits.pixels / images.MAX_PIXELS
        with theirs:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "i2i_serve.inference", str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, "I2I_LIMITS": f"{factor:g}"},
            )
        self.reader, self.writer = await asyncio.open_connection(sock=ours)
        self.writer.write(frames.packed(self.wanted))
        try:
            head, _ = await asyncio.wait_for(frames.read(self.reader), STARTS)
        except (EOFError, OSError, TimeoutError, asyncio.TimeoutError) as error:
            code = await self._ended(5 if isinstance(error, EOFError) else 0)
            if code > 0:
                raise Stopped(code) from error
            raise ResourceError(f"the process that computes did not start (exit code {code})") from error
        self.models = {model["name"]: model for model in head["models"]}
        self.ready.set()

    async def _ended(self, seconds: float) -> int:
        """Return the exit code of the process, which is killed if it does not end within this time."""
        assert self.process is not None
        with suppress(TimeoutError, asyncio.TimeoutError):
            return await asyncio.wait_for(self.process.wait(), seconds)
        with suppress(ProcessLookupError):
            self.process.kill()
        return await self.process.wait()

    async def watch(self) -> None:
        """Start the process again whenever it ends, for ever."""
        while not self.stopping:
            if self.process is not None:
                code = await self.process.wait()
                self.ready.clear()
                self.writer.close()
                if self.stopping:
                    return
                print(f"i2i: the process that computes ended ({code}) and is started again", file=sys.stderr)
                self.counts.restarts += 1
            try:
                await self.start()
            except (Stopped, ResourceError, OSError) as error:
                print(f"i2i: {error}; the next try is in {AGAIN:g} s", file=sys.stderr)
                await asyncio.sleep(AGAIN)

    async def compute(self, job: Job) -> tuple[Any, list[Result]]:
        """Return the data and the pictures of a job.

        Raises:
            Refusal: it failed, took too long, or the process ended.
        """
        try:
            await asyncio.wait_for(self.ready.wait(), 30)
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise GONE from error
        head = {"do": job.do, "model": job.model, "options": job.options, "names": list(job.blobs), "id": job.id[:8]}
        try:
            self.writer.write(frames.packed(head, list(job.blobs.values())))
            answer, blobs = await asyncio.wait_for(self._answer(), self.limits.seconds)
        except (TimeoutError, asyncio.TimeoutError) as error:
            self.kill()
            most = f"{self.limits.seconds:g} s"
            raise Refusal(422, f"This took longer than {most}, the limit: send a smaller picture.") from error
        except (EOFError, OSError, json.JSONDecodeError) as error:
            self.ready.clear()
            raise GONE from error
        if "error" in answer:
            raise Refusal(answer["status"], answer["error"], answer.get("retry"))
        results = [Result(blob, **about) for blob, about in zip(blobs, answer["results"], strict=True)]
        return answer["data"], results

    async def _answer(self) -> frames.Message:
        await self.writer.drain()
        return await frames.read(self.reader)

    def kill(self) -> None:
        """End the process now; `watch` starts another."""
        self.ready.clear()
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()

    async def stop(self) -> None:
        """End the process for good."""
        self.stopping = True
        self.kill()
        if self.process is not None:
            await self.process.wait()


class Stopped(Exception):
    """The process ended with an error that it has printed; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the process that computes ended with exit code {code}")
        self.code = code
