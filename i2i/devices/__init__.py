"""Where networks run: the CPU or an accelerator, and in which precision.

    i2i run configs/cyclegan.yaml --device cuda:1
    device = chosen("auto")                  # an accelerator if there is one, else the CPU

`choose` finds the device, `precision` decides between fp32, bf16 and fp16.
"""

from __future__ import annotations

from .choose import chosen, described, move, peak_memory, random_state_kept
from .precision import Precision, cpu_multiplies_bf16, precision_for

__all__ = [
    "Precision",
    "chosen",
    "cpu_multiplies_bf16",
    "described",
    "move",
    "peak_memory",
    "precision_for",
    "random_state_kept",
]
