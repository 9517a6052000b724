"""Which tensors can be saved, and the bytes of a safetensors file of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import NumericError, WeightsError

DTYPES = {  # in the order in which a safetensors file holds them, so that each lies aligned
    torch.int64: "I64", torch.float64: "F64", torch.complex64: "C64", torch.float32: "F32", torch.int32: "I32",
    torch.bfloat16: "BF16", torch.float16: "F16", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL",
}  # fmt: skip


def plain(tensor: Tensor, place: str) -> Tensor:
    """Return a tensor detached, contiguous and on the CPU, or say why it cannot be saved."""
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.dtype not in DTYPES:
        raise WeightsError(
            f"the tensor '{place}' is {tensor.dtype}, {tensor.layout} and on '{tensor.device}', which cannot be "
            f"saved: make it dense, of an ordinary type and on a device with memory"
        )
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()


def serialise(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> list[Any]:
    """Return header and data of a safetensors file: the tensors' own memory, so that nothing is copied.

    Source: the format at https://github.com/huggingface/safetensors; byte for byte what that library writes.
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
    """Refuse to write NaN or infinity."""
    if bad := non_finite(tensors):
        raise NumericError(
            f"{path} is not written, because of NaN or infinity in {first_ten(bad)}: go on from the last checkpoint "
            f"with a lower learning rate or train.clip=1 (a mask that holds inf is a buffer with persistent=False)"
        )


def non_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that hold NaN or infinity."""
    real = {name: torch.view_as_real(t) if t.is_complex() else t for name, t in tensors.items() if t.numel()}
    ends = {name: t.aminmax() for name, t in real.items() if t.is_floating_point()}  # NaN is passed on by both
    return [name for name, (low, high) in ends.items() if not (math.isfinite(low) and math.isfinite(high))]


def first_ten(names: Sequence[str]) -> str:
    """Return the first ten names, and how many more there are."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
