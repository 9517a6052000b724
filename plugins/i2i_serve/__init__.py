"""`i2i serve`: a page for people and an HTTP API for programs, on this computer.

pip install 'i2i[serve]' && i2i serve                    # all of `i2i models`, on http://127.0.0.1:8000
i2i serve -m runs/spade -m "restore | upscale-x2" --port 8080

    command.py connection.py guard.py   the server: its life, slow clients, who may ask for what
    app.py routes.py computing.py schema.py form.py    the routes
    jobs.py limits.py counts.py         the queue, and what one may ask for
    worker.py frames.py                 the process that computes, seen from the server
    inference.py menu.py abilities.py actions.py encoding.py    that process
    page/                               HTML, CSS and JavaScript

FastAPI and uvicorn are imported inside the command, so that `i2i --help` stays fast.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from i2i import ConfigError, PluginError
from i2i.cli import DeviceOption, PluginFile


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option("-m", "--model", help="As for `i2i translate`, several times; else all models."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any.", min=0, max=65535)] = 8000,
    token: Annotated[
        str | None, typer.Option(help="What clients must send; needed if others can reach the address.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Another host name of the server, such as that of a proxy.")
    ] = None,
    memory: Annotated[float | None, typer.Option(help="Memory of the process that computes, in GB.", min=1)] = None,
    seconds: Annotated[float, typer.Option(help="How long one picture may take.", min=1)] = 120,
    queue: Annotated[int, typer.Option(help="How many pictures may wait.", min=1)] = 64,
    plugin: PluginFile = None,
    device: DeviceOption = None,
) -> None:
    """Serve models: a page for people, and an HTTP API for programs."""
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise PluginError(f"`i2i serve` needs {error.name}: pip install 'i2i[serve]'") from error
    from .command import run
    from .limits import Limits

    secret = token or os.environ.get("I2I_SERVE_TOKEN") or None
    if secret is not None and (len(secret) < 8 or not secret.isascii() or not secret.isprintable()):
        raise ConfigError("--token: give at least 8 printable ASCII characters")
    limits = Limits(seconds=seconds, queue=queue, worker=int(memory * 1e9) if memory else None)
    code = run(host, port, model or [], plugin or [], secret, name or [], limits)
    if code:
        raise typer.Exit(code)
