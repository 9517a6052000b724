"""`i2i runs [FOLDER]`: what was trained, how far it is and how good it is; the newest first.

i2i runs                       # the runs in ./runs, at most two folders deep
i2i runs runs/paper --json     # the same as JSON
"""

from __future__ import annotations

from typing import Annotated

import typer


def runs(
    folder: Annotated[str, typer.Argument(help="A folder with runs, or a run.")] = "runs",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List runs with their state, step, best result, time and disk space; the newest first."""
    from . import listing

    listing.show(folder, json)
