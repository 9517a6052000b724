"""Where a run was trained, and what its weights file contains: two tables of its report."""

from __future__ import annotations

import json
import math
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import torch

from ..devices import described
from ..version import __version__

if TYPE_CHECKING:
    from ..engine import Engine


def environment(engine: Engine) -> dict[str, Any]:
    """Return the versions, the device and the threads of this process, and the step at which it starts."""
    return {
        "step": engine.number,
        "i2i": __version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": described(engine.device),
        "processes": engine.world.size,
    }


def weights_card(file: Path) -> dict[str, str]:
    """Return the facts in the header of a weights file by name, without reading its tensors.

    It returns {} for a file that is missing or was not written by i2i; loading it reports what is wrong with it.
    """
    try:
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        metadata = header.pop("__metadata__")
        about = json.loads(metadata["about"])
        numbers = sum(math.prod(tensor["shape"]) for tensor in header.values())
        kinds = sorted({tensor["dtype"] for tensor in header.values()})
        return {
            "file": file.name,
            "size": f"{file.stat().st_size / 1e6:.2f} MB",
            "numbers": f"{numbers:,} in {len(header)} tensors ({', '.join(kinds)})",
            "step": str(about.get("step", "")),
            "written by": f"i2i {metadata['i2i']}",
            "checksum": metadata["sha256"],
        }
    except (OSError, ValueError, LookupError, TypeError, OverflowError, MemoryError):
        return {}
