"""Modalities: how one kind of data is read, converted to tensors, converted back and written.

    base.py        `Modality`: the interface, with defaults for what most modalities share
    image.py       `Image`: photographs and drawings
    label_map.py   `LabelMap`: images of class indices
    clip.py        `Clip`: video clips

A picture becomes a tensor in `Image.take` and a file again in `Image.write`. A `Task` declares what it `takes`, what
it `makes` and the modality of each of its `conditions`; the model, the command line, the previews, the metrics and
the conformance kit rely on these alone and depend on no particular modality. Plugins add their own with
`catalog.modality("waveform", Waveform)`; tests/waveform.py is a complete one. Importing this package does not import
torch.
"""

from __future__ import annotations

from ..catalog import Catalog
from .base import Modality, Taken, columns
from .clip import Clip
from .image import Image
from .label_map import LabelMap

__all__ = ["Clip", "Image", "LabelMap", "Modality", "Taken", "columns"]


def register(catalog: Catalog) -> None:
    """Register the modalities of this package in `catalog`."""
    catalog.modality("clip", Clip)
    catalog.modality("image", Image)
    catalog.modality("label_map", LabelMap)
