"""From entry points to the catalog: the registry of plugins. `i2i plugins` prints it.

pluggy loads all plugins or none. Here each is loaded on its own, so a broken one affects nothing else: it is
listed with the reason, which is raised when a config needs what the plugin would have added.

    I2I_DISABLED_PLUGINS=a,b    never import these           I2I_PLUGINS=a,b    import only these ("off": none)
    I2I_STRICT=1                a plugin that fails is an error at once
    i2i plugins --check         also finds one whose import hangs

A single Python file is a plugin too: `i2i run config.yaml --plugin my_task.py`, in Python
`i2i.run("config.yaml", plugin="my_task.py")`, or `i2i.plugins.load_file("my_task.py")`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.machinery
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import pluggy

from . import files, hookspecs
from .admission import refuse_other_api, refuse_wrong_hooks, unknown_argument
from .catalog import SWITCHED_OFF, Catalog
from .errors import PluginError

GROUP, COMMANDS = "i2i", "i2i.commands"
log = logging.getLogger("i2i")


class Plugin(NamedTuple):
    """One line of `i2i plugins`. `state` is "ok", "disabled", or the reason why it failed."""

    name: str
    origin: str
    state: str


class PluginFile(NamedTuple):
    """A single file that is a plugin, by its absolute path, and the sha256 of what was loaded."""

    path: Path
    sha256: str


class Registry:
    """The catalog, the loaded plugins, and the reasons why others did not load."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager("i2i")
        self.manager.add_hookspecs(hookspecs)
        self.catalog = Catalog()
        self.plugins: list[Plugin] = []
        self.files: dict[str, PluginFile] = {}  # by the name of the plugin

    def admit(self, name: str, origin: str, load: Callable[[], Any]) -> None:
        """Load one plugin and let it register; after a failure undo all it did and record the reason."""
        self.catalog.failed.pop(name, None)
        twin = next((plugin for plugin in self.plugins if plugin.name == name and plugin.state == "ok"), None)
        try:
            if twin is not None:
                raise PluginError(f"{twin.origin} already has a plugin of that name: uninstall one of them")
            self._enter(name, load)
        except (Exception, SystemExit) as error:
            if twin is None:
                self._take_back(name)
            reason = error if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
            state = " ".join(str(reason).split())
            self.catalog.failed[name] = state
            self.plugins.append(Plugin(name, origin, state))
            if os.environ.get("I2I_STRICT") == "1":
                raise PluginError(f"plugin '{name}' ({origin}) did not load: {state}") from error
        else:
            self.plugins.append(Plugin(name, origin, "ok"))

    def _enter(self, name: str, load: Callable[[], Any]) -> None:
        module = load()
        refuse_other_api(module)
        try:
            self.manager.register(module, name=name)
        except pluggy.PluginValidationError as error:
            raise PluginError(unknown_argument(module) or str(error)) from error
        refuse_wrong_hooks(self.manager, module)
        self.catalog.owner = name
        for plugin, call in self.each("register", catalog=self.catalog):
            if plugin == name:
                call()

    def _take_back(self, name: str) -> None:
        if self.manager.has_plugin(name):
            self.manager.unregister(name=name)
        self.catalog.forget(name)

    def each(self, hook: str, **arguments: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Yield (plugin name, call) for each implementation of `hook`, those marked `trylast` at the end.

        The caller handles failures.
        """
        for found in sorted(getattr(self.manager.hook, hook).get_hookimpls(), key=lambda found: found.trylast):
            yield found.plugin_name, functools.partial(found.function, *(arguments[a] for a in found.argnames))

    def first(self, hook: str, **arguments: Any) -> Any:
        """Return the first result that is not None, or None."""
        return next((found for _, call in self.each(hook, **arguments) if (found := call()) is not None), None)


def wanted(name: str) -> bool:
    """Return whether the environment variables allow plugin `name`."""
    allowed = os.environ.get("I2I_PLUGINS", "")
    denied = os.environ.get("I2I_DISABLED_PLUGINS", "").split(",")
    return name not in denied and (not allowed or name in allowed.split(","))


def installed(group: str = GROUP) -> list[EntryPoint]:
    """Return the entry points of a group, sorted by name; packages whose metadata cannot be read are left out."""
    try:
        found = list(entry_points(group=group))
    except Exception:
        found = [point for package in readable() for point in package.entry_points.select(group=group)]
    return sorted(found, key=lambda point: point.name)


@functools.cache
def readable() -> list[Distribution]:
    """Return the installed packages whose metadata can be read; the first of each name, which is what is imported.

    torch and pydantic read the metadata of all packages as well; here they are kept from doing so.
    """
    found: dict[str, Distribution] = {}
    for package in distributions():
        try:
            list(package.entry_points)
            found.setdefault(package.name, package)
        except Exception as error:
            where = getattr(package, "_path", "a package")
            log.warning("i2i: the metadata of an installed package cannot be read (%s): remove %s", error, where)
    os.environ |= {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0", "PYDANTIC_DISABLE_PLUGINS": "__all__"}
    return list(found.values())


def origin_of(point: EntryPoint) -> str:
    """Name the distribution and version that an entry point comes from."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


@functools.cache
def registry() -> Registry:
    """Return the registry, filled once per process: i2i's own parts first, then every enabled plugin by name."""
    from . import data, losses, metrics, modalities, networks, optim, processes

    opened = Registry()
    for package in (modalities, networks, losses, data, metrics, optim):
        package.register(opened.catalog)
    for point in installed():
        if wanted(point.name):
            opened.admit(point.name, origin_of(point), point.load)
            if point.name in opened.catalog.failed and processes.rank() == 0:
                log.warning("i2i: plugin '%s' did not load: %s", point.name, opened.catalog.failed[point.name])
        else:
            opened.catalog.failed[point.name] = SWITCHED_OFF
            opened.plugins.append(Plugin(point.name, origin_of(point), "disabled"))
    return opened


def commands() -> list[Plugin]:
    """Load the commands of plugins, and return a line for each."""
    found = []
    for point in installed(COMMANDS):
        try:
            state = "ok" if wanted(point.name) and point.load() else "disabled"
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


def load_file(path: str | Path, sha256: str | None = None) -> PluginFile:
    """Register a single Python file as a plugin (`--plugin my_task.py`), so that trying one needs no packaging.

    Loading a file again that has not changed does nothing.

    Args:
        path: a file with a `register(catalog)` hook. The plugin is called after it, or after the folder of an
            `__init__.py`.
        sha256: load the file only if its content has this sha256, in hexadecimal; None loads any.

    Returns:
        The absolute path of the file, and the sha256 of what was loaded.

    Raises:
        PluginError: the file is missing, another or changed, or fails; the error it raised is the cause.

    Example:
        >>> i2i.plugins.load_file("denoise.py")                                             # doctest: +SKIP
        >>> model = i2i.load("runs/denoise")                                                # doctest: +SKIP
    """
    file, name = Path(path).absolute(), name_of(path)
    if not file.is_file():
        why = files.lacking(file, "file")
        raise PluginError(f"--plugin {path}: {why}; give a Python file with a register(catalog) hook")
    try:
        source = file.read_bytes()
    except OSError as error:
        raise PluginError(f"--plugin {path}: cannot be read, {error.strerror}") from error
    found = PluginFile(file, hashlib.sha256(source).hexdigest())
    if sha256 not in (None, found.sha256):
        raise PluginError("the file has changed since then")
    opened = registry()
    if opened.files.get(name) == found:
        return found
    if any(plugin.name == name and plugin.state == "ok" for plugin in opened.plugins):
        again = name in opened.files and opened.files[name].path == file
        todo = "it has changed, start Python again to load it" if again else "rename the file"
        raise PluginError(f"--plugin {path}: a plugin '{name}' is already loaded; {todo}")
    opened.admit(name, str(path), functools.partial(module_of, name, file, source))
    if name in opened.catalog.failed:
        raise PluginError(f"--plugin {path}: {opened.catalog.failed[name]}")
    opened.files[name] = found
    return found


def load_files(paths: str | Path | Sequence[str | Path] | None) -> list[PluginFile]:
    """Load the files that a user names: one, several or none. Raises: as `load_file`."""
    return [load_file(path) for path in ([paths] if isinstance(paths, str | Path) else paths or [])]


def loaded_file(path: str | Path) -> PluginFile | None:
    """Return the file that is loaded under the name that `path` would have, or None."""
    return registry().files.get(name_of(path))


def name_of(path: str | Path) -> str:
    """Return the name of the plugin in a file: that of the file, or of the folder of an `__init__.py`."""
    file = Path(path).absolute()
    return file.parent.name if file.stem == "__init__" else file.stem


class HashedSource(importlib.machinery.SourceFileLoader):
    """Imports exactly the source that was hashed: it uses no cached bytecode and does not read the file again."""

    source: bytes

    def get_code(self, fullname: str) -> CodeType:
        """Compile the source."""
        return self.source_to_code(self.source, self.path)


def module_of(name: str, file: Path, source: bytes) -> Any:
    """Import the module of a plugin file from this source."""
    loader = HashedSource(name, str(file))
    loader.source = source
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that classes defined in it can be found by their module name
    loader.exec_module(module)
    return module
