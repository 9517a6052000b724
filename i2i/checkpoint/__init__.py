"""Checkpoints (exact states to resume from) and weights files: safetensors and JSON, verified, without pickle.

    checkpoints/step_00001000/    state.safetensors   all tensors
                                  state.json          everything else, and where each tensor belongs
                                  manifest.json       size and sha256 of these two files, and a sha256 of itself
    model.safetensors             averaged weights under plain names; the config and a sha256 in its metadata

    states.py      `save`, `load`, `newest`: the checkpoints of a run, which `i2i run config.yaml --resume` reads
    manifest.py    detection of damage: any flipped bit, a file that is missing, surplus or from another step
    tree.py        `pack`, `unpack`: nested dicts, lists and values <-> named tensors and a JSON tree
    tensors.py     which tensors can be saved, and their serialisation
    steps.py       `Steps`: a number of steps that is saved, but not published
    weights.py     `save_model`, `load_model`, `load_weights`: weights files of trained models

Files are written atomically by `i2i.files`.
"""

from __future__ import annotations

from .manifest import Damaged, looks_whole, sealed
from .states import checkpoints_in, load, newest, save
from .steps import Steps
from .tensors import DTYPES, serialise
from .tree import pack, unpack
from .weights import fits, load_model, load_weights, save_model

__all__ = [
    "DTYPES",
    "Damaged",
    "Steps",
    "checkpoints_in",
    "fits",
    "load",
    "load_model",
    "load_weights",
    "looks_whole",
    "newest",
    "pack",
    "save",
    "save_model",
    "sealed",
    "serialise",
    "unpack",
]
