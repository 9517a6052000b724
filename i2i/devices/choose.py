"""The device that a name means: `chosen("auto")`, `chosen("cuda:1")`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import ConfigError

_random = threading.RLock()  # held while torch's random state is borrowed, as all threads share it
ELSEWHERE = "cuda, mps, xpu"  # accelerators that PyTorch knows


def chosen(wanted: str = "auto") -> torch.device:
    """Return the device that a name means, with its number.

    Args:
        wanted: "auto" for $I2I_DEVICE, or else an accelerator if there is one and the CPU otherwise; "cpu"; or an
            accelerator such as "cuda", "cuda:1", "mps" or "xpu". Without a number, each process that trains gets one
            of its own.

    Raises:
        ConfigError: there is no such device here.
    """
    found = torch.accelerator.current_accelerator(check_available=True)
    wanted = (os.environ.get("I2I_DEVICE") or "auto") if wanted == "auto" else wanted
    if wanted == "cpu" or (wanted == "auto" and found is None):
        return torch.device("cpu")
    try:
        device = found if wanted == "auto" and found is not None else torch.device(wanted)
    except RuntimeError:
        raise ConfigError(f"device {wanted}: no such device; {offered(found)}") from None
    count = 0 if found is None or found.type != device.type else torch.accelerator.device_count()
    local = os.environ.get("LOCAL_RANK", "0")
    number = (int(local) if local.isdigit() else 0) if device.index is None else device.index
    if not 0 <= number < count:
        raise ConfigError(f"device {wanted}: this machine has no {device.type}:{number}; {offered(found)}")
    return torch.device(device.type, number)


def offered(found: torch.device | None) -> str:
    """Return in words which devices can be chosen here."""
    if found is None:
        return f"PyTorch finds no accelerator here, so use auto or cpu (elsewhere: {ELSEWHERE})"
    numbered = ", ".join(f"{found.type}:{n}" for n in range(torch.accelerator.device_count()))
    return f"possible: auto, cpu, {numbered}"


def described(device: torch.device) -> str:
    """Return the name of a device for people, such as "cuda:0, NVIDIA H100"."""
    module = getattr(torch, device.type, None)
    name = getattr(module, "get_device_name", None)
    return f"{device}, {name(device)}" if device.type != "cpu" and name is not None else str(device)


def peak_memory(device: torch.device) -> int | None:
    """Return the most memory in bytes that tensors on a device have taken so far; None for the CPU."""
    module = getattr(torch, device.type, None)
    measure = getattr(module, "max_memory_allocated", None)
    return int(measure(device)) if device.type != "cpu" and measure is not None else None


@contextmanager
def random_state_kept(device: torch.device | None = None) -> Iterator[None]:
    """Restore torch's random state afterwards, on the CPU and on a device. Not on mps and meta, which have none.

    Threads take turns: what is drawn inside depends on no other.

    Args:
        device: None for all of PyTorch's default kind.
    """
    if device is None:
        kept = torch.random.fork_rng()
    elif device.type in ("cpu", "mps", "meta"):
        kept = torch.random.fork_rng([])
    else:
        kept = torch.random.fork_rng([device], device_type=device.type)
    with _random, kept:
        yield
