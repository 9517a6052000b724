"""Data sets: samples that are pure functions of an index and a random generator.

`base` says what a data set is, `folders` reads pictures, `paired` pairs of them (`derive` makes one of the other),
`segmaps` photographs with label maps, `labelled` pictures with a class (`classes` names and numbers them,
`conditions` reads what else people ask a model with, `shapes` refuses what does not fit a task), `attributes` faces
with numbers, `superres` photographs and their small versions (`degrade` makes them), `mnist` handwritten digits;
`transforms` augments, `memory` and `cache` keep decoded pictures, `stream` makes the batches of a training, and
`check` is behind `i2i data check`. Their names for a config are listed by `i2i catalog`. Data sets drawn by code are
in plugins/i2i_scenes and plugins/i2i_relief.
"""

from __future__ import annotations

from ..catalog import Catalog
from .base import Data, Sample
from .classes import class_names, class_numbers
from .conditions import number
from .conditions import seed as whole_seed
from .folders import UnpairedFolders
from .labelled import LabelledFolders
from .memory import InMemory
from .paired import Derived, DerivedFrom, PairedFolders, PairedSideBySide
from .segmaps import Classes, LabelMaps, coloured, palette
from .shapes import refuse_other_codes, refuse_other_samples
from .superres import Patches, SuperResolution, Whole
from .transforms import Augment, to_tensor

__all__ = [
    "Augment",
    "Classes",
    "Data",
    "Derived",
    "DerivedFrom",
    "InMemory",
    "LabelMaps",
    "LabelledFolders",
    "PairedFolders",
    "PairedSideBySide",
    "Patches",
    "Sample",
    "SuperResolution",
    "UnpairedFolders",
    "Whole",
    "class_names",
    "class_numbers",
    "coloured",
    "number",
    "palette",
    "refuse_other_codes",
    "refuse_other_samples",
    "to_tensor",
    "whole_seed",
]


def register(catalog: Catalog) -> None:
    """Add the data sets of this folder to `catalog`."""
    from .attributes import FacesWithAttributes
    from .mnist import MNIST

    catalog.data("unpaired_folders", UnpairedFolders)
    catalog.data("paired_folders", PairedFolders)
    catalog.data("paired_side_by_side", PairedSideBySide)
    catalog.data("derived", Derived)
    catalog.data("derived_from", DerivedFrom)
    catalog.data("faces_with_attributes", FacesWithAttributes)
    catalog.data("label_maps", LabelMaps)
    catalog.data("labelled_folders", LabelledFolders)
    catalog.data("mnist", MNIST)
    catalog.data("superres", SuperResolution)
