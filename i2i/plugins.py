"""From entry points to the catalog: the registry of plugins. `i2i plugins` prints it.

pluggy loads all plugins or none. Here each is loaded and asked on its own, so a broken one costs only
itself: it is listed with its reason, and raised when a config needs what it would have brought.

    I2I_DISABLED_PLUGINS=a,b    never import these           I2I_PLUGINS=a,b    import only these ("off": none)
    I2I_STRICT=1                a plugin that fails is an error at once
    i2i plugins --check         also finds one whose import hangs
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple

import pluggy

from . import files, hookspecs
from .catalog import SWITCHED_OFF, Catalog
from .errors import PluginError

GROUP, COMMANDS = "i2i", "i2i.commands"
log = logging.getLogger("i2i")


class Plugin(NamedTuple):
    """One line of `i2i plugins`. `state` is "ok", "disabled", or the reason why it failed."""

    name: str
    origin: str
    state: str


class Registry:
    """Holds the catalog, the plugins that came in, and the reasons of those that did not."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager("i2i")
        self.manager.add_hookspecs(hookspecs)
        self.catalog = Catalog()
        self.plugins: list[Plugin] = []

    def admit(self, name: str, origin: str, load: Callable[[], Any]) -> None:
        """Load one plugin and let it register; on any failure take back all it did and note why."""
        self.catalog.failed.pop(name, None)
        twin = next((plugin for plugin in self.plugins if plugin.name == name and plugin.state == "ok"), None)
        try:
            if twin is not None:
                raise PluginError(f"{twin.origin} has a plugin of that name already: uninstall one of them")
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
        try:
            self.manager.register(module, name=name)
        except pluggy.PluginValidationError as error:
            raise PluginError(str(error)) from error
        callers = self.manager.get_hookcallers(module)
        if not callers:
            raise PluginError("it has no hook: mark its register(catalog) with @i2i.hookimpl")
        known = [hook for hook, caller in vars(self.manager.hook).items() if caller.has_spec()]
        for caller in callers:
            if caller.name not in known:
                near = difflib.get_close_matches(caller.name, known, n=1, cutoff=0.0)
                raise PluginError(f"there is no hook '{caller.name}', did you mean '{near[0]}'?")
        self.catalog.owner = name
        for plugin, call in self.each("register", catalog=self.catalog):
            if plugin == name:
                call()

    def _take_back(self, name: str) -> None:
        if self.manager.has_plugin(name):
            self.manager.unregister(name=name)
        self.catalog.forget(name)

    def each(self, hook: str, **arguments: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Yield (plugin name, call) for each implementation of `hook`; the caller decides about failures."""
        for found in getattr(self.manager.hook, hook).get_hookimpls():
            yield found.plugin_name, functools.partial(found.function, *(arguments[a] for a in found.argnames))


def wanted(name: str) -> bool:
    """Say whether the environment lets plugin `name` in."""
    allowed = os.environ.get("I2I_PLUGINS", "")
    denied = os.environ.get("I2I_DISABLED_PLUGINS", "").split(",")
    return name not in denied and (not allowed or name in allowed.split(","))


def installed(group: str = GROUP) -> list[EntryPoint]:
    """Return the entry points of a group, sorted by name; distributions with broken metadata are left out."""
    return sorted(entry_points(group=group), key=lambda point: point.name)


def origin_of(point: EntryPoint) -> str:
    """Name the distribution and version that an entry point comes from."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


@functools.cache
def registry() -> Registry:
    """Return the registry, filled once per process: i2i's own parts first, then every enabled plugin by name."""
    from . import data, losses, metrics, modalities, networks, optim

    opened = Registry()
    for room in (modalities, networks, losses, data, metrics, optim):
        room.register(opened.catalog)
    for point in installed():
        if wanted(point.name):
            opened.admit(point.name, origin_of(point), point.load)
            if point.name in opened.catalog.failed and os.environ.get("RANK", "0") == "0":
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


def load_file(path: str | Path) -> None:
    """Register a single Python file as a plugin (`--plugin my_task.py`), so that trying needs no packaging.

    Raises:
        PluginError: the file is missing or fails; the error it raised is the cause.
    """
    file = Path(path).absolute()
    name = file.parent.name if file.stem == "__init__" else file.stem
    if not file.is_file():
        why = files.lacking(file, "file")
        raise PluginError(f"--plugin {path}: {why}; give a Python file with a register(catalog) hook")

    def load() -> Any:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # so that classes defined in it can be found by their module name
        spec.loader.exec_module(module)
        return module

    opened = registry()
    if any(plugin.name == name and plugin.state == "ok" for plugin in opened.plugins):
        raise PluginError(f"--plugin {path}: a plugin '{name}' is loaded already; rename the file")
    opened.admit(name, str(path), load)
    if name in opened.catalog.failed:
        raise PluginError(f"--plugin {path}: {opened.catalog.failed[name]}")
