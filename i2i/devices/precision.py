"""In which precision networks run: fp32, or bf16 or fp16 autocast."""

from __future__ import annotations

from typing import Any, Literal

import torch

from ..errors import ConfigError

Precision = Literal["auto", "fp32", "bf16", "fp16"]


def precision_for(wanted: Precision, device: torch.device) -> Precision:
    """Choose autocast on GPUs, bf16 if they have it and else fp16, and float32 elsewhere.

    On CPUs results should not depend on the model of the CPU.

    Raises:
        ConfigError: bf16 was requested on a CPU without instructions for it, where it is 26 times slower. CPUs with
            them train most networks in 0.5 to 0.7 of the time.
    """
    if wanted == "bf16" and device.type == "cpu" and not cpu_multiplies_bf16():
        raise ConfigError(
            "train.precision: bf16 is many times slower than fp32 on this CPU, which has neither AVX512-BF16 nor "
            "AMX; use auto or fp32"
        )
    if wanted != "auto":
        return wanted
    if device.type not in ("cuda", "xpu"):
        return "fp32"
    return "bf16" if getattr(torch, device.type).is_bf16_supported() else "fp16"


def cpu_multiplies_bf16() -> bool:
    """Return whether this CPU has instructions that multiply bf16 numbers."""
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
