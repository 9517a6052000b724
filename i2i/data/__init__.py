"""Data sets: samples that are pure functions of an index and a random generator.

`base` has the base class. `folders` reads pictures, `paired` pairs of them (`derive` computes one from the other),
`segmaps` photographs with label maps, `labelled` pictures with a class (`classes` maps names to numbers, `conditions`
parses other conditions, `shapes` rejects batches that do not fit a task), `attributes` faces with numeric attributes,
`superres` photographs with downscaled versions (made by `degrade`), `mnist` handwritten digits, `clips` videos,
`shards` pictures in tar files.
`transforms` augments, `memory` and `cache` keep decoded pictures, `stream` yields the training batches, and `check`
implements `i2i data check`. `i2i catalog` lists the names for configs. Data sets drawn by code are in
plugins/i2i_scenes and plugins/i2i_relief.
"""

from __future__ import annotations

from ..catalog import Catalog
from .archives import archived
from .base import Data, Layout, Sample
from .classes import class_names, class_numbers, classes_of
from .conditions import address, number
from .conditions import seed as whole_seed
from .folders import UnpairedFolders
from .labelled import LabelledFolders
from .memory import InMemory
from .paired import Derived, DerivedFrom, PairedFolders, PairedSideBySide
from .segmaps import Classes, LabelMaps, coloured, palette
from .shapes import refuse_other_codes, refuse_other_labels, refuse_other_samples
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
    "Layout",
    "PairedFolders",
    "PairedSideBySide",
    "Patches",
    "Sample",
    "SuperResolution",
    "UnpairedFolders",
    "Whole",
    "address",
    "archived",
    "class_names",
    "class_numbers",
    "classes_of",
    "coloured",
    "number",
    "palette",
    "refuse_other_codes",
    "refuse_other_labels",
    "refuse_other_samples",
    "to_tensor",
    "whole_seed",
]


def register(catalog: Catalog) -> None:
    """Register the data sets of this package in `catalog`."""
    from .attributes import FacesWithAttributes
    from .clips import Clips
    from .mnist import MNIST
    from .shards import Shards

    catalog.data("unpaired_folders", UnpairedFolders)
    catalog.data("paired_folders", PairedFolders)
    catalog.data("paired_side_by_side", PairedSideBySide)
    catalog.data("derived", Derived)
    catalog.data("derived_from", DerivedFrom)
    catalog.data("clips", Clips)
    catalog.data("faces_with_attributes", FacesWithAttributes)
    catalog.data("label_maps", LabelMaps)
    catalog.data("labelled_folders", LabelledFolders)
    catalog.data("mnist", MNIST)
    catalog.data("shards", Shards)
    catalog.data("superres", SuperResolution)
