"""`bounded`: build the network of a config that came with a weights file, which may be hostile, within limits.

Its tensors have to be those of the file, so a config that asks for far more of them is rejected before they are
allocated, and not only when their shapes are compared.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_module_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import WeightsError

TIMES, SPARE = (
    4,
    1 << 30,
)  # bytes allowed / bytes of the weights as float32; and for networks of losses, such as VGG's
MODULES, EACH = 1000, 50  # modules allowed, and for each tensor of the file


class Mode(TorchDispatchMode):
    """Base class of modes that see every operation."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: torch would otherwise load its compiler, which takes 75 MB and is not needed."""
        return False


class Budget(Mode):
    """Raises WeightsError, inside the `with` block, before more than `left` bytes are allocated."""

    def __init__(self, left: float, refusal: str) -> None:
        super().__init__()
        self.left, self.refusal = left, refusal

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what an operation that makes a tensor of a given size allocates, and run it."""
        size = args[0] if args and isinstance(args[0], list | tuple) else ()
        if size and all(isinstance(side, int) for side in size):
            dtype = (kwargs or {}).get("dtype") or torch.get_default_dtype()
            self.left -= math.prod(size) * dtype.itemsize
            if self.left < 0:
                raise WeightsError(self.refusal)
        return func(*args, **(kwargs or {}))


@contextmanager
def bounded(file: str, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Let the block build a network for these weights, with some room for what is not in the file.

    Raises:
        WeightsError: it is far larger, in bytes or in modules.
    """
    refusal = (
        f"{file} is damaged or malicious: its config describes a network that is far larger than its "
        f"{len(tensors)} tensors: use another file"
    )
    here, modules = threading.get_ident(), MODULES + EACH * len(tensors)

    def count(*_: Any) -> None:
        nonlocal modules
        if threading.get_ident() == here:
            modules -= 1
            if modules < 0:
                raise WeightsError(refusal)

    handle = register_module_module_registration_hook(count)
    try:
        with Budget(TIMES * 4 * sum(tensor.numel() for tensor in tensors.values()) + SPARE, refusal):
            yield
    finally:
        handle.remove()
