"""The errors a user can cause, each with the exit code that `i2i` returns for it.

Every message is one sentence: what was given, what is possible, what to do. Anything else that reaches the
command line is a bug of ours and keeps its traceback.
"""

from __future__ import annotations


class I2IError(Exception):
    """Base of all errors that i2i raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class ConfigError(I2IError):
    """A config, an override or an argument that cannot be meant (exit code 2)."""

    exit_code = 2


class DataError(I2IError):
    """A picture or a data set that cannot be used (exit code 3)."""

    exit_code = 3


class WeightsError(I2IError):
    """A checkpoint, a weights file or a run folder that cannot be used (exit code 4)."""

    exit_code = 4


class NumericError(I2IError):
    """A loss or a weight that is not finite (exit code 5)."""

    exit_code = 5


class ResourceError(I2IError):
    """Memory, disk, a process or a device that is missing (exit code 6)."""

    exit_code = 6


class PluginError(I2IError):
    """A plugin that is broken, missing or in conflict with another (exit code 7)."""

    exit_code = 7
