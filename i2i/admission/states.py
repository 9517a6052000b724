"""The lines of `i2i plugins`: what each plugin and command came to, or why it failed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from .installed import COMMANDS, GROUP, installed, origin_of, wanted


class Plugin(NamedTuple):
    """One line of `i2i plugins`. `state` is "ok", "disabled", or the reason why it failed."""

    name: str
    origin: str
    state: str


def command_of(name: str, function: Callable[..., Any], help: str | None = None) -> Any:
    """Return a function as a command; raises whatever Typer says about parameters that it cannot take."""
    import typer

    added = typer.Typer(add_completion=False)
    added.command(name, help=help)(function)
    return typer.main.get_command(added)


def commands() -> list[Plugin]:
    """Load the commands of plugins, and return a line for each."""
    found = []
    for point in installed(COMMANDS):
        try:
            state = "ok" if wanted(point.name) and command_of(point.name, point.load()) else "disabled"
        except (Exception, SystemExit) as error:
            state = " ".join(f"{type(error).__name__}: {error}".split())
        found.append(Plugin(point.name, origin_of(point), state))
    return found


def checked_imports(group: str = GROUP, seconds: float = 30.0) -> list[Plugin]:
    """Import each wanted plugin in a process of its own, so that one which hangs is found as well."""
    found = []
    for point in filter(lambda point: wanted(point.name), installed(group)):
        try:
            command = [sys.executable, "-c", f"import {point.module}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            state = "ok" if done.returncode == 0 else last
        except subprocess.TimeoutExpired:
            state = f"hangs: its import did not end within {seconds:g} s"
        found.append(Plugin(point.name, origin_of(point), state))
    return found
