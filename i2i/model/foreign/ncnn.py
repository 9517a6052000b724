"""Read ncnn files, a `.param` (graph, as text) and a `.bin` (weights): `tensors, rest = read(Path("x4plus.param"))`.

    7767517                                         the format
    3 3                                             number of layers and of blobs
    Convolution conv_0 1 1 data 12 0=64 1=3 ...     type, name, counts of inputs and outputs, their names, parameters

The `.bin` has the weights of the layers in the same order: those of a convolution after a tag of 4 bytes, either fp32
or fp16 padded to 4 bytes; biases, slopes and constants always as fp32, without a tag.

Source: ncnn's documentation (operators, param and model file structure).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...errors import WeightsError

MAGIC, FP16, FP32 = "7767517", 0x01306B47, 0
MAX_TEXT, MAX_WEIGHTS, MAX_LAYERS = 4_000_000, 1_000_000_000, 20_000  # bytes, bytes, layers
WEIGHTLESS = {"Input", "Split", "Concat", "BinaryOp", "Eltwise", "Interp", "PixelShuffle", "Sigmoid", "Swish", "ReLU"}
READ = sorted(WEIGHTLESS | {"Convolution", "PReLU", "MemoryData"})


class Layer(NamedTuple):
    """A line of the graph; a parameter is a number, or a tuple of them."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: dict[int, Any]


class Weights:
    """The content of a `.bin`, read from start to end."""

    def __init__(self, content: bytes, file: Path) -> None:
        self.content, self.file, self.at = content, file, 0

    def floats(self, count: int, tagged: bool, what: str) -> Tensor:
        """Return the next `count` values as float32 [count].

        Raises:
            WeightsError: the file ends before, or the tag is unknown.
        """
        kind = FP32
        if tagged:
            kind = int.from_bytes(self._bytes(4, what), "little")
        if kind not in (FP16, FP32):
            raise WeightsError(
                f"{self.file}: the weights of {what} are quantized (tag {kind:#x}), only fp16 and fp32 are read"
            )
        size = 2 if kind == FP16 else 4
        raw = self._bytes(-(-count * size // 4) * 4, what)
        return torch.from_numpy(np.frombuffer(raw, f"<f{size}", count).astype(np.float32))

    def _bytes(self, count: int, what: str) -> bytes:
        found = self.content[self.at : self.at + count]
        if len(found) < count:
            raise WeightsError(f"{self.file} is truncated: it ends within the weights of {what}")
        self.at += count
        return found


def read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights of a `.param` and the `.bin` beside it.

    Returns:
        Tensors by layer, in the order of the file: "NAME.weight" and "NAME.bias" of a convolution, "NAME.weight" of a
        PReLU, "NAME" of a constant; and {"layers": [Layer, ...]}, the graph.

    Raises:
        WeightsError: a file is missing, damaged or too large, or the graph has a layer that is not read.
    """
    weights = file.with_suffix(".bin")
    for path, limit in ((file, MAX_TEXT), (weights, MAX_WEIGHTS)):
        if not path.is_file():
            raise WeightsError(f"{file}: an ncnn model is a .param and a .bin, but {path.name} is missing here")
        if path.stat().st_size > limit:
            raise WeightsError(f"{path}: {path.stat().st_size} bytes, more than the {limit} that are read")
    layers = list(parsed(file.read_text(encoding="utf8", errors="replace"), file))
    source, tensors = Weights(weights.read_bytes(), weights), {}
    for layer in layers:
        for name, tensor in tensors_of(layer, source):
            if name in tensors:
                raise WeightsError(f"{file} is damaged: two layers are named {layer.name}")
            tensors[name] = tensor
    if source.at != len(source.content):
        raise WeightsError(f"{weights} has {len(source.content) - source.at} bytes more than {file.name} describes")
    return tensors, {"layers": layers}


def parsed(text: str, file: Path) -> Iterator[Layer]:
    """Yield the layers of a graph. Raises: WeightsError, it is damaged or has a layer that is not read."""
    lines = text.splitlines()
    try:
        if lines[0].strip() != MAGIC:
            raise ValueError("the first line is not 7767517")
        count, _ = map(int, lines[1].split())
        if not count == len([line for line in lines[2:] if line.strip()]) <= MAX_LAYERS:
            raise ValueError(f"{len(lines) - 2} layers instead of {count}")
        for line in filter(str.strip, lines[2:]):
            yield layer_of(line.split())
    except (ValueError, IndexError) as error:
        raise WeightsError(f"{file} is damaged: {error}") from error


def layer_of(words: list[str]) -> Layer:
    """Return the layer that a line describes. Raises: ValueError or IndexError, it is malformed."""
    kind, name, ins, outs = words[0], words[1], int(words[2]), int(words[3])
    end = 4 + ins + outs
    if min(ins, outs) < 0 or end > len(words):
        raise ValueError(f"layer {name} names {len(words) - 4} blobs instead of {ins + outs}")
    parameters: dict[int, Any] = {}
    for word in words[end:]:
        key, _, value = word.partition("=")
        if int(key) <= -23300:  # an array: its length, then its elements
            parameters[-23300 - int(key)] = tuple(map(number, value.split(",")[1:]))
        else:
            parameters[int(key)] = number(value)
    return Layer(kind, name, tuple(words[4 : 4 + ins]), tuple(words[4 + ins : end]), parameters)


def number(text: str) -> int | float:
    """Return an int or a finite float. Raises: ValueError."""
    value = float(text) if any(sign in text for sign in ".eEn") else int(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def tensors_of(layer: Layer, source: Weights) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of one layer by name, reading them from `source`.

    Raises:
        WeightsError: the layer is not one of those that are read, or its weights do not fit its shape.
    """
    given, name = layer.parameters, layer.name
    if layer.kind == "Convolution":
        yield from convolution(layer, source)
    elif layer.kind == "PReLU":
        yield f"{name}.weight", source.floats(size(given.get(0, 0), layer), False, name)
    elif layer.kind == "MemoryData":
        shape = [size(given[key], layer) for key in (2, 11, 1, 0) if given.get(key)]  # c, d, h, w
        yield name, source.floats(math.prod(shape), False, name).reshape(shape)
    elif layer.kind not in WEIGHTLESS:
        raise WeightsError(
            f"{source.file.with_suffix('.param')}: layer {name} is a {layer.kind}, which is not read from ncnn "
            f"files; those that are: {', '.join(READ)}"
        )


def convolution(layer: Layer, source: Weights) -> Iterator[tuple[str, Tensor]]:
    """Yield "NAME.weight" [out, in, height, width] and "NAME.bias" [out] of a convolution."""
    given, name = layer.parameters, layer.name
    out, width, count = (size(given.get(key, 0), layer) for key in (0, 1, 6))
    height = size(given.get(11, width), layer)
    channels, rest = divmod(count, out * height * width)
    if rest or not channels or given.get(8):
        raise WeightsError(f"{source.file}: the {count} weights of {name} do not fit its shape, or are quantized")
    yield f"{name}.weight", source.floats(count, True, name).reshape(out, channels, height, width)
    if given.get(5):
        yield f"{name}.bias", source.floats(out, False, name)


def size(value: Any, layer: Layer) -> int:
    """Return a positive count. Raises: WeightsError, it is none."""
    if not isinstance(value, int) or not 0 < value <= MAX_WEIGHTS:
        raise WeightsError(f"layer {layer.name} ({layer.kind}) of this ncnn file is damaged: a size of {value}")
    return value
