"""Make torchvision importable when its wheel does not match torch: `import_torchvision()` before `import lpips`.

The torchvision wheel on PyPI is built for CUDA. With a CPU build of torch its compiled extension does not load, and
`import torchvision` fails on registering shapes of an operator that does not exist, although its networks need none.
The core does not import torchvision itself; this is called before importing a library that does.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

ARGUMENTS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: list[torch.library.Library] = []  # kept alive: its definitions disappear with it


def import_torchvision() -> ModuleType:
    """Import and return torchvision, if necessary with two of its operators declared but not implemented.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: the import fails for another reason.
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
