"""Where networks run: the CPU or an accelerator, and in which precision.

    i2i run configs/cyclegan.yaml --device cuda:1
    device = chosen("auto")                  # an accelerator if there is one, else the CPU

`choose` finds the device, `moving` sends batches to it ahead of the step, `precision` decides between fp32, bf16 and
fp16, `late` reads losses without waiting, and `host` knows how much memory is left. `branches` runs independent parts
of a step in threads of their own.
"""

from __future__ import annotations

from .branches import Branches, settled, threads_kept
from .choose import chosen, described, peak_memory, random_state_kept
from .host import crowded, free_memory, processors
from .late import Late, Read
from .moving import ahead, move
from .precision import (
    LossScale,
    Precision,
    faster_in_bf16,
    full_precision,
    multiplies_bf16,
    precision_for,
    recording,
)

__all__ = [
    "Branches",
    "Late",
    "LossScale",
    "Precision",
    "Read",
    "ahead",
    "chosen",
    "crowded",
    "described",
    "faster_in_bf16",
    "free_memory",
    "full_precision",
    "move",
    "multiplies_bf16",
    "peak_memory",
    "precision_for",
    "processors",
    "random_state_kept",
    "recording",
    "settled",
    "threads_kept",
]
