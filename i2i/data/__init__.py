"""Data sets: samples that are pure functions of an index and a random generator.

`base` says what a data set is, `folders` reads pictures, `paired` pairs of them (`derive` makes one of the other),
`segmaps` photographs with label maps, `labelled` pictures with a class (`classes` names and numbers them,
`conditions` reads what else people ask a model with, `shapes` refuses what does not fit a task), `attributes` faces
with numbers, `superres` photographs and their small versions (`degrade` makes them), `animals` draws horses and
zebras, `facades` house fronts, `photos` something like photographs, `digits` digits, `faces` faces with known
attributes; `mnist` reads written ones; `transforms` augments, `memory` and `cache` keep decoded pictures, `stream`
makes the batches of a training and `check` is behind `i2i data check`. Their names for a config are listed by `i2i
catalog`.
"""

from __future__ import annotations

from ..catalog import Catalog
from .base import Data, Sample
from .folders import UnpairedFolders
from .labelled import LabelledFolders
from .paired import Derived, DerivedFrom, PairedFolders, PairedSideBySide
from .segmaps import LabelMaps
from .superres import SuperResolution
from .transforms import Augment

__all__ = [
    "Augment",
    "Data",
    "Derived",
    "DerivedFrom",
    "LabelMaps",
    "LabelledFolders",
    "PairedFolders",
    "PairedSideBySide",
    "Sample",
    "SuperResolution",
    "UnpairedFolders",
    "register",
]


def register(catalog: Catalog) -> None:
    """Add the data sets of this folder to `catalog`."""
    from .animals import HorsesAndZebras
    from .attributes import FacesWithAttributes
    from .digits import Digits
    from .facades import DrawnFacades
    from .faces import Faces
    from .landscapes import Landscapes
    from .mnist import MNIST
    from .photos import SyntheticPhotos
    from .relief import Reliefs

    catalog.data("unpaired_folders", UnpairedFolders)
    catalog.data("paired_folders", PairedFolders)
    catalog.data("paired_side_by_side", PairedSideBySide)
    catalog.data("derived", Derived)
    catalog.data("derived_from", DerivedFrom)
    catalog.data("digits", Digits)
    catalog.data("drawn_facades", DrawnFacades)
    catalog.data("faces", Faces)
    catalog.data("faces_with_attributes", FacesWithAttributes)
    catalog.data("label_maps", LabelMaps)
    catalog.data("labelled_folders", LabelledFolders)
    catalog.data("horses_zebras", HorsesAndZebras)
    catalog.data("landscapes", Landscapes)
    catalog.data("mnist", MNIST)
    catalog.data("reliefs", Reliefs)
    catalog.data("superres", SuperResolution)
    catalog.data("synthetic_photos", SyntheticPhotos)
