"""`Contract`: what goes into an exported file and what comes out, as its metadata.

    python -c "import onnx; print(onnx.load('upscale.onnx').metadata_props)"

The names in the file begin with "i2i.": docs/export.md explains each.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch

from i2i import ConfigError, I2IError, Model, WeightsError
from i2i.checkpoint import load_model
from i2i.images import reach

from .recorded import Recorded, draws, samples

FORMAT = "1"
FAR = 128  # pixels of the largest picture on which the reach is measured: more would take minutes


@dataclass(frozen=True)
class Contract:
    """What goes in and out.

    Attributes:
        takes: "image": float32 [N, 3, H, W] in [-1, 1]; "label map": int64 [N, 1, H, W]; "codes": float32
            [N, latent].
        makes: "image": float32 [N, channels, H * scale, W * scale] in [-1, 1].
        multiple: H and W are multiples of this.
        minimum: H and W are at least this.
        scale: height of the result / height of the input.
        colour: whether a result has colour even if the input is grey.
        channels: of a sample: 3, or 1 for grey.
        size: of a sample, its height and width; 0 for anything else.
        reach: how far the input affects a pixel of the result, in pixels; -1 if everywhere, or if it is not known.
        memory: bytes that the network takes for each pixel of the input, and for each pair of them; (0, 0) if not
            known.
        labels: class indices that a label map may contain.
        latent: length of a code; 0 without codes.
        normal: whether samples are made from codes from N(0, 1); if not, from a distribution that is not known.
        classes: names of the classes that the input `label`, int64 [N], chooses from.
        conditions: what was chosen when the file was written.
        half: whether the weights are stored in 16 bits.
        model: what was exported.
        config: sha256 of its config, as JSON with sorted keys.
        licence: of its weights.
    """

    takes: Literal["image", "label map", "codes"] = "image"
    makes: Literal["image"] = "image"
    multiple: int = 1
    minimum: int = 1
    scale: int = 1
    colour: bool = False
    channels: int = 3
    size: int = 0
    reach: int = -1
    memory: tuple[int, ...] = (0, 0)
    labels: tuple[int, ...] = ()
    latent: int = 0
    normal: bool = True
    classes: tuple[str, ...] = ()
    conditions: str = ""
    half: bool = False
    model: str = ""
    config: str = ""
    licence: str = ""

    def properties(self) -> dict[str, str]:
        """Return it as texts by name, with the range of values in words."""
        texts = {f"i2i.{name}": json.dumps(value, ensure_ascii=False) for name, value in asdict(self).items()}
        return {"i2i.format": FORMAT, "i2i.range": json.dumps([-1, 1]), **texts}

    @classmethod
    def read(cls, properties: Mapping[str, str]) -> Contract:
        """Read it from texts by name.

        Raises:
            WeightsError: there is none, of another version, or a value is impossible.
        """
        if "i2i.format" not in properties:
            raise WeightsError(
                "an ONNX file does not say which sizes and values go in, and this one was not written by i2i: export "
                "the model with `i2i export`, or run it in ONNX Runtime yourself"
            )
        if properties["i2i.format"] != FORMAT:
            raise WeightsError(
                f"format {properties['i2i.format'][:20]} of exported files is not known to this version of i2i "
                f"(known: {FORMAT}): update i2i, or export the model again"
            )
        found: dict[str, Any] = {}
        for field in fields(cls):
            try:
                value = json.loads(properties[f"i2i.{field.name}"])
            except (KeyError, ValueError, RecursionError):
                raise WeightsError(f"its metadata i2i.{field.name} is missing or damaged: export it again") from None
            found[field.name] = tuple(value) if isinstance(value, list) else value
        made = cls(**found)
        made.refuse_nonsense()
        return made

    def refuse_nonsense(self) -> None:
        """Raise WeightsError if a value is of the wrong type, or impossible."""
        for field in fields(self):
            value, default = getattr(self, field.name), field.default
            fits = type(value) is type(default)
            if fits and isinstance(value, tuple):
                kind = int if field.name in ("labels", "memory") else str
                fits = len(value) <= 100_000 and all(type(one) is kind for one in value)
            elif fits and type(value) is int:
                fits = (-1 if field.name == "reach" else 0) <= value <= 1 << 20
            if not fits:
                raise WeightsError(f"its metadata i2i.{field.name} is impossible: export it again")
        if self.takes not in ("image", "label map", "codes") or self.makes != "image" or self.channels not in (1, 3):
            raise WeightsError("its metadata describes neither images, label maps nor codes: export it again")
        if len(self.memory) != 2 or not all(0 <= one < 1 << 40 for one in self.memory):
            raise WeightsError("its metadata i2i.memory is impossible: export it again")
        if not (self.multiple and self.minimum and self.scale) or (self.takes == "codes") != bool(self.latent):
            raise WeightsError("its metadata contradicts itself: export it again")


def contract_of(model: Model, recorded: Recorded, condition: Mapping[str, Any], half: bool) -> Contract:
    """Return the contract of a model as recorded."""
    first, last = recorded.tasks[0], recorded.tasks[-1]
    multiple, minimum, scale = sizes_of(recorded)
    codes = samples(first)
    return Contract(
        takes="codes" if codes else first.takes.name,  # type: ignore[arg-type]  # see `refuse_what_no_file_expresses`
        multiple=multiple,
        minimum=minimum,
        scale=scale,
        colour=any(getattr(task.makes, "colour", False) for task in recorded.tasks) or first.takes.name != "image",
        channels=3 if len(recorded.tasks) > 1 else getattr(last.makes, "channels", 3) if codes else 3,
        size=(getattr(first.makes, "size", None) or 0) * scale if codes else 0,
        reach=reach_of(recorded),
        memory=memory_of(model) if not codes else (0, 0),
        labels=labels_of(first),
        latent=int(first.prior(1).shape[1]) if codes else 0,
        normal=not codes or draws(first) != "unknown",
        classes=tuple(map(str, getattr(first, "classes", ()))) if codes else (),
        conditions=" ".join(f"{name}={value}" for name, value in condition.items()),
        half=half,
        model=model.name,
        config=digest_of(model.config),
        licence=licence_of(model),
    )


def sizes_of(recorded: Recorded) -> tuple[int, int, int]:
    """Return multiple and minimum of the input, so that they hold for each part, and the scale of all parts."""
    multiple = minimum = scale = 1
    for task in recorded.tasks:
        if not samples(task) and not recorded.pads:
            own, least = getattr(task.takes, "multiple", 1), getattr(task.takes, "minimum", 1)
            multiple, minimum = math.lcm(multiple, own // math.gcd(own, scale)), max(minimum, -(-least // scale))
        scale *= getattr(task.makes, "scale", 1)
    return multiple, minimum, scale


def reach_of(recorded: Recorded) -> int:
    """Return how far the input affects a pixel of the result, in pixels; -1 for far, everywhere, or a chain."""
    first = recorded.tasks[0]
    if len(recorded.tasks) > 1 or samples(first) or first.takes.name != "image":
        return -1
    found = reach(recorded, torch.zeros(1, 3, 1, 1), getattr(first.takes, "multiple", 1), largest=FAR)
    return -1 if found is None else found


def memory_of(model: Model) -> tuple[int, int]:
    """Return the bytes of the largest network of a chain for each pixel of its input, and for each pair of pixels."""
    linear = square = 0.0
    before = 1
    for part in getattr(model, "parts", [model]):
        need = part.need({})
        linear, square = max(linear, need.linear * before**2), max(square, need.square * before**4)
        before *= part.task.makes.scale
    return math.ceil(linear), math.ceil(square)


def labels_of(task: Any) -> tuple[int, ...]:
    """Return the class indices that a label map may contain, as far as the task says."""
    values = getattr(getattr(task, "classes", None), "values", ())
    return tuple(int(value) for value in values) if isinstance(values, list) else ()


def digest_of(config: Mapping[str, Any]) -> str:
    """Return the sha256 of a config, as JSON with sorted keys."""
    try:
        text = json.dumps(config, sort_keys=True, default=str)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the config of this model cannot be written as JSON ({error})") from error
    return hashlib.sha256(text.encode()).hexdigest()


def licence_of(model: Model) -> str:
    """Return the licence in the file of a model; of a chain, that of each part. Empty if the file has none."""
    parts = getattr(model, "parts", None)
    if parts is not None:
        return " | ".join(licence_of(part) or "not stated" for part in parts)
    try:
        return str(load_model(model.source)[2].get("licence", ""))
    except (I2IError, OSError):  # weights of other projects
        return ""
