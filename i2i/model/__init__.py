"""Inference with a trained model. Training does not need this package.

model = i2i.load("runs/cyclegan")
out = model("horse.jpg", direction="BtoA")

trained.py    `Model`: translate inputs into outputs of the same type, or generate samples
chain.py      `Chain`: several models, one after the other, as one: `load("restore | colorize")`
batches.py    `BatchTranslator`: a step of a data pipeline, e.g. of Ray Data
many.py       `translate_files`: translate files and folders into a folder
moving.py     videos and animations through models of pictures
workers.py    the same in several processes
manifest.py   what was translated, from what and with what, so that a stopped job continues
evaluating.py `evaluate_run`: the metrics of a run, also with other data
samples.py    `sample_files`: write samples into a folder
memory.py     how much memory a translation takes, and whether it has to run in tiles
budget.py     limits for the network that a weights file describes
loading.py    `load`: a model from a run folder or weights file, or the newest run; `ready` caches it
"""

from __future__ import annotations

from .batches import BatchTranslator
from .loading import default_model, load, ready
from .many import translate_files
from .samples import sample_files
from .trained import Model

__all__ = ["BatchTranslator", "Model", "default_model", "load", "ready", "sample_files", "translate_files"]
