"""Read weights files of other projects: `tensors, metadata = read(Path("4x_foo.pth"))`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ... import files
from ...checkpoint.tensors import first_ten, non_finite, plain
from ...errors import WeightsError
from . import ncnn
from .pickled import read_torch
from .unwrap import bare

LARGEST = (1 << 31) - 1  # bytes of an ONNX file: the limit of protobuf
MAX_HEADER = 8_000_000  # bytes of the header of a safetensors file: 100 for each tensor are usual
PART = re.compile(r"(?:(\w+)_)?net_(G\w*|E)\.(?:pth|pt|safetensors)")  # of a model: latest_net_G_A.pth


def format_of(file: Path) -> str | None:
    """Return "torch", "safetensors", "ncnn" or "onnx" if a file begins like one that i2i did not write itself."""
    try:
        with open(file, "rb") as stream:
            head, brace = stream.read(8), stream.read(1)
            size = int.from_bytes(head, "little")
            if brace == b"{" and 2 <= size <= MAX_HEADER:  # first: the size may look like the start of a pickle
                header = json.loads(brace + stream.read(size - 1))
                return None if "i2i_format" in header.get("__metadata__", {}) else "safetensors"
            if head[:4] == b"PK\x03\x04" or (head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5")):
                return "torch"
            if head[:7] == b"7767517":
                return "ncnn"
            if (head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x1a", b"\x3a")) or file.suffix == ".onnx":
                return "onnx"  # its version, and then who wrote it, or the graph
    except (OSError, ValueError, AttributeError, RecursionError):
        pass  # whoever reads it says what is wrong
    return None


def parts_of(folder: Path) -> dict[str, Path]:
    """Return the generators and encoders that CycleGAN, pix2pix, CUT or SPADE saved in a folder: {"G_A": path, ...}.

    Of several epochs these are the "latest" ones, or else those with the highest number.
    """
    found: dict[str, tuple[float, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = PART.fullmatch(path.name)
        if match and path.is_file():
            epoch, part = match[1] or "latest", match[2]
            rank = float("inf") if epoch == "latest" else float(epoch) if epoch.isdecimal() else -1.0
            found[part] = max(found.get(part, (-2.0, path)), (rank, path), key=lambda one: one[0])
    return {part: path for part, (_, path) in found.items()}


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file by name, without wrapping keys, and what else is in it; see `adopt_weights`.

    The names of several files in a folder start with their part, such as "G_A."; see `parts_of`.

    Raises:
        WeightsError: a file is damaged, unsafe, contains NaN or infinity, or is of a format that is not read.
    """
    if not path.is_dir():
        return read_file(path)
    parts = {part: read_file(file) for part, file in parts_of(path).items()}
    if len(parts) == 1:
        return next(iter(parts.values()))
    tensors = {f"{part}.{name}": value for part, (found, _) in parts.items() for name, value in found.items()}
    return tensors, {"file": path.name, "format": next(about["format"] for _, about in parts.values())}


def read_file(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of one file by name, and what else is in it."""
    kind, rest = format_of(file), dict[str, Any]()
    if kind == "torch":
        tensors, rest = read_torch(file)
    elif kind == "safetensors":
        tensors = read_safetensors(file)
    elif kind == "ncnn":
        tensors, rest = ncnn.read(file)
    elif kind == "onnx":
        tensors = {"onnx": read_bytes(file)}
    else:
        raise WeightsError(f"{file}: not a PyTorch, safetensors, ncnn or ONNX file")
    if not tensors:
        some = f" ({', '.join(list(rest)[:3])})" if rest else ""
        raise WeightsError(f"{file} contains no tensors by name{some}: give a file of weights")
    if bad := non_finite(tensors):
        raise WeightsError(f"{file} contains NaN or infinity in {first_ten(bad)}: use other weights")
    return tensors, {**rest, "file": file.name, "format": kind}


def read_bytes(file: Path) -> Tensor:
    """Return a file as uint8 [bytes]: the plugin that adopts it reads it."""
    size = file.stat().st_size
    if not size:
        raise WeightsError(f"{file} is empty: copy it again")
    if size > LARGEST:
        raise WeightsError(f"{file} has {size / 1e9:.1f} GB: an ONNX file has 2 GB at most")
    return torch.frombuffer(bytearray(files.read(file)), dtype=torch.uint8)


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name: its reader runs nothing and takes no more than the file."""
    try:
        found = safetensors.torch.load_file(file)
        return bare({name: plain(value, name) for name, value in found.items()})
    except OSError as error:
        raise WeightsError(f"{file} cannot be read: {error.strerror or error}") from error
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{file} is damaged ({error}): copy it again") from error
