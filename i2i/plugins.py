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
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pluggy

from . import hookspecs
from .admission import (
    Plugin,
    PluginFile,
    commands,
    installed,
    module_of,
    name_of,
    origin_of,
    read,
    refuse_other_api,
    refuse_wrong_entries,
    refuse_wrong_hooks,
    unknown_argument,
    wanted,
)
from .catalog import SWITCHED_OFF, Catalog
from .errors import PluginError

__all__ = ["PluginFile", "Registry", "commands", "load_file", "load_files", "loaded_file", "registry"]
log = logging.getLogger("i2i")


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
        refuse_wrong_entries(self.catalog, name)

    def _take_back(self, name: str) -> None:
        if self.manager.has_plugin(name):
            self.manager.unregister(name=name)
        self.catalog.forget(name)

    def each(self, hook: str, **arguments: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Yield (plugin name, call) of each implementation of `hook`, in order; the caller handles failures."""
        found = getattr(self.manager.hook, hook).get_hookimpls()
        for one in sorted(found, key=lambda one: (one.trylast, not one.tryfirst)):
            yield one.plugin_name, functools.partial(one.function, *(arguments[a] for a in one.argnames))

    def first(self, hook: str, **arguments: Any) -> Any:
        """Return the first result that is not None, or None."""
        return next((found for _, call in self.each(hook, **arguments) if (found := call()) is not None), None)


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
    (found, source), name = read(path), name_of(path)
    if sha256 not in (None, found.sha256):
        raise PluginError("the file has changed since then")
    opened = registry()
    if opened.files.get(name) == found:
        return found
    if any(plugin.name == name and plugin.state == "ok" for plugin in opened.plugins):
        again = name in opened.files and opened.files[name].path == found.path
        todo = "it has changed, start Python again to load it" if again else "rename the file"
        raise PluginError(f"--plugin {path}: a plugin '{name}' is already loaded; {todo}")
    opened.admit(name, str(path), functools.partial(module_of, found.path, source))
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
