"""How fast networks run: `speed` is exact, auto or fast.

    i2i translate photo.jpg -o out -m upscale-x4 --speed fast
    model = i2i.load("upscale-x4", speed="fast")

`exact` is what PyTorch does by itself. `auto`, the default, computes large convolutions with whichever kernel is the
fastest on this CPU, in float32; see `convolutions`. `fast` runs in bf16 where a measurement finds that faster,
provided that a test shows hardly any difference; see `half`.
"""

from __future__ import annotations

from .choices import Choices
from .convolutions import Convolutions
from .half import Half
from .memory import keep_memory, prepare
from .pace import SPEEDS, Pace, Speed, chosen_speed
from .training import Kernels, precision_at, refusal

__all__ = [
    "SPEEDS",
    "Choices",
    "Convolutions",
    "Half",
    "Kernels",
    "Pace",
    "Speed",
    "chosen_speed",
    "keep_memory",
    "precision_at",
    "prepare",
    "refusal",
]
