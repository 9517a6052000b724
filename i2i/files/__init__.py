"""The one room that writes files: whole or not at all, and still there after a power cut. `files.write(path, data)`.

    calls.py    the one place that every system call of a save passes, and what is said when one fails
    held.py     `lock`: a run folder belongs to one process, and nothing is written through links that lead out of it
    whole.py    `write`, `write_folder`, `make_folder`, `remove`; `sweep` removes what a killed process left half-done
    find.py     `find`: the files that files, folders and globs stand for
    log.py      `append_line`, `truncate_log`: a log of JSON lines

`i2i run`, `i2i translate` and plugins all write through here (`from i2i import files`). Importing it does not import
torch.
"""

from __future__ import annotations

from .calls import free_bytes, lacking
from .find import find
from .held import lock
from .log import append_line, truncate_log
from .whole import make_folder, remove, sweep, write, write_folder

__all__ = [
    "append_line",
    "find",
    "free_bytes",
    "lacking",
    "lock",
    "make_folder",
    "remove",
    "sweep",
    "truncate_log",
    "write",
    "write_folder",
]
