"""Modalities: how one kind of thing crosses the border between people and tensors.

    base.py        `Modality`: the interface, with a default for everything that most kinds of thing share
    image.py       `Image`: photographs and drawings
    label_map.py   `LabelMap`: images of class indices

A picture becomes a tensor in `Image.take` and a file again in `Image.write`. A `Task` declares what it `takes`, what
it `makes` and the modality of each of its `conditions`; the model, the command line, the previews, the metrics and
the conformance kit ask these and know no modality by name. Plugins bring their own with `catalog.modality("waveform",
Waveform)`; tests/waveform.py is one in full. Importing this package does not import torch.
"""

from __future__ import annotations

from ..catalog import Catalog
from .base import Modality, Taken, columns
from .image import Image
from .label_map import LabelMap

__all__ = ["Image", "LabelMap", "Modality", "Taken", "columns"]


def register(catalog: Catalog) -> None:
    """Add the modalities of this folder to `catalog`."""
    catalog.modality("image", Image)
    catalog.modality("label_map", LabelMap)
