"""The recorded figures of a campaign of faults: `--json FILE` writes them, and `--add` adds to what is there.

tally.arguments(parser)                          # --json, --add
tally = Tally(parser.parse_args())
for result in campaign(tally.old.get("kills", 0)):
    tally.write(result)                          # as often as wanted: what was found is then not lost
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

REPLACED = ("unbroken_seconds", "calls", "errors")  # of the last run; other numbers are summed, lists joined


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    parser.add_argument("--json", type=Path, help="the file that the figures are written to")
    parser.add_argument("--add", action="store_true", help="add to the figures in that file")


class Tally:
    """The figures in a file, and the commands that they come from."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.file: Path | None = chosen.json
        self.old: dict[str, Any] = {}  # what is added to
        if chosen.add and self.file and self.file.exists():
            self.old = json.loads(self.file.read_text())
            self.old.setdefault("commands", [self.old.pop("command")] if "command" in self.old else [])

    def write(self, result: dict[str, Any]) -> None:
        """Write the figures of this run, all that it has so far, together with the old ones."""
        if self.file:
            commands = [*self.old.get("commands", []), shlex.join(["python", *sys.argv])]
            everything = {**added(self.old, result), "commands": commands}
            self.file.write_text(json.dumps(everything, indent=1) + "\n")


def added(old: Any, new: Any, name: str = "") -> Any:
    """Return two results as one: numbers summed, lists joined, dicts merged."""
    if old is None or name in REPLACED:
        return {**old, **new} if old and isinstance(new, dict) else new
    if isinstance(new, dict):
        return {**old, **{key: added(old.get(key), value, key) for key, value in new.items()}}
    return old + new if isinstance(new, int | float | list) else new
