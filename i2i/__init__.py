"""i2i: a plugin-based image-to-image framework.

    import i2i
    i2i.run("configs/cyclegan.yaml")             # train, evaluate, write pictures and a report
    out = i2i.translate(img, "runs/cyclegan")    # the output has the type of the input

Names are loaded on first use, so `import i2i` is fast and does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import latent as latent
    from .api import evaluate, run, sample, translate
    from .catalog import Catalog, Loss, Metric, Network
    from .data.base import Data
    from .errors import ConfigError, DataError, I2IError, NumericError, PluginError, ResourceError, WeightsError
    from .hookspecs import Card, hookimpl
    from .model import BatchTranslator, Model, load
    from .task import Task
    from .version import __version__

_HOMES = {
    "api": "evaluate run sample translate",
    "catalog": "Catalog Loss Metric Network",
    "data.base": "Data",
    "errors": "ConfigError DataError I2IError NumericError PluginError ResourceError WeightsError",
    "hookspecs": "Card hookimpl",
    "model": "BatchTranslator Model load",
    "task": "Task",
    "version": "__version__",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [  # noqa: RUF022 - in order of importance
    "run",
    "translate",
    "sample",
    "evaluate",
    "load",
    "Model",
    "BatchTranslator",
    "Task",
    "Data",
    "Catalog",
    "Network",
    "Loss",
    "Metric",
    "hookimpl",
    "Card",
    "I2IError",
    "ConfigError",
    "DataError",
    "WeightsError",
    "NumericError",
    "ResourceError",
    "PluginError",
    "__version__",
]


def __dir__() -> list[str]:
    return [*__all__, "latent"]


def __getattr__(name: str) -> Any:
    if name == "latent":  # used as a package: i2i.latent.edit(...)
        return importlib.import_module(".latent", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'i2i' has no attribute '{name}'")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
