"""What the commands of `i2i` share: their options, their errors, and the list of all, with those of plugins.

The commands themselves are in `i2i.cli`. Nothing here imports torch, so that `i2i --help` is fast.
"""

from .errors import fail, plain_warnings
from .group import Commands
from .options import (
    Conditions,
    DeviceOption,
    ModelOption,
    Overrides,
    PluginFile,
    SpeedOption,
    conditions,
    disable,
    load_plugins,
    refuse_pipes,
    tell_version,
)

__all__ = [
    "Commands",
    "Conditions",
    "DeviceOption",
    "ModelOption",
    "Overrides",
    "PluginFile",
    "SpeedOption",
    "conditions",
    "disable",
    "fail",
    "load_plugins",
    "plain_warnings",
    "refuse_pipes",
    "tell_version",
]
