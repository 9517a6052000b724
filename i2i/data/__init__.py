"""Data sets: samples that are pure functions of an index and a random generator.

`base` says what a data set is, `folders` reads pictures, `paired` pairs of them (`derive` makes one of the
other), `segmaps` photographs with label maps, `superres` photographs and their small versions (`degrade` makes
them), `animals` draws horses and zebras, `facades` house fronts, `photos` something like photographs, `transforms`
augments, `cache` keeps decoded pictures and `check` is behind `i2i data check`. Their names for a config are listed
by `i2i models`.
"""

from __future__ import annotations

from ..catalog import Catalog
from .base import Data, Sample
from .folders import UnpairedFolders
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
    from .facades import DrawnFacades
    from .landscapes import Landscapes
    from .photos import SyntheticPhotos
    from .relief import Reliefs

    catalog.data("unpaired_folders", UnpairedFolders)
    catalog.data("paired_folders", PairedFolders)
    catalog.data("paired_side_by_side", PairedSideBySide)
    catalog.data("derived", Derived)
    catalog.data("derived_from", DerivedFrom)
    catalog.data("drawn_facades", DrawnFacades)
    catalog.data("label_maps", LabelMaps)
    catalog.data("horses_zebras", HorsesAndZebras)
    catalog.data("landscapes", Landscapes)
    catalog.data("reliefs", Reliefs)
    catalog.data("superres", SuperResolution)
    catalog.data("synthetic_photos", SyntheticPhotos)
