"""In which precision networks run: fp32, or bf16 or fp16 autocast."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import ConfigError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
TIMED = 6  # times that a convolution is timed in each precision
GAIN = 0.9  # bf16 must take less than this part of the time: anything less is noise


def precision_for(wanted: Precision, device: torch.device) -> Precision:
    """Choose autocast on GPUs, bf16 if they have it and else fp16, and float32 elsewhere.

    On CPUs results should not depend on the model of the CPU.

    Raises:
        ConfigError: bf16 was requested on a CPU without instructions for it, where it is 26 times slower.
    """
    if wanted == "bf16" and device.type == "cpu" and not multiplies_bf16(device):
        raise ConfigError(
            "train.precision: bf16 is many times slower than fp32 on this CPU, which has neither AVX512-BF16 nor "
            "AMX; use auto or fp32"
        )
    if wanted != "auto":
        return wanted
    if device.type not in ("cuda", "xpu"):
        return "fp32"
    return "bf16" if multiplies_bf16(device) else "fp16"


def recording() -> bool:
    """Return whether a network is being recorded into a file, as by `torch.onnx.export` or `torch.export`.

    What is then decided by the values or the number of samples would be the same for all inputs of the file.
    """
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context without autocast on a device, for what would lose too much in 16 bits."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def multiplies_bf16(device: torch.device) -> bool:
    """Return whether a device has instructions that multiply bf16 numbers."""
    if device.type != "cpu":
        module: Any = getattr(torch, device.type, None)
        if not hasattr(module, "is_bf16_supported"):
            return False
        with module.device(device):  # it answers for the current one
            return bool(module.is_bf16_supported(including_emulation=False))
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


@functools.cache
def faster_in_bf16(device: torch.device) -> bool:
    """Return whether a device convolves faster in bf16 than in float32; CPUs are measured, in 0.1 s.

    AVX512-BF16 halves the time on an AMD EPYC. On an Intel Xeon whose AMX is hidden, as on some virtual machines, it
    takes 1.5 times as long as float32.
    """
    if device.type != "cpu" or not multiplies_bf16(device):
        return multiplies_bf16(device)
    x, weight = torch.ones(2, 64, 64, 64), torch.ones(64, 64, 3, 3)
    x = x.contiguous(memory_format=torch.channels_last)
    pairs = {dtype: (x.to(dtype), weight.to(dtype)) for dtype in (torch.float32, torch.bfloat16)}
    times: dict[torch.dtype, list[float]] = {dtype: [] for dtype in pairs}
    with torch.inference_mode(), full_precision(device):
        for _ in range(TIMED):  # in turns, so that a busy moment of the machine does not hit one of them alone
            for dtype, pair in pairs.items():
                start = time.perf_counter()
                torch.conv2d(*pair, padding=1)
                times[dtype].append(time.perf_counter() - start)
    return min(times[torch.bfloat16]) < GAIN * min(times[torch.float32])


class LossScale:
    """Dynamic loss scaling for fp16, whose gradients would otherwise underflow; all of it stays on the device.

    The loss is multiplied by `value`, the gradients are divided by it. When one overflows, the step is skipped and
    the scale halved; it doubles after `patience` steps without.

    Source: arXiv:1710.03740, section 3.2; start and patience as in torch.amp.GradScaler.
    """

    def __init__(self, device: torch.device, start: float = 2.0**16, patience: int = 2000) -> None:
        self.value = torch.full((), start, device=device)
        self.calm = torch.zeros((), device=device)  # steps since the last change
        self.patience = patience

    def undo(self, grads: Sequence[Tensor]) -> Tensor:
        """Divide gradients by the scale, and return their norm, a scalar."""
        if grads:
            torch._foreach_mul_(list(grads), 1 / self.value)
        return torch.nn.utils.get_total_norm(grads)

    def judged(self, norm: Tensor) -> Tensor:
        """Return the norm, or 0 for an overflow that a lower scale can prevent."""
        return norm.where(norm.isfinite() | (self.value < 1), 0.0)

    def update(self, norm: Tensor) -> Tensor:
        """Adapt the scale to a norm; return a tensor with 1 if the step must be skipped, else 0."""
        over = ~norm.isfinite()
        self.calm = (self.calm + 1).where(~over, 0.0)
        grown = (self.calm >= self.patience).float()
        self.value = (self.value * (1 + grown)).where(~over, self.value / 2)
        self.calm = self.calm * (1 - grown)
        return over.float()

    def state(self) -> dict[str, float]:
        """Return what a resume needs."""
        return {"value": float(self.value), "calm": float(self.calm)}

    def load(self, state: dict[str, float]) -> None:
        """Restore what `state` returned."""
        self.value, self.calm = self.value.new_tensor(state["value"]), self.calm.new_tensor(state["calm"])
