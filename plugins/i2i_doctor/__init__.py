"""`i2i doctor`: what is installed, what works, and what to do about the rest.

i2i doctor
i2i doctor --json
i2i doctor elsewhere/runs    # where the runs are

    report.py     what a check finds, as text and JSON
    software.py   versions, the build of PyTorch, plugins and extras
    machine.py    devices, threads, memory, disks and models
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

__all__ = ["doctor"]


def doctor(
    folder: Annotated[str, typer.Argument(help="The folder with your runs.")] = "runs",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check this installation and this machine; exit with 1 if something will not work."""
    from .machine import machine
    from .report import examined, text
    from .software import SOFTWARE

    found = examined({**SOFTWARE, **machine(folder)})
    problems = [one for one in found if one.level == "problem"]
    if as_json:
        print(json.dumps({"ok": not problems, "checks": [one._asdict() for one in found]}, indent=1))
    else:
        print(text(found))
    if problems:
        raise typer.Exit(1)
