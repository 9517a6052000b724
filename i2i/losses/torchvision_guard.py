"""Lets libraries import torchvision where its wheel does not match torch. `import_torchvision()` before `lpips`.

The wheel of the package index is built for CUDA. Beside a torch for CPUs its compiled part does not load, and then
`import torchvision` dies over declaring shapes for an operator that does not exist, though its networks need none of
it. The core imports no torchvision; what does so inside a library calls this first.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

ARGUMENTS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: list[torch.library.Library] = []  # what it defines is there as long as it is


def import_torchvision() -> ModuleType:
    """Import torchvision, if need be with two of its operators declared but not implemented, and return it.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: it fails for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _library:
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _library.append(torch.library.Library("torchvision", "FRAGMENT"))
    for operator in ("nms", "qnms"):
        _library[0].define(operator + ARGUMENTS)
    return importlib.import_module("torchvision")
