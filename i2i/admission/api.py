"""The version of the plugin API: `i2i_api = "1"` in a plugin, or `i2i_api = "1-2"` for one that works with both."""

from __future__ import annotations

import re
from typing import Any

from ..errors import PluginError
from ..version import __version__

API = 1
"""Raised by one whenever a name on docs/plugin_api.md or a hook is removed, or changes what it means."""


def refuse_other_api(module: Any) -> None:
    """Raise a PluginError if a plugin says that it is for versions of the plugin API other than this one.

    Args:
        module: a plugin; one without `i2i_api` is loaded whatever the version.
    """
    wanted = getattr(module, "i2i_api", None)
    if wanted is None:
        return
    match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", str(wanted))
    if match is None:
        raise PluginError(
            f'its i2i_api is {wanted!r}: give the version of the plugin API that it is for, such as "{API}", or a '
            f'range such as "{API}-{API + 1}"'
        )
    if not int(match[1]) <= API <= int(match[2] or match[1]):
        raise PluginError(
            f"it is for version {wanted} of the plugin API, and i2i {__version__} has version {API}: install another "
            f"version of the plugin or of i2i"
        )
