"""The catalog: every name a config may `use`, and the callable behind it.

Plugins fill it in their `register(catalog)` hook; `i2i catalog` prints it. A constructor annotates an argument that a
config fills by name (`generator: Network`), and receives a `functools.partial` of the named callable.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple

from .errors import ConfigError, PluginError

SWITCHED_OFF = "it is switched off by I2I_PLUGINS, I2I_DISABLED_PLUGINS or --no-plugin"
KINDS = ("task", "network", "loss", "metric", "data", "modality", "optimizer", "schedule")

# Annotations of such arguments: `{use: NAME, **kwargs}` in a config, a partial in the code.
Network = Annotated[Callable[..., Any], "network"]
Loss = Annotated[Callable[..., Any], "loss"]
Metric = Annotated[Callable[..., Any], "metric"]


class Entry(NamedTuple):
    """A catalog entry: its kind, its name, what it builds, and the plugin that added it."""

    kind: str
    name: str
    build: Callable[..., Any]
    owner: str

    @property
    def path(self) -> str:
        """The Python name of what it builds, in the uppermost module that has it: "i2i.losses.LSGAN"."""
        name, parts = getattr(self.build, "__name__", "?"), self.build.__module__.split(".")
        modules = [".".join(parts[: depth + 1]) for depth in range(len(parts))]
        known = [module for module in modules if getattr(sys.modules.get(module), name, None) is self.build]
        return f"{known[0] if known else modules[-1]}.{name}"


class Catalog:
    """Names by kind. Each `catalog.<kind>(name, callable)` adds one on behalf of the plugin being registered.

    Example:
        >>> catalog = Catalog()
        >>> catalog.network("identity", lambda: None)
        >>> catalog.find("network", "identity").owner
        'i2i'
    """

    def __init__(self) -> None:
        self.owner = "i2i"  # the registry sets this to the plugin whose hook is running
        self.failed: dict[str, str] = {}  # plugins that did not load -> reason
        self._lost: dict[tuple[str, str], str] = {}  # names added by plugins that then failed -> plugin
        self._entries: dict[tuple[str, str], Entry] = {}
        self._contested: dict[tuple[str, str], str] = {}

    def add(self, kind: str, name: str, build: Callable[..., Any]) -> None:
        """Add `build` under `name`.

        Raises:
            PluginError: the name is taken; the message names both owners. A name of i2i itself keeps its
                meaning; one that two plugins claim is rejected in every config until one of them is disabled.
        """
        taken = self._entries.get((kind, name))
        if taken is not None:
            twice = (
                f"the {kind} '{name}' is registered twice, by {taken.owner} and by {self.owner}: "
                f"rename one, or disable a plugin with I2I_DISABLED_PLUGINS"
            )
            if taken.owner != "i2i":
                self._contested[kind, name] = twice
            raise PluginError(twice)
        self._entries[kind, name] = Entry(kind, name, build, self.owner)

    def task(self, name: str, build: Callable[..., Any]) -> None:
        """Add a `Task` class."""
        self.add("task", name, build)

    def network(self, name: str, build: Callable[..., Any]) -> None:
        """Add a callable that returns an `nn.Module`."""
        self.add("network", name, build)

    def loss(self, name: str, build: Callable[..., Any]) -> None:
        """Add a callable that returns an objective."""
        self.add("loss", name, build)

    def metric(self, name: str, build: Callable[..., Any]) -> None:
        """Add a callable that returns `metric(task, data) -> dict[str, float]`."""
        self.add("metric", name, build)

    def data(self, name: str, build: Callable[..., Any]) -> None:
        """Add a `Data` class."""
        self.add("data", name, build)

    def modality(self, name: str, build: Callable[..., Any]) -> None:
        """Add a `Modality` class that can be built without arguments."""
        self.add("modality", name, build)

    def optimizer(self, name: str, build: Callable[..., Any]) -> None:
        """Add a callable that takes a list of parameters and returns a `torch.optim.Optimizer`."""
        self.add("optimizer", name, build)

    def schedule(self, name: str, build: Callable[..., Any]) -> None:
        """Add a callable that returns `factor(epoch, step) -> float`, a multiplier of the learning rate."""
        self.add("schedule", name, build)

    def find(self, kind: str, name: str) -> Entry:
        """Return the entry with this name.

        Raises:
            ConfigError: the name is unknown; the message has the closest ones and any plugin that failed to load.
            PluginError: two plugins claim the name, or the plugin that adds it did not load.
        """
        if (kind, name) in self._contested:
            raise PluginError(self._contested[kind, name])
        entry = self._entries.get((kind, name))
        if entry is None:
            plugin = self._lost.get((kind, name), name)
            if plugin in self.failed:
                why = self.failed[plugin]
                raise PluginError(f"the {kind} '{name}' needs the plugin '{plugin}', which did not load: {why}")
            raise ConfigError(self.unknown(kind, name))
        return entry

    def forget(self, owner: str) -> None:
        """Remove every name that `owner` added, so that a plugin that failed half-way leaves nothing behind."""
        self._lost |= {key: owner for key, entry in self._entries.items() if entry.owner == owner}
        self._entries = {key: entry for key, entry in self._entries.items() if entry.owner != owner}

    def names(self, kind: str) -> list[str]:
        """Return the sorted names of one kind."""
        return sorted(name for k, name in self._entries if k == kind)

    def unknown(self, kind: str, name: str) -> str:
        """Return the message for an unknown name, with suggestions."""
        known = self.names(kind)
        near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"possible: {', '.join(known) or 'none'}"
        broken = {plugin: why for plugin, why in self.failed.items() if why != SWITCHED_OFF}
        failed = "".join(f"; plugin {plugin} did not load: {why}" for plugin, why in broken.items())
        return f"unknown {kind} '{name}': {hint} (if it is in your own file, add --plugin FILE){failed}"

    def __iter__(self) -> Iterator[Entry]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry[:2]))
