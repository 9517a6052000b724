"""Which tensors can be saved, and their serialisation as safetensors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import NumericError, WeightsError

DTYPES = {  # in the order of a safetensors file, which keeps each tensor aligned
    torch.int64: "I64", torch.float64: "F64", torch.complex64: "C64", torch.float32: "F32", torch.int32: "I32",
    torch.bfloat16: "BF16", torch.float16: "F16", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL",
}  # fmt: skip


def plain(tensor: Tensor, place: str) -> Tensor:
    """Return a tensor detached, contiguous and on the CPU; raise WeightsError if it cannot be saved."""
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.dtype not in DTYPES:
        raise WeightsError(
            f"the tensor '{place}' ({tensor.dtype}, {tensor.layout}, on '{tensor.device}') cannot be saved: make it "
            f"dense, of a common dtype and on a real device"
        )
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()


def serialise(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> list[Any]:
    """Return header and data of a safetensors file; the data are views of the tensors.

    Source: https://github.com/huggingface/safetensors; byte for byte identical to what that library writes.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    data, end = [], 0
    order = [*DTYPES]
    for name in sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name)):
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        data.append(tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8).numpy())
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little") + text, *data]


def refuse_non_finite(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Raise NumericError if a tensor contains NaN or infinity."""
    if bad := non_finite(tensors):
        raise NumericError(
            f"{path} was not written, because of NaN or infinity in {first_ten(bad)}: resume from the last "
            f"checkpoint with a lower learning rate or train.clip=1 (register a mask of inf with persistent=False)"
        )


def non_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that contain NaN or infinity."""
    real = {name: torch.view_as_real(t) if t.is_complex() else t for name, t in tensors.items() if t.numel()}
    ends = {name: t.aminmax() for name, t in real.items() if t.is_floating_point()}  # both propagate NaN
    return [name for name, (low, high) in ends.items() if not (math.isfinite(low) and math.isfinite(high))]


def first_ten(names: Sequence[str]) -> str:
    """Join the first ten names, and append how many more there are."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
