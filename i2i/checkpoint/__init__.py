"""Checkpoints (exact states to resume from) and weights files: safetensors and JSON, verified, without pickle.

    checkpoints/step_00001000/    state.safetensors   every tensor
                                  state.json          all else, and where each tensor belongs
                                  manifest.json       size and sha256 of these two, and a sha256 of itself
    model.safetensors             averaged weights under plain names; the config and a sha256 in its metadata

    states.py      `save`, `load`, `newest`: what a run writes every so often and `i2i run config.yaml --resume` reads
    manifest.py    how damage is seen: a flipped bit anywhere, a file that is missing, of another step or too many
    tree.py        `pack`, `unpack`: nested dicts, lists and values <-> named tensors and a tree that JSON can hold
    tensors.py     which tensors can be saved, and their bytes
    weights.py     `save_model`, `load_model`, `load_weights`: what a trained model is published as

The files are written by `i2i.files`, whole or not at all.
"""

from __future__ import annotations

from .manifest import Damaged, looks_whole, sealed
from .states import checkpoints_in, load, newest, save
from .tensors import DTYPES, serialise
from .tree import pack, unpack
from .weights import load_model, load_weights, save_model

__all__ = [
    "DTYPES",
    "Damaged",
    "checkpoints_in",
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
