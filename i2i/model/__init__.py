"""A trained model: what a run leaves behind, ready to be called. Nothing of it is needed to train.

model = i2i.load("runs/cyclegan")
out = model("horse.jpg", direction="BtoA")

trained.py    `Model`: pictures of any kind in, the same kind out; new pictures where the task makes them
load.py       `load`: a run's folder or a weights file -> a model, or the newest one; `ready` keeps it at hand
"""

from __future__ import annotations

from .loading import default_model, load, ready
from .trained import Model

__all__ = ["Model", "default_model", "load", "ready"]
