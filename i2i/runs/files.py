"""The plugin files of a run: `i2i run config.yaml --plugin my_task.py` records them, later calls find them again.

A plugin file is code, so a file name in someone's download must never decide what is run. These are the rules:

- A recorded file is loaded without being named only when its sha256 is still the recorded one: it is the code that
  the user has run before, whatever has happened to the disk since.
- The record counts only in the folder in which it was written: it contains the path and the inode of that folder. A
  folder that was copied, unpacked or downloaded has another one, so a record in it is only used for messages.
- `model.safetensors` also names the files, without their folders, for messages alone: weights are passed around, and
  their metadata is whatever the sender wrote. Beside a run's own weights the record in that run's folder is used.
- A file that the user names (`--plugin`, `plugin=`) is loaded as it is.

The sha256 covers that one file, not what it imports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .. import files
from ..errors import I2IError, PluginError
from ..plugins import PluginFile, load_file, loaded_file

HINT = "name it with --plugin FILE (plugin=FILE in Python)"


def write_record(file: Path, plugin_files: Sequence[PluginFile]) -> None:
    """Record the plugin files of a run in `file`, which lies in the run's folder; without any, remove the record."""
    if plugin_files:
        listed = [{"path": str(plugin.path), "sha256": plugin.sha256} for plugin in plugin_files]
        record = {"run": identity(file.parent), "files": listed}
        files.write(file, json.dumps(record, indent=1).encode() + b"\n")
    else:
        file.unlink(missing_ok=True)


def identity(folder: Path) -> list[str | int]:
    """Return the path and the inode of a folder: what a copy elsewhere, or a download, does not share."""
    return [str(folder.resolve()), folder.stat().st_ino]


def load_recorded(folder: Path, record: Path) -> tuple[list[PluginFile], list[str]]:
    """Load the files that a run has recorded, where the rules above allow it.

    Returns:
        The files that are loaded, and a sentence for each that is not.
    """
    try:
        tree = json.loads(record.read_text(encoding="utf8"))
        recorded = [PluginFile(Path(str(file["path"])), str(file["sha256"])) for file in tree["files"]]
        ours = tree["run"] == identity(folder)
    except FileNotFoundError:
        return [], []
    except (OSError, ValueError, LookupError, TypeError) as error:
        return [], [f"{record} cannot be read ({type(error).__name__}): if the run was started with --plugin, {HINT}"]
    loaded, notes = [], []
    for plugin in recorded:
        try:
            other = loaded_file(plugin.path)
            if other not in (None, plugin):  # such as a changed version that the user has named
                raise PluginError(f"{other.path} is loaded under the same name")
            if not ours:
                raise PluginError("this folder is a copy, so its record decides nothing about code")
            if not plugin.path.is_file():
                raise PluginError("the file is missing")
            loaded.append(load_file(plugin.path, sha256=plugin.sha256))
        except PluginError as error:
            notes.append(f"{folder} was started with --plugin {str(plugin.path)!r}, not loaded: {error}; {HINT}")
    return loaded, notes


def described(plugin_files: Sequence[PluginFile]) -> dict[str, str]:
    """Return what `model.safetensors` says of the plugin files, for messages: {} or {"plugins": JSON}."""
    listed = [{"file": plugin.path.name, "sha256": plugin.sha256} for plugin in plugin_files]
    return {"plugins": json.dumps(listed)} if listed else {}


def notes_of(about: object, source: Path) -> list[str]:
    """Return a sentence that names the plugin files which the metadata of a weights file mentions."""
    try:
        names = [str(file["file"]) for file in json.loads(about["plugins"])]  # type: ignore[index]
    except (ValueError, LookupError, TypeError):
        return []
    return [f"{source} was trained with --plugin {', '.join(map(repr, names))[:200]}: {HINT}"] if names else []


@contextmanager
def loading(notes: Sequence[str]) -> Iterator[None]:
    """Put these sentences before an error that is raised inside: a missing plugin file is its likely cause."""
    try:
        yield
    except I2IError as error:
        if notes:
            error.args = ("\n".join([*notes, str(error)]),)
        raise
