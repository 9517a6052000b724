"""Hooks that do not exist, arguments that a hook does not have, and classes that are not what they are added as."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import pluggy

from .. import hookspecs
from ..catalog import Catalog
from ..errors import PluginError


def refuse_wrong_hooks(manager: pluggy.PluginManager, module: Any) -> None:
    """Raise a PluginError if a registered module has no hook, or one that does not exist."""
    callers = manager.get_hookcallers(module)
    if not callers:
        raise PluginError("it has no hook: mark its register(catalog) with @i2i.hookimpl")
    known = [hook for hook, caller in vars(manager.hook).items() if caller.has_spec()]
    for caller in callers:
        if caller.name not in known:
            near = difflib.get_close_matches(caller.name, known, n=1, cutoff=0.0)
            raise PluginError(f"there is no hook '{caller.name}', did you mean '{near[0]}'?")


def refuse_wrong_entries(catalog: Catalog, owner: str) -> None:
    """Raise a PluginError if a plugin added a class of another kind, such as an `nn.Module` as a task."""
    from ..data.base import Data  # here, because `i2i -h` needs none of them
    from ..modalities import Modality
    from ..task import Task

    classes: dict[str, type] = {"task": Task, "data": Data, "modality": Modality}
    for entry in catalog:
        wanted = classes.get(entry.kind)
        if entry.owner == owner and wanted and isinstance(entry.build, type) and not issubclass(entry.build, wanted):
            raise PluginError(
                f"catalog.{entry.kind}('{entry.name}', {entry.build.__name__}): the class is not a subclass of "
                f"{wanted.__name__}"
            )


def unknown_argument(module: Any) -> str:
    """Return a sentence about a hook of a plugin with an argument that the hook does not have, or ""."""
    for name, spec in vars(hookspecs).items():
        if inspect.isfunction(spec) and inspect.isfunction(getattr(module, name, None)):
            given, known = (list(inspect.signature(f).parameters) for f in (getattr(module, name), spec))
            if not set(given) <= set(known):
                return f"{name}({', '.join(given)}): its arguments must be named {', '.join(known)}"
    return ""
