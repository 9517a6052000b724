"""Atomic and durable file writes, the only code that writes files: `files.write(path, data)`.

    calls.py    a single entry point for the system calls of a save, and the messages for their errors
    held.py     `lock`: one process per run folder, and no writes through symlinks that lead out of it
    whole.py    `write`, `write_folder`, `make_folder`, `remove`; `sweep` cleans up after killed processes
    find.py     `find`: the files behind files, folders and globs
    log.py      `append_line`, `truncate_log`: JSON lines logs
    terminal.py stdout and stderr, which may be closed or lost

`i2i run`, `i2i translate` and plugins all write through this package (`from i2i import files`), which does not import
torch.
"""

from __future__ import annotations

from .calls import free_bytes, lacking, read, refuse_shortage
from .find import find
from .held import lock
from .log import append_line, truncate_log
from .whole import make_folder, refuse_unwritable, remove, sweep, write, write_folder

__all__ = [
    "append_line",
    "find",
    "free_bytes",
    "lacking",
    "lock",
    "make_folder",
    "read",
    "refuse_shortage",
    "refuse_unwritable",
    "remove",
    "sweep",
    "truncate_log",
    "write",
    "write_folder",
]
