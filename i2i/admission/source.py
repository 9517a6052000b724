"""A single Python file that is a plugin: read once, hashed, and imported from what was hashed."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from .. import files
from ..errors import PluginError


class PluginFile(NamedTuple):
    """A single file that is a plugin, by its absolute path, and the sha256 of what was loaded."""

    path: Path
    sha256: str


def name_of(path: str | Path) -> str:
    """Return the name of the plugin in a file: that of the file, or of the folder of an `__init__.py`."""
    file = Path(path).absolute()
    return file.parent.name if file.stem == "__init__" else file.stem


def read(path: str | Path) -> tuple[PluginFile, bytes]:
    """Return what identifies a plugin file, and its source. Raises: PluginError."""
    file = Path(path).absolute()
    if not file.is_file():
        why = files.lacking(file, "file")
        raise PluginError(f"--plugin {path}: {why}; give a Python file with a register(catalog) hook")
    try:
        source = file.read_bytes()
    except OSError as error:
        raise PluginError(f"--plugin {path}: cannot be read, {error.strerror}") from error
    return PluginFile(file, hashlib.sha256(source).hexdigest()), source


class HashedSource(importlib.machinery.SourceFileLoader):
    """Imports exactly the source that was hashed: it uses no cached bytecode and does not read the file again."""

    source: bytes

    def get_code(self, fullname: str) -> CodeType:
        """Compile the source."""
        return self.source_to_code(self.source, self.path)


def refuse_taken(name: str, file: Path) -> None:
    """Raise PluginError if a plugin file has the name of a module of Python's own, or of one that is imported."""
    other = sys.modules.get(name)
    same = getattr(other, "__file__", None) == str(file)  # imported by a notebook, say
    ours = same or isinstance(getattr(other, "__loader__", None), HashedSource)
    if name in sys.stdlib_module_names or (other is not None and not ours):
        raise PluginError(f"--plugin {file}: '{name}' is also the name of another Python module: rename the file")


def module_of(file: Path, source: bytes) -> Any:
    """Import the module of a plugin file from this source."""
    name = name_of(file)
    refuse_taken(name, file)
    loader = HashedSource(name, str(file))
    loader.source = source
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that classes defined in it can be found by their module name
    loader.exec_module(module)
    return module
