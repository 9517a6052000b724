"""Read weights files of other projects: `tensors, metadata = read(Path("4x_foo.pth"))`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ...errors import WeightsError

WRAPPERS = ("params_ema", "params", "state_dict", "g_ema", "model", "g_state")


def format_of(file: Path) -> str | None:
    """Return "torch", "safetensors" or "ncnn" if the first bytes are those of a file that i2i did not write."""
    try:
        with open(file, "rb") as stream:
            head = stream.read(8)
            if head[:4] == b"PK\x03\x04" or head[:2] == b"\x80\x02":
                return "torch"
            if head[:7] == b"7767517":
                return "ncnn"
            size = int.from_bytes(head, "little")
            if 2 <= size <= 100_000_000:
                header = json.loads(stream.read(size))
                return None if "i2i_format" in header.get("__metadata__", {}) else "safetensors"
    except (OSError, ValueError, AttributeError):
        pass  # whoever reads it says what is wrong
    return None


def read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file by name, without wrapping keys, and what else is in it; see `adopt_weights`.

    Raises:
        WeightsError: the file is damaged, or of a format that is not read.
    """
    kind = format_of(file)
    try:
        if kind == "safetensors":
            kept: Any = safetensors.torch.load_file(file)
        elif kind == "torch":
            kept = torch.load(file, map_location="cpu", weights_only=True)
        else:
            raise WeightsError(f"{file}: not a PyTorch, safetensors or ncnn file")
    except OSError as error:
        raise WeightsError(f"{file} cannot be read: {error.strerror or error}") from error
    tensors, rest = unwrapped(kept)
    return tensors, {"file": file.name, "format": kind, **rest}


def unwrapped(kept: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors in the innermost known wrapper, without the prefix "module.", and the other entries."""
    rest: dict[str, Any] = {}
    while isinstance(kept, Mapping) and (name := next((key for key in WRAPPERS if _is_state(kept.get(key))), None)):
        rest |= {str(key): value for key, value in kept.items() if key != name and not isinstance(value, Tensor)}
        kept = kept[name]
    if not _is_state(kept):
        return {}, rest
    return {str(key).removeprefix("module."): value for key, value in kept.items() if isinstance(value, Tensor)}, rest


def _is_state(found: Any) -> bool:
    return isinstance(found, Mapping) and any(isinstance(value, Tensor | Mapping) for value in found.values())
