"""Hooks that do not exist, and arguments that a hook does not have."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import pluggy

from .. import hookspecs
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


def unknown_argument(module: Any) -> str:
    """Return a sentence about a hook of a plugin with an argument that the hook does not have, or ""."""
    for name, spec in vars(hookspecs).items():
        if inspect.isfunction(spec) and inspect.isfunction(getattr(module, name, None)):
            given, known = (list(inspect.signature(f).parameters) for f in (getattr(module, name), spec))
            if not set(given) <= set(known):
                return f"{name}({', '.join(given)}): its arguments must be named {', '.join(known)}"
    return ""
