"""The options that several commands have, and what they do."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ..errors import ConfigError
from ..version import __version__


def keep(variable: str, value: str | None) -> str | None:
    """Pass an option on through the environment, to child processes too."""
    if value:
        os.environ[variable] = value
    return value


PluginFile = Annotated[
    list[str] | None, typer.Option("--plugin", help="A Python file that registers your own task, data set, ...")
]
ModelOption = Annotated[
    str | None, typer.Option("-m", "--model", help="A run, a weights file or a name of `i2i models`; or 'a | b'.")
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps or xpu.", callback=lambda x: keep("I2I_DEVICE", x)),
]
SpeedOption = Annotated[
    str | None,
    typer.Option("--speed", help="exact, auto, or fast (bf16 if it suits).", callback=lambda x: keep("I2I_SPEED", x)),
]
Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides, e.g. train.steps=100.")]
Conditions = Annotated[
    list[str] | None, typer.Option("-c", "--condition", help="KEY=VALUE, e.g. label=3 or direction=BtoA.")
]


RESERVED = {"self", "sources", "out", "model", "force", "skip_existing", "output", "nproc", "say", "note", "n"}
"""Parameters of the functions that conditions are passed to."""


def conditions(pairs: list[str] | None) -> dict[str, str | list[str]]:
    """Turn KEY=VALUE pairs into keyword arguments; a repeated key makes a list."""
    found: dict[str, list[str]] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"-c {pair}: a condition is KEY=VALUE, such as direction=BtoA")
        if key in RESERVED:
            raise ConfigError(f"-c {pair}: no condition is called {key}; options of the command come without -c")
        found.setdefault(key, []).append(value)
    return {key: values if len(values) > 1 else values[0] for key, values in found.items()}


def refuse_pipes(*paths: str) -> None:
    """Raise a ConfigError if one of these is "-", which elsewhere means standard input or output."""
    if "-" in paths:
        raise ConfigError("-: pipes are not supported, give files and a folder; for a file of this name, write ./-")


def load_plugins(files: list[str] | None) -> None:
    """Register the files given by --plugin."""
    from ..plugins import load_files

    load_files(files)


def disable(plugins: list[str] | None) -> None:
    """Never import these plugins, in this process and its children."""
    if plugins:
        denied = [*filter(None, os.environ.get("I2I_DISABLED_PLUGINS", "").split(",")), *plugins]
        os.environ["I2I_DISABLED_PLUGINS"] = ",".join(denied)


def tell_version(wanted: bool) -> None:
    """Print the version and exit, before a missing command is reported."""
    if wanted:
        print(__version__)
        raise typer.Exit
