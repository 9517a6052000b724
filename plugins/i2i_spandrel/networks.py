"""Networks of spandrel from a config, and configs from weights; spandrel is imported when one is asked for."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from i2i import ConfigError, PluginError, WeightsError
from i2i.losses import import_torchvision


def library() -> Any:
    """Import spandrel.

    Raises:
        PluginError: it is not installed, or its import fails.
    """
    try:
        import_torchvision()
        return importlib.import_module("spandrel")
    except Exception as error:
        raise PluginError(
            f"spandrel cannot be imported ({type(error).__name__}: {error}): pip install 'i2i[spandrel]'"
        ) from error


def built(architecture: str, network: str, options: Mapping[str, Any]) -> Any:
    """Return spandrel's descriptor of a network with random weights.

    A config names the class and its arguments; only classes that spandrel's own architectures export can be named.
    The descriptor knows the scale, the sizes it takes and how it is called.

    Raises:
        ConfigError: spandrel has no such network, or not with these options.
    """
    spandrel = library()
    known = {str(support.architecture.id): support.architecture for support in spandrel.MAIN_REGISTRY.architectures()}
    if architecture not in known:
        raise ConfigError(f"task.architecture: spandrel {spandrel.__version__} has no '{architecture}'")
    kind = getattr(importlib.import_module(f"spandrel.architectures.{architecture}"), network, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ConfigError(f"task.network: spandrel's {architecture} has no network '{network}'")
    try:
        return known[architecture].load(kind(**options).state_dict())
    except Exception as error:
        raise ConfigError(
            f"task.options: spandrel's {network} cannot be built ({type(error).__name__}: {error})"
        ) from error


def adopted(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor], str] | None:
    """Recognise weights; see the hook `adopt_weights`.

    Raises:
        WeightsError: spandrel recognises them, but the task cannot use them.
    """
    spandrel = library()
    try:
        found = spandrel.MAIN_REGISTRY.load(spandrel.canonicalize_state_dict(dict(tensors)))
    except spandrel.UnsupportedModelError:
        return None
    except Exception as error:
        raise WeightsError(
            f"spandrel cannot load these weights ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        ) from error
    name = f"spandrel's {found.architecture.name}"
    if not isinstance(found, spandrel.ImageModelDescriptor):
        raise WeightsError(f"{name} needs a mask beside the picture, which `i2i translate` does not have")
    if found.input_channels not in (1, 3) or found.output_channels != found.input_channels:
        channels = f"{found.input_channels} channels and makes {found.output_channels}"
        raise WeightsError(f"{name} takes {channels}: 3 or 1 of both are supported")
    config = {
        "use": "spandrel",
        "architecture": str(found.architecture.id),
        "network": type(found.model).__name__,
        "options": options_of(found.model, name),
    }
    own = {f"net.{key}": value for key, value in found.model.state_dict().items() if isinstance(value, Tensor)}
    tags = f" ({', '.join(found.tags)})" if found.tags else ""
    weights = sum(value.numel() for value in found.model.parameters())
    said = (
        f"{name}{tags}, {found.purpose}, x{found.scale}, {weights:,} weights, recognised by spandrel; values 0 to 1"
    )
    return config, own, said


def options_of(network: Any, name: str) -> dict[str, Any]:
    """Return the arguments of a network that differ from the defaults of its class, as they are written in a config.

    Raises:
        WeightsError: one of them cannot be written.
    """
    known = inspect.signature(type(network).__init__).parameters
    given = {key: value for key, value in network.hyperparameters.items() if key in known}
    try:
        changed = {key: value for key, value in given.items() if value != known[key].default}
        return dict(json.loads(json.dumps(changed)))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{name} has options that no config can express ({error})") from error
