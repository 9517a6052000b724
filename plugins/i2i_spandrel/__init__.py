"""Networks that spandrel recognises: SwinIR, DAT, HAT, SCUNet and 30 more, as the task `spandrel`.

i2i translate PICTURES -o OUT -m 4x_foo.pth            # pip install 'i2i[spandrel]'
i2i import 4x_foo.pth -o foo.safetensors
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from i2i import Catalog, ConfigError, Task, hookimpl
from i2i.modalities import Image

from .networks import adopted, built


class Spandrel(Task):
    """A network of spandrel. It translates, and is not trained here.

    One for grey pictures translates red, green and blue separately.

    Args:
        architecture: its name in spandrel, such as "SwinIR".
        network: the name of its class.
        options: the arguments of the class.

    Raises:
        PluginError: spandrel is not installed.
        ConfigError: spandrel has no such network, or not with these options.

    Source: https://github.com/chaiNNer-org/spandrel
    """

    def __init__(self, architecture: str, network: str, options: dict[str, Any]) -> None:
        super().__init__()
        self._call = built(architecture, network, options)
        self.net = self._call.model
        needs = self._call.size_requirements
        self.takes = Image(multiple=needs.multiple_of, minimum=max(needs.minimum, 1))
        self.makes = Image(scale=self._call.scale)

    def players(self) -> dict[str, list[Any]]:
        """Raise ConfigError: spandrel's networks are not trained here."""
        raise ConfigError("task: a network of spandrel only translates; train one of `i2i configs`")

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Raise ConfigError, as `players`."""
        raise ConfigError("task: a network of spandrel only translates; train one of `i2i configs`")

    def translate(self, image: Tensor) -> Tensor:
        """Translate images [N, 3, H, W] in [-1, 1]."""
        given = (image + 1) / 2
        if self._call.input_channels == 1:
            made = self._call(given.flatten(0, 1)[:, None])[:, 0].unflatten(0, image.shape[:2])
        else:
            made = self._call(given)
        return made * 2 - 1


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the task `spandrel`."""
    catalog.task("spandrel", Spandrel)


@hookimpl(trylast=True)  # networks of i2i come first: they can be trained
def adopt_weights(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor], str] | None:
    """Recognise what spandrel does, if it is installed."""
    return adopted(tensors) if importlib.util.find_spec("spandrel") is not None else None
