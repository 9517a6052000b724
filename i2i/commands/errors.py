"""Errors and warnings of a command, each one plain sentence."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from ..errors import ConfigError, I2IError

UsageError: Any = typer.BadParameter.__base__  # of click, which Typer contains from some version on


@contextmanager
def plain_usage_errors() -> Iterator[None]:
    """Turn the errors of Typer inside the `with` block into one sentence, a ConfigError."""
    try:
        yield
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        why = " ".join(error.format_message().split()).partition(", unable")[0].rstrip(".")
        why = why.replace("Value error, ", "").replace("Input should", "it should")  # words of pydantic
        why = re.sub(r"^Got unexpected extra arguments?(?:\(s\))? \((.*)\)$", r"too many arguments: \1", why)
        why = re.sub(r"(?:\. Did you mean (.*)\?| \(Possible options: (.*)\))$", r" (did you mean \1\2?)", why)
        usage = error.ctx.command_path if error.ctx else "i2i"
        raise ConfigError(f"{why}; see `{usage} -h`") from error


def plain_warnings() -> None:
    """Print each warning of i2i as one line from now on, without its place in the source."""
    formatted = warnings.formatwarning

    def plainly(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        ours = category.__module__.startswith("i2i.")
        return f"i2i: {message}\n" if ours else formatted(message, category, filename, lineno, line)

    warnings.formatwarning = plainly


def fail(error: I2IError) -> NoReturn:
    """Print an error and exit with its code."""
    print(f"i2i: {error}", file=sys.stderr)
    if os.environ.get("I2I_DEBUG") == "1":
        raise error
    raise SystemExit(error.exit_code)
