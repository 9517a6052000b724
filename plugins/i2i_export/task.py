"""An ONNX file as a task: it translates, or samples, in ONNX Runtime on the CPU.

i2i translate PICTURES -o OUT -m upscale.onnx
i2i sample 16 -o OUT -m digits.onnx -c label=3
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from i2i import ConfigError, DataError, PluginError, ResourceError, Task, WeightsError
from i2i.data import class_numbers, refuse_other_codes
from i2i.modalities import Image, LabelMap
from i2i.networks import in_parts

from .compare import session_of
from .graph import LARGEST
from .safe import checked

Bytes = Annotated[int, Ge(1), Le(LARGEST)]


class Onnx(Task):
    """The bytes of an ONNX file as the only weights of a task; ONNX Runtime loads them when they are first used."""

    file: Tensor  # uint8 [bytes]

    def __init__(self, bytes: int) -> None:
        super().__init__()
        self.register_buffer("file", torch.zeros(bytes, dtype=torch.uint8))
        self._session: Any = None
        self._lock = threading.Lock()

    def players(self) -> dict[str, list[Any]]:
        """Raise ConfigError: an ONNX file is not trained."""
        raise ConfigError("task: an ONNX file cannot be trained; train the model that it was exported from")

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Raise ConfigError, as `players`."""
        raise ConfigError("task: an ONNX file cannot be trained; train the model that it was exported from")

    @property
    def licence(self) -> str:
        """Licence of what was exported; "" if the file does not say. Raises: WeightsError, see `checked`."""
        return checked(self.file.cpu().numpy().tobytes())[1].licence

    def run(self, **given: Tensor) -> Tensor:
        """Return what the file makes of its inputs.

        Raises:
            ResourceError: there is not enough memory for an input of this size.
            PluginError: ONNX Runtime is not installed.
            WeightsError: the file cannot be run.
        """
        with self._lock:
            if self._session is None:
                data = self.file.cpu().numpy().tobytes()
                checked(data)
                try:
                    self._session = session_of(data)
                except PluginError:  # it is not installed
                    raise
                except Exception as error:
                    raise WeightsError(f"ONNX Runtime cannot load the file ({one_line(error)})") from error
        known = {one.name for one in self._session.get_inputs()}
        arrays = {name: value.cpu().contiguous().numpy() for name, value in given.items() if name in known}
        try:
            made = self._session.run(["result"], arrays)
        except Exception as error:
            if "allocat" in str(error).lower():
                raise ResourceError(
                    f"not enough memory for {shapes(given)}: translate a smaller picture, or use --tile"
                ) from error
            raise WeightsError(f"the ONNX file failed for {shapes(given)} ({one_line(error)})") from error
        return torch.from_numpy(made[0])


def one_line(error: Exception) -> str:
    """Return the message of an error in one line that is not too long."""
    return " ".join(str(error).split())[:300]


def shapes(given: dict[str, Tensor]) -> str:
    """Return the shapes of inputs in words."""
    return ", ".join(f"{name} {list(value.shape)}" for name, value in given.items())


class OnnxTranslator(Onnx):
    """An ONNX file that translates images or label maps into images; written by `i2i export`.

    Args:
        bytes: size of the file.
        takes_labels: whether it takes label maps.
        multiple: height and width of the input are multiples of this.
        minimum: and at least this.
        scale: size of the result / size of the input.
        colour: whether results have colour even if the input is grey.
        reach: how far the input affects a pixel of the result, in pixels; null if everywhere: then it is not tiled.
        memory: bytes that the network takes for each pixel of the input, and for each pair of them.
        labels: class indices that a label map may contain; empty for any.
    """

    def __init__(
        self,
        bytes: Bytes,
        takes_labels: bool = False,
        multiple: PositiveInt = 1,
        minimum: PositiveInt = 1,
        scale: PositiveInt = 1,
        colour: bool = False,
        labels: tuple[NonNegativeInt, ...] = (),
        reach: NonNegativeInt | None = None,
        memory: tuple[NonNegativeInt, NonNegativeInt] = (0, 0),
    ) -> None:
        super().__init__(bytes)
        self.memory = memory
        kind = LabelMap if takes_labels else Image
        self.takes = kind(multiple=multiple, minimum=minimum, reach=reach)
        self.makes = Image(scale=scale, colour=colour)
        self.labels = labels

    def translate(self, image: Tensor) -> Tensor:
        """Translate images [N, 3, H, W] in [-1, 1], or label maps int64 [N, 1, H, W], into images in [-1, 1].

        Raises:
            DataError: a label map contains an unknown class index.
            ConfigError: gradients are asked for.
        """
        if image.requires_grad:  # to measure how far the input affects a pixel, which is not in the contract
            raise ConfigError(
                "this ONNX file does not say how far the input affects a pixel of the result (it is a chain, or "
                "depends on the whole picture, as with instance norm), so it cannot be cut into tiles: do not use "
                "--tile"
            )
        pixels = image.shape[-2] * image.shape[-1]
        # Memory that ONNX Runtime takes for itself: i2i sees it as this tensor, of which nothing is ever touched.
        seen = torch.empty(int(self.memory[0] * pixels + self.memory[1] * pixels**2), dtype=torch.uint8)
        if isinstance(self.takes, LabelMap):
            if self.labels and (unknown := sorted(set(image.unique().tolist()) - set(self.labels))):
                raise DataError(
                    f"the label map contains class {unknown[-1]}, but the model knows {some(self.labels)}"
                )
            made = self.run(label_map=image)
        else:
            made = self.run(image=image)
        del seen
        return made


def some(labels: tuple[int, ...]) -> str:
    """Return class indices in words."""
    ordered = sorted(labels)
    return (
        f"{ordered[0]} to {ordered[-1]}"
        if len(ordered) == ordered[-1] - ordered[0] + 1
        else ", ".join(map(str, ordered))
    )


class OnnxSampler(Onnx):
    """An ONNX file that makes images from codes; written by `i2i export`.

    Args:
        bytes: size of the file.
        latent: length of a code.
        normal: whether codes are drawn from N(0, 1). If not, only given codes are decoded.
        classes: names of the classes; empty for none.
        channels: of the images: 3, or 1 for grey.
        size: height and width of the images; null if they differ.
    """

    def __init__(
        self,
        bytes: Bytes,
        latent: PositiveInt,
        normal: bool = True,
        classes: tuple[str, ...] = (),
        channels: PositiveInt = 3,
        size: PositiveInt | None = None,
    ) -> None:
        super().__init__(bytes)
        self.latent, self.normal, self.classes = latent, normal, classes
        self.makes = Image(channels=channels, size=size)

    def prior(self, n: int) -> Tensor:
        """Return `n` codes [n, latent] from N(0, 1).

        Raises:
            ConfigError: the model draws its codes from a distribution that it has learned.
        """
        if not self.normal:
            raise ConfigError(
                "this model draws its codes from a distribution that it has learned and that is not in the ONNX "
                "file: sample from the model that it was exported from"
            )
        return torch.randn(n, self.latent)

    def decode(self, z: Tensor, label: Any = None) -> Tensor:
        """Return the images [N, C, H, W] in [-1, 1] of codes [N, latent]; `label` as in `sample`."""
        refuse_other_codes(z, self.latent)
        labels = class_numbers(self.classes, len(z), label, z.device)
        if labels is None:
            return in_parts(lambda codes: self.run(z=codes), z)
        return in_parts(lambda codes, label: self.run(z=codes, label=label), z, labels)

    def sample(self, n: int, label: Any = None) -> Tensor:
        """Return `n` new images [n, C, H, W] in [-1, 1].

        Args:
            n: how many.
            label: a class by number or name, or a list of n of them; null draws all classes equally often.
        """
        return self.decode(self.prior(n), label)


def adopted(file: Tensor) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Return the task of a config, its weights, and what the file says about itself; see the hook `adopt_weights`.

    Raises:
        WeightsError: see `checked`.
    """
    _, contract = checked(file.numpy().tobytes())
    task: dict[str, Any] = {"bytes": len(file)}
    if contract.takes == "codes":
        task |= {"use": "onnx_sampler", "latent": contract.latent, "normal": contract.normal}
        task |= {"classes": list(contract.classes), "channels": contract.channels, "size": contract.size or None}
    else:
        task |= {"use": "onnx", "takes_labels": contract.takes == "label map", "labels": list(contract.labels)}
        task |= {name: getattr(contract, name) for name in ("multiple", "minimum", "scale", "colour")}
        task |= {"memory": list(contract.memory), "reach": None if contract.reach < 0 else contract.reach}
    chosen = f" with {contract.conditions}" if contract.conditions else ""
    licence = f", licence {contract.licence}" if contract.licence else ""
    said = (
        f"{contract.model}{chosen} as an ONNX file, {contract.takes} to {contract.makes}, x{contract.scale}{licence}"
    )
    return task, {"file": file}, said
