"""What may become a plugin, before it is loaded: entry points and single files, their API version and their hooks.

`i2i.plugins` calls these for each plugin that it loads; `i2i plugins` shows their sentences.
"""

from __future__ import annotations

from .api import API, refuse_other_api
from .hooks import refuse_wrong_entries, refuse_wrong_hooks, unknown_argument
from .installed import COMMANDS, GROUP, installed, origin_of, wanted
from .source import PluginFile, module_of, name_of, read
from .states import Plugin, checked_imports, command_of, commands

__all__ = [
    "API",
    "COMMANDS",
    "GROUP",
    "Plugin",
    "PluginFile",
    "checked_imports",
    "command_of",
    "commands",
    "installed",
    "module_of",
    "name_of",
    "origin_of",
    "read",
    "refuse_other_api",
    "refuse_wrong_entries",
    "refuse_wrong_hooks",
    "unknown_argument",
    "wanted",
]
