"""Runs the server: binds the port, starts the worker, serves until a signal, and drains."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import uvicorn

from i2i import ConfigError, ResourceError
from i2i.errors import counted

from .app import application
from .connection import connections
from .counts import Counts
from .jobs import Queue
from .limits import Limits
from .server import State
from .worker import Stopped, Worker

SIGNALS = (signal.SIGTERM, signal.SIGINT)
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Server(uvicorn.Server):
    """uvicorn's server, which lets the queue finish first."""

    queue: Queue
    limits: Limits

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, finish or fail the jobs, and close the connections."""
        for server in self.servers:
            server.close()
        if self.queue.waiting or self.queue.running:
            print(f"i2i: stopping; jobs that do not finish within {self.limits.drain:g} s fail", file=sys.stderr)
        await self.queue.drain()
        await super().shutdown(sockets)


def run(
    host: str,
    port: int,
    models: Sequence[str],
    plugin: Sequence[str],
    token: str | None,
    names: Sequence[str],
    limits: Limits,
) -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit code.

    Raises:
        ConfigError: an address that others can reach, without a token.
        ResourceError: the port cannot be used.
    """
    if host not in LOOPBACK and not token:
        raise ConfigError(
            f"--host {host}: others can reach this address, so give a token: --token, or I2I_SERVE_TOKEN in the "
            f"environment"
        )
    with bound(host, port) as listening:
        return asyncio.run(serve(listening, host, models, plugin, token, names, limits))


def bound(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises: ResourceError, it cannot be had."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
        return listening
    except OSError as error:
        raise ResourceError(
            f"{host}:{port} cannot be used: {error.strerror or error}; choose another with --port or --host"
        ) from error


async def serve(
    listening: socket.socket,
    host: str,
    models: Sequence[str],
    plugin: Sequence[str],
    token: str | None,
    names: Sequence[str],
    limits: Limits,
) -> int:
    """Serve on a socket; return the exit code."""
    counts = Counts()
    worker = Worker(list(models), list(plugin), limits, counts)
    try:
        if not await started(worker):
            return 0
    except Stopped as stopped:
        return stopped.code
    queue = Queue(worker, limits, counts)
    port = listening.getsockname()[1]
    app = application(State(queue, worker, limits, counts), {*LOOPBACK, host, *names}, token)
    server = Server(config(app, limits))
    server.queue, server.limits = queue, limits
    tasks = [asyncio.create_task(task) for task in (worker.watch(), queue.run(), queue.sweep())]
    shown = f"[{host}]" if ":" in host else host
    print(
        f"i2i: serving {counted(len(worker.models), 'model')} on http://{shown}:{port}{'/#token=…' if token else ''}",
        file=sys.stderr,
    )
    try:
        await server.serve([listening])
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    return 0


async def started(worker: Worker) -> bool:
    """Start the worker; return False if a signal came first."""
    loop, start = asyncio.get_running_loop(), asyncio.ensure_future(worker.start())
    for number in SIGNALS:
        loop.add_signal_handler(number, start.cancel)
    try:
        await start
        return True
    except asyncio.CancelledError:
        return False
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, lambda *_: None)  # uvicorn raises them again when it has finished


def config(app: Any, limits: Limits) -> uvicorn.Config:
    """Return the settings of uvicorn."""
    logging.getLogger("python_multipart").setLevel("CRITICAL")  # it warns of every malformed form
    logging.getLogger("uvicorn.error").setLevel(os.environ.get("I2I_SERVE_LOG", "ERROR"))
    return uvicorn.Config(
        app,
        http=connections(limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=16_000,
        proxy_headers=False,
    )
