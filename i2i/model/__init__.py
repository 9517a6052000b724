"""A trained model: what a run leaves behind, ready to be called. Nothing of it is needed to train.

model = i2i.load("runs/cyclegan")
out = model("horse.jpg", direction="BtoA")

trained.py    `Model`: things in, the same kind of thing out; new things where the task generates them
many.py       `translate_files`: files and folders through a model, into a folder
loading.py    `load`: a run's folder or a weights file -> a model, or the newest one; `ready` keeps it at hand
"""

from __future__ import annotations

from .loading import default_model, load, ready
from .many import translate_files
from .trained import Model

__all__ = ["Model", "default_model", "load", "ready", "translate_files"]
